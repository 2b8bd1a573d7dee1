"""Melgrams of sounds, computed on all cores: into Preproc/, or into memory."""

import shutil
import time
from pathlib import Path

import numpy as np

from audio_utils.audio import melgram
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import preproc
from audio_utils.data.clips import Clips, one_hot
from audio_utils.data.plan import Plan, PlannedClip, modified_ns
from audio_utils.runtime import parallel, safe_files
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError, sentence

# --- Preproc/ -------------------------------------------------------------------------------------------------------

def compute(plan: Plan, folder: Path, overwrite: bool, jobs: int | None) -> None:
    """Compute the stale melgrams and write them to `folder`; name the sounds that can't be used."""
    paths = {clip: preproc.melgram_path(folder, clip.split, clip.name) for clip in plan.stale}
    for each in {folder, *(preproc.melgram_path(folder, *key).parent for key in plan.existing)}:
        safe_files.sweep(each)
    if overwrite:
        preproc.invalidate(folder)  # first, so that after a kill no melgram of the old settings looks current
    _require_space(folder, len(plan.stale) * plan.settings.bytes)
    preproc.write_settings(folder, plan.record | {"complete": not plan.stale})
    for each in {path.parent for path in paths.values()}:
        each.mkdir(parents=True, exist_ok=True)
    if plan.stale:
        plan.settings.tables  # noqa: B018  computed here once, they are sent to the workers with the settings
    for _, result in parallel.each(_write, list(paths.items()), "Melgrams", jobs, (plan.settings,)):
        if isinstance(result, OSError):
            raise result
        if result:
            warn(str(result))
    preproc.write_settings(folder, plan.record | {"complete": True})


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{folder}/: the melgrams need {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; "
                        "make room, or shorten the clips (CLIP_SECONDS).")


def _write(job: tuple[PlannedClip, Path], settings: MelgramSettings) -> str:
    """Compute and write the melgram of one sound; returns a warning or ""."""
    clip, path = job
    time_ns = modified_ns(clip.sound)
    result, warning = melgram.of_file(clip.path, settings)
    preproc.write_melgram(path, result, time_ns)
    return warning


def remove_orphans(plan: Plan, folder: Path, prune: bool) -> None:
    """Name the melgrams whose sound is gone, or is now in the other split; remove them if `prune`."""
    for key in plan.orphans:
        path = preproc.melgram_path(folder, *key)
        if prune:
            path.unlink()
            say(f"{path}: removed.")
        else:
            warn(f"{path}: its sound is gone or in the other split; the melgram is still used; --prune removes it.")


# --- memory ---------------------------------------------------------------------------------------------------------

def compute_in_memory(plan: Plan, split: str, class_names: list[str] | None,
                      jobs: int | None) -> tuple[Clips, list[str]]:
    """The Clips of a split, and a sentence on each sound that can't be used."""
    start = time.monotonic()
    clips = [clip for clip in plan.clips if clip.split == split]
    class_names = class_names or sorted({clip.sound.class_name for clip in clips})
    clips = sorted((clip for clip in clips if clip.sound.class_name in class_names), key=lambda clip: clip.name)
    index = {clip: i for i, clip in enumerate(clips)}
    melgrams, warnings, good = np.empty((len(clips), *plan.settings.shape), np.float32), [], []
    for clip, result in parallel.each(_of_clip, clips, "Melgrams", jobs, (plan.settings,)):
        if isinstance(result, Exception):
            warnings.append(sentence(result))
            continue
        melgrams[index[clip]], warning = result
        good.append(index[clip])
        warnings += [warning] if warning else []
    good.sort()
    say(f"{len(good)} melgrams of Samples/ computed in {time.monotonic() - start:.1f} s; preprocess_data.py would keep "
        "them in Preproc/.")
    targets = one_hot([class_names.index(clips[i].sound.class_name) for i in good], len(class_names))
    return Clips(melgrams if len(good) == len(clips) else melgrams[good], targets, [clips[i].name for i in good],
                 class_names), warnings


def _of_clip(clip: PlannedClip, settings: MelgramSettings) -> tuple[np.ndarray, str]:
    return melgram.of_file(clip.path, settings)
