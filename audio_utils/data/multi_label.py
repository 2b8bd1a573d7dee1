"""MULTI_LABEL: a sound has any number of labels, from Samples/labels.csv or from the name of its folder.

Samples/labels.csv has the columns `file` and `labels`, and commas or semicolons between labels. A file is named as
"folder/file.wav", or as "file.wav" if only one sound has this name; if it has several rows, it has the labels of all.
Without a label, it is a negative example of every class. A sound without a row has the labels in the name of its
folder: "dog,rain" are two. It is left out if other sounds of its folder have rows, and one of its labels is in no row.
An augmented copy without a row has the labels of its recording.
Preproc/labels.csv has a row for each clip, "Train/folder/file.wav", with the labels that training and evaluation use.
"""

import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import numpy as np

from audio_utils.data import annotations
from audio_utils.data.checks import NO_LABEL, named
from audio_utils.data.index import Entry
from audio_utils.data.matching import path_of, prefix_of
from audio_utils.data.sound import Skipped, Sound
from audio_utils.data.sounds import class_of
from audio_utils.runtime import safe_files
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError

LABELS = "labels.csv"
_MAX_BYTES = 1 << 30  # a table of a million sounds takes some 50 MB
Labels = tuple[str, ...]  # of a sound, without duplicates
_PREPROCESS = "run preprocess_data.py again"
_UNLISTED = (f"has no row in {LABELS}, which has rows for other sounds of its folder, and no row has the folder's name "
             "as a label; add a row")


class Row(NamedTuple):
    """A row of labels.csv."""
    line: int
    file: str
    labels: Labels


@lru_cache(1 << 16)
def split_labels(text: str) -> Labels:
    """The labels in a text, between commas or semicolons: without spaces around them, in Unicode form NFC."""
    parts = (" ".join(normalize("NFC", part).split()) for part in re.split("[,;]", text))
    return tuple(dict.fromkeys(filter(None, parts)))


def refuse(multi_label: bool, options: Mapping[str, object]) -> None:
    """Raise UserError if a constant is set that can't be combined with MULTI_LABEL; options: name → value."""
    for name, value in options.items() if multi_label else ():
        if value:
            raise UserError(f"{name} can't be combined with MULTI_LABEL (preprocess_data.py); leave it out.")


# --- labels.csv -----------------------------------------------------------------------------------------------------

def read_rows(path: Path) -> list[Row]:
    """The rows of labels.csv. Raises UserError if the file can't be read or has other columns."""
    try:
        text = annotations.decoded(path, _MAX_BYTES)
        delimiter = max(",;\t", key=next(iter(text.splitlines()), "").count)
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = [name.strip().lower() for name in next(lines, [])]
        columns = [header.index("file"), header.index("labels")]
        return list(_rows(path, lines, columns, len(header)))
    except csv.Error as error:
        raise UserError(f"{path}: is not a CSV file ({error}); correct line {lines.line_num}.") from None
    except ValueError:
        raise UserError(f'{path}: its first line does not name the columns; write "file,labels" there.') from None
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); check the file.") from None


def _rows(path: Path, lines: Iterator[list[str]], columns: list[int], width: int) -> Iterator[Row]:
    """The rows that are not empty; cells after the last column are labels too, as labels may have commas."""
    file, labels = columns
    for cells in lines:
        further = [cell for cell in cells[width:] if cell.strip()]
        if further and labels != width - 1:
            raise UserError(f"{path}: line {lines.line_num} has more cells than the first line; put labels with commas "
                            "in quotes, or separate them by semicolons.")
        if any(cell.strip() for cell in cells):
            yield Row(lines.line_num, cells[file].strip() if file < len(cells) else "",
                      split_labels(",".join([*cells[labels:labels + 1], *further])))


