"""Waveform → melgram, and the settings that define it.

A melgram is a log-mel power spectrogram in dB, float32 (mels, frames, channels). Its values agree with
`librosa.power_to_db(librosa.feature.melspectrogram(...), ref=1.0, top_db=80)`, channel by channel, to 1e-3 dB.
"""

import dataclasses
import functools
import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from audio_utils import audio_io
from audio_utils.audio_io import AudioError
from audio_utils.safe_files import UserError

FORMAT_VERSION = 1  # of Preproc/; raised when melgrams of the same settings would come out differently
AMIN = 1e-10  # the smallest power that is told from silence, -100 dB: librosa's default
TOP_DB = 80  # dB below the loudest point of each channel at which the melgram ends
RESAMPLING_MARGIN = 0.1  # seconds read beyond a clip's end, so that resampling sees what follows
_FRAMES, _BANDS = 64, 8  # computed at a time: with all at once, new memory takes longer than the arithmetic
LIMITS = {"sample_rate": (1, audio_io.HIGHEST_RATE), "clip_samples": (1, 1 << 31), "channels": (1, 1024),
          "mels": (1, 4096), "fft": (2, 1 << 20), "window": (2, 1 << 20), "hop": (1, 1 << 20)}


class Tables(NamedTuple):
    """What turns frames into mel bands."""
    window: np.ndarray  # (fft,)
    filters: list  # of (slice of the bands, slice of the bins that they cover, filters (bins, bands))


def fast_length(least):
    """The next length with no prime factor over 5: scipy.fft.next_fast_len, to import which takes a quarter second."""
    return next(n for n in itertools.count(least) if 60 ** 20 % n == 0)


def band_edges(mels, sample_rate):
    """Where the triangular bands begin, peak and end, in Hz (mels + 2,): equally far apart on Slaney's mel scale."""
    # Slaney's Auditory Toolbox, 1998: a mel is 200/3 Hz up to 1 kHz; from there on 27 of them make a factor of 6.4
    linear, knee, step, top = 200 / 3, 1000 / (200 / 3), np.log(6.4) / 27, sample_rate / 2
    top_mel = knee + np.log(top / 1000) / step if top >= 1000 else top / linear
    scale = np.linspace(0, top_mel, mels + 2)
    return np.where(scale >= knee, 1000 * np.exp(step * (scale - knee)), linear * scale)


def mel_filters(mels, sample_rate, fft):
    """Triangles of unit area, float32 (bins, mels): those of librosa.filters.mel, to import which takes a second."""
    edges = band_edges(mels, sample_rate)
    distances = np.subtract.outer(np.fft.rfftfreq(fft, 1 / sample_rate), edges)  # Hz from each edge (bins, mels + 2)
    rising, falling = distances[:, :-2] / np.diff(edges)[:-1], -distances[:, 2:] / np.diff(edges)[1:]
    filters = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    filters *= 2 / (edges[2:] - edges[:-2])
    return filters


