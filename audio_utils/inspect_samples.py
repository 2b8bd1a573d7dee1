"""Look at Samples/ before anyone waits for anything: what is there, and what is wrong with it.

Reads   Samples/<class>/*, or Samples/Train/<class>/* and Samples/Test/<class>/*; every sound is decoded
Writes  samples.png    how many, how long and how loud the sounds of each class are

    python audio_utils/inspect_samples.py
    python audio_utils/inspect_samples.py --silent-db -50
"""

import hashlib
import os
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder; a script knows only its own
from audio_utils import command_line  # first of all: it answers ^C from here on

# isort: split
import numpy as np

from audio_utils import audio_io, dataset, parallel, plots
from audio_utils.command_line import say

SILENT_DB = -60.0    # dB of full scale; what never gets louder is silence: a quiet room is about as loud
NEARLY_EMPTY = 0.05  # of what the sounds of a class have to hear (median); one with less is nearly empty
CLIPPED = 0.001      # of a sound's samples; where more are cut off at full scale, it sounds distorted
JOBS = None          # processes; None: one for each core

_SAMPLES, _PICTURE = Path("Samples"), Path("samples.png")
_FEWEST = 10  # sounds of a class; of fewer, one or two are left to test with, and a score is luck
_IMBALANCE = 3  # times the smallest class; of two, always answering the larger is then right 3 times in 4
_UNEVEN = 4  # times the median length of the shortest class; by then the padding alone gives classes away
_NAMED = 10  # files named in one sentence
_PIECE_SECONDS = 0.01  # each is either heard or silent
_FULL_SCALE = 0.99  # where 8 bits end
_PROBE = 1 << 12  # bytes by which files of one size are told apart before any is read wholly


class Look(NamedTuple):
    """What is in one sound."""
    info: audio_io.AudioInfo
    heard_seconds: float  # not silent
    level_db: float  # root mean square over all channels, dB of full scale; -80 at least
    clipped: float  # share of its samples that are cut off
    dead: int  # channels that are silent where another is not


def main():
    options = command_line.parse(globals())
    check(options)
    command_line.on_stop("Stopped; nothing was written.")
    start = time.monotonic()
    sounds, remarks = dataset.find_sounds(_SAMPLES)
    looks, bad = look_at(sounds, options)
    problems = wrong(looks, options)
    headers = {sound.path: each.info for sound, each in looks.items()}
    cut_short = [path for path, info in headers.items() if info.cut_short]
    sentences = [*remarks, *bad, *about(cut_short, "cut short; what is there is used, or replace"),
                 *verdicts(list(looks), headers), *verdicts_by_ear(problems, options)]
    say_table(sounds, looks, problems)
    for sentence in sentences:
        say(sentence)
    title = finding(looks, len(sentences))
    say(f"\n{title}.")
    if looks:
        plots.samples(_PICTURE, panels(looks, problems), title)
        say(f"Written: {_PICTURE}, in {time.monotonic() - start:.1f} s.")


def check(options):
    """Refuse constants and flags that mean nothing."""
    command_line.check_number(options, "silent_db", float, -140, 0)
    command_line.check_number(options, "nearly_empty", float, 0, 1)
    command_line.check_number(options, "clipped", float, 0, 1)
    command_line.check_number(options, "jobs", int, 1, none=True)


# --- a sound --------------------------------------------------------------------------------------------------------

def look_at(sounds, options):
    """(Sound → Look of those that can be decoded, a sentence on each of the others)."""
    paths = [sound.path for sound in sounds]
    found = dict(parallel.each(look, paths, "Listening", options.jobs, (10 ** (options.silent_db / 20),)))
    bad = [command_line.describe_os_error(error) if isinstance(error, OSError) else str(error)
           for error in map(found.get, paths) if isinstance(error, Exception)]
    return {sound: found[sound.path] for sound in sounds if isinstance(found[sound.path], Look)}, bad


def look(path, silent):
    """Decode a sound block by block; silent: the amplitude beyond which it is heard."""
    peaks, squares, clipped, heard, samples = 0, 0.0, 0, 0, 0
    with audio_io.opened(path) as (info, blocks):
        for block in blocks(info.samples):
            size = np.abs(block)
            if not np.isfinite(size).all():
                raise audio_io.AudioError(f"{path}: holds NaN or infinite samples; repair or remove it.")
            peaks = np.maximum(peaks, size.max(axis=1))  # of each channel
            squares += np.square(block, dtype=np.float64).sum()
            clipped += cut_off(block, size)
            heard += heard_samples(size.max(axis=0) > silent, max(1, round(_PIECE_SECONDS * info.rate)))
            samples += block.shape[1]
    info = info._replace(samples=samples, cut_short=info.cut_short or samples < info.samples)
    values = samples * info.channels
    return Look(info, heard / info.rate, 10 * np.log10(max(squares / values, 1e-8)), clipped / values,
                sum(peaks <= silent) if max(peaks) > silent else 0)


