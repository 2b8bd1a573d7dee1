"""Augmented copies of sound files: speed, pitch, tempo, level, noise and shift, the same for all channels.

Background noise and reverberation may be added from recordings of noise and impulse responses of rooms. Parameters are
drawn first, then applied deterministically. Level and arrival time differences between the channels, which encode the
direction of a source, are preserved.
"""

import importlib.util
import os
import platform
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audio_utils.audio import audio_io, background_noise, rooms, tags
from audio_utils.audio.background_noise import Noise
from audio_utils.audio.resampling import fix_length
from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UserError

Ranges = dict[str, tuple[float, float]]  # transformation → (lowest, highest)
Parameters = dict[str, float]  # transformation → value, and the type and seed of the noise

ANY_ROOM = (0.0, 1.0)  # the range of "room", a fraction of the list of impulse responses

STRETCHED = ("pitch_semitones", "tempo")  # these transformations need python-stretch

_BEYOND_ONE = ("FLOAT", "DOUBLE")  # the subtypes that represent values beyond ±1
_BLOCK = 1 << 14  # samples per block of the cross-correlation; more than the maximum delay at the highest rate
_MAX_NAME_BYTES = 255  # of a file name, in all common file systems
_LOWEST_RATE = 100  # Hz; at 20 Hz the stretcher's blocks are too short and it never returns


def write_copies(path: Path, count: int, ranges: Ranges, seed: int, max_delay_ms: float, overwrite: bool,
                 noises: Sequence[Noise] = (), responses: Sequence[Path] = ()) -> Counter:
    """Write the missing copies <file>_aug1.<ext> … of a file, or all of them with `overwrite`.

    noises, responses: from which "snr_db" and "room" choose. The parameters depend only on the seed, the number of the
    copy and the file name. Returns the counts of "written" and "kept" copies, and the "seconds" of sound written.
    """
    copies = {number: path.parent / f"{path.stem}_aug{number}{path.suffix}" for number in range(1, count + 1)}
    if len(os.fsencode(copies[count].name)) > _MAX_NAME_BYTES:
        raise UserError(f"{path}: the name is too long to append _aug{count}; shorten it.")
    existing = {number for number, copy in copies.items() if copy.exists() and not safe_files.is_of_lost_attempt(copy)}
    missing = [number for number in copies if overwrite or number not in existing]
    if not missing:
        return Counter(kept=count)
    header = audio_io.info(path)
    for number in existing.intersection(missing):
        _require_copy(copies[number], header)
    audio, rate = audio_io.read(path)
    max_peak = np.inf if header.subtype in _BEYOND_ONE else 1.0
    ranges = _within_headroom(ranges, audio, max_peak)
    comment = tags.text(tags.steps_from(tags.AUGMENT, path))
    for number in missing:
        rng = np.random.default_rng([seed, number, *os.fsencode(path.name)])
        copy = apply(audio, rate, randomize_parameters(rng, ranges), max_delay_ms, noises, responses)
        copy /= max(1.0, _peak(copy) / max_peak)  # the other transformations may raise the peak slightly, too
        audio_io.write(copies[number], copy, rate, header.subtype, header.format, comment)
    return Counter(written=len(missing), kept=count - len(missing), seconds=len(missing) * audio.shape[1] / rate)


def _require_copy(path: Path, header: audio_io.AudioInfo) -> None:
    """Refuse to overwrite what is no copy of a sound with this header: a recording of 12 August, named x_aug12.wav."""
    try:
        found = audio_io.info(path)
    except audio_io.AudioError:
        return
    if not tags.copied(tags.read(path)) and found[:3] != header[:3]:
        raise UserError(f"{path}: is not a copy, as its length, rate or channels differ; rename it.")


def _within_headroom(ranges: Ranges, audio: np.ndarray, max_peak: float) -> Ranges:
    """The ranges, with the level limited so that no copy of `audio` exceeds `max_peak`."""
    if "level_db" not in ranges or not audio.any():
        return ranges
    return ranges | {"level_db": np.minimum(ranges["level_db"], 20 * np.log10(max_peak / _peak(audio)))}


def _peak(audio: np.ndarray) -> float:
    return float(np.abs(audio).max())


# --- parameters and transformations ---------------------------------------------------------------------------------

def randomize_parameters(rng: np.random.Generator, ranges: Ranges) -> Parameters:
    """Draw the transformations of one copy, at least one, and their values."""
    names = list(ranges)
    subset = rng.integers(1, 2 ** len(names))  # one bit each; all subsets but the empty one are equally likely
    parameters = {name: rng.uniform(*ranges[name]) for bit, name in enumerate(names) if subset >> bit & 1}
    if "noise" in parameters:
        parameters |= {"gaussian": rng.random() < 0.5, "noise_seed": rng.integers(2 ** 63)}
    if "snr_db" in parameters:
        parameters |= {"noise_file": rng.random(), "position": rng.random(), "offset": rng.random()}
    return parameters


