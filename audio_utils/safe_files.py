"""Files that are never half-written: each is written beside its place and renamed into it."""

import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".unfinished-"  # how the name of a file begins that is being written; swept by whoever finds it
_being_written = set()


class UserError(Exception):
    """A mistake the user can mend. Its text is one sentence: the file, what is wrong, what to do."""


@contextmanager
def replacing(path, durable=False):
    """Yield a path beside `path` to write to; at the end of the block it replaces `path` in one step.

    Where the block fails the new file is removed and the old one stays as it was. The name of the
    unfinished file is always the same, so that a killed run's remains are written over by the next.
    durable: wait until the bytes are on the disk, so that a power cut can't leave an empty file.
    """
    path = Path(path)
    unfinished = path.with_name(UNFINISHED + path.name)
    _being_written.add(unfinished)
    try:
        yield unfinished
        if durable:
            with open(unfinished, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
        _being_written.discard(unfinished)


def discard_unfinished():
    """Remove what this process is writing just now; for a process that is about to be ended."""
    for path in list(_being_written):
        with suppress(OSError):
            path.unlink()


def write_text(path, text):
    with replacing(path, durable=True) as unfinished:
        Path(unfinished).write_text(text, encoding="utf-8", newline="")


def write_json(path, value):
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path, what):
    """The JSON object in a file; what: a few words on what makes it, for the user's message."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path}: is damaged; delete it and run {what} again.")
    return value
