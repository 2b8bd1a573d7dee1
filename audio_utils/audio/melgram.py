"""Waveform → melgram, and the settings that define it.

A melgram is a log-mel power spectrogram in dB, float32 (mels, frames, channels). Its values agree with
`librosa.power_to_db(librosa.feature.melspectrogram(...), ref=1.0, top_db=80)`, per channel, to 1e-3 dB, after the
mean of each channel (its DC offset) has been subtracted and the clip has been padded with silence.
"""

import dataclasses
import functools
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_utils.audio import audio_io, dc_offset
from audio_utils.audio.audio_io import AudioError
from audio_utils.audio.resampling import resample
from audio_utils.runtime.errors import UserError

FORMAT_VERSION = 2  # incremented when the same settings give different melgrams; version 1 kept the DC offset
AMIN = 1e-10  # the lowest power, -100 dB: librosa's default
SILENT_DB = 10 * math.log10(AMIN) + 1e-3  # the maximum of a silent melgram, such as that of samples that are all 0
TOP_DB = 80  # dB between the maximum and the minimum of each channel
CANCELED_DB = 40  # by which a mono mix is below its channels; independent sounds in two channels lose 3 dB
RESAMPLING_MARGIN = 0.1  # seconds read beyond the end of a clip, for the filter of the resampling
_FRAMES, _BANDS = 64, 8  # computed at a time; with all at once, memory allocation takes longer than the arithmetic
_HZ_PER_MEL = 200 / 3  # below the knee (Slaney's Auditory Toolbox, 1998)
_KNEE_HZ, _KNEE_MEL = 1000, 1000 / _HZ_PER_MEL  # above it, the scale is logarithmic
_LOG_STEP = np.log(6.4) / 27  # 27 mels are a factor of 6.4
LIMITS = {"sample_rate": (1, audio_io.HIGHEST_RATE), "clip_samples": (1, 1 << 31), "channels": (1, 1024),
          "mels": (1, 4096), "fft": (2, 1 << 20), "window": (2, 1 << 20), "hop": (1, 1 << 20)}


class Tables(NamedTuple):
    """The window and the mel filters of a transform."""
    window: np.ndarray  # float32 (fft,)
    filters: list[tuple[slice, slice, np.ndarray]]  # (bands, bins that they cover, filters (bins, bands))


def fast_length(minimum: int) -> int:
    """The next length without prime factors above 5: scipy.fft.next_fast_len, which takes 0.2 s to import."""
    return next(n for n in itertools.count(minimum) if 60 ** 20 % n == 0)


def mel_of_hz(hz: float) -> float:
    """A frequency on Slaney's mel scale: librosa.hz_to_mel."""
    return _KNEE_MEL + np.log(hz / _KNEE_HZ) / _LOG_STEP if hz >= _KNEE_HZ else hz / _HZ_PER_MEL


def band_edges(mels: int, sample_rate: int) -> np.ndarray:
    """The edges and peaks of the triangular bands in Hz (mels + 2,): evenly spaced on the mel scale."""
    scale = np.linspace(0, mel_of_hz(sample_rate / 2), mels + 2)
    return np.where(scale >= _KNEE_MEL, _KNEE_HZ * np.exp(_LOG_STEP * (scale - _KNEE_MEL)), _HZ_PER_MEL * scale)


def mel_filters(mels: int, sample_rate: int, fft: int) -> np.ndarray:
    """Triangles of unit area, float32 (bins, mels): librosa.filters.mel, which takes a second to import."""
    edges = band_edges(mels, sample_rate)
    distances = np.subtract.outer(np.fft.rfftfreq(fft, 1 / sample_rate), edges)  # Hz from each edge (bins, mels + 2)
    rising, falling = distances[:, :-2] / np.diff(edges)[:-1], -distances[:, 2:] / np.diff(edges)[1:]
    filters = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters *= 2 / (edges[2:] - edges[:-2])
    return filters


def _blocks(filters: np.ndarray) -> list[tuple[slice, slice, np.ndarray]]:
    """Mel filters (bins, mels), mostly zeros, as small dense blocks along their diagonal."""
    blocks = []
    for first in range(0, filters.shape[1], _BANDS):
        block = filters[:, first:first + _BANDS]
        covered = np.flatnonzero(block.any(axis=1))
        bins = slice(int(covered[0]), int(covered[-1]) + 1)
        blocks.append((slice(first, first + _BANDS), bins, np.ascontiguousarray(block[bins])))
    return blocks


