"""Turn the sounds of Samples/ into melgrams for training: log-mel power spectrograms in dB.

Reads   Samples/<class>/*         wav, flac, ogg, mp3, aiff; any mix of rates, lengths and channel counts
Writes  Preproc/Train/<class>/<file>.npy and Preproc/Test/<class>/<file>.npy, float32 (mels, frames, channels)
        Preproc/settings.json     all that made them

    python preprocess_data.py
    python preprocess_data.py --clip-seconds 2 --mono
    python preprocess_data.py --overwrite         # other settings than before; the split stays

Run again after adding or changing sounds: only what is new is computed, and no sound changes sides.
Samples/Train/<class>/* with Samples/Test/<class>/* is a split of your own and is kept.
"""

from audio_utils import command_line  # first of all: it answers ^C from here on

# isort: split
import math
import re
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio_utils import audio_io, dataset, inspect_samples, melgram, parallel, safe_files
from audio_utils.command_line import say, warn
from audio_utils.inspect_samples import named
from audio_utils.melgram import MelgramSettings
from audio_utils.safe_files import UserError

SAMPLE_RATE = None       # Hz; None: the rate of most files, the others are resampled
CLIP_SECONDS = None      # seconds; None: the longest file's; shorter ones are padded with silence, longer ones cut
MONO = False             # True: mix all channels into one
MELS = 96                # bands from 0 Hz to half the sample rate
WINDOW_MS = 46.44        # milliseconds; 2048 samples at 44.1 kHz
HOP_MS = 11.61           # milliseconds from frame to frame; 512 samples at 44.1 kHz

TEST_FRACTION = 0.2      # of each class
SEED = 1                 # of the split
KEEP_TOGETHER = ""       # regular expression; files whose names differ in the match only (r"_s\d+$": the clips of
                         # one recording), or match its group alike, go to one side together

OVERWRITE = False        # True: compute everything anew, also with other settings
PRUNE = False            # True: remove melgrams whose sound is gone
JOBS = None              # processes; None: one for each core

SAMPLES, PREPROC = Path("Samples"), Path("Preproc")
_COVERED, _TOO_LONG = 0.95, 4  # where the longest file is 4 times as long as what covers 95% of them, that is taken
_MUCH_LONGER = 1.25  # than what covers 95%: then the others are padded so much that a person should know
_OF_MELGRAMS = ("SAMPLE_RATE", "CLIP_SECONDS", "MONO", "MELS", "WINDOW_MS", "HOP_MS")
_OF_SPLIT = ("TEST_FRACTION", "SEED", "KEEP_TOGETHER")


class Plan(NamedTuple):
    """What is to be done."""
    settings: MelgramSettings
    record: dict  # what settings.json will hold
    sides: list  # of (Sound, "Train" or "Test")
    stale: list  # those of them that have no current melgram
    orphans: list  # (side, name) of melgrams whose sound is gone
    there: list  # (side, name) of all melgrams


def main():
    options = command_line.parse(globals())
    check(options)
    start = time.monotonic()
    plan = make_plan(options, PREPROC)
    PREPROC.mkdir(exist_ok=True)
    with safe_files.claimed(PREPROC):
        compute(plan, options)
        remove_orphans(plan.orphans, options.prune)
    summarise(plan, time.monotonic() - start)


def check(options):
    """Refuse constants and flags that mean nothing."""
    command_line.check_number(options, "sample_rate", int, 100, audio_io.HIGHEST_RATE, none=True)
    command_line.check_number(options, "clip_seconds", float, 0.01, 86_400, none=True)
    command_line.check_number(options, "mels", int, 1, melgram.LIMITS["mels"][1])
    command_line.check_number(options, "window_ms", float, 0.1, 10_000)
    command_line.check_number(options, "hop_ms", float, 0.1, 10_000)
    command_line.check_number(options, "test_fraction", float, 0, 0.9)
    command_line.check_number(options, "seed", int)
    command_line.check_number(options, "jobs", int, 1, none=True)
    try:
        re.compile(options.keep_together)
    except (re.error, TypeError):
        raise UserError(f"KEEP_TOGETHER is {options.keep_together!r}, no regular expression; correct it.") from None


