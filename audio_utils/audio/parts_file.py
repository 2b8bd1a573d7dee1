"""Sound files in one part or several, each presented to libsndfile as a file of its own with a correct header."""

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from audio_utils.audio.containers import Part, parts
from audio_utils.audio.formats import AudioError

UNKNOWN_SAMPLES = 1 << 62  # libsndfile returns at least this number if the length is unknown
_MAX_PARTS = 10_000

Source = bytes | str | int  # the name of a file, or a descriptor, which stays open


class View(io.RawIOBase):
    """A part of a file as a file of its own. An OSError is stored, as a callback of libsndfile can't raise it."""

    def __init__(self, source: Source, part: Part) -> None:
        self.error: OSError | None = None
        self._file = _opened(source)
        self._part, self._position = part, 0
        self._bytes = len(part.before) + part.end - part.start

    def readinto(self, buffer: memoryview) -> int:
        start, end, replaced, _, before = self._part
        data = bytearray(before[self._position:self._position + len(buffer)])
        offset = start + max(0, self._position - len(before))
        try:
            self._file.seek(offset)
            data += self._file.read(max(0, min(len(buffer) - len(data), end - offset)))
        except OSError as error:
            self.error = error
            return 0
        for offset, new in replaced.items():
            for i, byte in enumerate(new, len(before) + offset - self._position):
                if 0 <= i < len(data):
                    data[i] = byte
        buffer[:len(data)] = bytes(data)
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence, self._bytes)
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        self._file.close()
        super().close()


class PartsFile:
    """The parts of a file, one after the other, with those members of soundfile.SoundFile that the reader uses."""

    def __init__(self, source: Source, name: str | Path, parts: list[Part]) -> None:
        """name: the file in messages.

        Raises AudioError if the parts differ in rate, channels or sample type, and soundfile's errors.
        """
        self._source, self._name, self._parts, self._frames, self._file = source, name, [], [], None
        self.cut_short = any(part.cut_short for part in parts)
        for part in parts:
            try:
                self._enter(part)
            except soundfile.LibsndfileError:
                if not self._parts:
                    raise
                self.cut_short = True
                continue
            self._add(part)
        self.frames = sum(self._frames)
        self.seek(0)

    def _enter(self, part: Part) -> None:
        self.close()
        self._view = View(self._source, part)
        try:
            self._file = soundfile.SoundFile(self._view)
        except soundfile.LibsndfileError:
            if self._view.error:
                raise self._view.error from None
            raise

    def _add(self, part: Part) -> None:
        layout = self._file.samplerate, self._file.channels, self._file.subtype
        if not self._parts:
            self.samplerate, self.channels, self.subtype = layout
            self.format, self.extra_info = self._file.format, self._file.extra_info
        elif layout != (self.samplerate, self.channels, self.subtype):
            self.close()
            raise AudioError(f"{self._name}: is joined from recordings with different sample rates, channel counts "
                             "or sample types; replace it with the separate files.")
        self._parts.append(part)
        self._frames.append(self._file.frames)

    def read(self, frames: int, dtype: str, always_2d: bool = True) -> np.ndarray:
        """The next (samples, channels), fewer at the end of a part, none at the end of the file."""
        while not len(block := self._file.read(frames, dtype=dtype, always_2d=always_2d)):
            if self._view.error:
                raise self._view.error
            if self._index + 1 == len(self._parts):
                break
            self._index += 1
            self._enter(self._parts[self._index])
        return block

    def seek(self, frames: int) -> None:
        """Continue with a sample; frames: its number, up to `self.frames`."""
        self._index = 0
        while self._index + 1 < len(self._parts) and frames >= self._frames[self._index]:
            frames -= self._frames[self._index]
            self._index += 1
        self._enter(self._parts[self._index])
        self._file.seek(frames)

    def tell(self) -> int:
        """The number of the next sample."""
        return sum(self._frames[:self._index]) + self._file.tell()

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._view.close()

    def __enter__(self) -> "PartsFile":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _opened(source: Source) -> BinaryIO:
    return open(source, "rb", closefd=not isinstance(source, int))


def open_sound(source: Source, name: str | Path) -> soundfile.SoundFile | PartsFile:
    """Open a file, in parts if libsndfile would read only the first, or the length is unknown.

    Raises AudioError, OSError, and what soundfile raises: LibsndfileError and TypeError.
    """
    try:
        file = soundfile.SoundFile(source, closefd=not isinstance(source, int))
        if (file.format, file.subtype) == ("RAW", "ULAW"):  # assumed for names such as x.au if there is no header
            raise TypeError
    except (soundfile.LibsndfileError, TypeError):
        if file := open_parts(source, name, tagged=True):
            return file
        raise
    in_parts = open_parts(source, name)
    if in_parts:
        file.close()
    return in_parts or file


def open_parts(source: Source, name: str | Path, tagged: bool = False) -> PartsFile | None:
    """Open a file in parts, None if it is an ordinary one. Raises AudioError, OSError and soundfile's errors.

    tagged: also open an ordinary file that begins with tags, without these tags.
    """
    with _opened(source) as file:
        position = os.lseek(file.fileno(), 0, os.SEEK_CUR)
        found = parts(file)
        end = os.fstat(file.fileno()).st_size
        os.lseek(file.fileno(), position, os.SEEK_SET)  # libsndfile continues there if `source` is its descriptor
    if len(found) > _MAX_PARTS:
        raise AudioError(f"{name}: is joined from {len(found)} recordings; replace it with fewer, or separate, files.")
    ordinary = found[0]._replace(start=0) == Part(0, end, {}) and not (tagged and found[0].start)
    return None if len(found) == 1 and ordinary else PartsFile(source, name, found)
