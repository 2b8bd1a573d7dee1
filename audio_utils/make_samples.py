"""Generate sounds for a first try, without sox: three kinds of noise and a square wave.

Writes  whitenoise.wav brownnoise.wav pinknoise.wav square1k.wav in the working directory: mono, 16-bit
        with COUNT > 1, only noises: whitenoise1.wav whitenoise2.wav …

    python audio_utils/make_samples.py
    python audio_utils/make_samples.py --seconds 30 --seed 2
    python audio_utils/make_samples.py --seconds 8 --count 5      # five independent noises of each kind

The power density of white noise is flat; that of pink noise falls by 3 dB per octave, that of brown noise by 6 dB. The
square wave is the sum of 1 kHz and its odd harmonics below half the sample rate, so it has no aliasing.
"""

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
import numpy as np

from audio_utils.audio import audio_io
from audio_utils.runtime import command_line, parallel, signals
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.errors import UserError
from audio_utils.runtime.parallel import Done

SECONDS = 300.0    # length of each sound
COUNT = 1          # independent noises of each kind; if more than 1, there is no square wave
RATE = 44100       # Hz; sample rate
SEED = 1           # random seed; another one gives different noise
OVERWRITE = False  # True: replace existing files

_LIMITS = {"SECONDS": Limits(float, 0.01, 3600), "COUNT": Limits(int, 1, 1000), "RATE": Limits(int, 8000, 192000),
           "SEED": Limits(int, 0)}
_EXPONENTS = {"whitenoise": 0, "brownnoise": -2, "pinknoise": -1}  # power is proportional to hz**exponent
_LOWEST_HZ = 20  # of brown and pink noise; otherwise most of the power of brown noise would be inaudible
_PEAK = 0.97  # of full scale


def main() -> int:
    options = command_line.parse(globals(), _LIMITS)
    signals.on_stop("Stopped. Finished files are kept.")
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


if __name__ == "__main__":
    script.run(main)
