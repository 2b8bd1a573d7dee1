"""The frames of an mp3 file: where its recordings begin, and how long each of them is.

If the first frame is an info frame ("Xing" or "Info"), it gives the number of frames. Otherwise libsndfile estimates
the length from one bit rate, and may read less than half of a file whose bit rate varies; of a joined file, it reads
only the first part. Therefore the frames are counted here (ISO 11172-3 and 13818-3).
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import BinaryIO, NamedTuple

_SYNC = re.compile(rb"\xff(?=[\xe2-\xff][\x10-\xef])")  # the first byte of a frame whose bit rate is valid
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # Hz of MPEG 1, 2, 2.5
_KBITS = {(3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),  # (MPEG version, layer bits)
          (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
          (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
          (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
          (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}
_LAYER_3 = 1  # the bits of layer 3 in a header
_CONFIRMED = 3  # consecutive frames of the same format; fewer may be other data
_MAX_GAP = 1024  # bytes; after damage of up to this length, libmpg123 finds the next frame
_MAX_BEFORE = 4096  # bytes; the maximum of an incomplete frame, or of other data, at the beginning of a file
_MIN_BYTES = 2048  # of a later recording without an info frame; fewer are a tag, or a frame that was not counted
_CHUNK = 1 << 20  # bytes read at a time
_MAX_TAGS = 100  # in a row; a file with more is damaged
_HEAD = 48  # bytes of a frame up to the end of the fields of an info frame


class Frame(NamedTuple):
    """The header of a frame."""
    size: int  # bytes; 0: this is not a frame
    format: tuple[int, int, int, bool]  # MPEG version, layer, sample rate, mono
    info: int  # offset of "Xing" or "Info" in an info frame


class Recording(NamedTuple):
    """Consecutive frames of one format."""
    start: int  # bytes
    end: int
    frames: int  # without the info frame
    counted: int  # the number of frames according to the info frame; 0 if there is none
    complete: bool  # no damage lies between the frames
    header: bytes  # of the first frame


def after_tags(file: BinaryIO, start: int) -> int:
    """The offset after the tags (ID3v2, ID3v1, APE) and zeros that begin at `start`."""
    for _ in range(_MAX_TAGS):
        head = _read(file, start, 32)
        if head.startswith(b"ID3") and len(head) > 10:
            size = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(head[9:5:-1]))
            start += 10 + size + 10 * (head[5] >> 4 & 1)  # a footer is as long as the header
        elif head.startswith(b"TAG"):
            start += 128
        elif head.startswith(b"APETAGEX") and len(head) == 32:
            start += 32 + int.from_bytes(head[12:16], "little")
        elif head.startswith(b"\0"):
            zeros = _read(file, start, _CHUNK)
            start += len(zeros) - len(zeros.lstrip(b"\0"))
        else:
            break
    return start


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(min(offset, 1 << 62))  # a damaged header may give any offset
    return file.read(count)


def recordings(file: BinaryIO, size: int) -> list[Recording]:
    """The recordings of an mp3 file. Empty for other files, and for ordinary ones: their info frame has the length."""
    start = after_tags(file, 0)
    if _is_ordinary(file, start, size):
        return []
    found, limit = [], start + _MAX_BEFORE
    while (start := _next_frame(file, start, limit)) is not None:
        recording = _recording(file, start, size)
        if not found or recording.counted or recording.end - start >= _MIN_BYTES:
            found.append(recording)
        start, limit = recording.end, size
    return found


def _is_ordinary(file: BinaryIO, start: int, size: int) -> bool:
    head = _read(file, start, _HEAD)
    counted = _field(head, 2) if _is_info(head) else 0
    after = after_tags(file, start + counted)
    return bool(counted) and start + counted <= size < after + _MIN_BYTES and not _is_info(_read(file, after, _HEAD))


@lru_cache(4096)
def _frame(header: bytes) -> Frame:
    """From the four bytes of its header."""
    if not _SYNC.match(header) or len(header) < 4:
        return Frame(0, (0, 0, 0, False), 0)
    version, layer, kbits, rate = header[1] >> 3 & 3, header[1] >> 1 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or not layer or rate == 3:
        return Frame(0, (0, 0, 0, False), 0)
    hz = _RATES[version][rate]
    bits = 1000 * _KBITS[3 if version == 3 else 2, layer if version == 3 or layer == 3 else 2][kbits - 1]
    padding, mono = header[2] >> 1 & 1, header[3] >> 6 == 3
    size = 4 * (12 * bits // hz + padding) if layer == 3 else \
        (72 if layer == _LAYER_3 and version != 3 else 144) * bits // hz + padding
    side_bytes = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[version == 3, mono]
    return Frame(size, (version, layer, hz, mono), 4 + side_bytes)


def _is_info(head: bytes) -> bool:
    frame = _frame(head[:4])
    return head[frame.info:frame.info + 4] in (b"Xing", b"Info")


def _field(head: bytes, field: int) -> int:
    """A field of an info frame, 1: the number of frames, 2: the number of bytes; 0 if it is missing."""
    at = _frame(head[:4]).info + 8
    flags = int.from_bytes(head[at - 4:at])
    at += 4 * (field == 2 and flags & 1)
    return int.from_bytes(head[at:at + 4]) if flags & field else 0


def _frames(file: BinaryIO, start: int) -> Iterator[tuple[int, Frame, bytes]]:
    """(Offset, frame, its first bytes) of consecutive complete frames from `start` on."""
    data, offset = b"", start
    while True:
        if start + _HEAD > offset + len(data):
            data, offset = _read(file, start, _CHUNK), start
        head = data[start - offset:start - offset + _HEAD]
        frame = _frame(head[:4])
        if not frame.size:
            return
        if start + frame.size > offset + len(data) and len(_read(file, start, frame.size)) < frame.size:
            return
        yield start, frame, head
        start += frame.size


def _next_frame(file: BinaryIO, start: int, limit: int, format: tuple | None = None) -> int | None:
    """The offset of the next frame (of a given format) before `limit` that others of its format follow, or None."""
    start = start if format else after_tags(file, start)
    while start < limit:
        data = _read(file, start, min(_CHUNK, limit - start) + 3)
        for match in _SYNC.finditer(data):
            first = _frame(data[match.start():match.start() + 4])
            if first.size and format in (None, first.format) and _is_confirmed(file, start + match.start()):
                return start + match.start()
        start += max(len(data) - 3, 1)
    return None


def _is_confirmed(file: BinaryIO, start: int) -> bool:
    """Whether enough frames of one format follow: three, or an info frame, or all up to the end of the file."""
    frames = list(islice(_frames(file, start), _CONFIRMED))
    if len({frame.format for _, frame, _ in frames}) != 1:
        return False
    last, frame, _ = frames[-1]
    return len(frames) == _CONFIRMED or _is_info(frames[0][2]) or not _read(file, last + frame.size, 1)


def _recording(file: BinaryIO, start: int, size: int) -> Recording:
    head = _read(file, start, _HEAD)
    while _is_info(head) and not _field(head, 1):  # written into a pipe
        start += _frame(head[:4]).size
        head = _read(file, start, _HEAD)
    first = _frame(head[:4])
    counted = _field(head, 1) if _is_info(head) else 0
    last, end, count, complete, resumed = start, start, -bool(counted), True, start
    while resumed is not None:
        for offset, frame, head_of_frame in _frames(file, resumed):
            if frame.format != first.format or (offset > start and _is_info(head_of_frame)) \
                    or (counted and count == counted):
                return Recording(start, min(end, offset), max(0, count - (end > offset)), counted, complete, head[:4])
            complete = complete and offset == end
            last, end, count = offset, offset + frame.size, count + 1
        resumed = None if _is_tag(file, end) or (counted and count >= counted) else \
            _next_frame(file, last + 4, min(end + _MAX_GAP, size), first.format)
    return Recording(start, end, count, counted, complete, head[:4])


def _is_tag(file: BinaryIO, offset: int) -> bool:
    return _read(file, offset, 8).startswith((b"ID3", b"TAG", b"APETAGEX"))


def info_frame(recording: Recording) -> bytes:
    """An info frame for a recording without one; b"" if its layer has none."""
    _, layer, _, mono = _frame(recording.header).format
    if layer != _LAYER_3:
        return b""
    header = bytes([0xFF, recording.header[1] | 1, 0x90 | recording.header[2] & 0xC, 0xC0 * mono])  # of medium bit rate
    frame = _frame(header)
    return (header.ljust(frame.info, b"\0") + b"Xing\0\0\0\1" + recording.frames.to_bytes(4)).ljust(frame.size, b"\0")


def corrected_count(recording: Recording) -> dict[int, bytes]:
    """Offset from the beginning of the recording → the bytes that give its number of frames in its info frame."""
    return {_frame(recording.header).info + 8: recording.frames.to_bytes(4)}
