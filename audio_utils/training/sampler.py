"""The order of the training clips in an epoch."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sampler:
    """Random order without replacement; an epoch passes over a small data set several times."""
    epoch_clips: int  # the minimum in an epoch
    batch_size: int

    def passes(self, clips: int) -> int:
        """The number of passes over this number of clips in an epoch."""
        return math.ceil(self.epoch_clips / clips)

    def size(self, clips: int) -> int:
        """The number of clips in a batch, in an epoch with this number of clips."""
        return min(self.batch_size, self.passes(clips) * clips)

    def batches(self, indices: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """The indices of each batch of an epoch. All batches have one size; the remainder is left out."""
        order = np.concatenate([rng.permutation(indices) for _ in range(self.passes(len(indices)))])
        size = self.size(len(indices))
        steps = len(order) // size
        return np.split(order[:steps * size], steps)
