"""The output of predict_class.py: text, JSON and CSV, label tracks for Audacity and selection tables for Raven."""

import csv
import functools
import itertools
import json
import sys
from argparse import Namespace
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from audio_utils.audio import audio_io
from audio_utils.data import annotations
from audio_utils.data.annotations import Label
from audio_utils.inference import windows
from audio_utils.inference.classifier import NONE_OF_THESE
from audio_utils.inference.windows import Segment
from audio_utils.runtime import safe_files, tables
from audio_utils.runtime.console import is_terminal, say, warn
from audio_utils.runtime.errors import UserError

TRACK, SELECTIONS = ".labels.txt", ".selections.txt"  # after the name of a sound
_ARRAYS = ".npz"  # the end of the name of a file of embeddings
_MIN_CLASSES_WIDTH = 52  # columns of a terminal; with fewer after a file's name, its classes are in the next line


def writer(options: Namespace, class_names: list[str]) -> Callable[..., None]:
    """The function (file, segments, live=False) that prints in the chosen format."""
    if options.json:
        return functools.partial(print_json, class_names)
    if options.csv:
        with suppress(AttributeError):  # a notebook's stream accepts any text
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # file names may be invalid UTF-8
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(["file", "start", "end", "class", "probability", *("p_" + name for name in class_names),
                        "status"])
        return functools.partial(print_csv, table)
    return functools.partial(print_text, class_names, options.top_k)


def after_note(note: str, write: Callable[..., None]) -> Callable[..., None]:
    """The same function, except that the note is printed to stderr before the first result."""
    notes = [note]

    def write_after_note(*arguments: Any, **keywords: Any) -> None:
        while notes:
            warn(notes.pop())
        write(*arguments, **keywords)

    return write_after_note


def print_json(class_names: list[str], file: str, segments: list[Segment], live: bool = False) -> None:
    for segment in segments:
        probabilities = [round(float(value), 6) for value in segment.probabilities]
        values = {"file": file, "start": round(segment.start, 3), "end": round(segment.end, 3), "class": segment.name,
                  "probability": highest(segment, probabilities),
                  "probabilities": dict(zip(class_names, probabilities, strict=True))}
        if segment.classes is not None:
            values["classes"] = [class_names[i] for i in segment.classes]
        values["status"] = segment.status
        print(json.dumps(values), flush=True)  # `say` would break the line on a terminal


def print_csv(table: Any, file: str, segments: list[Segment], live: bool = False) -> None:
    for segment in segments:
        probabilities = [f"{value:.6f}" for value in segment.probabilities]
        table.writerow([file, f"{segment.start:.3f}", f"{segment.end:.3f}", segment.name,
                        highest(segment, probabilities), *probabilities, segment.status])
    sys.stdout.flush()


def highest(segment: Segment, probabilities: list[Any]) -> Any:
    """The largest of the probabilities; with MULTI_LABEL, of those of the predicted classes, if there are any."""
    return max(probabilities[i] for i in segment.classes) if segment.classes else max(probabilities)


def print_text(class_names: list[str], top_k: int, file: str, segments: list[Segment], live: bool = False) -> None:
    """Print one line for a file with one segment; otherwise, and for live input, one line for each segment."""
    if len(segments) == 1 and not live:
        say(fitted(f"{file}: ", segments[0], class_names, shown(segments[0], top_k)))
        return
    if not live:
        say(f"{file}:")
    for segment in segments:
        times = f"{clock(segment.start):>11} {clock(segment.end):>11}  "
        say(fitted(times, segment, class_names, shown(segment, top_k)))


def shown(segment: Segment, top_k: int) -> int:
    """The number of classes to print: TOP_K, or all that are predicted."""
    return max(top_k, len(segment.classes or ()))


def fitted(start: str, segment: Segment, class_names: list[str], top_k: int) -> str:
    """The most probable classes after the start of a line; on a terminal, it fits: names are shortened, then left out.

    Files and pipes get all names in full.
    """
    text = most_probable(segment, class_names, top_k)
    room = tables.columns() - tables.display_width(start)
    if not is_terminal(sys.stdout) or tables.display_width(text) <= room:
        return start + text
    if room < _MIN_CLASSES_WIDTH and start.endswith(": "):
        start, room = f"{start.rstrip()}\n    ", tables.columns() - 4
    for count in range(min(top_k, len(class_names)), 0, -1):
        order = by_probability(segment)[:count]
        width = tables.display_width(most_probable(segment, [""] * len(class_names), count))
        names = tables.shorten_all([class_names[i] for i in order], room - width)
        text = most_probable(segment, dict(zip(order, names, strict=True)), count)
        if tables.display_width(text) <= room:
            break
    return start + text


