"""Files that players play completely, but libsndfile does not read: of unknown length, or joined (`cat a b > c`).

A file written into a pipe gives no length in its header, or 0. A joined one is read by libsndfile up to the end of its
first part. Such a file is presented to libsndfile in parts, each with a correct header.
"""

import os
import re
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from audio_utils.audio import flac

_UNKNOWN_BYTES = 1 << 62  # a size of 64 bits above it means that it is not known
_MAX_CHUNKS = 1000  # in a wav or CAF file; one with more is damaged
_CHUNK = 1 << 20  # bytes read at a time
_XING = re.compile(rb"(?:Xing|Info)\0\0\0([\0-\x0f])")  # in the first frame of most mp3 files: sizes of the whole
_XING_BYTES = 256  # from the beginning of that frame, within which it is found
_MIN_MP3 = 2048  # bytes; fewer after the end of an mp3 are a tag, or a frame that the encoder did not count


class Part(NamedTuple):
    """A recording within a file."""
    start: int  # bytes
    end: int
    replaced: dict[int, bytes]  # offset from `start` → the bytes that libsndfile gets instead
    cut_short: bool = False


def parts(file: BinaryIO) -> list[Part]:
    """The recordings within a file. Of an ordinary one, the whole."""
    size = os.fstat(file.fileno()).st_size
    starts = {b"OggS": _ogg_starts, b"fLaC": _flac_starts, b"RIFF": _wav_starts}.get(
        _read(file, _after_id3(file, 0), 4), _mp3_starts)(file, size)
    return [_repaired(file, start, end) for start, end in pairwise([*starts, size])]


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(min(offset, os.fstat(file.fileno()).st_size))  # a damaged header may give any offset
    return file.read(count)


def _find_all(file: BinaryIO, pattern: bytes) -> list[int]:
    """The offsets of all occurrences."""
    found, data, offset = [], b"", 0
    file.seek(0)
    while chunk := file.read(_CHUNK):
        data += chunk
        found += [offset + match.start() for match in re.finditer(re.escape(pattern), data)]
        offset += max(0, len(data) - len(pattern) + 1)
        data = data[-len(pattern) + 1:]
    return found


def _ogg_starts(file: BinaryIO, _size: int) -> list[int]:
    """A part of an Ogg file begins with one page for each of its streams, marked as their first (RFC 3533)."""
    starts, after = [0], 0
    for page in _find_all(file, b"OggS\0\2"):
        if page > after:
            starts.append(page)
        head = _read(file, page, 27 + 255)
        after = page + 27 + head[26] + sum(head[27:27 + head[26]]) if len(head) > 26 else page
    return starts


def _flac_starts(file: BinaryIO, _size: int) -> list[int]:
    """A part of a FLAC file begins with its name and a chunk STREAMINFO of 34 bytes."""
    chunks = b"\0\0\0\x22", b"\x80\0\0\x22"  # the latter if no other follows
    return [0, *[start for start in _find_all(file, b"fLaC") if _read(file, start + 4, 4) in chunks][1:]]


def _wav_starts(file: BinaryIO, size: int) -> list[int]:
    """A wav file gives its size after its name."""
    starts = [0]
    while len(head := _read(file, starts[-1], 8)) == 8:
        after = starts[-1] + 8 + _even(int.from_bytes(head[4:], "little"))
        if after >= size or not re.match(rb"RIFF....WAVE", _read(file, after, 12), re.DOTALL):
            break
        starts.append(after)
    return starts


def _even(size: int) -> int:
    return size + size % 2


def _mp3_starts(file: BinaryIO, size: int) -> list[int]:
    """Most mp3 files give their size in their first frame. Without it, libmpg123 reads on to the end."""
    starts = [0]
    while end := _mp3_end(file, starts[-1]):
        if _read(file, end, 3) == b"TAG":  # ID3v1
            end += 128
        first = _after_id3(file, end)
        head = _read(file, first, _XING_BYTES)
        if not re.match(rb"\xff[\xe2-\xff]", head) or (size - first < _MIN_MP3 and not _XING.search(head)):
            break
        starts.append(end)
    return starts


