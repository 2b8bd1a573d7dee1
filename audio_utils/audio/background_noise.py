"""Recordings of background noise, mixed into sounds at a given signal-to-noise ratio (SNR).

A recording is a loop: its end is crossfaded into its beginning. Only the stretches that are mixed in are decoded again,
so recordings may be hours long.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio_utils.audio import audio_io
from audio_utils.audio.active_level import FRAME_SECONDS, active_frames, active_power, frame_samples
from audio_utils.audio.formats import AudioError
from audio_utils.audio.melgram import canceled, cancels
from audio_utils.audio.resampling import filter_samples, fix_length, resample
from audio_utils.runtime.errors import UserError

_FADE_SECONDS = 0.05  # of the crossfade; at most a quarter of the recording
_SILENCE = 1e-9  # power, relative to full scale or to a larger signal: the rounding noise of 16 bits is about as high


class Noise(NamedTuple):
    """A recording of noise."""
    path: Path
    rate: int  # Hz
    samples: int  # per channel, a multiple of the length of a frame
    offsets: np.ndarray  # float32 (channels, 1): the DC offset of each channel
    active: np.ndarray  # uint8: one bit per frame, 1 if it is active


# --- the recording --------------------------------------------------------------------------------------------------

def measure(path: Path) -> Noise:
    """Decode a recording, block by block. Raises AudioError if it can't be used as noise."""
    sums, squares, mixed = [], [], 0.0  # of each frame and channel; of the mono mix
    with audio_io.opened(path) as (header, blocks):
        frame = frame_samples(header.rate)
        for frames in _framed(blocks(header.samples), frame):
            sums.append(frames.sum(axis=2, dtype=np.float64))
            squares.append(np.square(frames, dtype=np.float64).sum(axis=2))
            mixed += np.square(frames.mean(axis=0), dtype=np.float64).sum()
    sums, squares = np.concatenate(sums, axis=1), np.concatenate(squares, axis=1)
    samples = frame * sums.shape[1]
    if not samples:
        raise AudioError(f"{path}: is shorter than {1000 * FRAME_SECONDS:g} ms, too short for noise; remove it.")
    means = sums.sum(axis=1, keepdims=True) / samples
    powers = ((squares - 2 * means * sums) / frame + means ** 2).mean(axis=0)
    powers[powers <= _SILENCE * max(1, squares.sum() / squares.shape[0] / samples)] = 0
    if not powers.any():
        raise AudioError(f"{path}: is silent, so it is no noise; remove it.")
    if cancels(powers.mean(), mixed / samples - means.mean() ** 2):
        raise AudioError(canceled(path))
    active = active_frames(powers, np.ones(len(powers)))
    return Noise(path, header.rate, samples, means.astype(np.float32), np.packbits(active))


def _framed(blocks: Iterable[np.ndarray], frame: int) -> Iterator[np.ndarray]:
    """Yield consecutive blocks (channels, n) as (channels, frames, frame); the last samples are left out."""
    rest = None
    for block in blocks:
        block = block if rest is None else np.concatenate([rest, block], axis=1)
        whole = block.shape[1] // frame * frame
        yield block[:, :whole].reshape(len(block), -1, frame)
        rest = block[:, whole:]


# --- stretches ------------------------------------------------------------------------------------------------------

def add(audio: np.ndarray, rate: int, noise: Noise, snr_db: float, position: float, offset: float) -> np.ndarray:
    """Mix noise into (channels, samples) at `rate` Hz. Silence remains silence, as it has no SNR.

    snr_db: the ratio of the active power of the sound to that of the noise, in dB.
    position, offset: from 0 to 1; they choose an active frame of the noise, and its position in the sound.
    """
    power = active_power(audio, rate)
    if not power:
        return audio
    added = _for_channels(noise, *audio.shape, rate, position, offset)
    gain = np.sqrt(power / _audible_power(added, rate, noise)) * 10 ** (-snr_db / 20)
    return audio + np.float32(gain) * added


