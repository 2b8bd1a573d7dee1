"""Files that are never half-written: each is written beside its place and renamed into it."""

import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".unfinished-"  # how the name of a file begins that is being written; swept by whoever finds it
LONGEST_JSON = 1 << 24  # bytes; more is no file of ours
_being_written = set()


class UserError(Exception):
    """A mistake the user can mend. Its text is one sentence: the file, what is wrong, what to do."""


@contextmanager
def replacing(path, durable=False):
    """Yield a path beside `path` to write to; at the end of the block it replaces `path` in one step.

    Where the block fails the new file is removed and the old one stays as it was. The name of the
    unfinished file is always the same, so that a killed run's remains are written over by the next.
    durable: wait until the bytes and the new name are on the disk, so that a power cut can't leave an empty file, or
    the one before the last.
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
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write knows its reason, but not its file
        raise
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
        _being_written.discard(unfinished)


def _sync_folder(folder):
    with suppress(OSError):  # Windows opens no folders, and some file systems can't sync them
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def claimed(*folders):
    """Keep what the folders have in common for this process alone; refuse to go on where another has it.

    The lock is on the folder itself: no file of it is left over, and it ends with the process, however that ends.
    Where there are no such locks (Windows, some network file systems) nothing is refused.
    """
    descriptor = None
    try:
        import fcntl
        folder = os.path.commonpath(map(os.path.abspath, folders))
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(f"{folder}/: another run is writing here; wait until it ends, or stop it.") from None
    except (ImportError, OSError, ValueError):
        pass
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def sweep(folder):
    """Remove what a killed run left unfinished in a folder; for who has claimed it."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.name.startswith(UNFINISHED):
                os.unlink(entry)


def discard_unfinished():
    """Remove what this process is writing just now; for a process that is about to be ended."""
    for path in list(_being_written):
        with suppress(OSError):
            path.unlink()


def write_bytes(path, content):
    with replacing(path, durable=True) as unfinished:
        unfinished.write_bytes(content)


def write_text(path, text):
    write_bytes(path, text.encode())


def write_json(path, value):
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path, what):
    """The JSON object in a file; what: a few words on what makes it, for the user's message."""
    value = None
    if Path(path).stat().st_size <= LONGEST_JSON:
        with suppress(ValueError, RecursionError):
            value = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise UserError(f"{path}: is damaged; delete it and run {what} again.")
    return value
