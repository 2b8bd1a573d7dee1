"""Assign sounds to training, testing or validation: stratified, grouped, seeded and stable."""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType

import numpy as np

from audio_utils.data.sound import Sound, clip_name, sound_of_clip, stem_of
from audio_utils.data.sounds import AUGMENTED, class_of
from audio_utils.runtime.errors import UserError

NO_CLASS = ""  # of sounds without labels, which a split balances like a class
MIN_GROUPS = 5  # of a class; with fewer, a split by groups leaves too few of them for training or testing


def check_group_by(pattern: str) -> None:
    """Reject a GROUP_BY that is not a regular expression."""
    try:
        re.compile(pattern)
    except (re.error, TypeError):
        raise UserError(f"GROUP_BY is {pattern!r}, which is not a regular expression; correct it.") from None


@dataclass(frozen=True)
class Grouping:
    """The groups of sounds "class/file.wav"; the sounds of a group are always in one split.

    group_by: a regular expression. If it has parentheses, sounds are grouped by the text that these match; otherwise
    by their names with the match removed. Such a group may span several classes.
    copy_of: copy → recording, of all augmented copies, which are in the group of their recording; None: decide by the
    name alone.
    recordings: sound → the recording that it was cut or rendered from, if any. Sounds of one recording are in one
    group, which may span several classes too.
    sound_of: clip → sound, of the clips that long sounds are cut into, if clips are grouped instead of sounds.
    labels: sound or clip → its labels, with MULTI_LABEL; then a split balances these instead of the folders.
    """
    group_by: str = ""
    copy_of: Mapping[str, str] | None = None
    recordings: Mapping[str, str] = field(default_factory=dict)
    sound_of: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def is_copy(self, name: str) -> bool:
        """Whether a sound, or that of a clip, is a copy written by augment_data.py."""
        name = self.sound_of.get(name, name)
        return bool(AUGMENTED.search(Path(name).stem)) if self.copy_of is None else name in self.copy_of

    def classes_of(self, name: str) -> tuple[str, ...]:
        """The classes that a sound, or a clip, counts for; NO_CLASS if it has no label."""
        return self.labels.get(name, (class_of(name),)) or (NO_CLASS,)

    def of(self, name: str) -> str:
        """The group of a sound; files that differ only in the extension are in the same group."""
        group = self._by_name(name)
        return self._merged.get(group, group) if self.recordings else group

    def _by_name(self, name: str) -> str:
        sound = self.sound_of.get(name, name)
        original = sound if self.copy_of is None else self.copy_of.get(sound, sound)
        class_name, _, file = original.rpartition("/")
        stem = stem_of(file) if self.copy_of is not None else AUGMENTED.sub("", stem_of(file))
        found = re.search(self.group_by, stem) if self.group_by else None
        if not found:
            clip = name if sound == name else clip_name(original, sound_of_clip(name)[1])
            return f"{class_name}/{stem_of(clip.rpartition('/')[2]) if clip in self.sound_of else stem}"
        return "|".join(map(str, found.groups())) if found.groups() else stem[:found.start()] + "|" + stem[found.end():]

    @cached_property
    def _merged(self) -> dict[str, str]:
        """Group by name, or recording → the merged group, as the sounds of a recording may be in several groups."""
        parts = {}  # group → the set of groups that are merged with it
        for name, recording in self.recordings.items():
            smaller, larger = sorted((parts.setdefault(each, {each}) for each in (self._by_name(name), recording)),
                                     key=len)
            if smaller is not larger:
                larger |= smaller
                parts |= dict.fromkeys(smaller, larger)
        distinct = {id(part): part for part in parts.values()}.values()
        return {group: first for part in distinct for first in [min(part)] for group in part}

    def relaxed(self, names: Iterable[str]) -> tuple["Grouping", list[str]]:
        """The same without the recordings in classes that would have fewer than MIN_GROUPS groups; and these classes.

        names: all sounds; copies don't count.
        """
        if not self.recordings:
            return self, []
        originals = [name for name in names if not self.is_copy(name)]
        alone = replace(self, recordings={})._count(originals)
        few = {name for name, count in self._count(originals).items() if count < min(MIN_GROUPS, alone[name])}
        few.discard(NO_CLASS)
        kept = {name: recording for name, recording in self.recordings.items()
                if few.isdisjoint(self.classes_of(name))}
        return replace(self, recordings=kept), sorted(few)

    def _count(self, names: list[str]) -> Counter:
        """Class → its number of groups."""
        return Counter(class_name for class_name, _ in {(class_name, self.of(name)) for name in names
                                                        for class_name in self.classes_of(name)})


# --- one split ------------------------------------------------------------------------------------------------------