def _mp3_end(file: BinaryIO, start: int) -> int:
    """The end of an mp3 as its Xing header gives it; 0 if there is none."""
    first = _after_id3(file, start)
    head = _read(file, first, _XING_BYTES)
    found = _XING.search(head)
    if not found or not found[1][0] & 2:
        return 0
    sizes = head[found.end() + 4 * (found[1][0] & 1):]  # the number of frames precedes the number of bytes
    return first + max(_XING_BYTES, int.from_bytes(sizes[:4]))


def _after_id3(file: BinaryIO, start: int) -> int:
    """The offset after the tags ID3v2 that begin at `start`."""
    while (head := _read(file, start, 10))[:3] == b"ID3" and len(head) == 10:
        size = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(head[:5:-1]))
        start += 10 + size + 10 * (head[5] >> 4 & 1)  # a footer is as long as the header
    return start


# --- unknown lengths ------------------------------------------------------------------------------------------------

def _repaired(file: BinaryIO, start: int, end: int) -> Part:
    """A part whose header gives its length."""
    first = _after_id3(file, start)
    repair = {b"fLaC": _repaired_flac, b"RIFF": _repaired_wav, b"RF64": _repaired_rf64, b".snd": _repaired_au,
              b"caff": _repaired_caf}.get(_read(file, first, 4))
    try:
        part = repair(file, first, end) if repair else None
    except (struct.error, IndexError):  # the file is too short
        part = None
    if part is None:
        return Part(start, end, {})
    return part._replace(start=start, replaced={first - start + at: new for at, new in part.replaced.items()})


def _repaired_flac(file: BinaryIO, start: int, end: int) -> Part | None:
    head = _read(file, start, 26)
    header = flac.Header.of(head)
    found = None if header.samples else flac.length(file, end, header)
    return found and Part(start, found[1], {18: flac.with_samples(head, found[0])}, found[1] < end - 128)


def _chunks(file: BinaryIO, start: int, layout: str, align: int) -> Iterator[tuple[bytes, int, int]]:
    """(Name, offset, size) of the chunks up to "data"; offset: of the content. Raises struct.error without that."""
    for _ in range(_MAX_CHUNKS):
        name, size = struct.unpack(layout, _read(file, start, struct.calcsize(layout)))
        start += struct.calcsize(layout)
        yield name, start, size
        if name == b"data":
            return
        start += size + size % align
    raise struct.error


def _repaired_wav(file: BinaryIO, start: int, end: int) -> Part | None:
    *_, (_, data, size) = _chunks(file, start + 12, "<4sI", 2)
    if size or data >= end or _is_chunk(file, data, end):
        return None
    return Part(start, end, {4: b"\xff" * 4, data - 4 - start: b"\xff" * 4})  # libsndfile then reads to the end


def _is_chunk(file: BinaryIO, start: int, end: int) -> bool:
    """Whether only chunks follow: then the wav really has no samples."""
    for _ in range(_MAX_CHUNKS):
        if start >= end - 8:
            return start <= end + 1
        name, size = struct.unpack("<4sI", _read(file, start, 8))
        if not name.isascii() or not name.strip().isalnum():
            return False
        start += 8 + _even(size)
    return False


def _repaired_rf64(file: BinaryIO, start: int, end: int) -> Part | None:
    """The chunk ds64 holds the sizes (EBU Tech 3306)."""
    chunks = list(_chunks(file, start + 12, "<4sI", 2))
    ds64, data = chunks[0][1], chunks[-1][1]
    size, = struct.unpack("<Q", _read(file, ds64 + 8, 8))
    if chunks[0][0] != b"ds64" or 0 < size < _UNKNOWN_BYTES or data >= end:
        return None
    return Part(start, end, {ds64 - start: struct.pack("<QQ", end - start - 8, end - data)})


def _repaired_au(file: BinaryIO, start: int, end: int) -> Part | None:
    data, size = struct.unpack(">II", _read(file, start + 4, 8))
    return Part(start, end, {8: b"\xff" * 4}) if not size or size > end - start - data else None


def _repaired_caf(file: BinaryIO, start: int, end: int) -> Part | None:
    *_, (_, data, size) = _chunks(file, start + 8, ">4sQ", 1)
    return Part(start, end, {data - 8 - start: struct.pack(">Q", end - data)}) \
        if not size or size > _UNKNOWN_BYTES else None
