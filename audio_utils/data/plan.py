"""The plan of preprocessing: the settings, the split, and which melgrams are to be computed."""

import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from audio_utils.audio import audio_io
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import checks, clip_settings, index, preproc, split
from audio_utils.data.checks import named
from audio_utils.data.index import Entry
from audio_utils.data.look_alikes import suggest_group_by
from audio_utils.data.matching import Matched, match, path_of
from audio_utils.data.recordings import find_recordings
from audio_utils.data.sounds import Skipped, Sound, find_sounds, require_classes
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
    gone: list[Entry]  # those without a sound, and those of sounds that are left out
    moved: list[Entry]  # former entries of sounds that now have another path or split; their melgrams must be deleted
    skipped: list[Skipped]  # files that are not used
    grouping: Grouping

    @property
    def stale(self) -> list[PlannedClip]:
        """The clips without a current melgram."""
        return [clip for clip in self.clips if not self.entries[clip].settings]


def make_plan(options: Options, samples: str | Path, folder: str | Path | None = None,
              settings: MelgramSettings | None = None) -> Plan:
    """Compare the sounds with the melgrams that exist, and decide what is to be computed.

    folder: Preproc/, or None if the melgrams stay in memory. settings: then those of the network, if there is one.
    """
    samples = Path(samples)
    options = clip_settings.with_recorded(options, folder) if folder else options
    sounds, skipped = find_sounds(samples)
    stats = stats_of(sounds, skipped)
    melgrams = preproc.find_melgrams(folder) if folder else {}
    entries, moved = known_entries(folder, melgrams, any(sound.split for sound in sounds)) if folder else ({}, [])
    matched = match(list(stats), stats, samples, entries, options.jobs)
    previous = clip_settings.previous(options, folder, matched.missing) if folder else settings
    current = {sound for sound, entry in matched.entries.items() if previous and is_current(entry, previous, melgrams)}
    sounds, headers, equal = usable_sounds(list(stats), current, skipped, options)
    require_classes({sound.class_name for sound in sounds}, samples)
    settings = previous or clip_settings.choose(headers, options)
    clip_settings.warn_of_changes(headers, settings, options, chosen=not previous)
    recordings = find_recordings(list(stats), stats, {} if options.split_anew else matched.entries, headers, equal)
    grouping = group_sounds(sounds, recordings, options, bool(headers))
    clips = split_clips(sounds, grouping, matched, options)
    skipped += [Skipped(sound.path, "is an augmented copy of a held-out sound")
                for sound in sorted({*sounds} - {clip.sound for clip in clips})]
    warn_of_gone(matched, entries, melgrams, options.prune, index.settings_id(settings))
    planned = {clip: planned_entry(clip, matched.entries.get(clip.sound), stats[clip.sound], samples,
                                   clip.sound in current, recordings) for clip in clips}
    reassigned, left_out = former_entries(sounds, clips, matched)
    return Plan(settings, clip_settings.record_of(settings, options), clips, planned, matched.gone + left_out,
                moved + matched.moved + reassigned, skipped, grouping)


def usable_sounds(sounds: list[Sound], current: set[Sound], skipped: list[Skipped],
                  options: Options) -> tuple[list[Sound], dict[Path, AudioInfo], list[list[Sound]]]:
    """(the sounds that can be read, headers of those without a current melgram, groups of equal sounds).

    Reports the problems, and adds sounds that can't be read to `skipped`. Equal sounds are searched only if some are
    new, or all are assigned again.
    """
    headers, errors = read_headers([sound for sound in sounds if sound not in current], options.jobs)
    skipped += [Skipped.of(path, error) for path, error in errors.items()]
    sounds = [sound for sound in sounds if sound.path not in errors]
    equal = checks.equal_files(sounds) if headers or options.split_anew else []
    findings = checks.check_headers(sounds, headers, equal, options.sample_rate, options.mono) if headers else []
    for sentence in checks.summarize(skipped) + equal_stems(sounds) + findings:
        warn(sentence)
    return sounds, headers, equal


def stats_of(sounds: list[Sound], skipped: list[Skipped]) -> dict[Sound, index.Stat]:
    """The status of each sound's file; those without one (it was just removed) are added to `skipped`."""
    stats = {}
    for sound in sounds:
        try:
            stats[sound] = index.Stat.of(sound.path)
        except OSError as error:
            skipped.append(Skipped(sound.path, f"{error.strerror}; check the file"))
    return stats