def cut_off(block, size):
    """How many samples of (channels, n) are cut off at full scale; size: their absolute values.

    Those are, of three or more in a row that are alike, the inner ones. Compression with loss blurs them: there, what
    was cut off comes out again beyond ±1.
    """
    alike = (block[:, 1:] == block[:, :-1]) & (size[:, 1:] >= _FULL_SCALE)
    return (alike[:, 1:] & alike[:, :-1]).sum() + (size > 1).sum()


def heard_samples(loud, piece):
    """How many samples lie in pieces in which any is loud; loud: bool (n,)."""
    starts = np.arange(0, len(loud), piece)
    lengths = np.diff(np.append(starts, len(loud)))
    return lengths[np.logical_or.reduceat(loud, starts)].sum()


# --- what is wrong, by names, sizes and headers ---------------------------------------------------------------------

def verdicts(sounds, headers):
    """A sentence on each thing that is wrong, as far as it shows without decoding anything.

    sounds: those that can be read. headers: path → AudioInfo, of all of them or of those that are new.
    """
    known = {sound: headers[sound.path] for sound in sounds if sound.path in headers}
    rates = {sound: info.rate for sound, info in known.items()}
    channels = {sound: info.channels for sound, info in known.items()}
    seconds = {sound: info.samples / info.rate for sound, info in known.items()}
    return [*few(sounds), *unequal_numbers(sounds), *duplicates(sounds), *unequal_lengths(seconds),
            *mixture(rates, "sample rate", f"SAMPLE_RATE = {min(rates.values(), default=0)}"),
            *mixture(channels, "channel count", "MONO = True")]


def about(paths, problem):
    """A sentence on those files, where there are any."""
    return [f"{named(paths)}: {problem} {'it' if len(paths) == 1 else 'them'}."] if paths else []


def named(things):
    things = list(map(str, things))
    return ", ".join(things[:_NAMED]) + (f" and {len(things) - _NAMED} more" if len(things) > _NAMED else "")


def by_class(values):
    """Sound → value as class → values."""
    found = defaultdict(list)
    for sound, value in values.items():
        found[sound.class_name].append(value)
    return dict(sorted(found.items()))


def few(sounds):
    counts = Counter(sound.class_name for sound in sounds if not dataset.is_augmented(sound.name))
    small = [f"{name} ({count})" for name, count in sorted(counts.items()) if count < _FEWEST]
    if small:
        yield f"{named(small)}: fewer than {_FEWEST} sounds, too few to tell how good the network is; add more."


def unequal_numbers(sounds):
    counts = Counter(sound.class_name for sound in sounds)
    most, least = extremes(counts)
    if counts[most] > _IMBALANCE * counts[least]:
        yield (f"{most}: has {counts[most]} sounds where {least} has {counts[least]}, so that a network does well that "
               "seldom answers the latter; add sounds to small classes, or copies (augment_data.py).")


def extremes(values):
    """The names of the largest and of the smallest value, None where there are none."""
    return max(values, key=values.get, default=None), min(values, key=values.get, default=None)


def unequal_lengths(seconds):
    medians = defaultdict(float, {name: np.median(lengths) for name, lengths in by_class(seconds).items()})
    longest, shortest = extremes(medians)
    if medians[longest] > _UNEVEN * medians[shortest]:
        yield (f"{longest}: has sounds of {medians[longest]:.3g} s (median) where {shortest} has "
               f"{medians[shortest]:.3g} s, so that length alone tells them apart; cut the long ones "
               "(audio_utils/split_audio.py).")


def mixture(values, what, remedy):
    """A sentence where sounds differ in their header; values: Sound → what it says."""
    counts, of_class = Counter(values.values()), {name: set(found) for name, found in by_class(values).items()}
    if any(one.isdisjoint(other) for one, other in combinations(of_class.values(), 2)):
        listed = named(f"{name}: {' and '.join(map(str, sorted(found)))}" for name, found in of_class.items())
        yield (f"{_SAMPLES}/: the classes differ in {what} ({listed}), so that a network may learn that and not the "
               f"sounds; preprocess all alike ({remedy}).")
    elif len(counts) > 1:
        usual, _ = extremes(counts)
        others = [f"{sound.path} ({value})" for sound, value in values.items() if value != usual]
        yield (f"{named(others)}: another {what} than most sounds ({usual}); converted, that can still be heard: "
               f"preprocess all alike ({remedy}), or keep {'it' if len(others) == 1 else 'them'}.")


