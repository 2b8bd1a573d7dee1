"""Sounds convolved with impulse responses of rooms."""

from pathlib import Path

import numpy as np

from audio_utils.audio import audio_io
from audio_utils.audio.active_level import active_power
from audio_utils.audio.formats import AudioError
from audio_utils.audio.resampling import filter_samples, resample
from audio_utils.runtime.errors import UserError

_MAX_SECONDS = 30  # of an impulse response; longer files are recordings of something else
_ONSET = 10 ** (-20 / 20)  # of the maximum: there the direct sound begins (ISO 3382-1:2009, A.3.4)
_DECAY = 10 ** (-20 / 10)  # of the maximum power, at most, in the last tenth of a response; of white noise: -13 dB


def check(path: Path) -> Path:
    """The path of an impulse response. Raises AudioError if it can't be used."""
    header = audio_io.info(path)
    if header.samples > _MAX_SECONDS * header.rate:
        raise AudioError(f"{path}: is longer than {_MAX_SECONDS} s, so it is no impulse response; remove it.")
    response, _ = audio_io.read(path)
    if not response.any(axis=1).all():
        raise AudioError(f"{path}: is silent, or one of its channels is; repair or remove it.")
    powers = np.square(response)
    if powers[:, 9 * powers.shape[1] // 10:].mean() > _DECAY * powers.max():
        raise AudioError(f"{path}: does not decay by 20 dB, so it is no impulse response; remove it.")
    return path


def reverberate(audio: np.ndarray, rate: int, path: Path) -> np.ndarray:
    """Convolve (channels, samples) at `rate` Hz with the impulse response in a file.

    A response with the channel count of the sound is used channel by channel; of any other, its first channel is used
    for all. The direct sound keeps its time and the sound its length and active level: the delay of the direct sound in
    the first channel that it reaches is removed, and the tail after the end is cut. The shape is preserved.
    """
    power = active_power(audio, rate)
    if not power:
        return audio
    response, response_rate = audio_io.read(path)
    response = response if len(response) == len(audio) else response[:1]
    margin = filter_samples(response_rate, rate)
    filters = resample(np.pad(response, ((0, 0), (margin, margin))), response_rate, rate)
    start = round((margin + _direct_delay(response)) * rate / response_rate)
    reverberant = _convolve(audio, filters)[:, start:start + audio.shape[1]]
    found = active_power(reverberant, rate)
    if not found:
        raise UserError(f"{path}: has nothing below {rate / 2:g} Hz; remove it from IMPULSE_RESPONSES.")
    return reverberant * np.float32(np.sqrt(power / found))


def _convolve(audio: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Convolve (channels, n) with (channels or 1, taps); zeros follow. To import scipy.signal would take longer."""
    size = 1 << (audio.shape[1] + filters.shape[1]).bit_length()
    return np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(filters, size), size)


def _direct_delay(response: np.ndarray) -> int:
    """The sample at which the direct sound begins in one of the channels (channels, samples)."""
    magnitudes = np.abs(response).max(axis=0)
    return int(np.argmax(magnitudes >= _ONSET * magnitudes.max()))
