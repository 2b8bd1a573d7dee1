"""Cut the labels of recordings into Samples/<label>/: <recording>_<start>-<end>.wav, in seconds."""

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio_utils.audio import audio_io, tags
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.data import annotation_files, label_clips
from audio_utils.data.annotation_files import Annotated
from audio_utils.data.annotations import STATUSES, Label
from audio_utils.data.checks import named
from audio_utils.data.class_folders import LabelFolders
from audio_utils.data.label_clips import BACKGROUND, Interval, LabelClip
from audio_utils.data.sounds import SAMPLES, may_be_audio, visible
from audio_utils.runtime import tables
from audio_utils.runtime.errors import UserError
from audio_utils.runtime.parallel import Done
from audio_utils.runtime.safe_files import have_same_bytes, is_of_lost_attempt, replacing

_UNLABELED = "none of these"  # of predict_class.py: no class is probable enough
_MAX_CLIPS = 1_000_000  # of a recording; a header that is damaged may give any length
_MAX_LISTED = 20  # classes
_CLIP = re.compile(r"(.+)_\d+\.\d{3}-\d+\.\d{3}\.wav")


class Recording(NamedTuple):
    """A recording to be cut."""
    path: Path
    annotated: Annotated | UserError | OSError
    class_names: dict[str, str]  # label → class folder, of the labels that are classes
    earlier: list[Path]  # clips in Samples/ that are named like those of this recording


# --- all recordings --------------------------------------------------------------------------------------------------

def recordings(files: Iterable[Path], background: bool, samples: Path = SAMPLES) -> list[Recording]:
    """The recordings with their labels; files that are text or tables by their names are left out.

    Raises UserError if no recording is left, or if clips can't be added to Samples/.
    """
    files = list(files)
    found = [path for path in files if may_be_audio(path.name)]
    if not found:
        raise UserError(f"{files[0]}: is not a recording; give the recordings, whose labels are found beside them.")
    folders = LabelFolders(samples)
    earlier = defaultdict(list)
    for clip in _existing_clips(samples):
        earlier[_CLIP.fullmatch(clip.name)[1]].append(clip)
    return [_recording(path, annotated, folders, background, earlier.get(path.stem, []))
            for path, annotated in annotation_files.find(found).items()]


def _recording(path: Path, annotated: Annotated | UserError | OSError, folders: LabelFolders, background: bool,
               earlier: list[Path]) -> Recording:
    class_names = {}
    if isinstance(annotated, Annotated):
        texts = [label.text for label in annotated.labels if label.text and label.start < label.end]
        texts = [text for text in dict.fromkeys(texts)
                 if text not in (*STATUSES, _UNLABELED) or folders.exists(text)]
        try:
            class_names = {text: folders.name(text, annotated.file)
                           for text in [*texts, *[BACKGROUND] * background]}
        except UserError as error:
            annotated = error
    return Recording(path, annotated, class_names, earlier)


def _existing_clips(samples: Path) -> Iterator[Path]:
    with suppress(OSError):
        for folder in visible(samples):
            if folder.is_dir():
                yield from (path for path in visible(folder) if _CLIP.fullmatch(path.name))


# --- one recording ---------------------------------------------------------------------------------------------------

def cut(recording: Recording, collisions: dict[Path, Path], options: argparse.Namespace) -> Done:
    """Write the clips of one recording: all or, on failure, none.

    collisions: recording → an earlier one whose clips have the same names.
    """
    path = recording.path
    if path in collisions:
        raise UserError(f"{path}: its clips would have the same names as those of {collisions[path]}; rename it.")
    header = audio_io.info(path)
    if isinstance(recording.annotated, Exception):
        raise recording.annotated
    labels, others, skipped = _usable(recording, header)
    targets = _planned(path, labels, others, header, options)
    steps = tags.steps_from(tags.SPLIT, path)
    existing, replaced = _check_existing(recording, targets, steps, options.overwrite)
    _write(path, targets, existing, header, tags.text(steps))
    for clip in replaced:
        clip.unlink()
    notes = _notes(labels, targets.values(), options.seconds, header.rate)
    problems = ["there are no labels in it"] * (not recording.annotated.labels)
    problems += [*_describe(skipped), *_renamed(recording), *["the recording is truncated"] * header.cut_short]
    counts = Counter(target.parent.name for target in targets)
    return Done(f"{path}: {_count(len(targets), 'clip')} from {recording.annotated.file.name}"
                + (f" ({_listed(counts)})" if counts else "") + "".join(f"; {each}" for each in notes + problems) + ".",
                len(targets), bool(problems))


def _usable(recording: Recording,
            header: AudioInfo) -> tuple[list[tuple[str, Interval]], list[Interval], dict[str, list[Label]]]:
    """(class and interval of each label that becomes clips, the intervals of the others, problem → those others)."""
    labels, others, skipped = [], [], defaultdict(list)
    for label in recording.annotated.labels:
        if label.text == _UNLABELED and _UNLABELED not in recording.class_names:
            continue
        start, end = round(label.start * header.rate), round(label.end * header.rate)
        is_outside = start >= header.samples or end <= 0
        inside = Interval(max(start, 0), min(end, header.samples))
        problem = _problem(label, recording, start == end, is_outside)
        if problem:
            skipped[problem].append(label)
            others += [inside] * (not is_outside)
        else:
            labels.append((recording.class_names[label.text], inside))
    return labels, others, skipped


