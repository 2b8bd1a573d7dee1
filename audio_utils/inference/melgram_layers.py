"""The melgram as operations of a Keras model, so that an exported network takes audio: audio/melgram.py as a graph.

The Fourier transform consists of matrix products, because the runtimes have no common one: LiteRT's requires lengths
that are powers of two, and ONNX has one only since opset 17.
"""

import functools
import math

import numpy as np

from audio_utils.audio import dc_offset, melgram
from audio_utils.audio.melgram import MelgramSettings
from panotti_models import KerasTensor, keras

ops = keras.ops
_BLOCK = 512  # samples added at a time; a float32 sum of all samples would be inaccurate


def with_audio_input(model: keras.Model, settings: MelgramSettings) -> keras.Model:
    """A model of melgrams as one of audio, float32 (clips, channels, samples), of the settings' rate and length."""
    audio = keras.Input((settings.channels, settings.clip_samples), name="audio")
    return keras.Model(audio, model(melgrams(audio, settings)), name=model.name)


def melgrams(audio: KerasTensor, settings: MelgramSettings) -> KerasTensor:
    """Audio (clips, channels, samples) → melgrams in dB (clips, mels, frames, channels), as `melgram.melgram`.

    A shorter sound must be padded with zeros, after each channel's mean has been subtracted.
    """
    if settings.removes_dc:
        audio = _without_dc(audio)
    frames = _frames(audio, settings)
    mels = _mel_powers(frames * settings.tables.window, settings)
    mels = ops.reshape(mels, (-1, *frames.shape[1:3], settings.mels))
    decibels = 10 / math.log(10) * ops.log(ops.maximum(mels, melgram.AMIN))
    lowest = ops.max(decibels, axis=(2, 3), keepdims=True) - melgram.TOP_DB
    return ops.transpose(ops.maximum(decibels, lowest), (0, 3, 2, 1))


# --- the DC offset --------------------------------------------------------------------------------------------------

def _without_dc(audio: KerasTensor) -> KerasTensor:
    """Subtract each channel's mean; a constant channel becomes digital silence: `dc_offset.remove`."""
    offset = _mean(audio)
    offset = offset + _mean(audio - offset)  # corrects the rounding errors of the first sum
    return ops.where(_is_constant(audio), 0.0, audio - offset)


def _mean(audio: KerasTensor) -> KerasTensor:
    """(clips, channels, samples) → (clips, channels, 1)."""
    channels, samples = audio.shape[1:]
    padded = ops.pad(audio, ((0, 0), (0, 0), (0, -samples % _BLOCK)))
    sums = ops.sum(ops.reshape(padded, (-1, channels, padded.shape[2] // _BLOCK, _BLOCK)), axis=3)
    return ops.sum(sums, axis=2, keepdims=True) / samples


def _is_constant(audio: KerasTensor) -> KerasTensor:
    """Whether each channel is constant, apart from rounding errors (clips, channels, 1): `dc_offset.is_constant`."""
    lowest, highest = (extreme(audio, axis=2, keepdims=True) for extreme in (ops.min, ops.max))
    step = highest - lowest
    between = ops.max(ops.minimum(audio - lowest, highest - audio), axis=2, keepdims=True)  # 0: only two values
    alternates = functools.reduce(ops.logical_and, [
        functools.reduce(ops.logical_or, [ops.equal(step, each) for each in dc_offset.PCM_STEPS]),
        ops.greater(lowest * highest, 0), ops.equal(ops.floor(lowest / step), lowest / step), ops.equal(between, 0)])
    return ops.logical_or(ops.less_equal(step, dc_offset.ROUNDING * ops.maximum(-lowest, highest)), alternates)


# --- frames and their spectra ---------------------------------------------------------------------------------------

def _frames(audio: KerasTensor, settings: MelgramSettings) -> KerasTensor:
    """(clips, channels, samples) → (clips, channels, frames, fft); the first frame is centered on the first sample.

    The sound is cut into parts of one hop. A frame is the concatenation of as many parts as it needs.
    """
    fft, hop, half = settings.fft, settings.hop, settings.fft // 2
    frames, parts_per_frame = settings.shape[1], -(-fft // hop)
    parts = frames - 1 + parts_per_frame
    after = max(0, parts * hop - half - settings.clip_samples)
    padded = ops.pad(audio, ((0, 0), (0, 0), (half, after)))[:, :, :parts * hop]
    cut = ops.reshape(padded, (-1, settings.channels, parts, hop))
    shifted = [cut[:, :, first:first + frames] for first in range(parts_per_frame)]
    return ops.concatenate(shifted, axis=3)[:, :, :, :fft]


def _mel_powers(frames: KerasTensor, settings: MelgramSettings) -> KerasTensor:
    """Windowed frames (…, fft) → the power in each mel band (frames, mels).

    The transform is split after Cooley and Tukey (Math. Comp. 19, 1965): with fft = long · short, sample i · short + j
    and bin k + l · long, it is one over i, a multiplication by exp(-2πi jk / fft), and one over j. Compared with one
    matrix product, it takes a tenth of the multiplications and a thirtieth of the constants. Half of all k are enough,
    because the spectrum of a real signal is symmetric.
    """
    fft = settings.fft
    short = next(each for each in range(math.isqrt(fft), 0, -1) if fft % each == 0)
    long = fft // short
    half = long // 2 + 1
    parts = ops.reshape(ops.transpose(ops.reshape(frames, (-1, long, short)), (0, 2, 1)), (-1, long))  # (…, i)
    real, imaginary = (ops.reshape(parts @ each, (-1, short, half)) for each in _exponential(long, half, long))
    cosine, sine = _exponential(short, half, fft)
    turned = real * cosine - imaginary * sine, real * sine + imaginary * cosine  # (frames, j, k)
    both = ops.concatenate([ops.transpose(each, (0, 2, 1)) for each in turned], axis=2)  # (frames, k, j of both)
    cosine, sine = _exponential(short, short, short)
    spectrum = ops.reshape(both, (-1, 2 * short)) @ np.block([[cosine, sine], [-sine, cosine]])  # (…, l of both)
    power = ops.sum(ops.reshape(ops.square(spectrum), (-1, half, 2, short)), axis=2)
    return ops.reshape(power, (-1, half * short)) @ _filters(settings, long, short)


def _exponential(rows: int, columns: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The real and the imaginary part of exp(-2πi · row · column / length), float32 (rows, columns)."""
    angles = -2 * np.pi / length * (np.outer(np.arange(rows), np.arange(columns)) % length)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def _filters(settings: MelgramSettings, long: int, short: int) -> np.ndarray:
    """The mel filters in the order of the powers, float32 (k · l, mels)."""
    fft = settings.fft
    bins = np.add.outer(np.arange(long // 2 + 1), long * np.arange(short))  # (k, l)
    bins = np.minimum(bins, fft - bins)  # the same power
    filters = melgram.mel_filters(settings.mels, settings.sample_rate, fft)[bins]  # (k, l, mels)
    filters /= np.bincount(bins.ravel())[bins][:, :, None]  # some bins occur twice
    return filters.reshape(-1, settings.mels)