def by_probability(segment: Segment) -> np.ndarray:
    """The indices of the classes, the most probable first; with MULTI_LABEL, the predicted ones before the others."""
    order = np.argsort(-segment.probabilities, kind="stable")
    return np.array(sorted(order, key=lambda i: i not in segment.classes)) if segment.classes else order


def most_probable(segment: Segment, class_names: list[str] | dict[int, str], top_k: int) -> str:
    """The status, if any, and the most probable classes with their probabilities."""
    texts = [f"{class_names[i]} {segment.probabilities[i]:.1%}" for i in by_probability(segment)[:top_k]]
    predicted = len(segment.classes or texts)
    text = "  ".join(texts[:predicted] + [f"({each})" for each in texts[predicted:]])
    label = segment.status or (NONE_OF_THESE if segment.name == NONE_OF_THESE else "")
    return f"{label} ({text})" if label else text


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 0:01:02.50."""
    minutes, seconds = divmod(round(seconds, 2), 60)
    return f"{int(minutes // 60)}:{int(minutes % 60):02}:{seconds:05.2f}"


def write_labels(path: str, segments: list[Segment], hidden: Collection[str] = ()) -> None:
    """Write a label track.

    The label is the status, if any, or the class; adjacent segments with the same label become one. hidden: labels that
    are left out. With MULTI_LABEL, each class has its own labels, which may overlap those of others.
    """
    if segments[0].classes is not None:
        labels = (Label(segment.start, segment.end, label_of(segment)) for segment in windows.by_class(segments))
        annotations.write_track(path, (label for label in labels if label.text not in hidden))
        return
    groups = itertools.groupby(segments, key=label_of)
    annotations.write_track(path, (Label(first.start, last.end, label) for label, group in groups
                                   if label not in hidden for first, *_, last in [[*group] * 2]))


def write_selections(file: str, segments: list[Segment], hidden: Collection[str] = ()) -> None:
    """Write the selection table of a file, with a row for each segment and class, except for hidden labels."""
    if segments[0].classes is not None:
        segments = windows.by_class(segments)
    labels = [(Label(segment.start, segment.end, label_of(segment)), float(max(segment.probabilities)))
              for segment in segments if label_of(segment) not in hidden]
    annotations.write_selections(file + SELECTIONS, labels, audio_io.info(file).rate)


def label_of(segment: Segment) -> str:
    return segment.status or segment.name


# --- embeddings -----------------------------------------------------------------------------------------------------

def check_embeddings(path: str, overwrite: bool) -> None:
    """Reject a file that `write_embeddings` can't or must not write."""
    if Path(path).suffix != _ARRAYS:
        raise UserError(f"{path}: does not end in {_ARRAYS}; EMBEDDINGS is the name of a new file that does.")
    if not Path(path).parent.is_dir():
        raise UserError(f"{Path(path).parent}/: does not exist; create this folder for {Path(path).name}.")
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder; choose another name.")
    if not overwrite and (Path(path).exists() or Path(path).is_symlink()):
        raise UserError(f"{path}: already exists; rename it or add --overwrite.")


def write_embeddings(path: str, found: dict[str, list[Segment]], class_names: list[str]) -> None:
    """Write the windows of each file, with their embeddings, as arrays that `np.load` reads without pickle.

    embeddings (windows, features), probabilities (windows, classes), start and end (windows,), in seconds,
    file_index (windows,), into files; files and class_names.
    """
    every = [window for each in found.values() for window in each]
    with safe_files.replacing(path, durable=True) as unfinished, open(unfinished, "wb") as file:
        np.savez(file, embeddings=np.array([window.embedding for window in every], np.float32),
                 probabilities=np.array([window.probabilities for window in every], np.float32),
                 start=np.array([window.start for window in every], np.float64),
                 end=np.array([window.end for window in every], np.float64),
                 file_index=np.repeat(np.arange(len(found)), [len(each) for each in found.values()]),
                 files=np.array(list(found)), class_names=np.array(class_names))
