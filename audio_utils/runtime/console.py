"""Messages on the terminal."""

import sys
import textwrap
from typing import TextIO

from audio_utils.runtime import tables


def say(text: str = "") -> None:
    """Print lines immediately, even into a pipe."""
    print(wrapped(text) if is_terminal(sys.stdout) else text, flush=True)


def warn(text: str) -> None:
    """Print lines to stderr."""
    if sys.stdout is not None:
        sys.stdout.flush()
    print(wrapped(text) if is_terminal(sys.stderr) else text, file=sys.stderr, flush=True)


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal; a notebook may replace it by an object that can't tell."""
    return getattr(stream, "isatty", bool)()


def wrapped(text: str) -> str:
    """The text for a terminal: lines that are too long are broken between words, except indented ones (commands)."""
    width = tables.columns()
    return "\n".join(textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
                     if tables.display_width(line) > width and not line.startswith("    ") else line
                     for line in text.split("\n"))
