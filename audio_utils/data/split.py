"""Assign sounds to training, testing or validation: stratified, grouped, seeded and stable."""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path

import numpy as np

from audio_utils.data.sounds import AUGMENTED, Sound, class_of
from audio_utils.runtime.errors import UserError


def is_augmented(name: str, copy_of: Mapping[str, str] | None = None) -> bool:
    """Whether a sound is a copy written by augment_data.py.

    copy_of: copy → recording, of all copies; None: decide by the name alone.
    """
    return bool(AUGMENTED.search(Path(name).stem)) if copy_of is None else name in copy_of


def check_group_by(pattern: str) -> None:
    """Reject a GROUP_BY that is not a regular expression."""
    try:
        re.compile(pattern)
    except (re.error, TypeError):
        raise UserError(f"GROUP_BY is {pattern!r}, which is not a regular expression; correct it.") from None


def group_of(name: str, group_by: str = "", copy_of: Mapping[str, str] | None = None) -> str:
    """The group of a sound "class/file.wav"; the sounds of a group are always in one split.

    Augmented copies, and files that differ only in the extension, are in the group of their parent.
    group_by: a regular expression. With a group in it, files are grouped by the text that the group matches; without
    one, by their names with the match removed. Such a group may span several classes.
    copy_of: as for `is_augmented`.
    """
    class_name, _, file = (name if copy_of is None else copy_of.get(name, name)).rpartition("/")
    stem = AUGMENTED.sub("", Path(file).stem) if copy_of is None else Path(file).stem
    found = re.search(group_by, stem) if group_by else None
    if not found:
        return f"{class_name}/{stem}"
    return "|".join(map(str, found.groups())) if found.groups() else stem[:found.start()] + "|" + stem[found.end():]


# --- one split ------------------------------------------------------------------------------------------------------

def split_sounds(sounds: list[Sound], assigned: dict[str, str], fraction: float, seed: int,
                 group_by: str = "") -> list[str | None]:
    """The split of each sound: "Train", "Test", or None for an augmented copy of a Test sound.

    assigned: name → split of the sounds that have melgrams already; they keep it. A user's own split is kept as it is.
    """
    copy_of = {sound.name: sound.copy_of for sound in sounds if sound.copy_of}
    if sounds and sounds[0].split:
        tested = {_own_group(sound, group_by) for sound in sounds if sound.split == "Test"}
        return [None if sound.copy_of and _own_group(sound, group_by) in tested else sound.split for sound in sounds]
    held_out = hold_out([sound.name for sound in sounds], {name: split == "Test" for name, split in assigned.items()},
                        fraction, seed, group_by, copy_of)
    return [{True: "Test", False: "Train", None: None}[held_out[sound.name]] for sound in sounds]


def _own_group(sound: Sound, group_by: str) -> str:
    """The group of a sound in the user's own split, where a name may be in both folders."""
    return group_of(sound.copy_of or sound.name, group_by, {})


def hold_out(names: Iterable[str], assigned: dict[str, bool], fraction: float, seed: int, group_by: str = "",
             copy_of: Mapping[str, str] | None = None) -> dict[str, bool | None]:
    """Choose which sounds are held out, for Test or for validation.

    Stratified: `fraction` of each class, at least one of two sounds (none if the fraction is 0), never all; whole
    groups. The order depends on the seed and the names alone. Augmented copies are never held out and don't count.
    assigned: name → bool of the sounds that are assigned already; they stay, and the rest of their group follows.
    copy_of: copy → recording, of all copies; None: decide by the name alone.
    Returns name → True if held out, False if not, None for an augmented copy of a sound that is held out.
    """
    groups = defaultdict(list)
    for name in names:
        if not is_augmented(name, copy_of):
            groups[group_of(name, group_by, copy_of)].append(name)
    assigned_groups = defaultdict(bool)
    for name, is_held_out in assigned.items():
        assigned_groups[group_of(name, group_by, copy_of)] |= is_held_out
    held_out = {group for group, is_held_out in assigned_groups.items() if is_held_out}
    _fill(held_out, assigned_groups, groups, fraction, seed)

    def decide(name: str) -> bool | None:
        in_held_out_group = group_of(name, group_by, copy_of) in held_out
        if is_augmented(name, copy_of):
            return None if in_held_out_group else False
        return assigned.get(name, in_held_out_group)

    return {name: decide(name) for name in names}


