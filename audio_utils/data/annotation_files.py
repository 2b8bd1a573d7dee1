"""Find the file of labels that belongs to a recording, by its name or, in a table, by the column of recordings."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from audio_utils.data import annotations
from audio_utils.data.annotations import Label
from audio_utils.data.checks import named
from audio_utils.data.sounds import visible
from audio_utils.runtime.errors import UserError

_EXTENSIONS = (".txt", ".csv", ".tsv")
_KIND = re.compile(r"\.(labels?|(table\.\d+\.)?selections?|birdnet\.(selection\.table|results))$", re.IGNORECASE)
_OF_SEVERAL = re.compile(r"selection|label|annotation", re.IGNORECASE)  # in the name of a table of several recordings


class Annotated(NamedTuple):
    """The labels of one recording."""
    file: Path  # that contains them
    labels: list[Label]


def find(recordings: Iterable[Path]) -> dict[Path, Annotated | UserError | OSError]:
    """Recording → its labels, or the error to report.

    The labels of night.wav are beside it: night.txt, night.labels.txt, night.Table.1.selections.txt, or one of these
    with night.wav instead of night, or the extension csv or tsv; or in a table of several recordings.
    """
    folders = defaultdict(list)
    for recording in recordings:
        folders[recording.parent].append(recording)
    return {recording: result for folder, inside in folders.items()
            for recording, result in _find_in(folder, inside).items()}


def _find_in(folder: Path, recordings: list[Path]) -> dict[Path, Annotated | UserError | OSError]:
    try:
        files = [path for path in visible(folder) if path.suffix.lower() in _EXTENSIONS
                 and (path.is_file() or not path.exists())]  # a link to nothing is reported
    except OSError as error:
        return dict.fromkeys(recordings, error)
    by_name = _grouped((key, file) for file in files for key in _keys(file))
    own = {recording: _of(recording, by_name) for recording in recordings}
    beside = {file for each in own.values() for file in each}
    shared = [file for file in files if file not in beside and _OF_SEVERAL.search(file.name)]
    contents = {file: _read(file) for file in (*beside, *shared)}
    by_column = _grouped((key, file) for file, labels in contents.items() if isinstance(labels, list)
                         for name in dict.fromkeys(label.file for label in labels) for key in _names(name))
    error = next((contents[file] for file in shared if isinstance(contents[file], Exception)), None)
    return {recording: _result(recording, list(dict.fromkeys(own[recording] + _of(recording, by_column))), contents,
                               error) for recording in recordings}


def _grouped(pairs: Iterable[tuple[str, Path]]) -> dict[str, list[Path]]:
    groups = defaultdict(list)
    for key, file in pairs:
        groups[key].append(file)
    return groups


def _keys(file: Path) -> set[str]:
    """The plain names of the recordings to which a file of labels may belong."""
    stem = _plain(file.stem)
    return {stem, _KIND.sub("", stem)}


def _names(name: str) -> set[str]:
    """The plain name of a recording, with and without extension: it may have been converted since."""
    return {_plain(name), _plain(os.path.splitext(name)[0])} - {""}


def _plain(name: str) -> str:
    """The name in lower case, in the Unicode normalization form NFC (macOS has its own)."""
    return normalize("NFC", name).lower()


def _of(recording: Path, groups: dict[str, list[Path]]) -> list[Path]:
    return [file for name in sorted(_names(recording.name)) for file in groups.get(name, [])]


def _read(file: Path) -> list[Label] | UserError | OSError:
    try:
        return annotations.read(file)
    except (UserError, OSError) as error:
        return error


def _result(recording: Path, files: list[Path], contents: dict[Path, list[Label] | UserError | OSError],
            error: Exception | None) -> Annotated | UserError | OSError:
    """files: of this recording. error: of a table that may cover it."""
    if not files:
        return error or UserError(f"{recording}: has no labels; save them beside it as {recording.stem}.txt.")
    if len(files) > 1:
        return UserError(f"{recording}: has several files of labels ({named(path.name for path in files)}); keep one "
                         "of them.")
    labels = contents[files[0]]
    if isinstance(labels, Exception):
        return labels
    inside = [label for label in labels if not label.file or _names(label.file) & _names(recording.name)]
    if labels and not inside:
        others = named(sorted({label.file for label in labels}))
        return UserError(f"{recording}: {files[0].name} has only labels of {others}; rename the recording, or correct "
                         "the table.")
    return Annotated(files[0], inside)