def duplicates(sounds):
    """A sentence on each kind of files with the same bytes. Augmented copies are always where their parent is."""
    kinds = defaultdict(list)
    for group in same_bytes([sound for sound in sounds if not dataset.is_augmented(sound.path.name)]):
        classes, sides = ({each[place] for each in group} for place in (0, 2))
        kind = "in several classes" if len(classes) > 1 else "in Train and in Test" if len(sides) > 1 else ""
        kinds[kind].append(" = ".join(str(sound.path) for sound in group))
    for kind, groups in sorted(kinds.items(), reverse=True):
        yield (f"{named(groups)}: the same file {kind or 'several times'}, so that the "
               f"{'network learns both' if kind == 'in several classes' else 'score is too good'}; keep one.")


def same_bytes(sounds):
    """Sounds whose files hold the same bytes, in groups of two and more."""
    groups = [sounds]
    for key in (size_of, middle_of, digest_of):  # each reads only what those before it could not tell apart
        parts = defaultdict(list)
        for place, group in enumerate(groups):
            for sound in group:
                with suppress(OSError):  # what can't be read is reported elsewhere
                    parts[place, key(sound.path)].append(sound)
        groups = [part for part in parts.values() if len(part) > 1]
    return groups


def size_of(path):
    return os.stat(path).st_size


def middle_of(path):
    with open(path, "rb") as file:
        file.seek(size_of(path) // 2)
        return file.read(_PROBE)


def digest_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


# --- what is wrong, by ear ------------------------------------------------------------------------------------------

def wrong(looks, options):
    """Problem → the Sounds that have it; looks: Sound → Look."""
    heard = {sound: each.heard_seconds for sound, each in looks.items()}
    usual = {name: np.median(lengths) for name, lengths in by_class(heard).items()}
    return {"silent": [sound for sound in looks if not heard[sound]],
            "empty": [sound for sound in looks if 0 < heard[sound] < options.nearly_empty * usual[sound.class_name]],
            "clipped": [sound for sound, each in looks.items() if each.clipped > options.clipped],
            "dead": [sound for sound, each in looks.items() if each.dead]}


def verdicts_by_ear(problems, options):
    """A sentence on each of those problems."""
    meaning = {"silent": f"silent, never above {options.silent_db:g} dB; remove",
               "empty": "nearly empty, with far less to hear than others of the class; listen to",
               "clipped": "clipped, cut off at full scale; record again with less gain, or keep",
               "dead": "silent in some channels but not in all; mend or remove"}
    return [sentence for problem, sounds in problems.items()
            for sentence in about([sound.path for sound in sounds], meaning[problem])]


# --- what is shown --------------------------------------------------------------------------------------------------

def say_table(sounds, looks, problems):
    """A line for each class; seconds, minutes, and dB of full scale."""
    sides = dataset.SIDES if sounds[0].side else (None,)
    rows = [["class", *(side or "files" for side in sides), "shortest", "median", "longest", "minutes", "level dB",
             "channels", "Hz", *problems, "bad"]]
    for name in sorted({sound.class_name for sound in sounds}):
        every = [sound for sound in sounds if sound.class_name == name]
        files = [sum(sound.side == side for sound in every) for side in sides]
        odd = [sum(sound.class_name == name for sound in found) for found in problems.values()]
        bad = sum(sound not in looks for sound in every)
        rows.append([name, *map(str, files), *cells([looks[sound] for sound in every if sound in looks]),
                     *(str(count or "-") for count in (*odd, bad))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        say("  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]))


def cells(looks):
    """What the sounds of a class are, as texts."""
    if not looks:
        return ["-"] * 7
    seconds = [each.info.samples / each.info.rate for each in looks]
    levels = [each.level_db for each in looks]
    kinds = [sorted({getattr(each.info, name) for each in looks}) for name in ("channels", "rate")]
    return [f"{min(seconds):.2f}", f"{np.median(seconds):.2f}", f"{max(seconds):.2f}", f"{sum(seconds) / 60:.1f}",
            f"{np.median(levels):.0f}", *(",".join(map(str, found)) for found in kinds)]


def finding(looks, problems):
    """What was found, in a line."""
    minutes = sum(each.info.samples / each.info.rate for each in looks.values()) / 60
    classes = len({sound.class_name for sound in looks})
    return (f"{len(looks)} sounds in {classes} classes, {minutes:.1f} minutes: "
            + (f"{problems} thing{'s' * (problems > 1)} to look at" if problems else "nothing wrong was found"))


def panels(looks, problems):
    """class → (files on each side, lengths in s, levels in dB, which of them have a problem), for the picture."""
    odd = {sound for found in problems.values() for sound in found}
    found = {}
    for name, sounds in by_class({sound: sound for sound in looks}).items():
        found[name] = (Counter(sound.side for sound in sounds),
                       np.array([looks[sound].info.samples / looks[sound].info.rate for sound in sounds]),
                       np.array([looks[sound].level_db for sound in sounds]),
                       np.array([sound in odd for sound in sounds]))
    return found


if __name__ == "__main__":
    command_line.run(main)
