"""The groups of sounds, and the split of each."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from audio_utils.data import index, preproc, split
from audio_utils.data.checks import named
from audio_utils.data.index import Entry
from audio_utils.data.look_alikes import suggest_group_by
from audio_utils.data.matching import Matched
from audio_utils.data.multi_label import Labels
from audio_utils.data.sound import Sound
from audio_utils.data.split import MIN_GROUPS, NO_CLASS, Grouping
from audio_utils.runtime.command_line import Options
from audio_utils.runtime.console import say, warn


class PlannedClip(NamedTuple):
    """A sound whose clip, or clips if it is cut into several, are or will be in Preproc/."""
    sound: Sound
    split: str  # one of SPLITS

    @property
    def name(self) -> str:
        return self.sound.name

    @property
    def path(self) -> Path:
        return self.sound.path


def group_sounds(sounds: list[Sound], recordings: dict[Sound, str], options: Options, are_new: bool,
                 labels: Mapping[Sound, Labels] = MappingProxyType({})) -> Grouping:
    """The groups that stay in one split: those of GROUP_BY, and the recordings in classes with enough of them.

    are_new: whether some sounds are new; then a GROUP_BY may be suggested. labels: with MULTI_LABEL.
    """
    for sentence in suggest_group_by(sounds, recordings) if are_new and not options.group_by else ():
        warn(sentence)
    if options.group_by and not any(re.search(options.group_by, sound.stem) for sound in sounds):
        warn(f"GROUP_BY is {options.group_by!r}, which matches no file name: nothing is grouped.")
    copy_of = {sound.name: sound.copy_of for sound in sounds if sound.copy_of}
    names = {}
    if recordings:
        names = {sound.name: recordings.get(sound, "") for sound in reversed(sounds)}  # Train has priority
    every = Grouping(options.group_by, copy_of, {name: recording for name, recording in names.items() if recording},
                     labels={sound.name: labels[sound] for sound in reversed(sounds)} if labels else {})
    grouping, few = every.relaxed(names)
    splits = {sound.split for sound in sounds}
    if few and "Val" not in splits:
        effect = ("split between Train and Test, so the score" if splits == {None} else
                  "split between training and validation, so the validation loss")
        warn(f"{named(few)}: fewer than {MIN_GROUPS} recordings; clips of one recording are {effect} is too "
             "optimistic; add recordings.")
    return grouping


def group_clips(entries: Iterable[Entry], group_by: str,
                labels: Mapping[str, Labels] = MappingProxyType({})) -> Grouping:
    """The groups of all clips, if long sounds are cut into several.

    entries: of the index. labels: of the clips, with MULTI_LABEL.
    """
    grouping, few = preproc.grouping_of(entries, group_by, labels)
    if few:
        warn(f"{named(few)}: fewer than {MIN_GROUPS} recordings; clips of one recording are split between training and "
             "validation, so the validation loss is too optimistic; add recordings.")
    return grouping


def split_clips(sounds: list[Sound], grouping: Grouping, matched: Matched, options: Options,
                cut: dict[Sound, int]) -> list[PlannedClip]:
    """The clips of all splits; known sounds stay in theirs, with SPLIT_ANEW only those that are missing.

    cut: the sounds that are cut, and the number of their clips.
    """
    missing = {entry.name: entry.split for entry in matched.gone if entry.status == index.USED}
    assigned = missing if options.split_anew else matched.splits
    if options.split_anew and sounds[0].split:
        warn("Samples/ contains your own split, which --split-anew does not change.")
    splits = split.split_sounds(sounds, assigned, options.test_fraction, options.seed, grouping, cut)
    left_out = splits.count(None)
    if left_out:
        say(f"{left_out} augmented copies of {'Val and ' * ('Val' in splits)}Test sounds are left out.")
    clips = [PlannedClip(sound, its_split) for sound, its_split in zip(sounds, splits, strict=True) if its_split]
    warn_of_divided(clips, grouping)
    if options.test_fraction and not sounds[0].split:
        warn_of_untested(clips, cut, grouping)
    return clips


def warn_of_untested(clips: list[PlannedClip], cut: dict[Sound, int], grouping: Grouping) -> None:
    """Report classes with sounds that are cut but without Test clips, as each sound is in one split."""
    tested = {name for clip in clips if clip.split == "Test" for name in grouping.classes_of(clip.name)} if cut else ()
    used = {name for sound in cut for name in grouping.classes_of(sound.name)}
    untested = sorted(used.difference(tested, {NO_CLASS}))
    if untested:
        warn(f"{named(untested)}: no clips are in Test, because all clips of a recording stay in one split; add "
             "recordings.")


def warn_of_divided(clips: list[PlannedClip], grouping: Grouping) -> None:
    """Report recordings with clips in several splits: an older version, or the user, has divided them."""
    clips_of = defaultdict(list)
    for clip in clips if grouping.recordings else ():
        if clip.name in grouping.recordings and not clip.sound.copy_of:
            clips_of[grouping.recordings[clip.name]].append(clip)
    divided = [group[0].path for group in clips_of.values() if len({clip.split for clip in group}) > 1]
    if divided:
        remedy = ("move all clips of a recording into one split" if clips[0].sound.split else
                  "preprocess_data.py --split-anew assigns all sounds again")
        warn(f"{named(divided)}: from {len(divided)} recording{'s' * (len(divided) > 1)} with clips in several splits, "
             f"so the score is too optimistic; {remedy}.")
