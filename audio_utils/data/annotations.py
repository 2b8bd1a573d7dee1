"""Files of labels: Audacity's label tracks, Raven's selection tables, and csv files with start, end and label.

A label track has a line for each label: start and end in seconds and the text, separated by tabs. A line that begins
with a backslash has the frequencies of the label above it
(manual.audacityteam.org/man/importing_and_exporting_labels.html). The other files are tables, with a header.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from audio_utils.runtime.errors import UserError
from audio_utils.runtime.safe_files import replacing

_MAX_BYTES = 1 << 26  # a larger file is not one of labels
_MAX_SECONDS = 1e9  # no recording is longer
_COLUMNS = {  # names in lower case, without the unit; the first one that a table has is used
    "start": ("begin time", "start time", "start", "begin", "onset"),
    "end": ("end time", "end", "stop time", "stop", "offset"),
    "text": ("annotation", "annotations", "label", "labels", "class", "species", "common name", "scientific name",
             "call type", "sound type", "type", "event", "tag", "tags", "species code"),
    "file": ("begin file", "begin path", "file", "filename", "file name", "filepath", "file path", "path"),
    "file offset": ("file offset",), "status": ("status",)}
STATUSES = ("silence", "very quiet")  # of predict_class.py, instead of a class that is not reliable
_UNIT = re.compile(r"\s*[(\[]\s*(s|sec|seconds)\s*[)\]]$|[\s_]+(s|sec|seconds)$")
_RAVEN_HEADER = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
                 "Annotation", "Probability")


class Label(NamedTuple):
    """A labeled time interval of a recording."""
    start: float  # seconds
    end: float  # seconds; equal to start: a point label
    text: str  # "" if it has none
    line: int = 0  # of the file, from 1
    file: str = ""  # the name of the recording, in a table that may cover several


# --- reading --------------------------------------------------------------------------------------------------------

def read(path: Path) -> list[Label]:
    """The labels of a file, in its order. Raises UserError for a damaged file, OSError if it can't be read."""
    text = decoded(path)
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=separator != "\t",
                        quoting=csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL)
    rows = _rows(path, reader)
    first = next(rows, None)
    if first is None:
        return []
    if _is_number(first[1][0]):
        return list(_of_track(path, separator, first, rows))
    return _of_table(path, first[1], rows)


def decoded(path: Path, max_bytes: int = _MAX_BYTES) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, UTF-16 with one, or Windows-1252 (Latin-1).

    Raises UserError if it is larger or no text, OSError if it can't be read.
    """
    if path.stat().st_size > max_bytes:
        raise UserError(f"{path}: is too large for a file of labels; rename or remove it.")
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = content.decode("utf-16", errors="replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("cp1252", errors="replace")
    if "\0" in text:
        raise UserError(f"{path}: is not a text file; export the labels again.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _separator(text: str) -> str:
    """The separator of the first line that is not blank."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    return next((separator for separator in "\t;" if separator in first), ",")