# --- what is to be done ---------------------------------------------------------------------------------------------

def make_plan(options, preproc=None, settings=None):
    """Look at Samples/, and at what `preproc` holds already, and decide what is to be computed.

    preproc: None where the melgrams stay in memory, with `settings` where a network asks for them.
    """
    sounds, remarks = dataset.find_sounds(SAMPLES)
    melgrams = dataset.find_melgrams(preproc) if preproc else {}
    before = settings_before(options, preproc) if preproc and not options.overwrite else settings
    times = {name: found.st_mtime_ns for (_, name), found in melgrams.items()} if before else {}
    headers, bad = read_headers([sound for sound in sounds if times.get(sound.name) != changed_at(sound)], options.jobs)
    sounds = [sound for sound in sounds if sound.path not in bad]
    verdicts = inspect_samples.verdicts(sounds, headers) if headers else []  # on what is new
    for sentence in remarks + list(bad.values()) + look_alikes(sounds) + verdicts:
        warn(sentence)
    dataset.require_classes(sorted({sound.class_name for sound in sounds}), SAMPLES)
    settings = before or choose_settings(headers, options)
    if not before and not options.clip_seconds:
        warn_of_padding(headers, settings)
    warn_of_cuts(headers, settings, options, before)
    sides = split(sounds, melgrams, options)
    stale = [(sound, side) for sound, side in sides if options.overwrite or not before
             or not dataset.is_current(melgrams.get((side, sound.name)), changed_at(sound), settings)]
    planned = {(side, sound.name) for sound, side in sides}
    orphans = [key for key in melgrams if key not in planned]
    return Plan(settings, record_of(settings, options), sides, stale, orphans, list(melgrams))


def settings_before(options, preproc):
    """The settings of the melgrams that are there, None where there are none; refuses constants that differ."""
    if not (preproc / dataset.SETTINGS).exists():
        return None
    settings, record = dataset.read_settings(preproc)
    actual = {"SAMPLE_RATE": settings.sample_rate, "CLIP_SECONDS": settings.clip_seconds}
    for name in _OF_MELGRAMS:
        asked, was = getattr(options, name.lower()), record["constants"].get(name)
        if asked != was and asked != actual.get(name, was):
            raise UserError(f"{preproc / dataset.SETTINGS}: was made with {name} = {was}, now it is {asked}; "
                            "set it back, or give --overwrite to compute all melgrams anew (the split stays).")
    for name in _OF_SPLIT:
        asked, was = getattr(options, name.lower()), record["constants"].get(name)
        if asked != was:
            warn(f"{name} was {was!r} and is now {asked!r}: new sounds are dealt by it, the others keep their side; "
                 f"remove {preproc}/Train and {preproc}/Test to deal all anew.")
    return settings


def changed_at(sound):
    """When the file was last changed, in ns; None where it can't be asked (a link to nothing)."""
    try:
        return sound.path.stat().st_mtime_ns
    except OSError:
        return None


def read_headers(sounds, jobs):
    """(path → AudioInfo of the sounds that can be used, path → what is wrong with the others)."""
    found = dict(parallel.each(audio_io.info, [sound.path for sound in sounds], "Reading headers", jobs, fewest=4000))
    good = {sound.path: found[sound.path] for sound in sounds if isinstance(found[sound.path], audio_io.AudioInfo)}
    return good, {path: str(error) for path, error in found.items() if path not in good}


def look_alikes(sounds):
    """A sentence for names that differ in the extension only."""
    stems = defaultdict(list)
    for sound in sounds:
        stems[sound.path.parent, sound.path.stem].append(sound.path)
    return [f"{paths[0]}: has the same name as {', '.join(path.name for path in paths[1:])} but for the extension; "
            "all are used, on the same side of the split." for paths in stems.values() if len(paths) > 1]


