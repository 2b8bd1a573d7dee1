"""The mean and variance of each mel band, for standardizing the input of a network."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Standardization(NamedTuple):
    """Mean and variance of each mel band over the training clips; a part of the network."""
    mean: np.ndarray  # (mels,), dB relative to the clip's maximum
    variance: np.ndarray  # (mels,), dB²

    @classmethod
    def of(cls, melgrams: np.ndarray, indices: Iterable[int] | None = None) -> "Standardization":
        """Of melgrams (clips, mels, frames, channels), or of those at `indices`.

        All channels share the same figures, which keeps the differences between them.
        """
        indices = range(len(melgrams)) if indices is None else indices
        count = len(indices) * melgrams[0][0].size
        mean = sum((melgrams[i] - melgrams[i].max()).sum(axis=(1, 2), dtype=np.float64) for i in indices) / count
        variance = sum(np.square(melgrams[i] - melgrams[i].max() - mean[:, None, None]).sum(axis=(1, 2))
                       for i in indices) / count
        return cls(mean.astype(np.float32), np.maximum(variance, 1e-3).astype(np.float32))