def _rows(path: Path, reader: Iterable[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """(number of the line, cells) of the rows that are not blank."""
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: can't be read as csv ({error}); correct it.") from None


def _of_track(path: Path, separator: str, first: tuple[int, list[str]],
              rows: Iterator[tuple[int, list[str]]]) -> Iterator[Label]:
    """The labels of rows without a header: start, end, text."""
    for line, cells in (first, *rows):
        if separator == "\t" and cells[0] == "\\":
            continue  # frequencies
        if separator == "\t" and len(cells) > 1 and not _is_number(cells[1]):
            cells = [cells[0], *cells]  # a point label of the first versions of Audacity
        if len(cells) < 2 or (separator != "\t" and len(cells) != 3):
            raise UserError(f"{path}: line {line} is not a start, an end and a label; correct it (a label or a number "
                            "that contains the separator needs quotation marks).")
        yield _label(path, line, *cells[:2], " ".join(cells[2:]))


def _of_table(path: Path, header: list[str], rows: Iterator[tuple[int, list[str]]]) -> list[Label]:
    """The labels of a table with a header."""
    header = list(map(_unquoted, header))
    columns = _columns(path, header)
    labels = []
    for line, row in rows:
        cells = list(map(_unquoted, row))
        if any(cells[len(header):]):
            raise UserError(f"{path}: line {line} has more cells than the header; correct it (a label or a number that "
                            "contains the separator needs quotation marks).")
        cell = {name: cells[i] if i < len(cells) else "" for name, i in columns.items()}
        text = cell["status"] if cell.get("status") in STATUSES else cell["text"]
        label = _label(path, line, cell["start"], cell["end"], text)
        if cell.get("file offset"):  # the times are those of a sequence of files
            start = _seconds(path, line, cell["file offset"])
            label = label._replace(start=start, end=start + label.end - label.start)
        labels.append(label._replace(file=re.split(r"[/\\]", cell.get("file", ""))[-1]))
    in_sequence = _plain(header[columns["start"]]) == "begin time" and "file offset" not in columns
    if in_sequence and len({label.file for label in labels}) > 1:
        raise UserError(f"{path}: covers several recordings, but has no column File Offset (s); add it in Raven.")
    return labels


def _unquoted(cell: str) -> str:
    """A cell between tabs without quotation marks, which R and spreadsheets add."""
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    """Name in _COLUMNS → index of the column in a table. Raises UserError if one that is needed is missing."""
    plain = [_plain(name) for name in header]
    found = {}
    for column, names in _COLUMNS.items():
        match = next((name for name in names if name in plain), None)
        if match:
            found[column] = plain.index(match)
    for column, wanted in (("start", "Begin Time (s) or start"), ("end", "End Time (s) or end"),
                           ("text", "Annotation or label")):
        if column not in found:
            raise UserError(f"{path}: its first line is neither a label nor a header with a column named {wanted}; "
                            "correct it.")
    return found


def _plain(name: str) -> str:
    """The name of a column in lower case, with spaces instead of underscores, without the unit."""
    return re.sub(r"[\s_]+", " ", _UNIT.sub("", name.lower())).strip()


def _label(path: Path, line: int, start: str, end: str, text: str) -> Label:
    begin, stop = _seconds(path, line, start), _seconds(path, line, end)
    if begin > stop:
        raise UserError(f"{path}: line {line}: the start {start} is after the end {end}; correct it.")
    return Label(begin, stop, " ".join(text.split()), line)


def _seconds(path: Path, line: int, cell: str) -> float:
    """A number; the decimal separator may be a comma."""
    if not _is_number(cell) or not abs(value := float(cell.replace(",", "."))) <= _MAX_SECONDS:  # also NaN
        raise UserError(f"{path}: line {line}: {cell[:50]!r} is not a number of seconds; correct it.")
    return value


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


# --- writing --------------------------------------------------------------------------------------------------------

def write_track(path: str | Path, labels: Iterable[Label]) -> None:
    """Write a label track for Audacity."""
    _write(path, ([f"{label.start:.6f}", f"{label.end:.6f}", _one_line(label.text)] for label in labels))


def write_selections(path: str | Path, labels: Iterable[tuple[Label, float]], rate: int) -> None:
    """Write a selection table for Raven from labels and their probabilities; rate: of the recording, in Hz.

    A selection spans all frequencies.
    """
    rows = ([str(number), "Spectrogram 1", "1", f"{label.start:.6f}", f"{label.end:.6f}", "0", f"{rate / 2:g}",
             _one_line(label.text), f"{probability:.6f}"] for number, (label, probability) in enumerate(labels, 1))
    _write(path, (_RAVEN_HEADER, *rows))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _write(path: str | Path, rows: Iterable[Iterable[str]]) -> None:
    with replacing(path) as unfinished, \
            open(unfinished, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        file.writelines("\t".join(row) + "\n" for row in rows)
