"""The plan of preprocessing: the settings, the split, and which melgrams are to be computed."""

import functools
import gc
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, NamedTuple

from audio_utils.audio import audio_io
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import checks, clip_settings, index, preproc, split
from audio_utils.data.checks import named
from audio_utils.data.index import Content, Entry
from audio_utils.data.look_alikes import suggest_group_by
from audio_utils.data.matching import Matched, describe_relabeled, match, path_of, prefix_of
from audio_utils.data.recordings import find_recordings
from audio_utils.data.sound import Skipped, Sound
from audio_utils.data.sounds import find_sounds, require_classes
from audio_utils.data.split import MIN_GROUPS, Grouping
from audio_utils.runtime import parallel
from audio_utils.runtime.command_line import Options
from audio_utils.runtime.console import say, warn

_HEADERS_PER_POOL = 4000  # headers; with fewer, starting processes takes longer than reading them


class PlannedClip(NamedTuple):
    """A clip that is, or will be, in Preproc/."""
    sound: Sound
    split: str  # one of SPLITS

    @property
    def name(self) -> str:
        return self.sound.name

    @property
    def path(self) -> Path:
        return self.sound.path


class Plan(NamedTuple):
    """The work that preprocessing has to do."""
    settings: MelgramSettings
    record: dict  # the content of settings.json
    clips: list[PlannedClip]
    entries: dict[PlannedClip, Entry]  # of the index; with settings "" if the melgram must be computed
    gone: list[Entry]  # those without a sound, and those of sounds that are left out; with settings "" if a clip has
    #                    the same split and name, and so the file of their melgram
    moved: list[Entry]  # former entries of sounds that now have another path or split; their melgrams must be deleted
    before: dict[str, Entry]  # the index as it was read
    skipped: list[Skipped]  # files that are not used
    grouping: Grouping

    @property
    def stale(self) -> list[PlannedClip]:
        """The clips without a current melgram."""
        return [clip for clip, entry in self.entries.items() if not entry.settings]


