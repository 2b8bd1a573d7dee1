"""Melgrams of sounds, computed on all cores: into Preproc/, or into memory."""

import errno
import itertools
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from audio_utils.audio import long_sounds
from audio_utils.audio.long_sounds import Part
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import checks, clip_jobs, index, multi_label, preproc
from audio_utils.data.assignment import PlannedClip
from audio_utils.data.clip_jobs import Job
from audio_utils.data.clips import Clips, one_hot
from audio_utils.data.index import Content, Entry
from audio_utils.data.plan import Plan
from audio_utils.data.sound import Skipped, Sound, clip_name, clip_names
from audio_utils.data.sounds import class_of
from audio_utils.runtime import safe_files
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError, sentence

# --- Preproc/ -------------------------------------------------------------------------------------------------------

def compute(plan: Plan, folder: Path, jobs: int | None, prune: bool) -> list[Entry]:
    """Bring the melgrams and the index in `folder` up to date; returns the entries whose melgrams are used.

    prune: delete the melgrams of sounds that are gone or can't be used.
    """
    _require_space(folder, sum(len(plan.entries[clip].clip_names) for clip in plan.stale) * plan.settings.bytes,
                   plan.long_files)
    entries = {entry.path: entry for entry in [*plan.gone, *plan.entries.values()]}
    missing = [(clip, entry) for clip, entry in plan.entries.items()
               if not entry.settings or entry.content == index.UNKNOWN_CONTENT]
    changed = bool(missing or plan.moved) or entries != plan.before or not preproc.is_complete(folder)
    if changed:  # or the last run was killed, perhaps before it replaced the index
        preproc.mark_incomplete(folder)
        index.write(folder, [*entries.values(), *(entry._replace(status=index.MOVED) for entry in plan.moved)])
        preproc.write_settings(folder, plan.record | {"complete": False})  # last: old melgrams have the old settings
    for name in _folders(plan):
        safe_files.sweep(folder / name)
    _delete(plan.moved, entries.values(), folder)
    entries |= {entry.path: entry for entry in _compute_missing(missing, plan, folder, jobs)}
    if prune:
        entries |= {entry.path: entry._replace(status=index.LEFT_OUT, settings="") for entry in plan.gone}
        for paths in _delete([entry for entry in entries.values() if not entry.settings], entries.values(), folder):
            say(f"{checks.named(paths)}: removed.")
    if changed or entries != plan.before:
        index.write(folder, entries.values())
    preproc.write_skipped(folder, plan.skipped + checks.list_duplicates(_equal_sounds(plan, entries), plan.labels))
    if plan.labels is not None:
        multi_label.write(folder, [entries[entry.path] for entry in plan.entries.values()], plan.gone,
                          {entry.path: plan.labels[clip.sound] for clip, entry in plan.entries.items()})
    preproc.write_settings(folder, plan.record | {"complete": True})
    return [entry for entry in entries.values() if index.is_used(entry, index.settings_id(plan.settings))]


def _equal_sounds(plan: Plan, entries: dict[str, Entry]) -> list[list[Sound]]:
    """Groups of sounds with equal content; entries: all of them, by path."""
    sounds = [clip.sound for clip, entry in plan.entries.items() if not entry.copy_of]
    contents = (entries[entry.path].content for entry in plan.entries.values() if not entry.copy_of)
    return checks.grouped(sounds, (content if content.digest else None for content in contents))


def _folders(plan: Plan) -> set[str]:
    """The folders of Preproc/ that may hold unfinished files, and Preproc/ itself."""
    return {"", *(f"{clip.split}/{clip.sound.class_name}" for clip in plan.clips)}


