"""A sound: one audio file of Samples/.

It is named by its class and its file, `class/file.wav`, in every split and in every report.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

SPLITS = ("Train", "Val", "Test")  # Val: only in the user's own split
_CLIP = re.compile(r"(.+)_s([1-9][0-9]*)(\.[^.]*)?", re.DOTALL)  # the name of a clip


class Stat(bytes):
    """How the file system identifies a file and its last change: size, mtime_ns, ctime_ns and inode.

    They are one string of digits, as a million tuples of integers would take more than twice the memory.
    """
    __slots__ = ()

    def __new__(cls, size: int, mtime_ns: int, ctime_ns: int, inode: int) -> "Stat":
        return super().__new__(cls, b"%d,%d,%d,%d" % (size, mtime_ns, ctime_ns, inode))

    def __getnewargs__(self) -> tuple[int, ...]:
        return self.values()

    @classmethod
    def of(cls, path: str | Path) -> "Stat":
        """Raises OSError if the file does not exist."""
        return cls.from_result(os.stat(path))

    @classmethod
    def from_result(cls, found: os.stat_result) -> "Stat":
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def values(self) -> tuple[int, ...]:
        return tuple(map(int, self.split(b",")))

    @property
    def size(self) -> int:
        return int(self[:self.find(b",")])

    @property
    def mtime_ns(self) -> int:
        return self.values()[1]

    def has_same_date(self, other: "Stat") -> bool:
        """Whether the size and the time of the last change of the content are equal."""
        return self.values()[:2] == other.values()[:2]


class Sound(NamedTuple):
    """One file of Samples/."""
    class_name: str
    file: str  # its path; a Path for each of a million sounds would take half of the memory
    split: str | None = None  # one of SPLITS in the user's own split
    copy_of: str | None = None  # name of the recording of which it is an augmented copy; it may no longer exist
    by_name: bool = False  # it is a copy by its name alone, without a tag
    recording: str = ""  # that it was cut or rendered from, by its tag: `tags.first_recording`
    stat: Stat | None = None  # when it was found; does not count when sounds are compared

    def __hash__(self) -> int:
        return hash(self.file)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sound) and self[:-1] == other[:-1]

    def __ne__(self, other: object) -> bool:
        return not self == other

    @property
    def path(self) -> Path:
        return Path(self.file)

    @property
    def name(self) -> str:
        return f"{self.class_name}/{self.file[self.file.rfind(os.sep) + 1:]}"

    @property
    def stem(self) -> str:
        """The name of the file without its extension."""
        return stem_of(self.file[self.file.rfind(os.sep) + 1:])


class Skipped(NamedTuple):
    """A file or folder that is not used."""
    path: Path
    reason: str  # what follows its name in a sentence: "is empty; replace or remove it"

    @classmethod
    def of(cls, path: Path, sentence: str) -> "Skipped":
        """From a sentence that begins with the path, or with that of another file."""
        start = f"{path}: "
        name, _, reason = (path, "", sentence[len(start):]) if sentence.startswith(start) else sentence.partition(": ")
        return cls(Path(name), reason.rstrip("."))


def stem_of(file: str) -> str:
    """The name of a file without its extension; `Path(file).stem` takes six times as long."""
    dot = file.rfind(".")
    return file[:dot] if 0 < dot < len(file) - 1 else file


# --- clips of a long sound ------------------------------------------------------------------------------------------

def clip_name(name: str, number: int) -> str:
    """The name of a clip of the sound `name`: "class/file_s1.wav" for 1."""
    folder, slash, file = name.rpartition("/")
    stem = stem_of(file)
    return f"{folder}{slash}{stem}_s{number}{file[len(stem):]}"


def clip_names(name: str, clips: int) -> list[str]:
    """The names of all clips of a sound; clips: their number, 0 if it is one clip with the name of the sound."""
    return [clip_name(name, number) for number in range(1, clips + 1)] if clips else [name]


def sound_of_clip(name: str) -> tuple[str, int] | None:
    """(name of the sound, number): the inverse of `clip_name`; None if no clip has such a name."""
    found = _CLIP.fullmatch(name)
    clip = (found[1] + (found[3] or ""), int(found[2])) if found else None
    return clip if clip and clip_name(*clip) == name else None
