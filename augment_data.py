"""Augment a data set: write randomly altered copies of sounds, to enlarge the training set.

Reads   the given files            wav, flac, ogg, mp3, aiff; any sample rate, length and channel count
Writes  <file>_aug1.<ext> … <file>_augN.<ext> beside each, with its format, sample rate, length and channel count

    python augment_data.py 3 Samples/*/*
    python augment_data.py 3 Samples/*/* --speed none --pitch-semitones none    # if pitch distinguishes the classes
    python augment_data.py 5 Samples/*/* --shift=-0.1,0.1 --overwrite           # replace the copies
    python augment_data.py 3 Samples/*/* --noise-folder noise --snr-db 0,20     # mixes in recordings of noise

Each copy gets a random subset of speed, pitch, tempo, level, noise and shift, the same for all channels; with
NOISE_FOLDER or IMPULSE_RESPONSES, also of background noise and a room's reverberation. Level and arrival time
differences between the channels, which encode the direction of a source, are preserved. The parameters depend only on
the seed, the file name and the files in these folders. A tag in the comment of each copy names its recording. Copies
are never copied, and existing copies are kept: run it again after adding sounds. preprocess_data.py leaves out the
copies of Test sounds.
"""

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # needed with PYTHONSAFEPATH
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
from audio_utils.audio import altered_copies, background_noise, rooms
from audio_utils.audio.altered_copies import ANY_ROOM
from audio_utils.data import audio_folder, checks, sounds
from audio_utils.data.sounds import Skipped
from audio_utils.runtime import command_line, parallel, safe_files
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError, sentence

# Ranges of the transformations, lowest and highest; None turns one off. Source: McFee, Humphrey and Bello, "A software
# framework for musical data augmentation", ISMIR 2015.
SPEED = (0.9, 1.1)              # factor of playback speed; pitch changes with it
PITCH_SEMITONES = (-2.0, 2.0)   # semitones of pitch shift at constant tempo
TEMPO = (0.9, 1.1)              # factor of tempo at constant pitch; as for SPEED, copies are cut or padded to length
LEVEL_DB = (-6.0, 6.0)          # dB of gain; limited where an integer format would clip
NOISE = (0.0, 0.005)            # noise level relative to the peak: standard deviation (Gaussian) or peak (uniform)
SHIFT = (-0.2, 0.2)             # circular time shift as a fraction of the length

NOISE_FOLDER = ""               # folder of recordings that are mixed in as background noise, with its subfolders
SNR_DB = (0.0, 20.0)            # dB; signal-to-noise ratio with NOISE_FOLDER, of the active levels (without pauses)
IMPULSE_RESPONSES = ""          # folder of impulse responses of rooms, in audio files, with its subfolders

SEED = 1                        # random seed; another one gives different copies
MAX_DELAY_MS = 5.0              # milliseconds; maximum delay between two channels (0.8 between two ears)
OVERWRITE = False               # True: replace existing copies
JOBS = None                     # processes; None: one per core; or the address of a Dask scheduler
                                # ("tcp://host:8786"), whose workers share this folder: see audio_utils/README.md

_RANGE_LIMITS = {"speed": (0.5, 2), "pitch_semitones": (-12, 12), "tempo": (0.5, 2),
                 "level_db": (-60, 60), "noise": (0, 1), "shift": (-1, 1)}
_SNR_LIMITS = (-40, 80)  # dB; beyond that, one of the two is inaudible
_LIMITS = {"N": Limits(int, 1), "SEED": Limits(int, 0), "MAX_DELAY_MS": Limits(float, 0, 10),
           "JOBS": Limits(int, 1, optional=True, address=True)}
_MIN_PARALLEL = 4  # files; with fewer, one process is faster


def main() -> int:
    options = command_line.parse(globals(), _LIMITS, positional=[
        ("n", {"metavar": "N", "type": int, "help": "copies of each file"}),
        ("files", {"metavar": "FILE", "nargs": "+", "help": "sounds, such as Samples/*/*"})])
    ranges = checked_ranges(options)
    start = time.monotonic()
    files = list({os.path.abspath(name): Path(name) for name in command_line.expand(options.files)}.values())
    noise_files = audio_folder.find(options.noise_folder, "NOISE_FOLDER")
    response_files = audio_folder.find(options.impulse_responses, "IMPULSE_RESPONSES")
    originals, copies = choose_originals(leave_out(files, noise_files + response_files))
    noises, unusable = audio_folder.load(options.noise_folder, noise_files, background_noise.measure, options.jobs)
    responses, others = audio_folder.load(options.impulse_responses, response_files, rooms.check, options.jobs)
    folders = {file.parent for file in originals}
    shared = (options.n, ranges, options.seed, options.max_delay_ms, options.overwrite, noises, responses)
    with safe_files.locked(*folders):
        for folder in folders:
            safe_files.sweep(folder)
        results = dict(parallel.each(altered_copies.write_copies, originals, "Augmenting", options.jobs, shared,
                                     _MIN_PARALLEL))
    failures = [Skipped.of(file, sentence(results[file])) for file in originals
                if isinstance(results[file], Exception)]
    failures = list(dict.fromkeys(unusable + others + failures))  # many sounds may have the same noise
    for each in checks.summarize(failures):
        warn(each)
    total = sum((result for result in results.values() if isinstance(result, Counter)), Counter())
    summarize(total, len(copies), time.monotonic() - start)
    return 1 if failures else 0


