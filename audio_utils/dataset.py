"""Class names, the split, and Preproc/ → arrays.

A sound is named by its class and its file, `class/file.wav`, on every side of the split and in every report.
"""

import functools
import io
import os
import re
import warnings
from collections import Counter, defaultdict
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy_format

from audio_utils import safe_files
from audio_utils.melgram import MelgramSettings
from audio_utils.safe_files import UserError

SIDES = ("Train", "Test")
AUGMENTED = re.compile(r"_aug\d+(?=_|$)")  # what augment_data.py puts into the names of its copies
SETTINGS = "settings.json"
PREPROCESS = "preprocess_data.py"
MOST_BYTES = 1 << 31  # of one melgram; settings that make larger ones are a mistake, or damaged


class Sound(NamedTuple):
    """One file of Samples/."""
    class_name: str
    path: Path
    side: str | None = None  # "Train" or "Test" where the user's own split says so

    @property
    def name(self):
        return f"{self.class_name}/{self.path.name}"


class Clips(NamedTuple):
    """Melgrams with what is known of them, in the order of their names."""
    melgrams: np.ndarray  # float32 (clips, mels, frames, channels), dB
    labels: np.ndarray  # int64 (clips,): places in class_names
    names: list  # "class/file.wav"
    class_names: list

    def __len__(self):
        return len(self.labels)


# --- Samples/ -------------------------------------------------------------------------------------------------------

def find_sounds(samples):
    """All files of the class folders: (sounds sorted by name, a sentence on each thing passed over).

    Where `samples` holds exactly the folders Train and Test, each with class folders, that is the user's
    own split. Hidden files (.DS_Store) are passed over in silence.
    """
    samples = Path(samples)
    if not samples.is_dir():
        raise UserError(f"{samples}/: is not here; make it, with a folder of sounds for each class.")
    remarks = []
    if _is_own_split(samples):
        sounds = [sound for side in SIDES for sound in _find_in_classes(samples / side, side, remarks)]
    else:
        sounds = _find_in_classes(samples, None, remarks)
    if not sounds:
        raise UserError(f"{samples}/: holds no folder with sounds; make one for each class and put its sounds there.")
    return sounds, remarks


def _is_own_split(samples):
    folders = [path for path in _visible(samples) if path.is_dir()]
    return sorted(path.name for path in folders) == sorted(SIDES) and all(
        any(inner.is_dir() for inner in _visible(folder)) for folder in folders)


def _visible(folder):
    return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)


def _find_in_classes(folder, side, remarks):
    sounds = []
    for entry in _visible(folder):
        if not entry.is_dir():
            if entry.name != "README.md":
                remarks.append(f"{entry}: lies beside the class folders and is not used; move it into one.")
            continue
        inside = _visible(entry)
        remarks += [f"{path}/: is a folder inside a class and is not used; move its sounds up into {entry}/."
                    for path in inside if path.is_dir()]
        files = [path for path in inside if not path.is_dir()]
        if not files:
            remarks.append(f"{entry}/: holds no sound; the class is left out.")
        sounds += [Sound(entry.name, path, side) for path in files]
    return sounds


def require_classes(class_names, where):
    """Refuse fewer than two classes."""
    if len(class_names) < 2:
        held = f"one class only ({class_names[0]})" if class_names else "no class with sounds"
        raise UserError(f"{where}/: holds {held}; it takes two folders of sounds at least to tell them apart.")


# --- the split ------------------------------------------------------------------------------------------------------

def is_augmented(name):
    """Whether a name is that of a copy made by augment_data.py."""
    return bool(AUGMENTED.search(Path(name).stem))


def group_of(name, keep_together=""):
    """What must be on one side of the split: copies of one sound, and what KEEP_TOGETHER makes siblings.

    name: "class/file.wav". Augmented copies, and files that differ in the extension only, go with their parent.
    keep_together: a regular expression. With a group in it, files for which the group matches the same text are
    siblings; without, files whose names are equal once the match is taken out. Siblings may be of several classes.
    """
    class_name, _, file = name.rpartition("/")
    stem = AUGMENTED.sub("", Path(file).stem)
    found = re.search(keep_together, stem) if keep_together else None
    if not found:
        return f"{class_name}/{stem}"
    return "|".join(map(str, found.groups())) if found.groups() else stem[:found.start()] + "|" + stem[found.end():]


def deal(names, before, fraction, seed, keep_together=""):
    """Choose which of the sounds are held out (for Test, or for validation).

    Stratified: `fraction` of each class, one at least of two (with 0 none) and never all; whole groups; the order of
    dealing comes from the seed and the names alone. Augmented copies are never held out and count for nothing.
    before: name → bool for the sounds that have a side already; they keep it, and their siblings follow.
    Returns name → True where held out, False where not, None for an augmented copy of a sound that is held out.
    """
    groups = defaultdict(list)
    for name in names:
        if not is_augmented(name):
            groups[group_of(name, keep_together)].append(name)
    settled = defaultdict(bool)
    for name, is_held in before.items():
        settled[group_of(name, keep_together)] |= is_held
    held = {group for group, is_held in settled.items() if is_held}
    _fill(held, settled, groups, fraction, seed)

    def side(name):
        is_held = group_of(name, keep_together) in held
        if is_augmented(name):
            return None if is_held else False
        return before.get(name, is_held)

    return {name: side(name) for name in names}