def split_sounds(sounds: list[Sound], assigned: dict[str, str], fraction: float, seed: int, grouping: Grouping,
                 clips: Mapping[Sound, int] = MappingProxyType({})) -> list[str | None]:
    """The split of each sound: one of SPLITS, or None for an augmented copy of a sound that is held out.

    assigned: name → split of the sounds that have melgrams already; they keep it. A user's own split is kept as it is.
    clips: the number of clips of each sound that has several; the fraction is one of the clips.
    """
    if sounds and sounds[0].split:
        own = Grouping(grouping.group_by, {})  # a name may be in several folders
        groups = [own.of(sound.copy_of or sound.name) for sound in sounds]
        held_out = {group for sound, group in zip(sounds, groups, strict=True) if sound.split != "Train"}
        return [None if sound.copy_of and group in held_out else sound.split
                for sound, group in zip(sounds, groups, strict=True)]
    names = [sound.name for sound in sounds]
    held_out = hold_out(names, {name: split == "Test" for name, split in assigned.items()}, fraction, seed, grouping,
                        {sound.name: count for sound, count in clips.items()})
    return [{True: "Test", False: "Train", None: None}[held_out[name]] for name in names]


def hold_out(names: Iterable[str], assigned: dict[str, bool], fraction: float, seed: int, grouping: Grouping,
             clips: Mapping[str, int] = MappingProxyType({})) -> dict[str, bool | None]:
    """Choose which sounds are held out, for Test or for validation.

    Stratified: `fraction` of each class, at least one of two sounds (none if the fraction is 0), never all; whole
    groups. The order depends on the seed and the names alone. Augmented copies are never held out and don't count.
    assigned: name → bool of the sounds that are assigned already; they stay, and the rest of their group follows.
    clips: name → number of clips, of the sounds that count as several.
    Returns name → True if held out, False if not, None for an augmented copy of a sound that is held out.
    """
    group_of = {name: grouping.of(name) for name in names}
    tested = [name for name in group_of if not grouping.is_copy(name)]
    assigned_groups = defaultdict(bool)
    for name, is_held_out in assigned.items():
        assigned_groups[group_of.get(name) or grouping.of(name)] |= is_held_out
    held_out = {group for group, is_held_out in assigned_groups.items() if is_held_out}
    count, sizes = Counter(), {}
    for name in tested:
        group = group_of[name]
        if group not in assigned_groups:
            for class_name in grouping.classes_of(name):
                sizes[group] = _more(sizes.get(group, ()), class_name, clips.get(name, 1))
        elif group in held_out:
            count.update(dict.fromkeys(grouping.classes_of(name), clips.get(name, 1)))
    totals = Counter(class_name for name in tested for class_name in grouping.classes_of(name))
    for name in clips.keys() & set(tested) if clips else ():
        totals.update(dict.fromkeys(grouping.classes_of(name), clips[name] - 1))
    _fill(held_out, sizes, totals, count, fraction, seed, rarest_first=bool(grouping.labels))

    def decide(name: str, group: str) -> bool | None:
        if grouping.is_copy(name):
            return None if group in held_out else False
        return assigned.get(name, group in held_out)

    return {name: decide(name, group) for name, group in group_of.items()}


@lru_cache(1 << 14)
def _more(size: tuple[tuple[str, int], ...], class_name: str, count: int) -> tuple[tuple[str, int], ...]:
    """The size of a group, ((class, number of sounds), …), with `count` more; cached, so equal sizes are one object."""
    counts = dict(size)
    return tuple((counts | {class_name: counts.get(class_name, 0) + count}).items())


def _fill(held_out: set[str], sizes: dict[str, tuple[tuple[str, int], ...]], totals: Counter, count: Counter,
          fraction: float, seed: int, rarest_first: bool) -> None:
    """Add to `held_out` the unassigned groups that bring every class closest to its target count.

    sizes: group → ((class, number of sounds), …), of the unassigned groups. totals, count: class → number of sounds,
    of all and of those that are held out already. rarest_first: the rarest class of each group decides, and
    groups with rare classes come first, as in iterative stratification (Sechidis et al., "On the Stratification of
    Multi-label Data", ECML PKDD 2011). A frequent class still reaches its target with the later groups.
    """
    target = {name: max(1, round(total * fraction)) if total > 1 and fraction else 0 for name, total in totals.items()}
    candidates = sorted(sizes, key=lambda group: _hash(group, seed))
    deciding = sizes
    if rarest_first:
        deciding = {group: [min(size, key=lambda each: (totals[each[0]], each[0]))] for group, size in sizes.items()}
        candidates.sort(key=lambda group: totals[deciding[group][0][0]])

    def gain(group: str) -> int:  # the decrease of the squared distance to the target
        return sum((count[name] - target[name]) ** 2 - (count[name] + n - target[name]) ** 2
                   for name, n in deciding[group])

    def take(group: str) -> None:
        held_out.add(group)
        count.update(dict(sizes[group]))

    def leaves_some(group: str) -> bool:  # of each class, to train on
        return all(count[name] + n < totals[name] for name, n in sizes[group])

    for group in candidates:
        if gain(group) > 0 and leaves_some(group):
            take(group)
    for name in sorted(totals):  # with large groups, a class may have none held out yet
        if target[name] and not count[name]:
            fitting = [group for group in candidates
                       if group not in held_out and name in dict(sizes[group]) and leaves_some(group)]
            if fitting:
                take(max(fitting, key=gain))


