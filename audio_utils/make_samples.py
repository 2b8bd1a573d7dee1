"""Make sounds to begin with, for those without sox: three noises and a square wave.

Writes  whitenoise.wav brownnoise.wav pinknoise.wav square1k.wav in the working folder: mono, 16 bits

    python audio_utils/make_samples.py
    python audio_utils/make_samples.py --seconds 30 --seed 2

In white noise all frequencies are equally strong; in pink noise power falls by 3 dB an octave, in brown noise by 6 dB.
The square wave is of 1 kHz and those of its odd harmonics that the sample rate can hold, so that nothing is aliased.
"""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder; a script knows only its own
from audio_utils import command_line  # first of all: it answers ^C from here on

# isort: split
import numpy as np

from audio_utils import audio_io, parallel
from audio_utils.safe_files import UserError

SECONDS = 300.0    # length of each sound
RATE = 44100       # Hz
SEED = 1           # another one gives other noise
OVERWRITE = False  # True: replace files that are there already

_POWERS = {"whitenoise.wav": 0, "brownnoise.wav": -2, "pinknoise.wav": -1}  # power goes as frequency to this
_LOWEST_HZ = 20  # where brown and pink noise begin; lower, nobody hears it, and it would be most of brown noise
_PEAK = 0.97  # of full scale


def main():
    options = command_line.parse(globals())
    command_line.on_stop("Stopped; the files that were finished are kept.")
    command_line.check_number(options, "seconds", float, 0.01, 3600)
    command_line.check_number(options, "rate", int, 8000, 192000)
    command_line.check_number(options, "seed", int, 0)
    return parallel.report(parallel.each(make, [*_POWERS, "square1k.wav"], "Making", shared=(options,)))


def make(name, options):
    """Write one sound. Returns a sentence that says what was done."""
    if Path(name).exists() and not options.overwrite:
        raise UserError(f"{name}: is there already; rename it or add --overwrite.")
    samples = round(options.seconds * options.rate)
    if name in _POWERS:
        wave = noise(_POWERS[name], samples, options.rate, np.random.default_rng([options.seed, *name.encode()]))
    else:
        wave = square(1000, samples, options.rate)
    audio_io.write(name, wave[np.newaxis] * (_PEAK / np.abs(wave).max()), options.rate, "PCM_16")
    return f"{name}: {options.seconds:g} s."


def noise(power, samples, rate, rng):
    """Noise (samples,) whose power goes as frequency**power: white noise, its spectrum shaped."""
    white = rng.random(samples, np.float32) * 2 - 1
    if power == 0:
        return white
    hz = np.fft.rfftfreq(samples, 1 / rate)
    gain = np.where(hz < _LOWEST_HZ, 0, np.maximum(hz, _LOWEST_HZ) ** (power / 2))  # of amplitude
    return np.fft.irfft(np.fft.rfft(white) * gain, samples)


def square(hz, samples, rate):
    """A square wave (samples,) by its Fourier series, (4 / pi) sum of sin(k x) / k over odd k, up to half the rate."""
    period = rate // math.gcd(rate, hz)  # samples until it repeats exactly
    x = 2 * np.pi * hz * np.arange(period) / rate
    return np.resize(sum(np.sin(k * x) / k for k in range(1, math.ceil(rate / 2 / hz), 2)), samples)


if __name__ == "__main__":
    command_line.run(main)