def _require_space(folder: Path, needed: int, mode: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        less = "use less of long sounds (LONG_FILES)" if mode == long_sounds.ALL else "shorten the clips (CLIP_SECONDS)"
        raise UserError(f"{folder}/: the melgrams need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
                        f"make room, or {less}.")


def _delete(former: list[Entry], entries: Iterable[Entry], folder: Path) -> list[list[Path]]:
    """Delete the melgrams of former entries, except where that of another sound has been written; their paths.

    entries: all of the index; those with settings have a melgram. Returns a list for each entry with melgrams.
    """
    current = {(entry.split, name) for entry in entries if entry.settings for name in entry.clip_names} \
        if former else set()
    paths = [[preproc.melgram_path(folder, entry.split, name) for name in entry.clip_names
              if (entry.split, name) not in current] for entry in former]
    deleted = [[path for path in each if os.path.lexists(path)] for each in paths]  # not if the name is too long
    for path in itertools.chain(*deleted):
        path.unlink(missing_ok=True)
    return list(filter(None, deleted))


def _compute_missing(missing: list[tuple[PlannedClip, Entry]], plan: Plan, folder: Path,
                     jobs: int | None) -> Iterator[Entry]:
    """Compute missing melgrams and hashes, append them to the index, yield the entries; report unusable sounds."""
    if not missing:
        return
    for name in _folders(plan):
        (folder / name).mkdir(parents=True, exist_ok=True)
    plan.settings.tables  # noqa: B018  computed once here, then sent to the workers with the settings
    entries, counts = dict(missing), {clip: entry.clips for clip, entry in missing}
    unchanged = frozenset(clip for clip, entry in missing if entry.settings)
    shared = (folder, plan.settings, plan.long_files)
    with index.appending(folder) as appender:
        for clip, outcome in clip_jobs.each(_update, counts, plan.settings, jobs, shared, unchanged):
            if isinstance(outcome, Exception):
                _skip(clip, outcome, plan)
                _delete_clips(entries[clip], 0, folder)
                continue
            if outcome.warning:
                warn(outcome.warning)
            _delete_clips(entries[clip], outcome.clips, folder)
            entry = entries[clip]._replace(content=outcome.results[0], settings=index.settings_id(plan.settings),
                                           clips=outcome.clips)
            appender.add(entry)
            yield entry


def _update(job: Job, folder: Path, settings: MelgramSettings, mode: str) -> tuple[Content | None, Part | str]:
    """Compute melgrams, and the hashes with the first of them: (the hashes, the Part, or a warning if not cut)."""
    clip = job.sound
    content = index.content_of(clip.path) if job.first <= 1 else None
    if job.first:
        return content, long_sounds.compute_clips(
            clip.path, settings, job.first, job.count, lambda number, melgram: preproc.write_melgram(
                preproc.melgram_path(folder, clip.split, clip_name(clip.name, number)), melgram))
    warning = ""
    if job.count:
        melgram, warning = long_sounds.of_file(clip.path, settings, mode)
        preproc.write_melgram(preproc.melgram_path(folder, clip.split, clip.name), melgram)
    return content, warning


def _skip(clip: PlannedClip, error: Exception, plan: Plan) -> None:
    """Report a sound that can't be used. Raises an error that is not due to the sound, such as a full disk."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        error = UserError(f"{clip.path}: the name of its melgram would be too long; shorten the name.")
    if isinstance(error, OSError) and error.filename != str(clip.path):
        raise error
    warn(sentence(error))
    plan.skipped.append(Skipped.of(clip.path, sentence(error)))


def _delete_clips(entry: Entry, kept: int, folder: Path) -> None:
    """Delete the melgrams of a sound that is cut, after the first ones, which a truncated file still has."""
    for name in entry.clip_names[kept:] if entry.clips else ():
        path = preproc.melgram_path(folder, entry.split, name)
        if os.path.lexists(path):
            path.unlink()


# --- memory ---------------------------------------------------------------------------------------------------------

def compute_in_memory(plan: Plan, split: str, class_names: list[str] | None,
                      jobs: int | None) -> tuple[Clips, list[str]]:
    """The Clips of a split, and a sentence about each sound that can't be used."""
    start = time.monotonic()
    sounds = {clip.sound: plan.entries[clip].clips for clip in plan.clips if clip.split == split}
    class_names = class_names or sorted({sound.class_name for sound in sounds})
    sounds = {sound: count for sound, count in sounds.items() if sound.class_name in class_names}
    clips, problems = clips_of(sounds, plan.settings, class_names, jobs, plan.long_files)
    if sounds:
        say(f"{len(clips)} melgrams of Samples/ computed in {time.monotonic() - start:.1f} s; preprocess_data.py would "
            "keep them in Preproc/.")
    return clips, list(problems.values())


def clips_of(sounds: dict[Sound, int], settings: MelgramSettings, class_names: list[str], jobs: int | None,
             mode: str) -> tuple[Clips, dict[Sound, str]]:
    """The Clips of sounds, in the order of their names, and the error or warning about each sound that has one.

    sounds: sound → number of clips, 0 if it is not cut. mode: LONG_FILES.
    """
    ordered = sorted((name, sound.file, number) for sound, count in sounds.items()
                     for number, name in enumerate(clip_names(sound.name, count)))
    names = [name for name, _, _ in ordered]
    index = {(file, number): i for i, (_, file, number) in enumerate(ordered)}
    melgrams, problems, good = np.empty((len(names), *settings.shape), np.float32), {}, []
    for sound, outcome in clip_jobs.each(_of_sound, sounds, settings, jobs, (settings, mode)):
        if isinstance(outcome, Exception):
            problems[sound] = sentence(outcome)
            continue
        for number, melgram in enumerate(itertools.chain(*outcome.results)):
            good.append(index[sound.file, number])
            melgrams[good[-1]] = melgram
        problems |= {sound: outcome.warning} if outcome.warning else {}
    good.sort()
    targets = one_hot([class_names.index(class_of(names[i])) for i in good], len(class_names))
    return Clips(melgrams if len(good) == len(names) else melgrams[good], targets, [names[i] for i in good],
                 class_names), problems


def _of_sound(job: Job, settings: MelgramSettings, mode: str) -> tuple[list[np.ndarray], Part | str]:
    """Melgrams, and the Part, or a warning if the sound is not cut."""
    if not job.first:
        result, warning = long_sounds.of_file(job.path, settings, mode)
        return [result], warning
    melgrams = []
    part = long_sounds.compute_clips(job.path, settings, job.first, job.count,
                                     lambda _number, melgram: melgrams.append(melgram))
    return melgrams, part
