"""The DC offset of a sound: the mean of each channel, which recorders often add and which is inaudible."""

import numpy as np

_ROUNDING = 2.0 ** -18  # relative to a constant; more than the rounding errors of float32 and of resampling
_PCM_STEPS = (2.0 ** -7, 2.0 ** -15, 2.0 ** -23)  # between samples of 8, 16 and 24 bits
_ONES = np.ones(512, np.float32)  # samples added in float32; a sum of so few is accurate
_PROBE_STEP = 997  # every 997th sample shows that most channels are not constant


def of(audio: np.ndarray) -> np.ndarray:
    """The mean of each channel of (channels, samples): float32 (channels, 1), as accurate as that can be."""
    return np.array([[_mean(channel)] for channel in audio], np.float32)


def _mean(channel: np.ndarray) -> float:
    """The sums of blocks, a matrix product, are added in float64: a quarter of the time of a sum in float64."""
    whole = len(channel) // len(_ONES) * len(_ONES)
    blocks = np.ascontiguousarray(channel[:whole]).reshape(-1, len(_ONES)) @ _ONES
    return float(blocks.sum(dtype=np.float64) + channel[whole:].sum(dtype=np.float64)) / max(1, len(channel))


def remove(audio: np.ndarray, offsets: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """Subtract offsets (channels, 1), by default those `of` the audio, from (channels, samples); out: for the result.

    A constant channel becomes digital silence: level normalization would amplify its rounding errors.
    """
    result = np.empty(audio.shape, np.float32) if out is None else out
    result[:] = audio  # no other copy: allocating memory would take longer than the arithmetic
    constant = [is_constant(channel) for channel in result]
    result -= of(result) if offsets is None else offsets
    if any(constant):
        result[constant] = 0
    return result


def is_constant(channel: np.ndarray) -> bool:
    """Whether samples (n,) are a constant with nothing but rounding errors.

    These are of float32, or let samples of 8, 16 or 24 bits alternate between two adjacent values other than 0.
    """
    lowest, highest = _range(channel[::_PROBE_STEP])
    if highest - lowest > max(_PCM_STEPS[0], _ROUNDING * max(-lowest, highest)):
        return False
    lowest, highest = _range(channel)
    step = highest - lowest
    if step <= _ROUNDING * max(-lowest, highest):
        return True
    return step in _PCM_STEPS and lowest * highest > 0 and lowest % step == 0 and bool(
        ((channel == lowest) | (channel == highest)).all())


def _range(samples: np.ndarray) -> tuple[float, float]:
    return (float(samples.min()), float(samples.max())) if samples.size else (0.0, 0.0)
