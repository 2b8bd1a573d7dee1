"""Messages on the terminal."""

import sys
import textwrap
from typing import TextIO

from audio_utils.runtime import tables


def say(text: str = "") -> None:
    """Print lines immediately, even into a pipe."""
    print(_wrapped(text, sys.stdout), flush=True)


def warn(text: str) -> None:
    """Print lines to stderr."""
    sys.stdout.flush()
    print(_wrapped(text, sys.stderr), file=sys.stderr, flush=True)


def is_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal; a notebook may replace it by an object that can't tell."""
    return getattr(stream, "isatty", bool)()


def _wrapped(text: str, stream: TextIO) -> str:
    """The text; on a terminal, lines that are too long are broken between words."""
    if not is_terminal(stream):
        return text
    width = tables.columns()
    return "\n".join(textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
                     if tables.display_width(line) > width else line for line in text.split("\n"))