def check_folds(rule):
    """Refuse a rule for `folds` that is neither a number nor a regular expression."""
    try:
        re.compile(rule)
    except (re.error, TypeError):
        raise UserError(f"FOLDS is {rule!r}; set it to a number, as text, or to a regular expression.") from None


def folds(names, rule, seed, keep_together=""):
    """Deal sounds into folds, each to be held out once: (what the folds are called, the fold of each name or None).

    rule: the number of folds, as many of each class in each as can be, siblings together, in an order that comes from
    the seed; or a regular expression on the file's name: sounds for which its group (or all of it) matches the same
    text are one fold. What it matches nothing in has no fold, nor have augmented copies: these are never tested.
    """
    tested = [name for name in names if not is_augmented(name)]
    if rule.isdecimal():
        groups = [group_of(name, keep_together) for name in tested]
        places = _stratified(tested, groups, int(rule), seed)
        dealt = {name: str(place + 1) for name, place in zip(tested, places, strict=True)}
    else:
        dealt = {name: _matched(rule, name) for name in tested}
    called = sorted(set(dealt.values()) - {None}, key=lambda each: (len(each) if each.isdecimal() else 0, each))
    if len(called) < 2:
        raise UserError(f"FOLDS is {rule!r}, which finds {'one fold' if called else 'no fold'} in the names of the "
                        "sounds; it takes two at least.")
    return called, dealt


def _stratified(names, groups, count, seed):
    """The fold, from 0, of each name."""
    from sklearn.model_selection import StratifiedGroupKFold
    if not 2 <= count <= len(set(groups)):
        raise UserError(f"FOLDS is {count}; set it to a number from 2 to {len(set(groups))}, "
                        "that of the sounds (or groups of siblings).")
    places = np.empty(len(names), int)
    with warnings.catch_warnings(action="ignore"):  # of classes with fewer sounds than folds
        dealing = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        for i, (_, held) in enumerate(dealing.split(names, [_class_of(name) for name in names], groups)):
            places[held] = i
    return places


def _matched(rule, name):
    found = re.search(rule, Path(name).stem)
    return ("-".join(filter(None, found.groups())) or found.group() or None) if found else None


def _class_of(name):
    return name.rpartition("/")[0]


def _fill(held, settled, groups, fraction, seed):
    """Add to `held` the groups, not settled yet, that bring every class closest to the fraction wanted of it."""
    sizes = {group: Counter(map(_class_of, members)) for group, members in groups.items()}
    totals = sum(sizes.values(), Counter())
    wanted = {name: max(1, round(total * fraction)) if total > 1 and fraction else 0 for name, total in totals.items()}
    count = sum((sizes[group] for group in held if group in sizes), Counter())
    free = sorted((group for group in groups if group not in settled), key=lambda group: _lot(group, seed))

    def gain(group):  # by how much the squared distance from `wanted` would shrink
        return sum((count[name] - wanted[name]) ** 2 - (count[name] + n - wanted[name]) ** 2
                   for name, n in sizes[group].items())

    def take(group):
        held.add(group)
        count.update(sizes[group])

    def leaves_some(group):  # of each class, to train on
        return all(count[name] + n < totals[name] for name, n in sizes[group].items())

    for group in free:
        if gain(group) > 0 and leaves_some(group):
            take(group)
    for name in sorted(totals):  # where groups are large, a class may have none held out yet
        if wanted[name] and not count[name]:
            fitting = [group for group in free if group not in held and name in sizes[group] and leaves_some(group)]
            if fitting:
                take(max(fitting, key=gain))


def _lot(group, seed):
    return blake2b(f"{seed}/{group}".encode(errors="surrogateescape")).digest()


def split(sounds, before, fraction, seed, keep_together=""):
    """Each sound's side: "Train", "Test", or None for an augmented copy of a Test sound; in the order of `sounds`.

    before: name → side, for the sounds that have melgrams already; they keep it. A user's own split is kept as it is.
    """
    if sounds and sounds[0].side:
        tested = {group_of(sound.name, keep_together) for sound in sounds if sound.side == "Test"}
        return [None if is_augmented(sound.name) and group_of(sound.name, keep_together) in tested else sound.side
                for sound in sounds]
    held = deal([sound.name for sound in sounds], {name: side == "Test" for name, side in before.items()},
                fraction, seed, keep_together)
    return [{True: "Test", False: "Train", None: None}[held[sound.name]] for sound in sounds]


# --- Preproc/ → arrays ----------------------------------------------------------------------------------------------

