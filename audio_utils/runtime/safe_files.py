"""Atomic files and locks: a file is written beside its final path and renamed, so it is never half-written."""

import errno
import fnmatch
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from audio_utils.runtime.console import warn
from audio_utils.runtime.errors import UNFINISHED, UserError, without_prefix

LONGEST_JSON = 1 << 24  # bytes; a larger file is not one of ours
_SHORTEST_MAX_NAME = 143  # bytes, in eCryptfs; most file systems allow 255
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EBADF)
_ABANDONED_SECONDS = 86_400  # since its last change; then the process on another host is taken for dead
_being_written = set()  # files and folders
_said = set()


class Writer(NamedTuple):
    """The role of this process, if several may write the same file, as after a crash."""
    tag: str = ""  # of the host and the process, in the names of unfinished files
    repeated_since_ns: int | None = None  # its items were begun by a process that died; when the run began
    note: Callable[[Path], None] = lambda _: None  # called with the path of each file before it is written
    is_wanted: Callable[[], bool] = lambda: True  # False: the run has ended, so no file may be replaced
    discards: bool = False  # another process writes the same files: this one writes none, and locks nothing


_writer = Writer()


def write_as(writer: Writer) -> None:
    """Set the role of this process."""
    global _writer
    _writer = writer


def writes() -> bool:
    """Whether this process writes files, or another one does so for it."""
    return not _writer.discards


def tag() -> str:
    """The host and the process, for names of files: two processes never write the same unfinished file."""
    return f"@{re.sub(r'[^A-Za-z0-9.-]', '_', socket.gethostname())[:40]}@{os.getpid()}@"


def is_of_lost_attempt(path: Path) -> bool:
    """Whether a file was written in this run by a process that then died, or whose result was lost.

    It is not a file that the user wants to keep: the item is processed again.
    """
    since_ns = _writer.repeated_since_ns
    return since_ns is not None and path.exists() and path.stat().st_mtime_ns >= since_ns


@contextmanager
def replacing(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """Yield a path beside `path` to write to; at the end of the block it replaces `path` in one step.

    If the block fails, the new file is removed and the old one is left unchanged. The unfinished file always has the
    same name, so the next run overwrites what a killed run left; except on Dask workers (`Writer`).
    durable: wait until the bytes and the new name are on the disk, so that a power failure can't leave an empty or an
    older file.
    """
    path = Path(path)
    if not writes():
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder, path.name)
        return
    unfinished = path.with_name(_unfinished_name(_writer.tag + path.name))
    _writer.note(unfinished)
    _being_written.add(unfinished)
    try:
        yield unfinished
        if not _writer.is_wanted():
            raise UserError(f"{path}: is not written, because its run has ended.")
        if durable:
            with open(unfinished, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(unfinished, path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        if error.filename in (None, str(unfinished)):  # a failed write has a reason, but no file name
            error.filename = str(path)
        raise
    except UserError as error:
        raise type(error)(str(error).replace(without_prefix(unfinished.name), path.name)) from None
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
        _being_written.discard(unfinished)


def _unfinished_name(name: str) -> str:
    """The name while a file is being written; hashed where the prefix would make it too long, with its extension."""
    if len(os.fsencode(UNFINISHED + name)) <= _SHORTEST_MAX_NAME:
        return UNFINISHED + name
    extension = os.path.splitext(name)[1]
    return UNFINISHED + hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest() + (
        extension if len(os.fsencode(extension)) < 16 else "")


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # Windows can't open folders, some file systems can't sync them
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(*folders: str | Path) -> Iterator[None]:
    """Lock the folders' common parent for this process; raises UserError if another process holds the lock.

    The lock is on the folder itself: it leaves no file behind, and is released when the process ends, for any reason.
    If such locks are not available (Windows, some network file systems), nothing is locked; the latter is said once.
    """
    if not writes():
        yield
        return
    descriptor = None
    try:
        import fcntl
        folder = os.path.commonpath(map(os.path.abspath, folders))
        descriptor = os.open(folder, os.O_RDONLY)
        _lock(fcntl, descriptor, folder)
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


def _lock(fcntl: ModuleType, descriptor: int, folder: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if "locks" not in _said:
            warn(f"{folder}/: the file system has no locks; do not start two runs here at the same time.")
        _said.add("locks")


def have_same_bytes(*paths: str | Path) -> bool:
    """Whether files have the same content; all of it is read."""
    digests = set()
    for path in paths:
        with open(path, "rb") as file:
            digests.add(hashlib.file_digest(file, "sha256").digest())
    return len(digests) == 1


def sweep(folder: str | Path, pattern: str = "*") -> None:
    """Remove the unfinished files of killed runs from a folder, which must be locked.

    Those with a host and a process in their names stay while the process runs, or may run on another host; only these
    match the pattern "*@*", which needs no lock.
    """
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in list(entries):
            if fnmatch.fnmatchcase(entry.name, UNFINISHED + pattern) and not _may_be_in_use(entry):
                _remove(Path(entry))


def _may_be_in_use(entry: os.DirEntry) -> bool:
    """Whether the host and process in the name of an unfinished file may still write it."""
    owner = re.match(re.escape(UNFINISHED) + "(@[^@]*@)([0-9]+)@", entry.name)
    with suppress(FileNotFoundError):
        if not owner or time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_SECONDS:
            return False
        return os.name != "posix" or not tag().startswith(owner[1]) or _is_running(int(owner[2]))
    return False


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextmanager
def temporary_folder(parent: str | Path, name: str) -> Iterator[Path]:
    """Create a folder that is removed at the end, also by ^C; its name has the host and the process."""
    folder = Path(parent, f"{UNFINISHED}{tag()}{name}")
    _being_written.add(folder)
    try:
        _remove(folder)
        folder.mkdir()
    except OSError as error:
        _being_written.discard(folder)
        error.filename = str(parent)
        raise
    try:
        yield folder
    finally:
        _discard(folder)


def _discard(path: Path) -> None:
    """Remove an unfinished file or folder. A folder is first renamed, so that no worker can add a file to it."""
    renamed = path
    with suppress(OSError):
        if path.is_dir():
            renamed = path.rename(f"{path}-{time.time_ns()}")
    with suppress(OSError):
        _remove(renamed)
    _being_written.discard(path)


def discard_unfinished() -> None:
    """Remove the files that this process is writing; for a process that is about to end."""
    for path in list(_being_written):
        _discard(path)


def make_folder(path: Path) -> None:
    """Create a folder, and those that contain it, unless they exist."""
    if writes():
        path.mkdir(parents=True, exist_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file durably."""
    with replacing(path, durable=True) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file durably."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file durably."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: str | Path, remedy: str) -> dict:
    """The JSON object in a file; remedy: for the user's message about a damaged file."""
    value = None
    if Path(path).stat().st_size <= LONGEST_JSON:
        with suppress(ValueError, RecursionError):
            value = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise UserError(f"{path}: is damaged; {remedy}.")
    return value
