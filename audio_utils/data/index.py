"""Preproc/index.csv: the content and the split of each sound, and the settings of its melgram.

The file is replaced atomically at the beginning and at the end of preprocessing; in between, a row is appended for each
completed melgram. A killed run loses nothing: an incomplete last row is ignored, and its melgram is computed again. The
next run replaces the file, even if only that was missing.
"""

import csv
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from audio_utils.audio.long_sounds import MAX_CLIPS
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data.sound import SPLITS, Stat, clip_names, stem_of
from audio_utils.runtime import safe_files

INDEX = "index.csv"
USED, LEFT_OUT, MOVED = "used", "left out", "moved"  # left out: its sound is gone; moved: delete its melgram
_PROBE_BYTES = 1 << 12  # of each of the three parts of a file that its sample consists of
_MAX_DIGEST_BYTES = 1 << 26  # of a longer file, only this many bytes are read, in equal parts spread over it
_PARTS = 64


class Content(bytes):
    """Two hashes of a file: `sample`, of its beginning, middle and end, and `digest`, of all of it, in one string."""
    __slots__ = ()

    def __new__(cls, sample: str, digest: str) -> "Content":
        return super().__new__(cls, f"{sample},{digest}".encode(errors="surrogateescape"))

    def __getnewargs__(self) -> tuple[str, str]:
        return self.sample, self.digest

    @property
    def sample(self) -> str:
        return self.values()[0]

    @property
    def digest(self) -> str:
        return self.values()[1]

    def values(self) -> tuple[str, str]:
        sample, _, digest = self.decode(errors="surrogateescape").partition(",")
        return sample, digest


class Entry(NamedTuple):
    """A row of the index."""
    path: str  # below Samples/: "class/file.wav", or "Train/class/file.wav" in the user's own split
    split: str  # one of SPLITS
    status: str  # USED, LEFT_OUT or MOVED
    stat: Stat
    content: Content
    settings: str  # the id of the settings of its melgrams, "" if it has none
    copy_of: str = ""  # the name of the recording of which the sound is an augmented copy
    recording: str | None = ""  # that it was cut or rendered from, as identified by recordings.py; None: not known yet
    clips: int = 0  # that it is cut into; 0: it is one clip, with its own name

    @property
    def name(self) -> str:
        """The name of the sound, "class/file.wav"."""
        rest = self.path[self.path.find("/") + 1:]
        return rest if "/" in rest else self.path

    @property
    def clip_names(self) -> list[str]:
        """The names of its melgrams: its own, or those of the clips that it is cut into."""
        return clip_names(self.name, self.clips) if self.clips else [self.name]

    @property
    def own_recording(self) -> str:
        """Of a sound that is cut, "class/file", as recordings.py identifies a series of clips; "" of any other."""
        folder, slash, file = (self.copy_of or self.name).rpartition("/")
        return f"{folder}{slash}{stem_of(file)}" if self.clips else ""

    def row(self) -> tuple:
        """The fields as they are written."""
        return (*self[:3], *self.stat.decode().split(","), *self.content.values(), *self[5:])


COLUMNS = ("path", "split", "status", "size", "mtime_ns", "ctime_ns", "inode", "sample", "digest", "settings",
           "copy_of", "recording", "clips")
_SPLITS, _STATUSES = ({each: each for each in names} for names in (SPLITS, (USED, LEFT_OUT, MOVED)))  # one object each
_OLD_COLUMNS = (11, 12)  # in a row of an older version, without the recording or without the number of clips
UNKNOWN_CONTENT = Content("", "")  # of a sound that has not been read completely


@functools.lru_cache
def settings_id(settings: MelgramSettings) -> str:
    """A short hash of the settings that determine a melgram."""
    return hashlib.blake2b(json.dumps(settings.to_dict()).encode(), digest_size=8).hexdigest()


def is_used(entry: Entry, settings: str) -> bool:
    """Whether the melgram of an entry is used for training or testing; settings: the id of those in settings.json."""
    return entry.status == USED and entry.settings == settings