def _fill(held_out: set[str], assigned: dict[str, bool], groups: dict[str, list[str]], fraction: float,
          seed: int) -> None:
    """Add to `held_out` the unassigned groups that bring every class closest to its target count."""
    sizes = {group: Counter(map(class_of, members)) for group, members in groups.items()}
    totals = sum(sizes.values(), Counter())
    target = {name: max(1, round(total * fraction)) if total > 1 and fraction else 0 for name, total in totals.items()}
    count = sum((sizes[group] for group in held_out if group in sizes), Counter())
    candidates = sorted((group for group in groups if group not in assigned), key=lambda group: _hash(group, seed))

    def gain(group: str) -> int:  # the decrease of the squared distance to the target
        return sum((count[name] - target[name]) ** 2 - (count[name] + n - target[name]) ** 2
                   for name, n in sizes[group].items())

    def take(group: str) -> None:
        held_out.add(group)
        count.update(sizes[group])

    def leaves_some(group: str) -> bool:  # of each class, to train on
        return all(count[name] + n < totals[name] for name, n in sizes[group].items())

    for group in candidates:
        if gain(group) > 0 and leaves_some(group):
            take(group)
    for name in sorted(totals):  # with large groups, a class may have none held out yet
        if target[name] and not count[name]:
            fitting = [group for group in candidates
                       if group not in held_out and name in sizes[group] and leaves_some(group)]
            if fitting:
                take(max(fitting, key=gain))


def _hash(group: str, seed: int) -> bytes:
    return blake2b(f"{seed}/{group}".encode(errors="surrogateescape")).digest()


# --- folds ----------------------------------------------------------------------------------------------------------

def check_folds(rule: str) -> None:
    """Reject a FOLDS that is neither a number nor a regular expression."""
    try:
        re.compile(rule)
    except (re.error, TypeError):
        raise UserError(f"FOLDS is {rule!r}; set it to a number, as text, or to a regular expression.") from None


def assign_folds(names: list[str], rule: str, seed: int, group_by: str = "",
                 copy_of: Mapping[str, str] | None = None) -> tuple[list[str], dict[str, str | None]]:
    """Assign sounds to folds, each to be held out once: the names of the folds, and the fold of each sound or None.

    rule: the number of folds, stratified and grouped, in an order that depends on the seed; or a regular expression on
    the file's name: sounds for which its group (or all of it) matches the same text form a fold. Sounds that it does
    not match have no fold, and neither have augmented copies: they are never tested.
    """
    tested = [name for name in names if not is_augmented(name, copy_of)]
    if rule.isdecimal():
        groups = [group_of(name, group_by, copy_of) for name in tested]
        indices = _stratified_folds(tested, groups, int(rule), seed)
        fold_of = {name: str(index + 1) for name, index in zip(tested, indices, strict=True)}
    else:
        fold_of = {name: _matched_fold(rule, name) for name in tested}
    folds = sorted(set(fold_of.values()) - {None}, key=lambda each: (len(each) if each.isdecimal() else 0, each))
    if len(folds) < 2:
        raise UserError(f"FOLDS is {rule!r}, which finds {'one fold' if folds else 'no fold'} in the names of the "
                        "sounds; at least two are needed.")
    return folds, fold_of


def _stratified_folds(names: list[str], groups: list[str], count: int, seed: int) -> np.ndarray:
    """The index of each name's fold."""
    from sklearn.model_selection import StratifiedGroupKFold
    if not 2 <= count <= len(set(groups)):
        raise UserError(f"FOLDS is {count}; set it to a number from 2 to {len(set(groups))}, "
                        "the number of sounds (or of groups of sounds).")
    fold = np.empty(len(names), int)
    with warnings.catch_warnings(action="ignore"):  # about classes with fewer sounds than folds
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        for i, (_, held_out) in enumerate(splitter.split(names, [class_of(name) for name in names], groups)):
            fold[held_out] = i
    return fold


def _matched_fold(rule: str, name: str) -> str | None:
    found = re.search(rule, Path(name).stem)
    return ("-".join(filter(None, found.groups())) or found.group() or None) if found else None