def _problem(label: Label, recording: Recording, is_point: bool, is_outside: bool) -> str:
    """The reason why a label becomes no clip, "" if it does; with the word "label"."""
    if is_point:
        return "point label"
    if not label.text:
        return "label without text"
    if label.text not in recording.class_names:
        return f'label "{label.text}"'
    return "label outside the recording" if is_outside else ""


def _planned(path: Path, labels: list[tuple[str, Interval]], others: list[Interval], header: AudioInfo,
             options: argparse.Namespace) -> dict[Path, LabelClip]:
    """File → clip. Raises UserError if there are too many."""
    clip_samples = _clip_samples(options.seconds, header.rate)
    most = sum((end - start) // clip_samples + 1 for _, (start, end) in labels)
    if most + header.samples // clip_samples * options.background > _MAX_CLIPS:
        raise UserError(f"{path}: would become more than {_MAX_CLIPS} clips; give more seconds, or remove it if it is "
                        "damaged.")
    targets = {}
    for clip in label_clips.plan(labels, others, header.samples, clip_samples, options.context, options.background):
        targets.setdefault(_target(path, clip, header), clip)
    return targets


def _clip_samples(seconds: float, rate: int) -> int:
    return max(1, round(seconds * rate))


def _target(path: Path, clip: LabelClip, header: AudioInfo) -> Path:
    """The file of a clip; times have equally many digits, so that they sort."""
    width = len(str(header.samples // header.rate)) + 4
    start, end = (f"{sample / header.rate:0{width}.3f}" for sample in (clip.start, clip.end))
    return SAMPLES / clip.class_name / f"{path.stem}_{start}-{end}.wav"


def _check_existing(recording: Recording, targets: dict[Path, LabelClip], steps: tuple[tags.Step, ...],
                    overwrite: bool) -> tuple[set[Path], list[Path]]:
    """(existing clips that must stay as they are, clips of this recording with other labels, which are replaced).

    Raises UserError for the latter without `overwrite`.
    """
    others = [clip for clip in recording.earlier if clip not in targets and tags.read(clip)[:1] == steps[:1]]
    if others and not overwrite:
        raise UserError(f"{recording.path}: {named(others)} {'were' if len(others) > 1 else 'was'} cut with other "
                        "labels or settings; add --overwrite, which removes such clips.")
    existing = set() if overwrite else {each for each in targets if each.exists() and not is_of_lost_attempt(each)}
    return existing, others


def _write(path: Path, targets: dict[Path, LabelClip], existing: set[Path], header: AudioInfo, comment: str) -> None:
    """Write the clips of a recording; existing: those that are replaced only by the same bytes."""
    files = {clip: target for target, clip in targets.items()}
    for folder in {target.parent for target in targets}:
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as finished:
        for clips in label_clips.passes(list(files)):
            with audio_io.opened(path, clips[0].start, exact=True) as (_, blocks):
                position = clips[0].start
                for clip in clips:
                    for _ in blocks(clip.start - position):
                        pass
                    unfinished = finished.enter_context(replacing(files[clip]))
                    _write_clip(unfinished, blocks, clip, path, header, comment)
                    if files[clip] in existing and not have_same_bytes(unfinished, files[clip]):
                        raise UserError(f"{files[clip]}: already exists; rename {path}, or add --overwrite.")
                    position = clip.end


def _write_clip(file: Path, blocks: Callable[[int], Iterator[np.ndarray]], clip: LabelClip, path: Path,
                header: AudioInfo, comment: str) -> None:
    missing = samples = clip.end - clip.start
    subtype = audio_io.wav_subtype(header.subtype)
    with audio_io.writing(file, header.rate, header.channels, subtype, samples=samples,
                          comment=comment) as write_block:
        for block in blocks(samples):
            write_block(block)
            missing -= block.shape[1]
    if missing:
        raise UserError(f"{path}: ends {(clip.end - missing) / header.rate:.3f} s after its beginning, before its "
                        "header says; convert it to wav.")


# --- sentences -------------------------------------------------------------------------------------------------------

def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _notes(labels: list[tuple[str, Interval]], clips: Iterable[LabelClip], seconds: float, rate: int) -> list[str]:
    """Phrases about clips that are shorter than others, and about labels that overlap."""
    shorter = sum(clip.end - clip.start < _clip_samples(seconds, rate) for clip in clips)
    overlaps = label_clips.overlapping(labels)
    return ([f"{shorter} of them shorter than {seconds:g} s"] * bool(shorter)
            + [f"{_count(overlaps, 'label')} overlap{'s' * (overlaps == 1)} another class"] * bool(overlaps))


def _listed(counts: Counter) -> str:
    """The number of clips of each class: dog 3, rain 8; only the number of classes if there are many."""
    if len(counts) > _MAX_LISTED:
        return f"{len(counts)} classes"
    return ", ".join(f"{name} {counts[name]}" for name in tables.in_natural_order(counts))


def _describe(skipped: dict[str, list[Label]]) -> Iterator[str]:
    """A phrase about each problem, with the lines: 2 point labels skipped (lines 3, 9)."""
    for problem, labels in skipped.items():
        lines = named(label.line for label in labels)
        several = len(labels) > 1
        yield (f"{len(labels)} {problem.replace('label', 'labels', 1) if several else problem} skipped "
               f"(line{'s' * several} {lines})")


def _renamed(recording: Recording) -> Iterator[str]:
    """A phrase about each label that is not the name of its class folder."""
    for label, name in recording.class_names.items():
        if name != label:
            yield f'the class of label "{label}" is {name}'