def _without_collection(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same without Python's cyclic garbage collection, which takes a fifth of the time with a million tuples."""
    @functools.wraps(function)
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return function(*arguments, **keywords)
        finally:
            if was_enabled:
                gc.enable()
    return wrapper


@_without_collection
def make_plan(options: Options, samples: str | Path, folder: str | Path | None = None,
              settings: MelgramSettings | None = None) -> Plan:
    """Compare the sounds with the melgrams that exist, and decide what is to be computed.

    folder: Preproc/, or None if the melgrams stay in memory. settings: then those of the network, if there is one.
    """
    samples = Path(samples)
    options = clip_settings.with_recorded(options, folder) if folder else options
    before, moved = index.read(folder) if folder else ({}, [])
    prefix = prefix_of(samples)
    sounds, skipped = find_sounds(samples, lambda file: before.get(path_of(file, prefix)))
    melgrams = preproc.find_melgrams(folder) if folder else {}
    entries = adopted(folder, melgrams, before, moved, bool(sounds[0].split)) if folder else {}
    matched = match(sounds, samples, entries, options.jobs)
    if relabeled := describe_relabeled(matched, entries):
        say(relabeled)
    previous = clip_settings.previous(options, folder, matched.missing) if folder else settings
    current = current_sounds(matched, previous, melgrams)
    gone = [entry for entry in matched.gone if (entry.split, entry.name) in melgrams]
    del melgrams  # a fifth of the memory
    found = sounds
    sounds, headers, equal = usable_sounds(found, current, matched.entries, skipped, options)
    require_classes({sound.class_name for sound in sounds}, samples)
    settings = previous or clip_settings.choose(headers, options)
    clip_settings.warn_of_changes(headers, settings, options, chosen=not previous)
    recordings = find_recordings(found, {} if options.split_anew else matched.entries, headers, equal)
    grouping = group_sounds(sounds, recordings, options, bool(headers))
    clips = split_clips(sounds, grouping, matched, options)
    skipped += [Skipped(sound.path, "is an augmented copy of a held-out sound")
                for sound in (sorted({*sounds} - {clip.sound for clip in clips}) if len(clips) < len(sounds) else ())]
    names = {(clip.split, clip.name) for clip in clips} if matched.gone else set()
    warn_of_gone([entry.path for entry in gone if (entry.split, entry.name) not in names], matched, entries,
                 options.prune, index.settings_id(settings))
    planned = {clip: planned_entry(clip, matched.entries.get(clip.sound), path_of(clip.sound.file, prefix),
                                   clip.sound in current, recordings) for clip in clips}
    reassigned, left_out = former_entries(sounds, clips, matched)
    gone = [entry._replace(settings="") if (entry.split, entry.name) in names else entry for entry in matched.gone]
    return Plan(settings, clip_settings.record_of(settings, options), clips, planned, gone + left_out,
                moved + matched.moved + reassigned, before, skipped, grouping)


def usable_sounds(sounds: list[Sound], current: set[Sound], entries: dict[Sound, Entry], skipped: list[Skipped],
                  options: Options) -> tuple[list[Sound], dict[str, AudioInfo], list[list[Sound]]]:
    """(the sounds that can be read, headers of those without a current melgram, groups of equal sounds).

    Reports the problems, and adds sounds that can't be read to `skipped`. Equal sounds are searched only if some are
    new, or all are assigned again.
    """
    new = [sound for sound in sounds if sound not in current]
    counts = Counter(sound.stat.size for sound in sounds) if new else {}
    headers, errors, samples = read_headers(new, options.jobs, {size for size, count in counts.items() if count > 1})
    skipped += [Skipped.of(Path(file), error) for file, error in errors.items()]
    sounds = [sound for sound in sounds if sound.file not in errors] if errors else sounds
    equal = []
    if headers or options.split_anew:
        contents = {sound: entry.content for sound, entry in entries.items() if entry.content.digest}
        contents = {sound: Content(samples[sound.file], "") for sound in new if sound.file in samples} | contents
        equal = checks.equal_files(sounds, contents, options.jobs)
    findings = checks.check_headers(sounds, headers, equal, options.sample_rate, options.mono) if headers else []
    for sentence in checks.summarize(skipped) + equal_stems(sounds) + findings:
        warn(sentence)
    return sounds, headers, equal


def adopted(folder: str | Path, melgrams: dict[tuple[str, str], int], entries: dict[str, Entry], moved: list[Entry],
            own_split: bool) -> dict[str, Entry]:
    """The entries of the index, and those of melgrams of an older version, which are recognized by their date."""
    known = {(entry.split, entry.name) for entry in [*entries.values(), *moved]}
    unknown = [found for found in melgrams if found not in known]
    settings = preproc.current_settings_id(folder) if unknown else ""
    found = {}
    for split_name, name in unknown:
        path = f"{split_name}/{name}" if own_split else name
        mtime_ns = os.stat(preproc.melgram_path(folder, split_name, name)).st_mtime_ns
        found[path] = Entry(path, split_name, index.USED, index.Stat(-1, mtime_ns, -1, -1),
                            index.UNKNOWN_CONTENT, settings)
    return found | entries if found else entries


def current_sounds(matched: Matched, settings: MelgramSettings | None,
                   melgrams: dict[tuple[str, str], int]) -> set[Sound]:
    """The sounds whose melgram exists and has these settings; an older version may have replaced it by another's."""
    if not settings:
        return set()
    settings_id, size = index.settings_id(settings), preproc.melgram_file_bytes(settings)
    others = {(entry.split, entry.name) for entry in matched.gone + matched.moved if entry.settings}
    return {sound for sound, entry in matched.entries.items() if entry.settings == settings_id
            and melgrams.get((entry.split, entry.name)) == size and (entry.split, entry.name) not in others}


def planned_entry(clip: PlannedClip, known: Entry | None, path: str, current: bool,
                  recordings: dict[Sound, str]) -> Entry:
    """The entry of a clip, with settings "" if its melgram must be computed."""
    sound = clip.sound
    known = known or Entry(path, clip.split, index.USED, sound.stat, index.UNKNOWN_CONTENT, "")
    planned = (clip.split, known.settings if current and known.split == clip.split else "", sound.copy_of or "",
               recordings.get(sound, ""))
    if planned == (known.split, known.settings, known.copy_of, known.recording):
        return known
    return known._replace(**dict(zip(("split", "settings", "copy_of", "recording"), planned, strict=True)))


def former_entries(sounds: list[Sound], clips: list[PlannedClip], matched: Matched) -> tuple[list[Entry], list[Entry]]:
    """The entries of sounds that are now in another split, or are copies left out, and those of unusable sounds."""
    splits = dict.fromkeys(sounds) | {clip.sound: clip.split for clip in clips}
    reassigned = [entry for sound, entry in matched.entries.items() if sound in splits and splits[sound] != entry.split]
    return reassigned, [entry._replace(status=index.LEFT_OUT) for sound, entry in matched.entries.items()
                        if sound not in splits]


def warn_of_gone(gone: list[str], matched: Matched, entries: dict[str, Entry], prune: bool, settings_id: str) -> None:
    """Say which melgrams have no sound any more, and whether they are used; gone: the paths of their sounds."""
    if not gone or prune:
        return
    if matched.missing:
        used = sum(entry.status == index.USED for entry in entries.values())
        still = all(index.is_used(entry, settings_id) for entry in matched.gone if entry.status == index.USED)
        state = "are still used" if still else "have other settings and are not used until the sounds are back"
        warn(f"{named(gone)}: {matched.missing} of {used} sounds are gone, perhaps because a disk is not mounted; "
             f"their melgrams {state}; if you deleted the sounds on purpose, --prune removes these melgrams.")
    else:
        warn(f"{named(gone)}: the sound is gone, so the melgram is left out; --prune deletes such melgrams.")


# --- sounds ---------------------------------------------------------------------------------------------------------

def read_headers(sounds: list[Sound], jobs: int | None,
                 sizes: Container[int] = ()) -> tuple[dict[str, AudioInfo], dict[str, str], dict[str, str]]:
    """File → AudioInfo of the sounds that can be used, → the problem with each of the others, → sample of its content.

    sizes: those of files of which the sample is read.
    """
    good, errors, samples, distinct = {}, {}, {}, {}
    for (file, _), found in parallel.each(_header, [(sound.file, sound.stat.size in sizes) for sound in sounds],
                                          "Reading headers", jobs, min_parallel=_HEADERS_PER_POOL):
        if isinstance(found, Exception):
            errors[file] = str(found)
            continue
        header, samples[file] = found
        good[file] = distinct.setdefault(header, header)  # most are equal
    return {sound.file: good[sound.file] for sound in sounds if sound.file in good}, errors, samples


def _header(job: tuple[str, bool]) -> tuple[AudioInfo, str]:
    file, is_sampled = job
    return audio_io.info(file), index.sample_of(file) if is_sampled else ""


def equal_stems(sounds: list[Sound]) -> list[str]:
    """A sentence about names that differ only in the extension."""
    groups = checks.grouped([sound.file for sound in sounds], (os.path.splitext(sound.file)[0] for sound in sounds))
    if not groups:
        return []
    if len(groups) > 1:
        names = named(" = ".join([first, *map(os.path.basename, others)]) for first, *others in groups)
        return [f"{names}: the same name except for the extension; all are used, in the same split."]
    [[first, *others]] = groups
    names = named(map(os.path.basename, others))
    return [f"{first}: has the same name as {names} except for the extension; all are used, in the same split."]


# --- groups and the split -------------------------------------------------------------------------------------------

def group_sounds(sounds: list[Sound], recordings: dict[Sound, str], options: Options, are_new: bool) -> Grouping:
    """The groups that stay in one split: those of GROUP_BY, and the recordings in classes with enough of them.

    are_new: whether some sounds are new; then a GROUP_BY may be suggested.
    """
    for sentence in suggest_group_by(sounds, recordings) if are_new and not options.group_by else ():
        warn(sentence)
    if options.group_by and not any(re.search(options.group_by, sound.stem) for sound in sounds):
        warn(f"GROUP_BY is {options.group_by!r}, which matches no file name: nothing is grouped.")
    copy_of = {sound.name: sound.copy_of for sound in sounds if sound.copy_of}
    names = {}
    if recordings:
        names = {sound.name: recordings.get(sound, "") for sound in reversed(sounds)}  # Train has priority
    every = Grouping(options.group_by, copy_of, {name: recording for name, recording in names.items() if recording})
    grouping, few = every.relaxed(names)
    splits = {sound.split for sound in sounds}
    if few and "Val" not in splits:
        effect = ("split between Train and Test, so the score" if splits == {None} else
                  "split between training and validation, so the validation loss")
        warn(f"{named(few)}: fewer than {MIN_GROUPS} recordings; clips of one recording are {effect} is too "
             "optimistic; add recordings.")
    return grouping


def split_clips(sounds: list[Sound], grouping: Grouping, matched: Matched, options: Options) -> list[PlannedClip]:
    """The clips of all splits; known sounds stay in theirs, with SPLIT_ANEW only those that are missing."""
    missing = {entry.name: entry.split for entry in matched.gone if entry.status == index.USED}
    assigned = missing if options.split_anew else matched.splits
    if options.split_anew and sounds[0].split:
        warn("Samples/ contains your own split, which --split-anew does not change.")
    splits = split.split_sounds(sounds, assigned, options.test_fraction, options.seed, grouping)
    left_out = splits.count(None)
    if left_out:
        say(f"{left_out} augmented copies of {'Val and ' * ('Val' in splits)}Test sounds are left out.")
    clips = [PlannedClip(sound, its_split) for sound, its_split in zip(sounds, splits, strict=True) if its_split]
    warn_of_divided(clips, grouping)
    return clips


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