@dataclass(frozen=True)
class MelgramSettings:
    """All parameters of a melgram."""
    sample_rate: int  # Hz; other sounds are resampled to it
    clip_samples: int  # per channel; shorter sounds are padded with silence, longer ones cut
    channels: int  # 1: all channels are mixed; otherwise mono is repeated and missing channels are silent
    mels: int  # bands, from 0 Hz to half the sample rate (Slaney's mel scale, unit area)
    window: int  # samples of the periodic Hann window
    fft: int  # samples of the transform; the window is padded to it
    hop: int  # samples between frames; the first is centered on the first sample
    format_version: int = FORMAT_VERSION

    @classmethod
    def of(cls, sample_rate: int, clip_samples: int, channels: int, mels: int, window_ms: float,
           hop_ms: float) -> "MelgramSettings":
        """Settings from times in milliseconds.

        The FFT length is the next fast one that is long enough for a bin in each mel band.
        """
        window = max(2, round(window_ms * sample_rate / 1000))
        half_band = band_edges(mels, sample_rate)[1]  # Hz; the lowest band is the narrowest
        fft = fast_length(max(window, 1 + int(sample_rate / (2 * half_band))))
        return cls(sample_rate, clip_samples, channels, mels, window, fft, max(1, round(hop_ms * sample_rate / 1000)),
                   FORMAT_VERSION)

    @classmethod
    def from_dict(cls, values: dict[str, Any], path: str | Path, remedy: str) -> "MelgramSettings":
        """The inverse of `to_dict`, for this and all earlier versions; path, remedy: for the UserError if invalid."""
        version = values.get("format_version")
        if type(version) is int and version > FORMAT_VERSION:
            raise UserError(f"{path}: was written by a newer version of Panotti; update Panotti, or {remedy}.")
        try:
            settings = cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})
            valid = type(version) is int and version >= 1 and settings.window <= settings.fft and all(
                type(value) is int and low <= value <= high
                for name, (low, high) in LIMITS.items() for value in [getattr(settings, name)])
        except (KeyError, TypeError):
            valid = False
        if not valid:
            raise UserError(f"{path}: contains no valid settings; {remedy}.")
        return settings

    def to_dict(self) -> dict[str, int | float]:
        """For settings.json and weights.hdf5."""
        return {"format_version": self.format_version} | dataclasses.asdict(self) | {"clip_seconds": self.clip_seconds}

    @property
    def removes_dc(self) -> bool:
        """Whether each channel's mean is subtracted."""
        return self.format_version >= 2

    @functools.cached_property
    def tables(self) -> Tables:
        """The window and the mel filters, computed once; they are pickled with the settings."""
        before = (self.fft - self.window) // 2
        window = np.zeros(self.fft, np.float32)
        window[before:before + self.window] = 0.5 - 0.5 * np.cos(2 * np.pi / self.window * np.arange(self.window))
        return Tables(window, _blocks(mel_filters(self.mels, self.sample_rate, self.fft)))

    @functools.cached_property
    def band_hz(self) -> np.ndarray:
        """The peak frequency of each mel band in Hz (mels,)."""
        return band_edges(self.mels, self.sample_rate)[1:-1]

    def band_of_hz(self, hz: float) -> float:
        """The fractional index of the mel band that peaks at a frequency: the inverse of `band_hz`."""
        return mel_of_hz(hz) / mel_of_hz(self.sample_rate / 2) * (self.mels + 1) - 1

    @property
    def clip_seconds(self) -> float:
        return self.clip_samples / self.sample_rate

    @property
    def shape(self) -> tuple[int, int, int]:
        """(mels, frames, channels) of every melgram."""
        return self.mels, 1 + (self.clip_samples - self.fft % 2) // self.hop, self.channels

    @property
    def bytes(self) -> int:
        """The size of one float32 melgram."""
        return 4 * math.prod(self.shape)


def of_file(path: str | Path, settings: MelgramSettings, start: int = 0) -> tuple[np.ndarray, str]:
    """The melgram (mels, frames, channels) of one file, and a warning, or "": silent, truncated, canceled out.

    start: the first sample, at the rate of the file. Raises AudioError if the file can't be used.
    """
    seconds = settings.clip_seconds + RESAMPLING_MARGIN
    audio, header = audio_io.read_seconds(path, seconds, start)
    result = melgram(conform(audio, header.rate, settings, path), settings)
    warning = ""
    if settings.channels == 1 < len(audio) and cancels(*mix_powers(audio)):
        warning = canceled(path)
    elif result.max() <= SILENT_DB:
        warning = f"{path}: is silent; kept."
    elif header.cut_short or audio.shape[1] < min(header.samples - start, math.ceil(seconds * header.rate)):
        warning = f"{path}: is truncated; the available part is used."
    return result, warning