def choose_settings(headers, options):
    """Settings from the constants, and where they are None from the sounds: path → AudioInfo."""
    rates = Counter(header.rate for header in headers.values())
    rate = options.sample_rate or max(rates, key=lambda each: (rates[each], each))
    covering, longest = lengths(headers, rate)
    longest = covering if longest > _TOO_LONG * covering else longest
    samples = round(options.clip_seconds * rate) if options.clip_seconds else longest
    channels = 1 if options.mono else max(header.channels for header in headers.values())
    settings = MelgramSettings.of(rate, samples, channels, options.mels, options.window_ms, options.hop_ms)
    require_sensible(settings, headers)
    return settings


def lengths(headers, rate):
    """In samples at a rate: the length that covers almost all sounds, and that of the longest."""
    found = sorted(math.ceil(header.samples * rate / header.rate) for header in headers.values())
    return found[math.ceil(_COVERED * len(found)) - 1], found[-1]


def require_sensible(settings, headers):
    """Refuse melgrams that no machine has room for, or that the settings' own reader would refuse."""
    if settings.bytes > dataset.MOST_BYTES:
        longest = max(headers, key=lambda path: headers[path].samples / headers[path].rate)
        raise UserError(f"{longest}: is the longest sound; of {settings.clip_seconds:.4g} s each melgram would "
                        f"take {settings.bytes / 1e9:.1f} GB; remove it, or set CLIP_SECONDS (--clip-seconds 5).")
    for name, (lowest, highest) in melgram.LIMITS.items():
        if not lowest <= getattr(settings, name) <= highest:
            raise UserError(f"These constants make {name} = {getattr(settings, name)}; lower SAMPLE_RATE, WINDOW_MS, "
                            f"HOP_MS or CLIP_SECONDS to bring it to {highest} at most.")


def warn_of_cuts(headers, settings, options, before):
    """Name the sounds that are longer, or have more channels, than the settings hold; not where a constant says so."""
    again = " --overwrite" if before else ""
    cut = [path for path, header in headers.items()
           if math.ceil(header.samples * settings.sample_rate / header.rate) > settings.clip_samples]
    if cut and not options.clip_seconds:
        longest = max(headers[path].samples / headers[path].rate for path in cut)
        warn(f"{named(cut)}: longer than {settings.clip_seconds:.4g} s, of which only the beginning is used; "
             f"for more set CLIP_SECONDS (--clip-seconds {math.ceil(longest * 100) / 100:g}{again}), "
             f"or cut long recordings into clips with audio_utils/split_audio.py.")
    wide = [path for path, header in headers.items() if header.channels > settings.channels]
    if wide and not options.mono and settings.channels == 1:
        warn(f"{named(wide)}: more channels than the mono sounds preprocessed before, and mixed to mono; "
             "give --overwrite to keep the channels.")


def warn_of_padding(headers, settings):
    """Say so where a few long sounds make all melgrams much longer; settings: as they were chosen from the sounds."""
    covering, longest = (samples / settings.sample_rate for samples in lengths(headers, settings.sample_rate))
    if settings.clip_seconds > _MUCH_LONGER * covering:
        warn(f"{named(path for path, header in headers.items() if header.samples > covering * header.rate)}: longer "
             f"than {covering:.4g} s, to which {_COVERED:.0%} of the sounds come; these are padded with silence to "
             f"{longest:.4g} s. Where the beginning of the longer ones will do, preprocess_data.py "
             f"--clip-seconds {math.ceil(covering * 100) / 100:g} makes melgrams {longest / covering:.1f} times "
             "smaller, and training faster.")


