"""Files of unknown length, and joined files (`cat a b > c`): players play them completely, libsndfile does not.

The header of a file that was written into a pipe gives no length, or 0. Of a joined file, libsndfile reads only the
first part. Such files are presented to libsndfile in parts, each with a correct header.
"""

import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from audio_utils.audio import flac, mpeg

_UNKNOWN_BYTES = 0x7F000000  # 32-bit sizes from here on mean that the size is unknown
_UNKNOWN_BYTES_64 = 1 << 62  # the same for 64-bit sizes
_MAX_CHUNKS = 1000  # in a wav or CAF file; one with more is damaged
_CHUNK = 1 << 20  # bytes read at a time
_MAX_PATTERN = 31  # bytes; the longest match of the patterns below
_PAGE = re.compile(rb"OggS\0[\0-\x07]")
_FIRST_PAGE = 2  # flag in the last byte of this match: the page is the first of its stream
_HEADS = [re.compile(head, re.DOTALL) for head in (  # the first bytes of a part, in each format
    rb"fLaC[\0\x80]\0\0\x22", rb"R(?:IFF|IFX|F64)....WAVE", rb"FORM....(?:AIF[FC]|8SVX|16SV)",
    rb"caff\0\x01\0\0desc", rb"\.snd\0\0.{6}\0\0\0[\x01-\x1b]\0", rb"riff\x2e\x91\xcf\x11\xa5\xd6", rb"NIST_1A\n",
    rb"Creative Voice File\x1a", rb"MATLAB 5\.0 MAT-file", rb"Extended Instrument: ", rb"ALawSoundFile\*\*")]
_SIZES = {  # first bytes → (type of the total size, its offset, the number of bytes that it does not include)
    b"RIFF": ("<I", 4, 8), b"RIFX": (">I", 4, 8), b"RF64": ("<Q", 20, 8), b"FORM": (">I", 4, 8),
    b".snd": (">I", 8, 24), b"riff": ("<Q", 16, 0)}
_MAX_ERROR = 16  # bytes; some programs write a size that is too large by up to this


class Part(NamedTuple):
    """A recording within a file."""
    start: int  # bytes
    end: int
    replaced: dict[int, bytes]  # offset from `start` → the bytes that libsndfile gets instead
    cut_short: bool = False
    before: bytes = b""  # bytes that libsndfile gets before all others


def parts(file: BinaryIO) -> list[Part]:
    """The recordings within a file. An ordinary file has one Part: everything after the tags at its beginning."""
    size = os.fstat(file.fileno()).st_size
    if _is_plain_wav(file, size):
        return [Part(0, size, {})]
    first = mpeg.after_tags(file, 0)
    head = _read(file, first, _MAX_PATTERN)
    pattern = next((pattern for pattern in _HEADS if pattern.match(head)), None)
    if head.startswith(b"OggS"):
        found = _ogg_parts(file, first, size)
    elif pattern:
        found = [_repaired(file, start, end) for start, end in pairwise([*_starts(file, pattern, first, size), size])]
    else:
        found = [_mp3_part(each) for each in mpeg.recordings(file, size)]
    return found or [Part(first, size, {})]


def _is_plain_wav(file: BinaryIO, size: int) -> bool:
    """Whether a wav file is ordinary at first sight; most files are, and the rest of this module takes 50 µs."""
    head = _read(file, 0, 44)
    return (head[:4] == b"RIFF" and head[8:16] == b"WAVEfmt " and head[36:40] == b"data" and any(head[40:])
            and int.from_bytes(head[4:8], "little") + 8 == size)


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(min(offset, os.fstat(file.fileno()).st_size))  # a damaged header may give any offset
    return file.read(count)


def _find_all(file: BinaryIO, pattern: re.Pattern, start: int = 0) -> Iterator[int]:
    """The offsets of all matches."""
    data, offset = b"", start
    while file.seek(offset + len(data)) is not None and (chunk := file.read(_CHUNK)):
        data, used = data + chunk, 0
        for match in pattern.finditer(data):
            yield offset + match.start()
            used = match.end()
        used = max(used, len(data) - _MAX_PATTERN)
        data, offset = data[used:], offset + used


def _ogg_parts(file: BinaryIO, first: int, size: int) -> list[Part]:
    """A part of an Ogg file begins with the first pages of all its streams, which have a flag (RFC 3533)."""
    starts, ends, end, is_first = [], [], first, False
    for page in _find_all(file, _PAGE, first):
        head = _read(file, page, 27 + 255)
        was_first, is_first = is_first, len(head) > 26 and bool(head[5] & _FIRST_PAGE) and not any(head[6:14])
        if is_first and not (was_first and page == end):
            starts.append(page)
            ends.append(end)
        elif page < end or len(head) < 27:  # within a page
            is_first = was_first
            continue
        end = page + 27 + head[26] + sum(head[27:27 + head[26]])
    return [Part(start, min(end, after), {}, end > after)
            for start, end, after in zip(starts, [*ends[1:], end], [*starts[1:], size], strict=False)]