def of_sounds(sounds: list[Sound], samples: Path,
              report: Callable[[str], None] = warn) -> tuple[dict[Sound, Labels], list[Skipped]]:
    """The labels of sounds, and the sounds that are left out; reports these, and rows of labels.csv without a sound.

    An augmented copy has the labels of its recording, unless it has a row; the recording may be gone.
    """
    path = samples / LABELS
    rows = read_rows(path) if path.exists() or path.is_symlink() else []
    listed, gone = _listed(rows, sounds, samples, path, report)
    by_name = {sound.name: labels for sound, labels in reversed(listed.items())}
    used = {label for labels in listed.values() for label in labels}
    folders = {os.path.dirname(sound.file) for sound in listed}
    found, skipped = {}, []
    for sound in sounds:
        labels = listed.get(sound, by_name.get(sound.copy_of))
        if labels is None and sound.copy_of:
            labels = next((gone[key] for key in _keys_of_recording(sound, samples.name) if key in gone), None)
        if labels is None:
            labels = split_labels(sound.class_name)
            if os.path.dirname(sound.file) in folders and not used.issuperset(labels):
                skipped.append(Skipped(sound.path, _UNLISTED))
                continue
        found[sound] = labels
    if skipped:
        report(f"{named(each.path for each in skipped)}: {'each ' if len(skipped) > 1 else ''}{_UNLISTED}.")
    return found, skipped


def _listed(rows: list[Row], sounds: list[Sound], samples: Path, path: Path,
            report: Callable[[str], None]) -> tuple[dict[Sound, Labels], dict[str, Labels]]:
    """(the labels of the sounds that have rows, key → the labels in rows without a sound, which are reported)."""
    by_key, found, missing, gone, prefix = {_key(row.file): [] for row in rows}, {}, {}, {}, prefix_of(samples)
    for sound in sounds if rows else ():
        for key in {_key(each) for each in _names_of(sound, samples.name, prefix)} & by_key.keys():
            by_key[key].append(sound)
    for row in rows:
        matching = by_key[_key(row.file)]
        if len(matching) > 1:
            names = named(sorted(path_of(sound.file, prefix) for sound in matching))
            raise UserError(f"{path}: line {row.line} names {row.file}, which may be {names}; write the folder too.")
        for sound in matching:
            found[sound] = _union(found.get(sound, ()), row.labels)
        if not matching:
            missing.setdefault(row.file or "(no file)", row.line)
            gone[_key(row.file)] = _union(gone.get(_key(row.file), ()), row.labels)
    if missing:
        lines = f"line {next(iter(missing.values()))}" + f" and {len(missing) - 1} more" * (len(missing) > 1)
        report(f"{path}: {lines}: no such sound in {samples}/: {named(missing)}.")
    return found, gone


def _union(one: Labels, other: Labels) -> Labels:
    return tuple(dict.fromkeys(one + other))


def _names_of(sound: Sound, folder: str, prefix: int) -> tuple[str, ...]:
    """The names by which a row may refer to a sound; folder: the name of Samples/. prefix: from matching.prefix_of."""
    inside = path_of(sound.file, prefix)
    return inside.rpartition("/")[2], sound.name, inside, f"{folder}/{inside}"


def _keys_of_recording(copy: Sound, folder: str) -> list[str]:
    """The keys of rows that may refer to the recording of an augmented copy, if it is gone; folder: of Samples/."""
    inside = f"{copy.split}/{copy.copy_of}" if copy.split else copy.copy_of
    return list(map(_key, (copy.copy_of, inside, f"{folder}/{inside}", copy.copy_of.rpartition("/")[2])))


def _key(file: str) -> str:
    return normalize("NFC", file.removeprefix("./"))


# --- checks and tables ----------------------------------------------------------------------------------------------

def require_labels(labels: Iterable[Labels], samples: Path) -> None:
    """Reject fewer than two different labels; reports those that differ only in case."""
    found = {label for each in labels for label in each}
    count = len(found)
    if count < 2:
        raise UserError(f"{samples}/: its sounds have {count or 'no'} label{'s' * (count != 1)}; MULTI_LABEL needs at "
                        f"least two, in {LABELS} or in the names of the folders.")
    by_case = defaultdict(list)
    for label in sorted(found):
        by_case[label.casefold()].append(label)
    if alike := [" = ".join(each) for each in by_case.values() if len(each) > 1]:
        warn(f"{named(alike)}: differ only in upper and lower case, and are different classes; if this is a mistake, "
             f"correct {samples / LABELS} or the names of the folders.")