# --- channels ---------------------------------------------------------------------------------------------------------

def mix_powers(audio: np.ndarray) -> np.ndarray:
    """(2,): the mean energy of the channels (channels, samples), and that of their mono mix, without DC offsets."""
    audio = dc_offset.remove(audio)
    mix = audio.mean(axis=0)
    return np.array([np.vdot(audio, audio) / len(audio), np.vdot(mix, mix)], np.float64)


def cancels(channels: float, mix: float) -> bool:
    """Whether channels cancel each other out, as if one is inverted; from their `mix_powers`."""
    return mix < 10 ** (-CANCELED_DB / 10) * channels


def canceled(path: str | Path) -> str:
    """The warning about a sound whose channels cancel each other out."""
    return f"{path}: its channels cancel each other out in the mono mix; invert or remove one of them."


# --- the clip ---------------------------------------------------------------------------------------------------------

def conform(audio: np.ndarray, rate: int, settings: MelgramSettings, path: str | Path = "the sound") -> np.ndarray:
    """Convert (channels, samples) at `rate` Hz to the sample rate, maximum length and channel count of the settings."""
    if settings.removes_dc and is_converted(len(audio), rate, settings):
        audio = dc_offset.remove(audio, dc_offset.of(audio[:, :source_samples(rate, settings)]))
    audio = resample(match_channels(audio, settings.channels, path), rate, settings.sample_rate)
    return audio[:, :settings.clip_samples]


def is_converted(channels: int, rate: int, settings: MelgramSettings) -> bool:
    """Whether a sound is resampled or mixed. If so, its DC offset is removed before, and the remaining offset after.

    The filter of the resampling would turn an offset into a click at the beginning and the end of the sound.
    """
    return rate != settings.sample_rate or channels > settings.channels


def source_samples(rate: int, settings: MelgramSettings) -> int:
    """The length of a clip at another rate, rounded up."""
    return -(-settings.clip_samples * rate // settings.sample_rate)


def match_channels(audio: np.ndarray, channels: int, path: str | Path = "the sound") -> np.ndarray:
    """(n, samples) → (channels, samples): channels are mixed to mono, mono is repeated, or silent channels are added.

    Raises AudioError if there are more channels than that.
    """
    if channels == 1:
        return audio.mean(axis=0, keepdims=True) if len(audio) > 1 else audio
    if len(audio) == 1:
        return np.repeat(audio, channels, axis=0)
    if len(audio) > channels:
        raise AudioError(f"{path}: has {len(audio)} channels, the other sounds {channels}; "
                         "remove it, or preprocess again with --overwrite.")
    return np.pad(audio, ((0, channels - len(audio)), (0, 0)))


def melgram(audio: np.ndarray, settings: MelgramSettings) -> np.ndarray:
    """Audio, float32 (channels, samples), padded if shorter than a clip → melgram in dB (mels, frames, channels)."""
    import scipy.fft
    half, samples = settings.fft // 2, audio.shape[1]
    padded = np.zeros((len(audio), max(samples, settings.clip_samples) + 2 * half), np.float32)
    if settings.removes_dc:
        dc_offset.remove(audio, out=padded[:, half:half + samples])
    else:
        padded[:, half:half + samples] = audio
    frames = np.lib.stride_tricks.sliding_window_view(padded, settings.fft, axis=1)[:, ::settings.hop]
    mels = np.empty((*frames.shape[:2], settings.mels), np.float32)  # (channels, frames, mels)
    for channel, start in itertools.product(range(len(audio)), range(0, frames.shape[1], _FRAMES)):
        spectrum = scipy.fft.rfft(frames[channel, start:start + _FRAMES] * settings.tables.window, overwrite_x=True)
        power = np.square(spectrum.real) + np.square(spectrum.imag)  # (_FRAMES, bins)
        for bands, bins, filters in settings.tables.filters:
            mels[channel, start:start + _FRAMES, bands] = power[:, bins] @ filters
    decibels = 10 * np.log10(np.maximum(mels, AMIN))
    decibels = np.maximum(decibels, decibels.max(axis=(1, 2), keepdims=True) - TOP_DB)
    return np.ascontiguousarray(decibels.transpose(2, 1, 0))