def apply(audio: np.ndarray, rate: int, parameters: Parameters, max_delay_ms: float,
          noises: Sequence[Noise] = (), responses: Sequence[Path] = ()) -> np.ndarray:
    """Transform float32 (channels, samples) at `rate` Hz, all channels alike; the shape is preserved.

    The order is that of a recording: the source, the room, the noise in it, the noise of the microphone.
    """
    speed, tempo = parameters.get("speed", 1.0), parameters.get("tempo", 1.0)
    pitch = 2 ** (parameters.get("pitch_semitones", 0.0) / 12)
    samples = audio.shape[1]
    # Pitch shift is a time stretch undone by resampling:  |-----|  stretch→  |------|  resample→  |-----|
    changed = stretch(audio, rate, tempo / pitch)
    changed = resample(changed, speed * pitch, round(max_delay_ms / 1000 * rate))
    changed = np.roll(fix_length(changed, samples), round(parameters.get("shift", 0.0) * samples), axis=1)
    if "room" in parameters:
        changed = rooms.reverberate(changed, rate, _choose(responses, parameters["room"]))
    changed *= 10 ** (parameters.get("level_db", 0.0) / 20)
    if "snr_db" in parameters:
        noise = _choose(noises, parameters["noise_file"])
        changed = background_noise.add(changed, rate, noise, parameters["snr_db"], parameters["position"],
                                       parameters["offset"])
    if "noise" in parameters:
        level = parameters["noise"] * _peak(changed)
        changed += level * _noise(changed.shape, parameters["gaussian"], parameters["noise_seed"])
    return changed


def _choose(things: Sequence, fraction: float) -> Any:
    return things[int(fraction * len(things))]


def can_stretch() -> bool:
    """Whether python-stretch exists; requirements.txt omits it on Linux other than x86-64, where it has no wheels."""
    optional = sys.platform == "linux" and platform.machine() != "x86_64"
    return not optional or importlib.util.find_spec("python_stretch") is not None


def stretch(audio: np.ndarray, rate: int, tempo: float) -> np.ndarray:
    """Play (channels, samples) `tempo` times as fast at the same pitch.

    This is the phase vocoder of audiomentations.TimeStretch. It rotates the phases of all channels together, so their
    differences are preserved; librosa's treats each channel separately. It is called directly because audiomentations
    takes a second to import in each process and draws from the global random state.
    """
    if tempo == 1:
        return audio
    import python_stretch
    stretcher = python_stretch.Signalsmith.Stretch(0)
    stretcher.preset(len(audio), max(rate, _LOWEST_RATE))
    stretcher.setTimeFactor(tempo)
    return stretcher.process(np.ascontiguousarray(audio))  # it misreads any other memory layout


def resample(audio: np.ndarray, factor: float, max_delay: int) -> np.ndarray:
    """Play (channels, samples) `factor` times as fast, with the pitch, but preserve the delays between the channels.

    Faster playback shortens the delays too, which would move a lateral source toward the front. So each channel is
    delayed by the difference, as measured on the sound; this is exact for a single dominant source.
    """
    if factor == 1:
        return audio
    import soxr
    delays = _delays_between(audio, max_delay) if len(audio) > 1 else [0]
    faster = np.ascontiguousarray(soxr.resample(audio.T, factor, 1.0).T)
    return np.stack([_delayed(channel, delay - delay / factor) for channel, delay in zip(faster, delays, strict=True)])


def _delays_between(audio: np.ndarray, max_delay: int) -> np.ndarray:
    """The delay of each channel after the loudest in samples, up to `max_delay`: the peak of the cross-correlation."""
    loudest = np.argmax(np.square(audio).sum(axis=1))
    spectrum = 0
    for start in range(0, audio.shape[1], _BLOCK):
        block = np.fft.rfft(audio[:, start:start + _BLOCK], 2 * _BLOCK)
        spectrum = spectrum + block * block[loudest].conj()
    lags = np.r_[:max_delay + 1, -max_delay:0]  # 0 is first, so it wins if all are equal, as in silence
    return lags[np.argmax(np.fft.irfft(spectrum)[:, lags], axis=1)]


def _delayed(channel: np.ndarray, delay: float) -> np.ndarray:
    """Delay float32 (samples,) by a fractional number of samples: a phase shift proportional to frequency."""
    if not delay:
        return channel
    size = 1 << (len(channel) + int(abs(delay))).bit_length()
    phase_shift = np.exp(-2j * np.pi * delay * np.fft.rfftfreq(size)).astype(np.complex64)
    return np.fft.irfft(np.fft.rfft(channel, size) * phase_shift, size)[:len(channel)]


def _noise(shape: tuple[int, int], gaussian: bool, seed: int) -> np.ndarray:
    """Noise of standard deviation 1 (Gaussian) or peak 1 (uniform), independent in each channel.

    Identical noise in all channels would be another source, straight ahead, and bias the measured delay toward 0.
    """
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape, np.float32) if gaussian else 2 * rng.random(shape, np.float32) - 1