def _hash(group: str, seed: int) -> bytes:
    return blake2b(f"{seed}/{group}".encode(errors="surrogateescape")).digest()


def nested_subsets(names: list[str], fractions: Iterable[float], seed: int, grouping: Grouping) -> list[list[str]]:
    """For each fraction, in ascending order, a subset of the sounds that contains the subset before it.

    Chosen as in `hold_out`, but with at least one group of each class; augmented copies are with their parents.
    """
    sizes = Counter(map(grouping.of, names))
    groups_of = defaultdict(set)
    for name in names:
        for class_name in grouping.classes_of(name):
            groups_of[class_name].add(grouping.of(name))
    groups, subsets = set(), []
    for fraction in fractions:
        before = {name: True for name in names if grouping.of(name) in groups}
        chosen = hold_out(names, before, fraction, seed, grouping)
        groups |= {grouping.of(name) for name, is_chosen in chosen.items() if is_chosen}
        for candidates in groups_of.values():  # a class with one group has none so far
            if not candidates & groups:
                groups.add(min(candidates, key=lambda group: (sizes[group], _hash(group, seed))))
        subsets.append([name for name in names if grouping.of(name) in groups])
    return subsets


# --- folds ----------------------------------------------------------------------------------------------------------

def check_folds(rule: str) -> None:
    """Reject a FOLDS that is neither a number nor a regular expression."""
    try:
        re.compile(rule)
    except (re.error, TypeError):
        raise UserError(f"FOLDS is {rule!r}; set it to a number, as text, or to a regular expression.") from None


def assign_folds(names: list[str], rule: str, seed: int,
                 grouping: Grouping) -> tuple[list[str], dict[str, str | None]]:
    """Assign sounds to folds, each to be held out once: the names of the folds, and the fold of each sound or None.

    rule: the number of folds, stratified and grouped, in an order that depends on the seed; or a regular expression on
    the file's name: sounds for which its group (or all of it) matches the same text form a fold. Sounds that it does
    not match have no fold, and neither have augmented copies: they are never tested.
    """
    tested = [name for name in names if not grouping.is_copy(name)]
    if rule.isdecimal():
        groups = list(map(grouping.of, tested))
        indices = _stratified_folds(tested, groups, int(rule), seed, grouping)
        fold_of = {name: str(index + 1) for name, index in zip(tested, indices, strict=True)}
    else:
        fold_of = {name: _matched_fold(rule, grouping.sound_of.get(name, name)) for name in tested}
    folds = sorted(set(fold_of.values()) - {None}, key=lambda each: (len(each) if each.isdecimal() else 0, each))
    if grouping.labels and rule.isdecimal() and len(folds) < int(rule):
        raise UserError(f"FOLDS is {rule}, but the classes have too few sounds; lower it, or add sounds.")
    if len(folds) < 2:
        raise UserError(f"FOLDS is {rule!r}, which finds {'one fold' if folds else 'no fold'} in the names of the "
                        "sounds; at least two are needed.")
    return folds, fold_of


def _stratified_folds(names: list[str], groups: list[str], count: int, seed: int, grouping: Grouping) -> np.ndarray:
    """The index of each name's fold."""
    from sklearn.model_selection import StratifiedGroupKFold
    if not 2 <= count <= len(set(groups)):
        raise UserError(f"FOLDS is {count}; set it to a number from 2 to {len(set(groups))}, "
                        "the number of sounds (or of groups of sounds).")
    if grouping.labels:
        return _folds_of_labels(names, count, seed, grouping)
    fold = np.empty(len(names), int)
    with warnings.catch_warnings(action="ignore"):  # about classes with fewer sounds than folds
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
        for i, (_, held_out) in enumerate(splitter.split(names, [class_of(name) for name in names], groups)):
            fold[held_out] = i
    return fold


def _folds_of_labels(names: list[str], count: int, seed: int, grouping: Grouping) -> np.ndarray:
    """The same for sounds with several labels: one fold after another is held out of the rest."""
    fold, rest = dict.fromkeys(names, 0), names
    for i in range(count - 1, 0, -1):
        held_out = hold_out(rest, {}, 1 / (i + 1), seed, grouping)
        fold |= {name: i for name in rest if held_out[name]}
        rest = [name for name in rest if not held_out[name]]
    return np.array([fold[name] for name in names])


def _matched_fold(rule: str, name: str) -> str | None:
    found = re.search(rule, Path(name).stem)
    return ("-".join(filter(None, found.groups())) or found.group() or None) if found else None