def known_entries(folder: str | Path, melgrams: dict, own_split: bool) -> tuple[dict[str, Entry], list[Entry]]:
    """The entries of the index, and those that are moved; melgrams of an older version are entered by their date."""
    entries, moved = index.read(folder)
    known = {(entry.split, entry.name) for entry in [*entries.values(), *moved]}
    settings = preproc.current_settings_id(folder)
    for (split_name, name), found in melgrams.items():
        if (split_name, name) not in known:
            path = f"{split_name}/{name}" if own_split else name
            stat = index.UNKNOWN_STAT._replace(mtime_ns=found.st_mtime_ns)
            entries.setdefault(path, Entry(path, split_name, index.USED, stat, index.UNKNOWN_CONTENT, settings))
    return entries, moved


def is_current(entry: Entry, settings: MelgramSettings, melgrams: dict) -> bool:
    """Whether the melgram of an entry exists and has these settings."""
    found = melgrams.get((entry.split, entry.name))
    return (entry.settings == index.settings_id(settings) and found is not None
            and found.st_size == preproc.melgram_file_bytes(settings))


def planned_entry(clip: PlannedClip, known: Entry | None, stat: index.Stat, samples: Path, current: bool,
                  recordings: dict[Sound, str]) -> Entry:
    """The entry of a clip, with settings "" if its melgram must be computed."""
    known = known or Entry(path_of(clip.sound, samples), clip.split, index.USED, stat, index.UNKNOWN_CONTENT, "")
    return known._replace(split=clip.split, settings=known.settings if current and known.split == clip.split else "",
                          copy_of=clip.sound.copy_of or "", recording=recordings.get(clip.sound, ""))


def former_entries(sounds: list[Sound], clips: list[PlannedClip], matched: Matched) -> tuple[list[Entry], list[Entry]]:
    """The entries of sounds that are now in another split, or are copies left out, and those of unusable sounds."""
    splits = dict.fromkeys(sounds) | {clip.sound: clip.split for clip in clips}
    reassigned = [entry for sound, entry in matched.entries.items() if sound in splits and splits[sound] != entry.split]
    return reassigned, [entry._replace(status=index.LEFT_OUT) for sound, entry in matched.entries.items()
                        if sound not in splits]


def warn_of_gone(matched: Matched, entries: dict[str, Entry], melgrams: dict, prune: bool, settings_id: str) -> None:
    """Say which melgrams have no sound any more, and whether they are used."""
    gone = [entry.path for entry in matched.gone if (entry.split, entry.name) in melgrams]
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

def read_headers(sounds: list[Sound], jobs: int | None) -> tuple[dict[Path, AudioInfo], dict[Path, str]]:
    """(path → AudioInfo of the sounds that can be used, path → the problem with each of the others)."""
    found = dict(parallel.each(audio_io.info, [sound.path for sound in sounds], "Reading headers", jobs,
                               min_parallel=_HEADERS_PER_POOL))
    good = {sound.path: found[sound.path] for sound in sounds if isinstance(found[sound.path], AudioInfo)}
    return good, {path: str(error) for path, error in found.items() if path not in good}


def equal_stems(sounds: list[Sound]) -> list[str]:
    """A sentence about names that differ only in the extension."""
    stems = defaultdict(list)
    for sound in sounds:
        stems[sound.path.parent, sound.path.stem].append(sound.path)
    return [f"{paths[0]}: has the same name as {', '.join(path.name for path in paths[1:])} except for the extension; "
            "all are used, in the same split." for paths in stems.values() if len(paths) > 1]


# --- groups and the split -------------------------------------------------------------------------------------------

def group_sounds(sounds: list[Sound], recordings: dict[Sound, str], options: Options, are_new: bool) -> Grouping:
    """The groups that stay in one split: those of GROUP_BY, and the recordings in classes with enough of them.

    are_new: whether some sounds are new; then a GROUP_BY may be suggested.
    """
    for sentence in suggest_group_by(sounds, recordings) if are_new and not options.group_by else ():
        warn(sentence)
    if options.group_by and not any(re.search(options.group_by, sound.path.stem) for sound in sounds):
        warn(f"GROUP_BY is {options.group_by!r}, which matches no file name: nothing is grouped.")
    copy_of = {sound.name: sound.copy_of for sound in sounds if sound.copy_of}
    names = {sound.name: recordings.get(sound, "") for sound in reversed(sounds)}  # in an own split, Train has priority
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
    for clip in clips:
        if clip.name in grouping.recordings and not clip.sound.copy_of:
            clips_of[grouping.recordings[clip.name]].append(clip)
    divided = [group[0].path for group in clips_of.values() if len({clip.split for clip in group}) > 1]
    if divided:
        remedy = ("move all clips of a recording into one split" if clips[0].sound.split else
                  "preprocess_data.py --split-anew assigns all sounds again")
        warn(f"{named(divided)}: from {len(divided)} recording{'s' * (len(divided) > 1)} with clips in several splits, "
             f"so the score is too optimistic; {remedy}.")