def leave_out(files: list[Path], used: list[Path]) -> list[Path]:
    """The files without those that are used as noise or as impulse responses; says which these are."""
    known = {os.path.realpath(path) for path in used}
    inside = {file: None for file in files if os.path.realpath(file) in known} if known else {}
    left = [file for file in files if file not in inside]
    if inside and not any(sounds.may_be_audio(file.name) for file in left):
        raise UserError(f"{checks.named(inside)}: in NOISE_FOLDER or IMPULSE_RESPONSES, and no other sounds are given; "
                        "set these to folders of other recordings.")
    if inside:
        say(f"{checks.named(inside)}: used as noise or impulse responses, not augmented; if they are also Test sounds, "
            "use other recordings.")
    return left


def choose_originals(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """The recordings among the files, and the copies; without text and pictures, which Samples/*/* may include."""
    audio = [file for file in files if sounds.may_be_audio(file.name)]
    copies = [file for file in audio if sounds.is_copy_on_disk(file)]
    known = set(copies)
    originals = [file for file in audio if file not in known]
    if not originals:
        problem = "already copies; give the recordings that they were made from" if copies else "not audio; give sounds"
        raise UserError(f"{checks.named(copies or files)}: {problem}, such as Samples/*/*.")
    for each in checks.about_recordings([file for file in originals if sounds.parent_of(file.name)]):
        say(each)
    return originals, copies


def checked_ranges(options: argparse.Namespace) -> altered_copies.Ranges:
    """Transformation → (lowest, highest), without those that are turned off. Raises UserError if one is not valid."""
    ranges = {name: getattr(options, name) for name in _RANGE_LIMITS if getattr(options, name) is not None}
    if options.noise_folder:
        ranges["snr_db"] = options.snr_db
    elif "snr_db" in options.given:
        raise UserError("SNR_DB has no effect without noise; set NOISE_FOLDER to a folder of recordings.")
    for name, value in ranges.items():
        lowest, highest = _RANGE_LIMITS.get(name, _SNR_LIMITS)
        try:
            valid = len(value) == 2 and lowest <= value[0] <= value[1] <= highest
        except TypeError:
            valid = False
        if not valid:
            raise UserError(f"{name.upper()} is {value}; set it to two numbers from {lowest} to {highest}, "
                            f"the lower first{', or to None' if name in _RANGE_LIMITS else ''}.")
    if options.impulse_responses:
        ranges["room"] = ANY_ROOM
    if not ranges:
        raise UserError(f"{', '.join(_RANGE_LIMITS).upper()} are all None; give one of them a range.")
    return available(ranges)


def available(ranges: altered_copies.Ranges) -> altered_copies.Ranges:
    """The ranges whose transformations have their package, with a warning about the others; UserError if none has."""
    if altered_copies.can_stretch() or not ranges.keys() & altered_copies.STRETCHED:
        return ranges
    names = " and ".join(name.upper() for name in altered_copies.STRETCHED if name in ranges)
    message = f"{names}: not available without python-stretch, which pip install python-stretch compiles."
    remaining = {name: value for name, value in ranges.items() if name not in altered_copies.STRETCHED}
    if not remaining:
        raise UserError(message)
    warn(message)
    return remaining


def summarize(total: Counter, skipped: int, seconds: float) -> None:
    """Print the number of copies written and kept, and the speed; skipped: number of files that are already copies."""
    written = total["written"]
    say(f"{written} cop{'y' if written == 1 else 'ies'} written in {seconds:.1f} s: {total['seconds']:.1f} s of sound, "
        f"{total['seconds'] / seconds:.0f} s of sound per second.")
    if total["kept"]:
        say(f"{total['kept']} copies already exist; --overwrite replaces them.")
    if skipped:
        say(f"{skipped} files are already copies; skipped.")
    if written:
        say("Now run preprocess_data.py, then train_network.py --fresh.")


if __name__ == "__main__":
    script.run(main)
