"""The plan of preprocessing: the settings, the split, and which melgrams are to be computed."""

import functools
import gc
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from audio_utils.audio.audio_io import AudioInfo
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import assignment, checks, clip_settings, index, long_files, multi_label, preproc
from audio_utils.data.assignment import PlannedClip
from audio_utils.data.checks import named
from audio_utils.data.headers import read_headers
from audio_utils.data.index import Content, Entry
from audio_utils.data.matching import Matched, describe_relabeled, match, path_of, prefix_of
from audio_utils.data.multi_label import Labels
from audio_utils.data.recordings import find_recordings
from audio_utils.data.sound import Skipped, Sound
from audio_utils.data.sounds import find_sounds, require_classes
from audio_utils.data.split import Grouping
from audio_utils.runtime.command_line import Options
from audio_utils.runtime.console import say, warn


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
    labels: dict[Sound, Labels] | None = None  # with MULTI_LABEL

    @property
    def long_files(self) -> str:
        """The constant LONG_FILES."""
        return self.record["constants"]["LONG_FILES"]

    def names(self, split_name: str) -> list[str]:
        """The names of the clips of a split."""
        return [name for clip in self.clips if clip.split == split_name for name in self.entries[clip].clip_names]

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
    long_files.check(options)
    before, moved = index.read(folder) if folder else ({}, [])
    prefix = prefix_of(samples)
    sounds, skipped = find_sounds(samples, lambda file: before.get(path_of(file, prefix)), options.multi_label)
    labels, unlisted = multi_label.of_sounds(sounds, samples) if options.multi_label else (None, [])
    if not options.multi_label and (sentence := multi_label.hint(samples)):
        warn(sentence)
    melgrams = preproc.find_melgrams(folder) if folder else {}
    entries = adopted(folder, melgrams, before, moved, bool(sounds[0].split)) if folder else {}
    matched = match(sounds, samples, entries, options.jobs)
    if relabeled := describe_relabeled(matched, entries):
        say(relabeled)
    previous = clip_settings.previous(options, folder, matched.missing) if folder else settings
    current = current_sounds(matched, previous, melgrams)
    gone = [entry for entry in matched.gone if any((entry.split, name) in melgrams for name in entry.clip_names)]
    del melgrams  # a fifth of the memory
    found = sounds
    sounds, headers, equal = usable_sounds(found, current, matched.entries, skipped, options, labels)
    if options.multi_label:
        skipped += unlisted
        sounds = [sound for sound in sounds if sound in labels]
        multi_label.require_labels(map(labels.get, sounds), samples)
    else:
        require_classes({sound.class_name for sound in sounds}, samples)
    settings = previous or clip_settings.choose(headers, options)
    clip_settings.warn_of_changes(headers, settings, options, chosen=not previous)
    sounds, too_long, cut = long_files.cut(sounds, headers, current, matched.entries, settings, options.long_files)
    skipped += too_long
    recordings = find_recordings(found, {} if options.split_anew else matched.entries, headers, equal)
    grouping = assignment.group_sounds(sounds, recordings, options, bool(headers), labels or {})
    clips = assignment.split_clips(sounds, grouping, matched, options, cut)
    skipped += [Skipped(sound.path, "is an augmented copy of a held-out sound")
                for sound in (sorted({*sounds} - {clip.sound for clip in clips}) if len(clips) < len(sounds) else ())]
    planned = {clip: planned_entry(clip, matched.entries.get(clip.sound), path_of(clip.sound.file, prefix),
                                   clip.sound in current, recordings, cut.get(clip.sound, 0)) for clip in clips}
    names = {(clip.split, name) for clip in clips for name in planned[clip].clip_names} if matched.gone else set()
    replaced = {entry for entry in matched.gone if any((entry.split, name) in names for name in entry.clip_names)}
    warn_of_gone([entry.path for entry in gone if entry not in replaced], matched, entries, options.prune,
                 index.settings_id(settings))
    reassigned, left_out = former_entries(sounds, clips, matched, cut)
    gone = [entry._replace(settings="") if entry in replaced else entry for entry in matched.gone]
    return Plan(settings, clip_settings.record_of(settings, options), clips, planned, gone + left_out,
                moved + matched.moved + reassigned, before, skipped,
                assignment.group_clips(planned.values(), options.group_by, labels_of_clips(planned, labels))
                if cut else grouping, labels)


def usable_sounds(sounds: list[Sound], current: set[Sound], entries: dict[Sound, Entry], skipped: list[Skipped],
                  options: Options,
                  labels: dict[Sound, Labels] | None) -> tuple[list[Sound], dict[str, AudioInfo], list[list[Sound]]]:
    """(the sounds that can be read, headers of those without a current melgram, groups of equal sounds).

    Reports the problems, and adds sounds that can't be read to `skipped`. Equal sounds are searched only if some are
    new, or all are assigned again. labels: with MULTI_LABEL.
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
    findings = []
    if headers:
        findings = checks.check_headers(sounds, headers, equal, options.sample_rate, options.mono,
                                        long_files.clip_seconds(options),
                                        long_files.expected_clips(sounds, headers, entries, options), labels)
    for sentence in checks.summarize(skipped) + equal_stems(sounds) + findings:
        warn(sentence)
    return sounds, headers, equal


def labels_of_clips(planned: dict[PlannedClip, Entry], labels: dict[Sound, Labels] | None) -> dict[str, Labels]:
    """Name of a clip → labels of its sound, {} without MULTI_LABEL."""
    return {name: labels[clip.sound] for clip, entry in planned.items() for name in entry.clip_names} if labels else {}


def adopted(folder: str | Path, melgrams: dict[tuple[str, str], int], entries: dict[str, Entry], moved: list[Entry],
            own_split: bool) -> dict[str, Entry]:
    """The entries of the index, and those of melgrams of an older version, which are recognized by their date."""
    known = {(entry.split, name) for entry in [*entries.values(), *moved] for name in entry.clip_names}
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
    others = {(entry.split, name) for entry in matched.gone + matched.moved if entry.settings
              for name in entry.clip_names}
    return {sound for sound, entry in matched.entries.items() if entry.settings == settings_id
            and all(melgrams.get((entry.split, name)) == size and (entry.split, name) not in others
                    for name in entry.clip_names)}


def planned_entry(clip: PlannedClip, known: Entry | None, path: str, current: bool, recordings: dict[Sound, str],
                  clips: int) -> Entry:
    """The entry of a sound, with settings "" if its melgrams must be computed; clips: as in the index."""
    sound = clip.sound
    known = known or Entry(path, clip.split, index.USED, sound.stat, index.UNKNOWN_CONTENT, "")
    planned = (clip.split, known.settings if current and known.split == clip.split else "", sound.copy_of or "",
               recordings.get(sound, ""), clips)
    if planned == (known.split, *known[5:]):
        return known
    return known._replace(**dict(zip(("split", "settings", "copy_of", "recording", "clips"), planned, strict=True)))


def former_entries(sounds: list[Sound], clips: list[PlannedClip], matched: Matched,
                   cut: dict[Sound, int]) -> tuple[list[Entry], list[Entry]]:
    """The entries of sounds with another split or number of clips now, or that are copies left out; of unusable ones.

    cut: the sounds that are cut, and the number of their clips.
    """
    splits = dict.fromkeys(sounds) | {clip.sound: clip.split for clip in clips}
    reassigned = [entry for sound, entry in matched.entries.items() if sound in splits
                  and (splits[sound] != entry.split or entry.clips != cut.get(sound, 0))]
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
