"""Melgrams of sounds, computed on all cores: into Preproc/, or into memory."""

import errno
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from audio_utils.audio import melgram
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import checks, index, preproc
from audio_utils.data.clips import Clips, one_hot
from audio_utils.data.index import Entry
from audio_utils.data.plan import Plan, PlannedClip
from audio_utils.data.sounds import Skipped, Sound
from audio_utils.runtime import parallel, safe_files
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError, sentence

# --- Preproc/ -------------------------------------------------------------------------------------------------------

def compute(plan: Plan, folder: Path, jobs: int | None, prune: bool) -> list[Entry]:
    """Bring the melgrams and the index in `folder` up to date; returns the entries whose melgrams are used.

    prune: delete the melgrams of sounds that are gone or can't be used.
    """
    _require_space(folder, len(plan.stale) * plan.settings.bytes)
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
        for path in _delete([entry for entry in entries.values() if not entry.settings], entries.values(), folder):
            say(f"{path}: removed.")
    if changed or entries != plan.before:
        index.write(folder, entries.values())
    preproc.write_skipped(folder, plan.skipped + checks.list_duplicates(_equal_sounds(plan, entries)))
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


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{folder}/: the melgrams need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
                        "make room, or shorten the clips (CLIP_SECONDS).")


def _delete(former: list[Entry], entries: Iterable[Entry], folder: Path) -> list[Path]:
    """Delete the melgrams of former entries, except where that of another sound has been written; returns the paths.

    entries: all of the index; those with settings have a melgram.
    """
    current = {(entry.split, entry.name) for entry in entries if entry.settings} if former else set()
    paths = [preproc.melgram_path(folder, entry.split, entry.name) for entry in former
             if (entry.split, entry.name) not in current]
    deleted = [path for path in paths if path.exists()]
    for path in deleted:
        path.unlink(missing_ok=True)
    return deleted


def _compute_missing(missing: list[tuple[PlannedClip, Entry]], plan: Plan, folder: Path,
                     jobs: int | None) -> Iterator[Entry]:
    """Compute missing melgrams and hashes, append them to the index, yield the entries; report unusable sounds."""
    if not missing:
        return
    for name in _folders(plan):
        (folder / name).mkdir(parents=True, exist_ok=True)
    plan.settings.tables  # noqa: B018  computed once here, then sent to the workers with the settings
    with index.appending(folder) as appender:
        for (clip, _), result in parallel.each(_update, missing, "Melgrams", jobs, (folder, plan.settings)):
            if isinstance(result, OSError) and result.errno == errno.ENAMETOOLONG:
                result = UserError(f"{clip.path}: the name of its melgram would be too long; shorten the name.")
            if isinstance(result, OSError) and result.filename != str(clip.path):
                raise result
            if isinstance(result, Exception):
                warn(sentence(result))
                plan.skipped.append(Skipped.of(clip.path, sentence(result)))
                continue
            entry, warning = result
            if warning:
                warn(warning)
            appender.add(entry)
            yield entry


def _update(job: tuple[PlannedClip, Entry], folder: Path, settings: MelgramSettings) -> tuple[Entry, str]:
    """Compute the hashes and, unless it is current, the melgram of a sound: (its entry, a warning or "")."""
    clip, entry = job
    content, warning = index.content_of(clip.path), ""
    if not entry.settings:
        result, warning = melgram.of_file(clip.path, settings)
        preproc.write_melgram(preproc.melgram_path(folder, clip.split, clip.name), result)
    return entry._replace(content=content, settings=index.settings_id(settings)), warning


# --- memory ---------------------------------------------------------------------------------------------------------

def compute_in_memory(plan: Plan, split: str, class_names: list[str] | None,
                      jobs: int | None) -> tuple[Clips, list[str]]:
    """The Clips of a split, and a sentence about each sound that can't be used."""
    start = time.monotonic()
    sounds = [clip.sound for clip in plan.clips if clip.split == split]
    class_names = class_names or sorted({sound.class_name for sound in sounds})
    sounds = [sound for sound in sounds if sound.class_name in class_names]
    clips, problems = clips_of(sounds, plan.settings, class_names, jobs)
    if sounds:
        say(f"{len(clips)} melgrams of Samples/ computed in {time.monotonic() - start:.1f} s; preprocess_data.py would "
            "keep them in Preproc/.")
    return clips, list(problems.values())


def clips_of(sounds: list[Sound], settings: MelgramSettings, class_names: list[str],
             jobs: int | None) -> tuple[Clips, dict[Sound, str]]:
    """The Clips of sounds, in the order of their names, and the error or warning about each sound that has one."""
    sounds = sorted(sounds, key=lambda sound: sound.name)
    index = {sound: i for i, sound in enumerate(sounds)}
    melgrams, problems, good = np.empty((len(sounds), *settings.shape), np.float32), {}, []
    for sound, result in parallel.each(_of_sound, sounds, "Melgrams", jobs, (settings,)):
        if isinstance(result, Exception):
            problems[sound] = sentence(result)
            continue
        melgrams[index[sound]], warning = result
        good.append(index[sound])
        problems |= {sound: warning} if warning else {}
    good.sort()
    targets = one_hot([class_names.index(sounds[i].class_name) for i in good], len(class_names))
    return Clips(melgrams if len(good) == len(sounds) else melgrams[good], targets, [sounds[i].name for i in good],
                 class_names), problems


def _of_sound(sound: Sound, settings: MelgramSettings) -> tuple[np.ndarray, str]:
    return melgram.of_file(sound.path, settings)