def _starts(file: BinaryIO, pattern: re.Pattern, first: int, size: int) -> list[int]:
    """Where the parts begin. If the size of a part is missing or wrong, the next part is searched for within it."""
    if _read(file, first, 4) not in _SIZES:
        return list(_find_all(file, pattern, first))
    starts, found = [], first
    while found is not None:
        starts.append(found)
        after = found + _declared_bytes(file, found)
        searched = after - _MAX_ERROR if after <= size + _MAX_ERROR else 0
        found = after if after > found and pattern.match(_read(file, after, _MAX_PATTERN)) else \
            next(_find_all(file, pattern, max(searched, found + 4)), None)
    return starts


def _declared_bytes(file: BinaryIO, start: int) -> int:
    """The size in the header of a part; 0 if there is none."""
    head = _read(file, start, 28)
    if head[:4] not in _SIZES or len(head) < 28:
        return 0
    kind, offset, excluded = _SIZES[head[:4]]
    return struct.unpack_from(kind, head, offset)[0] + excluded


def _mp3_part(recording: mpeg.Recording) -> Part:
    start, end, frames, counted, complete, _ = recording
    if not counted:
        return Part(start, end, {}, False, mpeg.info_frame(recording))
    if frames >= counted or not complete:
        return Part(start, end, {})
    return Part(start, end, mpeg.corrected_count(recording), frames < counted - 1)  # some also count the info frame


# --- unknown lengths ------------------------------------------------------------------------------------------------

def _repaired(file: BinaryIO, start: int, end: int) -> Part:
    """The Part, with a header that gives its length."""
    repair = {b"fLaC": _repaired_flac, b"RIFF": _repaired_wav, b"RIFX": _repaired_wav, b"RF64": _repaired_rf64,
              b".snd": _repaired_au, b"caff": _repaired_caf, b"riff": _repaired_w64}.get(_read(file, start, 4))
    part = None
    with suppress(struct.error, IndexError):  # the file is too short
        part = repair(file, start, end) if repair else None
    return part or Part(start, end, {})


def _repaired_flac(file: BinaryIO, start: int, end: int) -> Part | None:
    head = _read(file, start, 26)
    header = flac.Header.of(head)
    found = None if header.samples else flac.length(file, end, header)
    return found and Part(start, found[1], {18: flac.with_samples(head, found[0])},
                          mpeg.after_tags(file, found[1]) < end)


def _chunks(file: BinaryIO, start: int, layout: str, align: int) -> Iterator[tuple[bytes, int, int]]:
    """(Name, offset of the content, size) of the chunks up to "data". Raises struct.error if there is no "data"."""
    for _ in range(_MAX_CHUNKS):
        head = struct.calcsize(layout)
        name, size = struct.unpack(layout, _read(file, start, head))
        yield name, start + head, size
        if name.startswith(b"data"):
            return
        start += size + -size % align + head * (align != 8)  # in a W64 file, sizes include the header
    raise struct.error


def _repaired_wav(file: BinaryIO, start: int, end: int) -> Part | None:
    order = "<" if _read(file, start, 4) == b"RIFF" else ">"
    *_, (_, data, size) = _chunks(file, start + 12, order + "4sI", 2)
    if size or data >= end or _is_chunk(file, data, end, order):
        return None
    return Part(start, end, {4: b"\xff" * 4, data - 4 - start: b"\xff" * 4})  # libsndfile then reads to the end


def _is_chunk(file: BinaryIO, start: int, end: int, order: str) -> bool:
    """Whether only chunks follow: then the wav really has no samples."""
    for _ in range(_MAX_CHUNKS):
        if start >= end - 8:
            return start <= end + 1
        name, size = struct.unpack(order + "4sI", _read(file, start, 8))
        if not name.isascii() or not name.strip().isalnum():
            return False
        start += 8 + size + size % 2
    return False


def _repaired_rf64(file: BinaryIO, start: int, end: int) -> Part | None:
    """The chunk ds64 holds the sizes (EBU Tech 3306)."""
    chunks = list(_chunks(file, start + 12, "<4sI", 2))
    ds64, data = chunks[0][1], chunks[-1][1]
    size, = struct.unpack("<Q", _read(file, ds64 + 8, 8))
    if chunks[0][0] != b"ds64" or 0 < size <= end - data or data >= end:
        return None
    return Part(start, end, {ds64 - start: struct.pack("<QQ", end - start - 8, end - data)},
                0 < size < _UNKNOWN_BYTES_64)


def _repaired_au(file: BinaryIO, start: int, end: int) -> Part | None:
    data, size = struct.unpack(">II", _read(file, start + 4, 8))
    if 0 < size <= end - start - data:
        return None
    return Part(start, end, {8: b"\xff" * 4}, 0 < size < _UNKNOWN_BYTES)


def _repaired_caf(file: BinaryIO, start: int, end: int) -> Part | None:
    *_, (_, data, size) = _chunks(file, start + 8, ">4sQ", 1)
    if 0 < size <= end - data:
        return None
    return Part(start, end, {data - 8 - start: struct.pack(">Q", end - data)}, 0 < size < _UNKNOWN_BYTES_64)


def _repaired_w64(file: BinaryIO, start: int, end: int) -> Part | None:
    """The part ends with its samples; libsndfile would read the following bytes as samples too."""
    *_, (_, data, size) = _chunks(file, start + 40, "<16sQ", 8)
    if 24 < size <= end - data + 24:  # the size includes the header of the chunk
        return Part(start, data + size - 24, {})
    return Part(start, end, {}, 24 < size < _UNKNOWN_BYTES_64)