def split(sounds, melgrams, options):
    """(Sound, side) of all sounds that have one; those with melgrams keep their side."""
    if options.keep_together and not any(re.search(options.keep_together, sound.path.stem) for sound in sounds):
        warn(f"KEEP_TOGETHER is {options.keep_together!r}, which no file's name matches: nothing is kept together.")
    before = {name: side for side, name in melgrams}
    sides = dataset.split(sounds, before, options.test_fraction, options.seed, options.keep_together)
    left_out = [sound.path for sound, side in zip(sounds, sides, strict=True) if side is None]
    if left_out:
        say(f"{len(left_out)} augmented copies of Test sounds are left out.")
    return [(sound, side) for sound, side in zip(sounds, sides, strict=True) if side]


def record_of(settings, options):
    """What settings.json holds: the settings, and the constants that led to them."""
    constants = {name: getattr(options, name.lower()) for name in _OF_MELGRAMS + _OF_SPLIT}
    return settings.to_dict() | {"constants": constants}


# --- doing it -------------------------------------------------------------------------------------------------------

def compute(plan, options):
    """Compute what is stale, on many cores, and write it; name what can't be used."""
    for folder in [PREPROC, *{dataset.melgram_path(PREPROC, side, name).parent for side, name in plan.there}]:
        safe_files.sweep(folder)
    if options.overwrite:
        dataset.invalidate(PREPROC)  # first, so that a killed run leaves no melgram of old settings that looks current
    require_room(len(plan.stale) * plan.settings.bytes)
    write_record(plan, complete=not plan.stale)
    for folder in {dataset.melgram_path(PREPROC, side, sound.name).parent for sound, side in plan.stale}:
        folder.mkdir(parents=True, exist_ok=True)
    if plan.stale:
        plan.settings.tables  # noqa: B018  made here once, they go to the workers with the settings
    for _, result in parallel.each(make_melgram, plan.stale, "Melgrams", options.jobs, (plan.settings,)):
        if isinstance(result, OSError):
            raise result
        if result:
            warn(str(result))
    write_record(plan, complete=True)


def require_room(needed):
    free = shutil.disk_usage(PREPROC).free
    if needed > free:
        raise UserError(f"{PREPROC}/: the melgrams need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
                        "make room, or shorten the clips (CLIP_SECONDS).")


def write_record(plan, complete):
    path, record = PREPROC / dataset.SETTINGS, plan.record | {"complete": complete}
    if not path.exists() or safe_files.read_json(path, "preprocess_data.py") != record:
        safe_files.write_json(path, record)


def make_melgram(job, settings):
    """Compute and write the melgram of one sound; returns a remark."""
    sound, side = job
    time_of_sound = changed_at(sound)
    result, remark = melgram.of_file(sound.path, settings)
    dataset.write_melgram(dataset.melgram_path(PREPROC, side, sound.name), result, time_of_sound)
    return remark


def remove_orphans(orphans, prune):
    """Name the melgrams whose sound is gone, or was moved to the other side; remove them where asked."""
    for side, name in orphans:
        path = dataset.melgram_path(PREPROC, side, name)
        if prune:
            path.unlink()
            say(f"{path}: removed.")
        else:
            warn(f"{path}: its sound is gone, or on another side now; the melgram is still used: --prune removes it.")


def summarise(plan, seconds):
    """Print files per class on each side, and what was made."""
    counts = Counter((sound.class_name, side) for sound, side in plan.sides)
    classes = sorted({sound.class_name for sound, _ in plan.sides})
    width = max(map(len, [*classes, "class"]))
    say(f"{'class':{width}}  Train   Test")
    for name in classes:
        say(f"{name:{width}} {counts[name, 'Train']:6} {counts[name, 'Test']:6}")
    mels, frames, channels = plan.settings.shape
    say(f"{len(plan.sides)} sounds in {len(classes)} classes: melgrams of {mels} mels, {frames} frames, {channels} "
        f"channel{'s' * (channels > 1)} ({plan.settings.clip_seconds:.4g} s at {plan.settings.sample_rate} Hz), "
        f"{len(plan.sides) * plan.settings.bytes / 1e6:.1f} MB in {PREPROC}/.")
    say(f"{len(plan.stale)} computed in {seconds:.1f} s, {len(plan.sides) - len(plan.stale)} were there already.")


