"""Make augmented copies of sounds: each changed a little at random, so that a small data set teaches more.

Reads   the files named            wav, flac, ogg, mp3, aiff; any rate, length and channel count
Writes  <file>_aug1.<ext> … <file>_augN.<ext> beside each, in its format, rate, length and channel count

    python augment_data.py 3 Samples/*/*
    python augment_data.py 3 Samples/*/* --speed none --pitch-semitones none    # where pitch is the question
    python augment_data.py 5 Samples/*/* --shift=-0.1,0.1 --overwrite           # other copies than before

Each copy draws some of speed, pitch, tempo, level, noise and shift, and applies them to all channels alike. The
differences between the channels in level and arrival time, which tell where a sound comes from, stay as they are.
Seed and file name alone decide what is drawn. Copies are not copied again, and those that are there are kept: run it
again after adding sounds. preprocess_data.py leaves out the copies of Test sounds.
"""

from audio_utils import command_line  # first of all: it answers ^C from here on

# isort: split
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np

from audio_utils import audio_io, dataset, parallel, safe_files
from audio_utils.command_line import say, warn
from audio_utils.safe_files import UserError

# What may change, from lowest to highest; None turns one off. After McFee, Humphrey and Bello, "A software framework
# for musical data augmentation", ISMIR 2015.
SPEED = (0.9, 1.1)              # times; speed and pitch together, as of a tape
PITCH_SEMITONES = (-2.0, 2.0)   # semitones; pitch alone
TEMPO = (0.9, 1.1)              # times; speed alone; as with SPEED, a longer sound is cut, a shorter one padded
LEVEL_DB = (-6.0, 6.0)          # dB; less where an integer format would clip
NOISE = (0.0, 0.005)            # of the sound's peak: the standard deviation of Gaussian, the peak of uniform noise
SHIFT = (-0.2, 0.2)             # of the length; what leaves at one end comes in at the other, so that nothing is lost

SEED = 1                        # another one draws other copies
LONGEST_DELAY_MS = 5.0          # milliseconds between a sound's arrivals in two channels; a head makes 0.8 at most
OVERWRITE = False               # True: make those copies anew, too, that are there already
JOBS = None                     # processes; None: one for each core

_WIDEST = {"speed": (0.5, 2), "pitch_semitones": (-12, 12), "tempo": (0.5, 2),
           "level_db": (-60, 60), "noise": (0, 1), "shift": (-1, 1)}
_BEYOND_ONE = ("FLOAT", "DOUBLE")  # the subtypes that keep values beyond ±1
_FEWEST = 4  # files for which other processes are started
_BLOCK = 1 << 14  # samples in which channels are compared; more than the longest delay at the highest rate
_LOWEST_RATE = 100  # Hz; at 20 the stretcher's blocks are too short for it to end


def main():
    options = command_line.parse(globals(), [
        ("n", {"metavar": "N", "type": int, "help": "copies of each file"}),
        ("files", {"metavar": "FILE", "nargs": "+", "help": "sounds, such as Samples/*/*"})])
    check(options)
    start = time.monotonic()
    files = {os.path.abspath(name): Path(name) for name in command_line.expand(options.files)}.values()
    originals = [file for file in files if not dataset.is_augmented(file.name)]
    folders = {file.parent for file in originals}
    with safe_files.claimed(*folders):
        for folder in folders:
            safe_files.sweep(folder)
        results = dict(parallel.each(augment, originals, "Augmenting", options.jobs, (options,), _FEWEST))
    errors = [results[file] for file in originals if isinstance(results[file], Exception)]
    for error in errors:
        warn(command_line.describe_os_error(error) if isinstance(error, OSError) else str(error))
    total = sum((result for result in results.values() if isinstance(result, Counter)), Counter())
    summarise(total, len(files) - len(originals), time.monotonic() - start)
    return 1 if errors else 0


def check(options):
    """Refuse constants and flags that mean nothing."""
    command_line.check_number(options, "n", int, 1)
    command_line.check_number(options, "seed", int, 0)
    command_line.check_number(options, "longest_delay_ms", float, 0, 10)
    command_line.check_number(options, "jobs", int, 1, none=True)
    for name in _WIDEST:
        check_range(options, name)
    if not ranges_of(options):
        raise UserError(f"{', '.join(_WIDEST).upper()} are all None; give one of them a range.")


def check_range(options, name):
    """Refuse a range that is not two numbers in order, within what is sensible."""
    value, (lowest, highest) = getattr(options, name), _WIDEST[name]
    try:
        good = value is None or (lowest <= value[0] <= value[1] <= highest and len(value) == 2)
    except (TypeError, IndexError):
        good = False
    if not good:
        raise UserError(f"{name.upper()} is {value}; set it to two numbers from {lowest} to {highest}, "
                        "the lower first, or to None.")


def ranges_of(options):
    """Transformation → (lowest, highest), of those that are not turned off."""
    return {name: getattr(options, name) for name in _WIDEST if getattr(options, name) is not None}


# --- the files ------------------------------------------------------------------------------------------------------

def augment(path, options):
    """Write the copies of a file that are not there yet. Returns how many: written, kept, and seconds of sound."""
    copies = {number: path.parent / f"{path.stem}_aug{number}{path.suffix}" for number in range(1, options.n + 1)}
    missing = [number for number, copy in copies.items() if options.overwrite or not copy.exists()]
    if not missing:
        return Counter(kept=options.n)
    facts = audio_io.info(path)
    audio, rate = audio_io.read(path)
    highest = np.inf if facts.subtype in _BEYOND_ONE else 1.0
    ranges = within_headroom(ranges_of(options), audio, highest)
    for number in missing:
        rng = np.random.default_rng([options.seed, number, *os.fsencode(path.name)])
        copy = apply(audio, rate, draw(rng, ranges), options.longest_delay_ms)
        copy /= max(1.0, peak(copy) / highest)  # the other changes can raise the peak a little, too
        audio_io.write(copies[number], copy, rate, facts.subtype, facts.format)
    return Counter(written=len(missing), kept=options.n - len(missing), seconds=len(missing) * audio.shape[1] / rate)


