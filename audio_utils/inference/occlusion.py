"""Occlusion maps: the parts of a clip on which the network's decision depends.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2: one part of the input
after another is covered, and the probability of the class is observed. Only predictions are needed, no gradients.
Here a part is lowered to the average of the training sounds and never raised. In silence, for example, the average
would add a sound, and a fall of the probability would be the effect of this sound, not of a missing one.
"""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from audio_utils.data.clips import Clips
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference import network
from audio_utils.runtime import tables

MEL_BLOCKS, TIME_BLOCKS = 6, 10  # of a map; 20 clips of 5 s take about 10 seconds on two cores


class _Occluded:
    """A melgram (mels, frames, channels), then its copies with one block lowered; indexed by an array, like melgrams.

    The values of a block, in all channels, are at most the mean of their band over the training clips. Because the
    network subtracts the melgram's maximum, the mean is relative to that; and the loudest value is never lowered, as
    another maximum would change the level of the whole clip, not of one block.
    """

    def __init__(self, melgram: np.ndarray, band_mean: np.ndarray, frames: int) -> None:
        rows, columns = _edges(len(melgram), MEL_BLOCKS), _edges(frames, TIME_BLOCKS)
        self.shape = len(rows) - 1, len(columns) - 1
        self.blocks = [np.s_[rows[i]:rows[i + 1], columns[j]:columns[j + 1]] for i, j in np.ndindex(self.shape)]
        self.melgram, self.loudest = melgram, np.unravel_index(melgram.argmax(), melgram.shape)
        self.lowered = np.minimum(melgram, (melgram.max() + band_mean)[:, None, None])

    def __len__(self) -> int:
        return 1 + len(self.blocks)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return np.stack([self._copy(i) for i in indices])

    def _copy(self, i: int) -> np.ndarray:
        copy = self.melgram.astype(np.float32)
        if i:
            block = self.blocks[i - 1]
            copy[block] = self.lowered[block]
            copy[self.loudest] = self.melgram[self.loudest]
        return copy


def _edges(size: int, blocks: int) -> np.ndarray:
    """The edges of up to this number of blocks of about equal size; none is empty."""
    return np.linspace(0, size, min(size, blocks) + 1).round().astype(int)


def occlusion_map(predict: Callable[[_Occluded], np.ndarray], melgram: np.ndarray, band_mean: np.ndarray,
                  frames: int, explained: int | None = None) -> np.ndarray:
    """float32 (mel blocks, time blocks): the decrease of a class's probability when a block is lowered.

    predict: melgrams → probabilities (clips, classes). band_mean: (mels,), dB relative to the clip's maximum.
    frames: the first ones of the melgram, which are divided into blocks; the others are padding. explained: the index
    of the class, by default the most probable one.
    """
    occluded = _Occluded(melgram, band_mean, frames)
    original, *others = predict(occluded)
    explained = original.argmax() if explained is None else explained
    return (original[explained] - np.array(others)[:, explained]).reshape(occluded.shape)


def maps(weights: str | Path, clips: Clips, indices: Collection[int], frames: int, batch_size: int,
         classes: Iterable[int] | None = None) -> list[np.ndarray]:
    """The occlusion maps of the clips at `indices` by the network in a weights file, with a progress bar.

    classes: the index of the class that each map is of, by default the most probable one.
    """
    checkpoint = checkpoints.read(weights)
    model = network.load(weights, checkpoint)

    def predict(occluded: _Occluded) -> np.ndarray:
        return network.predict(model, occluded, batch_size)

    explained = [None] * len(indices) if classes is None else classes
    pairs = list(zip(indices, explained, strict=True))
    return [occlusion_map(predict, clips.melgrams[i], checkpoint.standardization.mean, frames, explained)
            for i, explained in tqdm(pairs, "Occlusion maps", unit=" clips", disable=None, leave=False,
                                     ncols=tables.bar_columns())]