def _blocks(filters):
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
    """All that makes a melgram of a sound."""
    sample_rate: int  # Hz; other sounds are resampled to it
    clip_samples: int  # of each channel; shorter sounds are padded with silence, longer ones cut
    channels: int  # 1: all channels are mixed; else mono is repeated, missing channels are silent
    mels: int  # bands, from 0 Hz to half the sample rate (Slaney's mel scale, unit area)
    window: int  # samples of the periodic Hann window
    fft: int  # samples of the transform; the window is padded to it
    hop: int  # samples between frames; the first is centred on the first sample

    @classmethod
    def of(cls, sample_rate, clip_samples, channels, mels, window_ms, hop_ms):
        """Settings from times in milliseconds.

        The FFT is the next length that transforms fast, and long enough to put a bin into each mel band.
        """
        window = max(2, round(window_ms * sample_rate / 1000))
        half_band = band_edges(mels, sample_rate)[1]  # Hz; the lowest band is the narrowest
        fft = fast_length(max(window, 1 + int(sample_rate / (2 * half_band))))
        return cls(sample_rate, clip_samples, channels, mels, window, fft, max(1, round(hop_ms * sample_rate / 1000)))

    @classmethod
    def from_dict(cls, values, path):
        """Settings as they were written by `to_dict`; path names the file in the user's message."""
        try:
            settings = cls(**{field.name: values[field.name] for field in dataclasses.fields(cls)})
            whole = all(type(value) is int and low <= value <= high
                        for name, (low, high) in LIMITS.items() for value in [getattr(settings, name)])
        except (KeyError, TypeError):
            whole = False
        if not whole or settings.window > settings.fft or values.get("format_version") != FORMAT_VERSION:
            raise UserError(f"{path}: holds no settings of this version of Panotti; "
                            "delete it and run preprocess_data.py again.")
        return settings

    def to_dict(self):
        return {"format_version": FORMAT_VERSION} | dataclasses.asdict(self) | {"clip_seconds": self.clip_seconds}

    @functools.cached_property
    def tables(self):
        """The window and the mel filters, made once; they travel with the settings to other processes."""
        before = (self.fft - self.window) // 2
        window = np.zeros(self.fft, np.float32)
        window[before:before + self.window] = 0.5 - 0.5 * np.cos(2 * np.pi / self.window * np.arange(self.window))
        return Tables(window, _blocks(mel_filters(self.mels, self.sample_rate, self.fft)))

    @functools.cached_property
    def band_hz(self):
        """Where the mel bands peak, in Hz (mels,)."""
        return band_edges(self.mels, self.sample_rate)[1:-1]

    @property
    def clip_seconds(self):
        return self.clip_samples / self.sample_rate

    @property
    def shape(self):
        """(mels, frames, channels) of every melgram."""
        return self.mels, 1 + self.clip_samples // self.hop, self.channels

    @property
    def bytes(self):
        """What one float32 melgram takes."""
        return 4 * math.prod(self.shape)


def of_file(path, settings):
    """Read one sound: (its melgram (mels, frames, channels), a remark or "").

    The remark says what a person may want to know: the sound is silent, or its file is cut short.
    Raises AudioError where it can't be used.
    """
    seconds = settings.clip_seconds + RESAMPLING_MARGIN
    audio, facts = audio_io.read_beginning(path, seconds)
    remark = ""
    if not audio.any():
        remark = f"{path}: is silent; kept."
    elif facts.cut_short or audio.shape[1] < min(facts.samples, math.ceil(seconds * facts.rate)):
        remark = f"{path}: is cut short; what is there is used."
    return melgram(conform(audio, facts.rate, settings, path), settings), remark


def conform(audio, rate, settings, path="the sound"):
    """Bring (channels, samples) at `rate` Hz to the rate, length and channel count of the settings."""
    audio = audio_io.resample(match_channels(audio, settings.channels, path), rate, settings.sample_rate)
    return audio_io.fix_length(audio, settings.clip_samples)


def match_channels(audio, channels, path="the sound"):
    """(n, samples) → (channels, samples): mixed to mono, mono repeated, or silent channels added."""
    if channels == 1:
        return audio.mean(axis=0, keepdims=True) if len(audio) > 1 else audio
    if len(audio) == 1:
        return np.repeat(audio, channels, axis=0)
    if len(audio) > channels:
        raise AudioError(f"{path}: has {len(audio)} channels, the other sounds {channels}; "
                         "remove it, or preprocess anew with --overwrite.")
    return np.pad(audio, ((0, channels - len(audio)), (0, 0)))


def melgram(audio, settings):
    """float32 audio (channels, samples) → dB (mels, frames, channels), any number of samples."""
    import scipy.fft
    half = settings.fft // 2
    padded = np.zeros((len(audio), audio.shape[1] + 2 * half), np.float32)
    padded[:, half:half + audio.shape[1]] = audio
    frames = np.lib.stride_tricks.sliding_window_view(padded, settings.fft, axis=1)[:, ::settings.hop]
    mels = np.empty((*frames.shape[:2], settings.mels), np.float32)  # (channels, frames, mels)
    for channel, start in itertools.product(range(len(audio)), range(0, frames.shape[1], _FRAMES)):
        spectrum = scipy.fft.rfft(frames[channel, start:start + _FRAMES] * settings.tables.window, overwrite_x=True)
        power = np.square(spectrum.real) + np.square(spectrum.imag)  # (some frames, bins)
        for bands, bins, filters in settings.tables.filters:
            mels[channel, start:start + _FRAMES, bands] = power[:, bins] @ filters
    decibels = 10 * np.log10(np.maximum(mels, AMIN))
    decibels = np.maximum(decibels, decibels.max(axis=(1, 2), keepdims=True) - TOP_DB)
    return np.ascontiguousarray(decibels.transpose(2, 1, 0))
