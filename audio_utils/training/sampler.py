"""The order of the training clips in an epoch."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sampler:
    """Random order without replacement; an epoch passes over a small data set several times, or over a part of it.

    With labels, all classes are drawn equally often, also if an epoch then passes over a class several times, or over a
    part of it, in an epoch of the same length.
    """
    epoch_clips: int  # the minimum in an epoch
    batch_size: int
    max_epoch_clips: int | None = None  # None: no limit
    devices: int = 1  # each gets the same number of clips of a batch
    labels: np.ndarray | None = None  # int (clips,), the classes of all clips; None: classes are not considered

    def passes(self, clips: int) -> int:
        """The number of passes over this number of clips in an epoch; the last one may be cut off."""
        return math.ceil(min(self.epoch_clips, self._limit) / clips)

    @property
    def _limit(self) -> float:
        return self.max_epoch_clips or math.inf

    def drawn(self, clips: int) -> int:
        """The number of clips that are drawn for an epoch, of this number of clips."""
        return min(self.passes(clips) * clips, self._limit)

    def size(self, clips: int) -> int:
        """The number of clips in a batch, in an epoch with this number of clips."""
        return min(self.batch_size, self.drawn(clips)) // self.devices * self.devices

    def batches(self, indices: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """The indices of each batch of an epoch. All batches have one size; the remainder is left out."""
        drawn = self.drawn(len(indices))
        order = _drawn(indices, drawn, rng) if self.labels is None else self._balanced(indices, drawn, rng)
        size = self.size(len(indices))
        steps = len(order) // size
        return np.split(order[:steps * size], steps)

    def _balanced(self, indices: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """This number of clips in random order; those of two classes differ by at most 1."""
        labels = self.labels[indices]
        classes = rng.permutation(np.unique(labels))
        sizes = np.diff(np.linspace(0, count, len(classes) + 1).astype(int))
        return rng.permutation(np.concatenate([_drawn(indices[labels == label], size, rng)
                                               for label, size in zip(classes, sizes, strict=True)]))

    def describe(self, clips: int) -> str:
        """How an epoch draws from this number of clips, for a sentence; "" if it passes over them once."""
        passes, drawn = self.passes(clips), self.drawn(clips)
        if drawn % clips or self.labels is not None:
            return f", {drawn:,} drawn per epoch"
        return f", {passes} times per epoch" if passes > 1 else ""


def _drawn(indices: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """This number of clips in random order; none is drawn again before all others are."""
    passes = [rng.permutation(indices) for _ in range(math.ceil(count / len(indices)))]
    return np.concatenate([indices[:0], *passes])[:count]