def recordings(entries: Iterable[Entry]) -> dict[str, str]:
    """Clip → the recording that it is from, of all clips of which that is known.

    A sound that is cut is itself a recording, identified by the name that its clips share.
    """
    return {name: recording for entry in entries for recording in [entry.recording or entry.own_recording] if recording
            for name in entry.clip_names}


# --- content --------------------------------------------------------------------------------------------------------

def sample_of(path: str | Path) -> str:
    """A hash of the beginning, the middle and the end of a file."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return _hash(file, (0, (size - _PROBE_BYTES) // 2, size - _PROBE_BYTES), _PROBE_BYTES)


def content_of(path: str | Path) -> Content:
    """The hashes of a file. Raises OSError if it can't be read."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= _MAX_DIGEST_BYTES:
            digest = hashlib.file_digest(file, _blake2b).hexdigest()
        else:
            step = size // _PARTS
            digest = f"{_hash(file, range(0, step * _PARTS, step), _MAX_DIGEST_BYTES // _PARTS)}-{size}"
    return Content(sample_of(path), digest)


def _blake2b() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=16)


def _hash(file: IO[bytes], offsets: Iterable[int], size: int) -> str:
    found = _blake2b()
    for offset in offsets:
        file.seek(max(0, offset))
        found.update(file.read(size))
    return found.hexdigest()


# --- the file -------------------------------------------------------------------------------------------------------

def exists(folder: str | Path) -> bool:
    """Whether Preproc/ has an index; one of an older version of the suite has none."""
    return (Path(folder) / INDEX).is_file()


def read(folder: str | Path) -> tuple[dict[str, Entry], list[Entry]]:
    """(path → Entry, the entries that are MOVED). The last row of a path counts, and damaged rows are ignored."""
    entries, moved, entry, before = {}, [], None, None
    with suppress(FileNotFoundError, csv.Error), _opened(Path(folder) / INDEX, "r") as file:
        for row in csv.reader(file):
            entry = _entry(row)
            if entry and entry.status == MOVED:
                moved.append(entry)
            elif entry:
                before, entries[entry.path] = entries.get(entry.path), entry
        if entry and entry.status != MOVED and not _is_complete(file):  # the end of the last row may be missing
            entries[entry.path] = before if before and before.clips else entry._replace(recording=None)
    return entries, moved


def _is_complete(file: IO[str]) -> bool:
    with open(file.name, "rb") as same:
        same.seek(-1, os.SEEK_END)
        return same.read() == b"\n"


def _entry(row: list[str]) -> Entry | None:
    if len(row) in _OLD_COLUMNS:
        row += [None, 0][len(row) - len(COLUMNS):]
    with suppress(ValueError):
        path, split, status, size, mtime_ns, ctime_ns, inode, sample, digest, settings, copy_of, recording, clips = row
        if split in _SPLITS and status in _STATUSES and "/" in path and 0 <= int(clips) <= MAX_CLIPS:
            return Entry(path, _SPLITS[split], _STATUSES[status],
                         Stat(int(size), int(mtime_ns), int(ctime_ns), int(inode)), Content(sample, digest),
                         sys.intern(settings), copy_of, recording, int(clips))
    return None


def write(folder: str | Path, entries: Iterable[Entry]) -> None:
    """Replace the index atomically; rows are sorted by path."""
    path = Path(folder) / INDEX
    with safe_files.replacing(path, durable=True) as unfinished, _opened(unfinished, "w") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(entry.row() for entry in sorted(entries))


@contextmanager
def appending(folder: str | Path) -> Iterator["Appender"]:
    """Open the index to append entries one by one."""
    path = Path(folder) / INDEX
    try:
        with _opened(path, "a") as file:
            yield Appender(file)
    except OSError as error:
        error.filename = error.filename or str(path)  # a failed write has a reason, but no file name
        raise


class Appender:
    """Appends entries; each is passed to the operating system immediately."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._table = file, csv.writer(file, lineterminator="\n")

    def add(self, entry: Entry) -> None:
        """Append an entry."""
        self._table.writerow(entry.row())
        self._file.flush()


def _opened(path: Path, mode: str) -> IO[str]:
    return open(path, mode, newline="", encoding="utf-8", errors="surrogateescape")
