"""Generate sounds for a first try, without sox: three kinds of noise and a square wave. Or make a background class.

Reads   nothing; with BACKGROUND, Samples/
Writes  whitenoise.wav brownnoise.wav pinknoise.wav square1k.wav in the working directory: mono, 16-bit
        with COUNT > 1, only noises: whitenoise1.wav whitenoise2.wav …
        with BACKGROUND, Samples/background/<class>_<file>.wav: the quiet stretches of each recording

    python audio_utils/make_samples.py
    python audio_utils/make_samples.py --seconds 30 --seed 2
    python audio_utils/make_samples.py --seconds 8 --count 5      # five independent noises of each kind
    python audio_utils/make_samples.py --background

The power density of white noise is flat; that of pink noise falls by 3 dB per octave, that of brown noise by 6 dB. The
square wave is the sum of 1 kHz and its odd harmonics below half the sample rate, so it has no aliasing.

The quiet stretches of a recording are joined, and repeated up to its length. They are a start: listen to them, remove
those that contain a sound of a class, and add recordings of the background of the place where the network is used.
Recordings without quiet stretches, or with digital silence alone, are skipped. A tag names the recording, so that
preprocess_data.py keeps both in one split.
"""

import argparse
import math
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
import numpy as np

from audio_utils.audio import audio_io, quiet_stretches, tags
from audio_utils.data.checks import named
from audio_utils.data.sounds import SAMPLES, Sound, find_sounds
from audio_utils.runtime import command_line, parallel, signals
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.console import say
from audio_utils.runtime.errors import UserError
from audio_utils.runtime.parallel import Done

BACKGROUND = False  # True: cut the background class out of the recordings in Samples/, instead of generating sounds
QUIET_DB = 20.0    # with BACKGROUND: a quiet part is this far below the loudest part of its recording, or more
SECONDS = 300.0    # length of each sound; with BACKGROUND, the maximum
COUNT = 1          # independent noises of each kind; if more than 1, there is no square wave
RATE = 44100       # Hz; sample rate
SEED = 1           # random seed; another one gives different noise
OVERWRITE = False  # True: replace existing files

_LIMITS = {"SECONDS": Limits(float, 0.01, 3600), "COUNT": Limits(int, 1, 1000), "RATE": Limits(int, 8000, 192000),
           "SEED": Limits(int, 0), "QUIET_DB": Limits(float, 6, 100)}
_FOLDER = "background"  # of the background class
_EXPONENTS = {"whitenoise": 0, "brownnoise": -2, "pinknoise": -1}  # power is proportional to hz**exponent
_LOWEST_HZ = 20  # of brown and pink noise; otherwise most of the power of brown noise would be inaudible
_PEAK = 0.97  # of full scale


def main() -> int:
    options = command_line.parse(globals(), _LIMITS)
    signals.on_stop("Stopped. Finished files are kept.")
    if options.background:
        return make_background(options)
    names = [f"{kind}{number}.wav" for kind in _EXPONENTS for number in range(1, options.count + 1)] \
        if options.count > 1 else [*(f"{kind}.wav" for kind in _EXPONENTS), "square1k.wav"]
    return parallel.report(parallel.each(make, names, "Generating", shared=(options,)), len(names),
                           f"sounds of {options.seconds:g} s")


def make(name: str, options: argparse.Namespace) -> Done:
    """Write one sound."""
    exponent = _EXPONENTS.get(name.removesuffix(".wav").rstrip("0123456789"))
    if Path(name).exists() and not options.overwrite:
        raise UserError(f"{name}: already exists; rename it or add --overwrite.")
    samples = round(options.seconds * options.rate)
    rng = np.random.default_rng([options.seed, *name.encode()])
    wave = square(1000, samples, options.rate) if exponent is None else noise(exponent, samples, options.rate, rng)
    audio_io.write(name, wave[np.newaxis] * (_PEAK / np.abs(wave).max()), options.rate, "PCM_16")
    return Done(f"{name}: {options.seconds:g} s.", 1)


