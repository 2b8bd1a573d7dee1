"""The part of `dask_pool` that runs on the workers: checks of the worker, and chunks of items.

Before a worker begins a chunk, it creates the chunk's journal, a file that is never replaced: Dask repeats what a dead
worker held, but a chunk with a journal is not begun again. The journal contains each result, and the name of each file
before it is written, so the items that are done, and the one that was in progress, are known whatever dies.
"""

import functools
import hashlib
import io
import os
import pickle
import platform
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from audio_utils.runtime import safe_files
from audio_utils.runtime.attempts import attempt, keep_memory
from audio_utils.runtime.safe_files import Writer

SUITE = Path(__file__).resolve().parents[2]
PROBE = "probe"  # a file in each of a run's folders
_PACKAGES = ("dask", "distributed", "numpy", "scipy", "soundfile", "soxr", "python-stretch")  # results depend on these
_busy = threading.Lock()


class Run(NamedTuple):
    """One call of `parallel.each`."""
    folder: str  # for the journals
    working_directory: str  # of the script; items may have relative paths
    probed: tuple[str, ...]  # folders with a probe, one in each file system; the first is `folder`
    token: str  # the content of the probes
    suite: str  # the digest of the suite's modules
    packages: tuple[str, ...]  # the versions that results depend on

    def journal(self, number: int) -> Path:
        """The journal of a chunk."""
        return Path(self.folder, str(number))


# --- checks ---------------------------------------------------------------------------------------------------------

@functools.cache
def suite_digest() -> str:
    """The digest of the suite's modules; of a worker as they were when it processed its first chunk."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted((SUITE / "audio_utils").rglob("*.py")):
        digest.update(f"{path.relative_to(SUITE)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def package_versions() -> tuple[str, ...]:
    """Python and the packages that results depend on, as "numpy 2.1.0"; of Python only the minor version."""
    import importlib.metadata
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for name in _PACKAGES:
        found[name] = "missing"
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return tuple(f"{name} {version}" for name, version in found.items())


def difference(run: tuple) -> str:
    """One sentence about a difference between this worker and the client; "" if there is none."""
    return _difference(Run(*run))


@functools.lru_cache(8)
def _difference(run: Run) -> str:
    here = f"Dask worker on {socket.gethostname()}"
    if run.packages != package_versions():
        ours, theirs = next(pair for pair in zip(run.packages, package_versions(), strict=False) if pair[0] != pair[1])
        return f"{here}: has {theirs}, but this process {ours}; install the same versions on all hosts."
    if run.suite != suite_digest():
        return (f"{here}: runs another version of the suite (from {SUITE}); copy the suite of this host there and "
                "restart the worker.")
    for folder in run.probed:
        if not _sees(folder, run.token):
            return (f"{Path(folder).parent}/: {here} does not see the same files there; mount the folder at the same "
                    "path on all hosts, writable, or stop that worker.")
    return ""


def _sees(folder: str, token: str) -> bool:
    """Read the client's probe and write one for it."""
    try:
        found = Path(folder, PROBE).read_text()
        Path(folder, f"{safe_files.tag()}{secrets.token_hex(4)}").write_text(token)
    except OSError:
        return False
    return found == token


# --- chunks ---------------------------------------------------------------------------------------------------------

def run_chunk(run: tuple, number: int, work: bytes, items: bytes, is_repeated: bool) -> tuple:
    """Process the items of a chunk: ("done", seconds, the content of its journal).

    ("begun",) if another worker has begun it, or the run has ended. ("refused", sentence) if this worker can't do it.
    work: pickled (function, shared). is_repeated: another worker has begun these items.
    """
    run = Run(*run)
    if sentence := _difference(run):
        return "refused", sentence
    if not _busy.acquire(blocking=False):
        return "refused", (f"Dask worker on {socket.gethostname()}: has several threads; start the workers with "
                           "--nthreads 1.")
    try:
        function, shared = _loaded(work)
        with open(run.journal(number), "xb", buffering=0) as journal, _working_in(run.working_directory):
            return _process(function, pickle.loads(items), shared, Journal(journal), _since_ns(run, is_repeated))
    except (FileExistsError, FileNotFoundError):
        return ("begun",)
    finally:
        safe_files.write_as(Writer())
        _busy.release()


def _process(function: Callable[..., Any], items: list, shared: tuple, journal: "Journal",
             since_ns: int | None) -> tuple:
    safe_files.write_as(Writer(safe_files.tag(), since_ns, journal.add_file, journal.is_wanted))
    begun = time.monotonic()
    for item in items:
        if not journal.is_wanted():
            return ("begun",)
        journal.add_result(attempt(function, item, shared))
    return "done", time.monotonic() - begun, bytes(journal.content)


@functools.lru_cache(4)
def _loaded(work: bytes) -> tuple[Callable[..., Any], tuple]:
    keep_memory()
    return pickle.loads(work)


def _since_ns(run: Run, is_repeated: bool) -> int | None:
    """When the run began, by the clock of the file system."""
    return Path(run.folder, PROBE).stat().st_mtime_ns if is_repeated else None


@contextmanager
def _working_in(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # it may be gone
            os.chdir(before)


class Journal:
    """The progress of a chunk, as pickled records ("result", value) and ("file", path)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file  # not buffered: what is written remains if the process is killed
        self.content = bytearray()

    def is_wanted(self) -> bool:
        """False after the client removed the journal: the run has ended, or this worker is taken for dead."""
        return os.path.exists(self._file.name)

    def add_result(self, result: Any) -> None:
        """The result of the next item."""
        self._add(("result", result))

    def add_file(self, path: Path) -> None:
        """A file that is going to be written for the next item."""
        self._add(("file", os.path.abspath(path)))

    def _add(self, record: tuple[str, Any]) -> None:
        content = pickle.dumps(record)
        self.content += content
        self._file.write(content)


def read_journal(content: bytes) -> tuple[list, list[str]]:
    """The results of the items that are done, and the unfinished files of the next item."""
    results, files, stream = [], [], io.BytesIO(content)
    with suppress(EOFError, pickle.UnpicklingError):  # at the end; a killed worker's last record may be incomplete
        while True:
            kind, value = pickle.load(stream)
            if kind == "result":
                results.append(value)
                files = []
            else:
                files.append(value)
    return results, files
