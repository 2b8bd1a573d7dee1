"""Lines for the person at the terminal."""

import sys


def say(text: str = "") -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Print a sentence on stderr."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