# --- for training and evaluation ------------------------------------------------------------------------------------

class Data(NamedTuple):
    """Melgrams that can be had."""
    settings: MelgramSettings
    record: dict  # settings.json, or what it would be
    load: object  # function (side, class_names or None) → (dataset.Clips, remarks)


def open_data(settings=None, record=None):
    """The melgrams of Preproc/; where nothing is preprocessed, those of Samples/, computed in memory.

    settings, record: those of a network, which the melgrams must fit.
    """
    if not (PREPROC / "Train").is_dir() and not (PREPROC / "Test").is_dir():
        return open_samples(settings, record)
    found, found_record = dataset.read_settings(PREPROC)
    if not found_record.get("complete"):
        raise UserError(f"{PREPROC}/: is not finished; run preprocess_data.py again.")
    require_same(settings or found, found, f"{PREPROC / dataset.SETTINGS}")
    return Data(found, found_record, lambda side, class_names=None: dataset.load(PREPROC, side, found, class_names))


def require_same(wanted, found, where):
    """Refuse settings other than the network's, naming the first that differs."""
    for (name, value), other in zip(wanted.to_dict().items(), found.to_dict().values(), strict=True):
        if value != other:
            raise UserError(f"{where}: has {name} = {other}, the network in weights.hdf5 was trained with {value}; "
                            "preprocess with that again, or train anew (train_network.py --fresh).")


def open_samples(settings=None, record=None):
    """The melgrams of Samples/, computed when they are asked for, with the constants above or a network's own."""
    options = command_line.parse(globals(), argv=[])
    vars(options).update({name.lower(): value for name, value in (record or {}).get("constants", {}).items()})
    check(options)
    plan = make_plan(options, settings=settings)
    return Data(plan.settings, plan.record,
                lambda side, class_names=None: load_samples(plan, side, class_names, options))


def load_samples(plan, side, class_names, options):
    """Compute the melgrams of one side: (dataset.Clips, remarks)."""
    start = time.monotonic()
    sounds = [sound for sound, its_side in plan.sides if its_side == side]
    class_names = class_names or sorted({sound.class_name for sound in sounds})
    sounds = sorted((sound for sound in sounds if sound.class_name in class_names), key=lambda sound: sound.name)
    place = {sound: i for i, sound in enumerate(sounds)}
    melgrams, remarks, good = np.empty((len(sounds), *plan.settings.shape), np.float32), [], set()
    for sound, result in parallel.each(melgram_of, sounds, "Melgrams", options.jobs, (plan.settings,)):
        if isinstance(result, tuple):
            melgrams[place[sound]], remark = result
            good.add(sound)
        remarks += [str(each) for each in [remark if isinstance(result, tuple) else result] if each]
    kept = [place[sound] for sound in sounds if sound in good]
    labels = np.array([class_names.index(sounds[i].class_name) for i in kept], np.int64)
    melgrams = melgrams if len(kept) == len(sounds) else melgrams[kept]
    say(f"{len(kept)} melgrams of {SAMPLES}/ computed in {time.monotonic() - start:.1f} s, as {PREPROC}/ holds none; "
        f"once preprocess_data.py has made them, reading takes about {reading_seconds(melgrams, plan.settings):.1f} s.")
    return dataset.Clips(melgrams, labels, [sounds[i].name for i in kept], class_names), remarks


def melgram_of(sound, settings):
    return melgram.of_file(sound.path, settings)


def reading_seconds(melgrams, settings):
    """How long it would take to read all these melgrams from files, from a trial with a few."""
    few = melgrams[:20]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Train" / "a").mkdir(parents=True)
        for i, each in enumerate(few):
            dataset.write_melgram(dataset.melgram_path(folder, "Train", f"a/{i}"), each, 0)
        start = time.monotonic()
        dataset.load(folder, "Train", settings)
        return (time.monotonic() - start) * len(melgrams) / max(1, len(few))


if __name__ == "__main__":
    command_line.run(main)