def _for_channels(noise: Noise, channels: int, samples: int, rate: int, position: float, offset: float) -> np.ndarray:
    """A stretch of the noise: float32 (channels, samples) at `rate` Hz.

    With the channel count of the sound, it is used channel by channel. Otherwise it is mixed to mono, and each channel
    gets another stretch of the same level: the same noise in all channels would be a source straight ahead.
    """
    is_alike = len(noise.offsets) == channels
    starts = _starts(noise, 1 if is_alike else channels, -(-samples * noise.rate // rate), position, offset)
    stretches = [_resampled(noise, start, samples, rate) for start in starts]
    if is_alike:
        return stretches[0]
    mono = [stretch.mean(axis=0, keepdims=True) for stretch in stretches]
    return np.concatenate([each / np.float32(np.sqrt(_audible_power(each, rate, noise))) for each in mono])


def _audible_power(audio: np.ndarray, rate: int, noise: Noise) -> float:
    """The active power. Raises UserError if the noise is silent here, as ultrasound is at a low rate."""
    power = active_power(audio, rate)
    if power <= _SILENCE:
        raise UserError(f"{noise.path}: the stretch that was drawn for a sound is silent at {rate} Hz; remove it from "
                        "NOISE_FOLDER.")
    return power


def _starts(noise: Noise, count: int, samples: int, position: float, offset: float) -> list[int]:
    """The starts of `count` stretches of `samples` samples in the loop, each with an active frame at one position."""
    frame = frame_samples(noise.rate)
    active = np.flatnonzero(np.unpackbits(noise.active))
    if len(active) < count:
        raise UserError(f"{noise.path}: is too short for {count} different stretches, one per channel; remove it from "
                        "NOISE_FOLDER.")
    chosen = active[(int(position * len(active)) + np.arange(count) * len(active) // count) % len(active)]
    return [round(frame * number - offset * (samples - frame)) for number in chosen.tolist()]


def _resampled(noise: Noise, start: int, samples: int, rate: int) -> np.ndarray:
    """(channels, samples) at `rate` Hz of the loop from a sample on; decoded beyond both ends, which ring otherwise."""
    margin = filter_samples(noise.rate, rate)
    audio = _stretch(noise, start - margin, -(-samples * noise.rate // rate) + 2 * margin)
    return fix_length(resample(audio, noise.rate, rate)[:, margin * rate // noise.rate:], samples)


def _stretch(noise: Noise, start: int, samples: int) -> np.ndarray:
    """(channels, samples) of the loop from a sample on, without DC, at the rate of the noise.

        recording  |-----------------------|        the end of the recording is crossfaded into its beginning, as often
        loop                 start |-------|        as necessary
                                         |-----------------------|
    """
    fade = min(round(_FADE_SECONDS * noise.rate), noise.samples // 4)
    start %= noise.samples - fade
    audio = _read(noise, start, samples)
    missing = samples - audio.shape[1]
    if missing > 0:
        again = _read(noise, 0, missing + fade)
        while again.shape[1] < missing + fade:
            again = _crossfaded(again, again, fade)
        audio = _crossfaded(audio, again, fade)
    return audio[:, :samples]


def _read(noise: Noise, start: int, samples: int) -> np.ndarray:
    samples = min(samples, noise.samples - start)
    audio, _ = audio_io.read(noise.path, start, samples)
    return fix_length(audio - noise.offsets, samples)  # the file may have been cut since it was measured


def _crossfaded(first: np.ndarray, second: np.ndarray, fade: int) -> np.ndarray:
    """Join (channels, n) and (channels, m) with an overlap of `fade` samples, which preserves the power of noise."""
    rising = np.sin(np.pi / 2 * (np.arange(fade, dtype=np.float32) + 0.5) / max(1, fade))
    kept = first.shape[1] - fade
    overlap = first[:, kept:] * rising[::-1] + second[:, :fade] * rising
    return np.concatenate([first[:, :kept], overlap, second[:, fade:]], axis=1)
