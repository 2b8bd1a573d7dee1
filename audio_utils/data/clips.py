"""Clips: the melgrams that a network trains on or is tested with, and their classes."""

import functools
from dataclasses import dataclass

import numpy as np

from audio_utils.data import summary
from audio_utils.data.melgram_files import MelgramFiles


@dataclass(frozen=True, eq=False)
class Clips:
    """Training or test clips, in the order of their names."""
    melgrams: np.ndarray | MelgramFiles  # float32 (clips, mels, frames, channels), dB; indexed by an array of clips
    targets: np.ndarray  # float32 (clips, classes), one-hot; with MULTI_LABEL, any number of ones
    names: list[str]  # "class/file.wav"
    class_names: list[str]
    multi_label: bool = False

    def __len__(self) -> int:
        return len(self.names)

    @property
    def on_disk(self) -> bool:
        """Whether the melgrams are read from files as they are needed."""
        return isinstance(self.melgrams, MelgramFiles)

    @property
    def labels(self) -> np.ndarray:
        """int64 (clips,): the index of each clip's class; not for MULTI_LABEL."""
        return self.targets.argmax(axis=1) if len(self) else np.zeros(0, np.int64)

    @functools.cached_property
    def summaries(self) -> np.ndarray:
        """The mean, maximum and levels of each clip: (clips,) of summary.dtype."""
        if self.on_disk:
            return self.melgrams.summaries
        return np.fromiter(map(summary.of, self.melgrams), summary.dtype(self.melgrams.shape[1]), len(self))

    def subset(self, indices: np.ndarray) -> "Clips":
        """The clips at `indices`."""
        melgrams = self.melgrams.subset(indices) if self.on_disk else self.melgrams[indices]
        return Clips(melgrams, self.targets[indices], [self.names[i] for i in indices], self.class_names,
                     self.multi_label)


def one_hot(labels: list[int], classes: int) -> np.ndarray:
    """float32 (clips, classes) from the indices of classes."""
    return np.eye(classes, dtype=np.float32)[np.array(labels, np.int64)]
