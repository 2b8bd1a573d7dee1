"""Figures of a melgram that identify its clip and describe its level; computed once for each clip."""

import numpy as np

from audio_utils.audio.melgram import SILENT_DB

GROUPS = 8  # of mel bands


def dtype(mels: int) -> np.dtype:
    """Of an array with the summary of each clip; "bands_db" is NaN for silence."""
    return np.dtype([("mean_db", np.float64), ("max_db", np.float32), ("bands_db", np.float64, (min(GROUPS, mels),))])


def of(melgram: np.ndarray) -> tuple[float, float, np.ndarray]:
    """The mean, the maximum, and the levels of groups of bands, of a melgram (mels, frames, channels).

    The levels are means, with weights that depend on time and channel: with equal weights, a sound from the left and
    one from the right would have the same levels.
    """
    mels, frames, channels = melgram.shape
    mean, maximum = melgram.mean(dtype=np.float64), melgram.max()
    if maximum <= SILENT_DB:
        return mean, maximum, np.full(min(GROUPS, mels), np.nan)
    weights = np.outer(np.linspace(1, 2, frames), np.arange(1, channels + 1))
    bands = np.einsum("mfc,fc->m", melgram, weights / weights.sum())
    return mean, maximum, np.array([group.mean() for group in np.array_split(bands, min(GROUPS, mels))])
