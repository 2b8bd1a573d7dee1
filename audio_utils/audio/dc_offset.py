"""The DC offset of a sound: the mean of each channel. Many recorders add an offset; it is inaudible."""

import numpy as np

ROUNDING = 2.0 ** -18  # relative to a constant; larger than the rounding errors of float32 and of resampling
PCM_STEPS = (2.0 ** -7, 2.0 ** -15, 2.0 ** -23)  # difference of adjacent values of 8, 16 and 24-bit samples
_ONES = np.ones(512, np.float32)  # sums of so few samples are accurate in float32
_PROBE_STEP = 997  # in most channels, every 997th sample is enough to see that they are not constant


def of(audio: np.ndarray) -> np.ndarray:
    """The mean of each channel of (channels, samples): float32 (channels, 1), exact up to rounding."""
    return np.array([[_mean(channel)] for channel in audio], np.float32)


def _mean(channel: np.ndarray) -> float:
    """Blocks are summed in float32 (a matrix product), their sums in float64: four times as fast as float64 alone."""
    whole = len(channel) // len(_ONES) * len(_ONES)
    blocks = np.ascontiguousarray(channel[:whole]).reshape(-1, len(_ONES)) @ _ONES
    return float(blocks.sum(dtype=np.float64) + channel[whole:].sum(dtype=np.float64)) / max(1, len(channel))


def remove(audio: np.ndarray, offsets: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """Subtract offsets (channels, 1), by default `of(audio)`, from audio (channels, samples); out: for the result.

    A constant channel becomes digital silence; otherwise level normalization would amplify its rounding errors.
    """
    result = np.empty(audio.shape, np.float32) if out is None else out
    result[:] = audio  # the only copy: allocating another array would take longer than the arithmetic
    constant = [is_constant(channel) for channel in result]
    result -= of(result) if offsets is None else offsets
    if any(constant):
        result[constant] = 0
    return result


def is_constant(channel: np.ndarray) -> bool:
    """Whether samples (n,) are constant, apart from rounding errors.

    These are the errors of float32, or those of 8, 16 or 24-bit samples that alternate between two adjacent nonzero
    values.
    """
    lowest, highest = _range(channel[::_PROBE_STEP])
    if highest - lowest > max(PCM_STEPS[0], ROUNDING * max(-lowest, highest)):
        return False
    lowest, highest = _range(channel)
    step = highest - lowest
    if step <= ROUNDING * max(-lowest, highest):
        return True
    return step in PCM_STEPS and lowest * highest > 0 and lowest % step == 0 and bool(
        ((channel == lowest) | (channel == highest)).all())


def _range(samples: np.ndarray) -> tuple[float, float]:
    return (float(samples.min()), float(samples.max())) if samples.size else (0.0, 0.0)
