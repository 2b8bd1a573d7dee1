"""Messages on the terminal."""

import sys


def say(text: str = "") -> None:
    """Print a line immediately, even into a pipe."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Print a line to stderr."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