def hint(samples: Path) -> str:
    """A sentence about a labels.csv that is not used, as MULTI_LABEL is off; "" if there is none."""
    return f"{samples / LABELS}: is not used without MULTI_LABEL (--multi-label)." \
        if (samples / LABELS).is_file() else ""


def count(labels: Mapping[str, Labels], names: Iterable[str]) -> Counter:
    """(label, split) → number of clips; labels: from `read`. names: of the clips, as its keys."""
    return Counter((label, name.partition("/")[0]) for name in names for label in labels[name] or (NO_LABEL,))


# --- Preproc/labels.csv ---------------------------------------------------------------------------------------------

def write(preproc: Path, entries: Iterable[Entry], gone: Iterable[Entry], labels: Mapping[str, Labels]) -> None:
    """Write the labels of all clips, unless the file has them already; says which clips have other labels now.

    entries: of the index. gone: those without a sound, whose labels do not change. labels: path of an entry →
    its labels.
    """
    path, before = preproc / LABELS, {}
    with suppress(UserError):  # the file is missing or damaged
        before = read(preproc)
    rows = {f"{entry.split}/{name}": labels[entry.path] for entry in entries for name in entry.clip_names}
    for entry in gone:
        for name in entry.clip_names:
            key = f"{entry.split}/{name}"
            rows.setdefault(key, before.get(key, split_labels(class_of(name))))
    if changed := [name for name in sorted(rows) if set(rows[name]) != set(before.get(name, rows[name]))]:
        say(f"{named(changed)}: {'each ' if len(changed) > 1 else ''}has other labels than in the last run.")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "labels"])
    table.writerows((name, ",".join(rows[name])) for name in sorted(rows))
    content = text.getvalue().encode(errors="surrogateescape")
    if not path.exists() or path.read_bytes() != content:
        safe_files.write_bytes(path, content)


def read(preproc: str | Path) -> dict[str, Labels]:
    """The labels of all clips, keyed "split/folder/file.wav". Raises UserError if the file is missing or damaged."""
    path = Path(preproc) / LABELS
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            header, *rows = csv.reader(file)
            if header != ["file", "labels"]:
                raise ValueError(header)
            return {name: tuple(filter(None, labels.split(","))) for name, labels in rows}
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist; {_PREPROCESS}.") from None
    except (ValueError, csv.Error):
        raise UserError(f"{path}: is damaged; {_PREPROCESS}.") from None


def by_name(labels: Mapping[str, Labels]) -> dict[str, Labels]:
    """The labels of clips, keyed "folder/file.wav"; those of Train have priority. labels: from `read`."""
    return {name.partition("/")[2]: each for name, each in
            sorted(labels.items(), key=lambda item: item[0].startswith("Train/"))}


def of_clips(preproc: str | Path, split: str, names: list[str]) -> list[Labels]:
    """The labels of clips of a split. Raises UserError if one is missing."""
    found = read(preproc)
    missing = [name for name in names if f"{split}/{name}" not in found]
    if missing:
        raise UserError(f"{Path(preproc) / LABELS}: contains no row for {named(missing)}; {_PREPROCESS}.")
    return [found[f"{split}/{name}"] for name in names]


def targets(labels: list[Labels], class_names: list[str]) -> np.ndarray:
    """float32 (clips, classes): 1 for each label of a clip; labels that are not classes are left out."""
    index_of = {name: i for i, name in enumerate(class_names)}
    found = np.zeros((len(labels), len(class_names)), np.float32)
    for row, each in zip(found, labels, strict=True):
        row[[index_of[label] for label in each if label in index_of]] = 1
    return found