def read_settings(preproc):
    """(MelgramSettings, the whole of settings.json as a dictionary)."""
    path = Path(preproc) / SETTINGS
    if not path.is_file():
        raise UserError(f"{path}: is not here; run {PREPROCESS} first.")
    values = safe_files.read_json(path, PREPROCESS)
    if not _are_constants(values.setdefault("constants", {})):
        raise UserError(f"{path}: is damaged; delete it and run {PREPROCESS} again.")
    settings = MelgramSettings.from_dict(values, path)
    if settings.bytes > MOST_BYTES:
        raise UserError(f"{path}: speaks of melgrams of {settings.bytes / 1e9:.0f} GB each; "
                        f"delete it and run {PREPROCESS} again.")
    return settings, values


def _are_constants(values):
    try:
        re.compile(values.get("KEEP_TOGETHER", ""))
    except (AttributeError, TypeError, re.error, RecursionError, OverflowError):
        return False
    return True


def melgram_path(preproc, side, name):
    """Where the melgram of the sound `name` ("class/file.wav") is kept."""
    return Path(preproc) / side / (name + ".npy")


def find_melgrams(preproc):
    """The melgrams that are there: {(side, name): os.stat_result}."""
    found = {}
    for side in SIDES:
        for folder in _folders(Path(preproc) / side):
            for entry in _scan(folder):
                if entry.name.endswith(".npy") and not entry.name.startswith(".") and entry.is_file():
                    found[side, f"{folder.name}/{entry.name[:-len('.npy')]}"] = entry.stat()
    return found


def _folders(folder):
    return [path for path in _visible(folder) if path.is_dir()] if folder.is_dir() else []


def _scan(folder):
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def class_names_of(preproc, side="Train"):
    """The classes that have melgrams on this side."""
    return [folder.name for folder in _folders(Path(preproc) / side)
            if any(entry.name.endswith(".npy") for entry in _scan(folder))]


def is_current(found, sound_time, settings):
    """Whether a melgram's file (os.stat_result, or None) is that of a sound changed at sound_time (ns)."""
    size = len(_header(settings)) + settings.bytes
    return found is not None and found.st_mtime_ns == sound_time and found.st_size == size


@functools.lru_cache
def _header(settings):
    """The bytes with which the .npy of a melgram begins."""
    file = io.BytesIO()
    npy_format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": settings.shape})
    return file.getvalue()


def invalidate(preproc):
    """Make all melgrams look out of date."""
    for side, name in find_melgrams(preproc):
        os.utime(melgram_path(preproc, side, name), ns=(1, 1))  # 0 is the date of every sound in some archives


def load(preproc, side, settings, class_names=None):
    """All melgrams of one side as Clips, and a sentence on each file that can't be used.

    class_names: the order of the classes, where a network gives it; other classes are left out.
    """
    remarks = []
    folder = Path(preproc) / side
    names = [name for found_side, name in find_melgrams(preproc) if found_side == side]
    known = class_names if class_names is not None else sorted({_class_of(name) for name in names})
    place = {name: i for i, name in enumerate(known)}
    for stranger in sorted({_class_of(name) for name in names} - set(known)):
        remarks.append(f"{folder / stranger}/: is no class of the network and is left out; train anew to add it.")
    names = [name for name in names if _class_of(name) in place]
    melgrams = np.empty((len(names), *settings.shape), np.float32)
    good = []
    for name in names:
        path = f"{folder}{os.sep}{name}.npy"  # to make a Path of each would take a fifth of the time
        try:
            _read_into(path, _header(settings), melgrams[len(good)])
            good.append(name)
        except (OSError, UserError) as error:
            remarks.append(str(error) if isinstance(error, UserError) else f"{path}: can't be read ({error.strerror}).")
    labels = np.array([place[_class_of(name)] for name in good], np.int64)
    return Clips(melgrams[:len(good)], labels, good, list(known)), remarks


def _read_into(path, header, melgram):
    """Fill `melgram` from a .npy that must begin with the bytes `header`: nothing is parsed, nothing unpickled."""
    with open(path, "rb", buffering=0) as file:
        if file.read(len(header)) != header or file.readinto(memoryview(melgram).cast("B")) < melgram.nbytes:
            raise UserError(f"{path}: is no melgram of {melgram.shape} values; delete it and run {PREPROCESS} again.")
    if not np.isfinite(melgram.sum()):
        raise UserError(f"{path}: holds values that are not numbers; delete it and run {PREPROCESS} again.")


def write_melgram(path, melgram, sound_time):
    """Write one melgram as a plain .npy, dated as its sound (ns), by which it is known as current."""
    content = io.BytesIO()  # np.save itself says of a full disk how much was written, but not why
    np.save(content, melgram, allow_pickle=False)
    with safe_files.replacing(path) as unfinished:
        unfinished.write_bytes(content.getbuffer())
        os.utime(unfinished, ns=(sound_time, sound_time))
