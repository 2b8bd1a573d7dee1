"""The active level of a sound: its mean power without pauses, which makes an SNR independent of the padding of a clip.

As in ITU-T P.56, "Objective measurement of active speech level" (2011), method B, the active parts are those above a
threshold that is 15.9 dB below their mean power. Here they are frames of 20 ms, in place of P.56's envelope with a
hangover, which is specific to speech.
"""

import numpy as np

from audio_utils.audio import dc_offset

FRAME_SECONDS = 0.02
_MARGIN = 10 ** -1.59  # power ratio: P.56's 15.9 dB


def frame_samples(rate: int) -> int:
    """The length of a frame at `rate` Hz."""
    return max(1, round(FRAME_SECONDS * rate))


def active_power(audio: np.ndarray, rate: int) -> float:
    """The mean power of the active frames of (channels, samples), over all channels less their DC; 0 if silent."""
    starts = np.arange(0, audio.shape[1], frame_samples(rate))
    lengths = np.diff(np.append(starts, audio.shape[1]))
    energies = np.add.reduceat(np.square(dc_offset.remove(audio), dtype=np.float64).mean(axis=0), starts)
    active = active_frames(energies / lengths, lengths)
    return float(energies[active].sum() / max(1, lengths[active].sum()))


def active_frames(powers: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Which frames are active: bool (frames,); none if all powers are 0. lengths: samples in each frame."""
    threshold = 0.0
    while (active := powers > threshold).any():
        raised = _MARGIN * np.average(powers[active], weights=lengths[active])
        if raised <= threshold:
            break
        threshold = raised  # higher each time, as only frames below the mean were left out
    return active
