"""The text of --help: a script's docstring that fits the terminal, and the kind of value that a flag takes."""

import argparse
import itertools
import re
import textwrap
from typing import Any

_UNITS = {"DEG": "DEGREES"} | {unit: unit for unit in ("SECONDS", "MS", "DB", "SEMITONES", "GB")}
_WORDS = {"WEIGHTS": "FILE", "HRTF": "FILE", "SAMPLES": "FOLDER", "NOISE_FOLDER": "FOLDER",
          "IMPULSE_RESPONSES": "FOLDER", "FOLDS": "N|REGEX", "GROUP_BY": "REGEX",
          "NETWORK": "NAME", "BACKGROUND_CLASSES": "NAMES", "RATE": "HZ", "SAMPLE_RATE": "HZ"}
_MIN_COLUMN = 25  # columns for a description beside a file or a command


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps the prose of a docstring, and keeps its tables and commands."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        groups = itertools.groupby(text.splitlines(), key=_is_prose)
        return "\n".join(part for is_prose, lines in groups for part in (
            [textwrap.fill(" ".join(lines), width)] if is_prose else [_wrap_columns(line, width) for line in lines]))


def _is_prose(line: str) -> bool:
    return bool(line.strip()) and not re.search(r"^\s|\s{2}", line)


def _wrap_columns(line: str, width: int) -> str:
    """A line of a table or a command; its last column is continued below itself. A command is never broken."""
    if len(line) <= width:
        return line
    *_, gap = re.finditer(r"(^|\s{2,})(?=\S)", line)
    start, end, column = line[:gap.end()], line[gap.end():], gap.end()
    comment = "# " * end.startswith("# ")
    if start.strip().startswith("python ") and comment and column > width - _MIN_COLUMN:
        return f"{_indent(line)}{end}\n{start.rstrip()}"
    if line.strip().startswith("python ") and not comment:
        return line
    if column > width - _MIN_COLUMN:
        return textwrap.fill(line, width, subsequent_indent=_indent(line) + "    ", break_on_hyphens=False)
    return textwrap.fill(end, width, initial_indent=start, subsequent_indent=" " * column + comment,
                         break_long_words=False, break_on_hyphens=False)


def _indent(line: str) -> str:
    return line[:len(line) - len(line.lstrip())]


def metavar(name: str, value: Any, kind: type | None) -> str:
    """A word for the value of a constant; kind: int or float if it has limits."""
    unit = name.rpartition("_")[2]
    word = _WORDS.get(name) or _UNITS.get(unit) or {int: "N", float: "NUMBER"}.get(
        kind or type(value[0] if isinstance(value, tuple) else value), "TEXT")
    return ",".join([word] * len(value)) if isinstance(value, tuple) else word