def noise(exponent: float, samples: int, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Noise (samples,) whose power is proportional to hz**exponent: white noise with a shaped spectrum."""
    white = rng.random(samples, np.float32) * 2 - 1
    if exponent == 0:
        return white
    hz = np.fft.rfftfreq(samples, 1 / rate)
    gain = np.where(hz < _LOWEST_HZ, 0, np.maximum(hz, _LOWEST_HZ) ** (exponent / 2))  # of the amplitude
    return np.fft.irfft(np.fft.rfft(white) * gain, samples)


def square(hz: int, samples: int, rate: int) -> np.ndarray:
    """A square wave (samples,): its Fourier series (4 / pi) sum of sin(k x) / k over odd k, up to half the rate."""
    period = rate // math.gcd(rate, hz)  # samples until it repeats exactly
    x = 2 * np.pi * hz * np.arange(period) / rate
    return np.resize(sum(np.sin(k * x) / k for k in range(1, math.ceil(rate / 2 / hz), 2)), samples)


# --- background -----------------------------------------------------------------------------------------------------

def make_background(options: argparse.Namespace) -> int:
    """Write the background of each recording in Samples/. Returns the exit status."""
    if unused := [name for name in ("count", "rate", "seed") if name in options.given]:
        raise UserError(f"{unused[0].upper()}: is of generated sounds; leave it out with BACKGROUND.")
    sounds = find_recordings()
    collisions = command_line.name_collisions(sounds, background_path)
    new = sounds if options.overwrite else without_background(sounds)
    results = list(parallel.each(cut_background, new, "Cutting", shared=(collisions, options)))
    status = parallel.report(results, len(results), "background sounds")
    made = [result.outputs for _, result in results if isinstance(result, Done)]
    if len(results) > parallel.MAX_LINES and 0 in made:
        say(f"Skipped: recordings with less than {quiet_stretches.MIN_SECONDS} s of quiet.")
    if any(made):
        say("Listen to the background sounds, and remove those that contain a sound of a class; then run "
            f"preprocess_data.py, and train_network.py --background-classes {_FOLDER} --fresh.")
    return status


def find_recordings() -> list[Sound]:
    """The sounds of Samples/ except for background and augmented copies. Raises UserError if there are none."""
    sounds = [sound for sound in find_sounds(SAMPLES)[0] if sound.class_name != _FOLDER and not sound.copy_of]
    if not sounds:
        raise UserError(f"{SAMPLES}/: contains no recordings but those of {_FOLDER}/; add some.")
    if files := [folder for folder in {background_path(sound).parent for sound in sounds} if folder.is_file()]:
        raise UserError(f"{files[0]}: is a file, but a folder of this name is needed; rename or remove the file.")
    return sounds


def without_background(sounds: list[Sound]) -> list[Sound]:
    """The sounds whose background does not exist yet; says which files exist."""
    existing = {sound: path for sound in sounds if os.path.lexists(path := background_path(sound))}
    if existing:
        kept, it = ("s and is", "it") if len(existing) == 1 else (" and are", "them")
        say(f"{named(existing.values())}: already exist{kept} kept; --overwrite replaces {it}.")
    return [sound for sound in sounds if sound not in existing]


def background_path(sound: Sound) -> Path:
    """The file of the background of a sound, beside its class folder."""
    return sound.path.parents[1] / _FOLDER / f"{sound.class_name}_{sound.stem}.wav"


def cut_background(sound: Sound, collisions: dict[Sound, Sound], options: argparse.Namespace) -> Done:
    """Write the background of one recording, if there is any."""
    path = background_path(sound)
    if sound in collisions:
        raise UserError(f"{sound.path}: its background would have the same name as that of {collisions[sound].path}; "
                        "rename it.")
    found = quiet_stretches.of_file(sound.path, options.quiet_db, options.seconds)
    if not found:
        return Done(f"{sound.path}: has no quiet stretches.", 0)
    comment = tags.text(tags.steps_from(tags.BACKGROUND, sound.path))
    path.parent.mkdir(exist_ok=True)
    audio_io.write(path, found.audio, found.header.rate, audio_io.wav_subtype(found.header.subtype), comment=comment)
    seconds = found.audio.shape[1] / found.header.rate
    return Done(f"{path}: {seconds:.3g} s, made of {found.quiet_seconds:.3g} s of quiet.", 1)


if __name__ == "__main__":
    script.run(main)
