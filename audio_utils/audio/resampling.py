"""Sample rate conversion with soxr, as librosa does it, and clips of a fixed length."""

from collections.abc import Iterable, Iterator

import numpy as np


def resample(audio: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample (channels, samples) from one rate in Hz to another, with librosa's number of samples."""
    if from_rate == to_rate:
        return audio
    import soxr
    samples = -(-audio.shape[1] * to_rate // from_rate)  # rounded up, as in librosa.resample
    return fix_length(np.ascontiguousarray(soxr.resample(audio.T, from_rate, to_rate).T), samples)


def filter_samples(from_rate: int, to_rate: int) -> int:
    """The samples at `from_rate` over which the filter rings, before and after; 0 if the rates are equal."""
    return 0 if from_rate == to_rate else 64 * -(-from_rate // to_rate)  # 64 samples at the lower rate


def resample_blocks(blocks: Iterable[np.ndarray], channels: int, from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """Resample consecutive blocks (channels, n) of one sound: together the samples that `resample` gives for it."""
    if from_rate == to_rate:
        yield from blocks
        return
    import soxr
    stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block.T).T
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).T


def fix_length(audio: np.ndarray, samples: int) -> np.ndarray:
    """Cut (channels, n), or pad it with silence at the end, to (channels, samples)."""
    missing = samples - audio.shape[1]
    return np.pad(audio, ((0, 0), (0, missing))) if missing > 0 else audio[:, :samples]