def within_headroom(ranges, audio, highest):
    """The ranges, with that of the level cut so that no copy of `audio` exceeds `highest`."""
    if "level_db" not in ranges or not audio.any():
        return ranges
    return ranges | {"level_db": np.minimum(ranges["level_db"], 20 * np.log10(highest / peak(audio)))}


def peak(audio):
    return float(np.abs(audio).max())


# --- the sound ------------------------------------------------------------------------------------------------------

def draw(rng, ranges):
    """What one copy has: a dict of transformation → value, never empty. ranges: transformation → (lowest, highest)."""
    names = list(ranges)
    subset = rng.integers(1, 2 ** len(names))  # a bit for each; every subset but the empty one is as likely
    parameters = {name: rng.uniform(*ranges[name]) for bit, name in enumerate(names) if subset >> bit & 1}
    if "noise" in parameters:
        parameters |= {"gaussian": rng.random() < 0.5, "noise_seed": rng.integers(2 ** 63)}
    return parameters


def apply(audio, rate, parameters, longest_delay_ms=LONGEST_DELAY_MS):
    """Change float32 (channels, samples) at `rate` Hz as drawn, every channel alike; the length stays."""
    speed, tempo = parameters.get("speed", 1.0), parameters.get("tempo", 1.0)
    pitch = 2 ** (parameters.get("pitch_semitones", 0.0) / 12)
    samples = audio.shape[1]
    # Pitch alone is a stretch that the resampling takes back:  |-----|  stretch→  |------|  resample→  |-----|
    changed = stretch(audio, rate, tempo / pitch)
    changed = resample(changed, speed * pitch, round(longest_delay_ms / 1000 * rate))
    changed = np.roll(audio_io.fix_length(changed, samples), round(parameters.get("shift", 0.0) * samples), axis=1)
    changed *= 10 ** (parameters.get("level_db", 0.0) / 20)
    if "noise" in parameters:
        level = parameters["noise"] * peak(changed)
        changed += level * noise(changed.shape, parameters["gaussian"], parameters["noise_seed"])
    return changed


def stretch(audio, rate, tempo):
    """Play (channels, samples) `tempo` times as fast with the pitch kept.

    This is the phase vocoder inside audiomentations.TimeStretch. It turns the phases of all channels together, so what
    is between them stays (librosa's treats each by itself). It is called directly because audiomentations takes a
    second to import in each process and draws from the global random state.
    """
    if tempo == 1:
        return audio
    import python_stretch
    stretcher = python_stretch.Signalsmith.Stretch(0)
    stretcher.preset(len(audio), max(rate, _LOWEST_RATE))
    stretcher.setTimeFactor(tempo)
    return stretcher.process(np.ascontiguousarray(audio))  # it takes no other memory layout for what it is


def resample(audio, factor, longest_delay):
    """Play (channels, samples) `factor` times as fast, pitch and all, with the delays between the channels kept.

    Delays shrink with all else when a recording plays faster: a source to the side moves towards the front. So each
    channel is set back by what it lost, as measured on the sound; that is exact where one source is the loudest.
    """
    if factor == 1:
        return audio
    import soxr
    delays = delays_between(audio, longest_delay) if len(audio) > 1 else [0]
    faster = np.ascontiguousarray(soxr.resample(audio.T, factor, 1.0).T)
    return np.stack([delayed(channel, delay - delay / factor) for channel, delay in zip(faster, delays, strict=True)])


def delays_between(audio, longest):
    """How many samples each channel lags behind the loudest: the peak of their cross-correlation, up to `longest`."""
    loudest = np.argmax(np.square(audio).sum(axis=1))
    spectrum = 0
    for start in range(0, audio.shape[1], _BLOCK):
        block = np.fft.rfft(audio[:, start:start + _BLOCK], 2 * _BLOCK)
        spectrum = spectrum + block * block[loudest].conj()
    lags = np.r_[:longest + 1, -longest:0]  # 0 first: it wins where all are alike, as in silence
    return lags[np.argmax(np.fft.irfft(spectrum)[:, lags], axis=1)]


def delayed(channel, delay):
    """Delay float32 (samples,) by so many samples, a fraction too: the phase turns in proportion to frequency."""
    if not delay:
        return channel
    size = 1 << (len(channel) + int(abs(delay))).bit_length()
    turns = np.exp(-2j * np.pi * delay * np.fft.rfftfreq(size)).astype(np.complex64)
    return np.fft.irfft(np.fft.rfft(channel, size) * turns, size)[:len(channel)]


def noise(shape, gaussian, seed):
    """Noise of standard deviation 1 (Gaussian) or peak 1 (uniform), another in each channel.

    The same noise in all would be a source of its own, straight ahead, and pull the delay between them to 0.
    """
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape, np.float32) if gaussian else 2 * rng.random(shape, np.float32) - 1


def summarise(total, passed_over, seconds):
    """Print what was made, what was there, and how fast it went."""
    say(f"{total['written']} copies written in {seconds:.1f} s: {total['seconds']:.1f} s of sound, "
        f"{total['seconds'] / seconds:.0f} s of sound a second.")
    if total["kept"]:
        say(f"{total['kept']} copies were there already; --overwrite makes them anew.")
    if passed_over:
        say(f"{passed_over} files are copies themselves and were passed over.")


if __name__ == "__main__":
    command_line.run(main)
