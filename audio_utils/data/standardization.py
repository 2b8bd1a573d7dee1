"""The mean and variance of each mel band, for standardizing the input of a network."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from audio_utils.data.melgram_files import MelgramFiles

MAX_CLIPS = 20_000  # of more clips, a random sample is enough: its error is less than 1% of the deviation of clips


class Standardization(NamedTuple):
    """Mean and variance of each mel band over the training clips; a part of the network."""
    mean: np.ndarray  # (mels,), dB relative to the clip's maximum
    variance: np.ndarray  # (mels,), dB²

    @classmethod
    def of(cls, melgrams: np.ndarray | MelgramFiles, indices: Sequence[int] | None = None) -> "Standardization":
        """Of melgrams (clips, mels, frames, channels), or of those at `indices`; of more than MAX_CLIPS, of a sample.

        All channels share the same figures, which keeps the differences between them.
        """
        indices = range(len(melgrams)) if indices is None else indices
        if len(indices) > MAX_CLIPS:
            indices = np.sort(np.random.default_rng(1).choice(indices, MAX_CLIPS, replace=False))
        count = len(indices) * math.prod(melgrams.shape[2:])
        mean = sum((melgrams[i] - melgrams[i].max()).sum(axis=(1, 2), dtype=np.float64) for i in indices) / count
        variance = sum(np.square(melgrams[i] - melgrams[i].max() - mean[:, None, None]).sum(axis=(1, 2))
                       for i in indices) / count
        return cls(mean.astype(np.float32), np.maximum(variance, 1e-3).astype(np.float32))
