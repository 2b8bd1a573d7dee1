"""The length of a FLAC file that was written into a pipe, so that its header gives none (RFC 9639).

It is computed from the last frame, whose header holds its number, instead of decoding the whole file.
"""

import re
import struct
from functools import cache
from typing import BinaryIO, NamedTuple

_SIZES = {1: 192, **{code: 576 << code - 2 for code in range(2, 6)}, **{code: 256 << code - 8 for code in range(8, 16)}}
_MARGIN = 1 << 20  # maximum number of bytes after the last frame, such as a tag with a picture
_MAX_FRAMES = 16  # candidates for the last frame; more than two only occur in damaged files
_TAG = re.compile(rb"ID3|TAG|APETAGEX")


class Header(NamedTuple):
    """The chunk STREAMINFO."""
    max_block: int  # samples in each frame, except for the last
    frame_bytes: int  # of a frame, if it is not compressed
    samples: int  # per channel; 0: unknown

    @classmethod
    def of(cls, data: bytes) -> "Header":
        """From the first 26 bytes of a file. Raises struct.error if there are fewer."""
        _, max_block = struct.unpack(">HH", data[8:12])
        bits, = struct.unpack(">Q", data[18:26])
        channels, depth = (bits >> 41 & 7) + 1, (bits >> 36 & 31) + 1
        return cls(max_block, max_block * channels * depth // 8, bits & (1 << 36) - 1)


def with_samples(data: bytes, samples: int) -> bytes:
    """Bytes 18 to 26 of the file whose first 26 are given, with another number of samples."""
    bits, = struct.unpack(">Q", data[18:26])
    return struct.pack(">Q", bits >> 36 << 36 | samples)


def length(file: BinaryIO, end: int, header: Header) -> tuple[int, int] | None:
    """(Samples, end of the last complete frame in bytes) of a FLAC stream that ends at `end`; None if it is damaged."""
    first = max(0, end - 2 * header.frame_bytes - _MARGIN)
    file.seek(first)
    data = file.read(end - first)
    ends = [len(data), *(match.start() for match in _TAG.finditer(data))]
    for start, samples in _frame_headers(data, header.max_block):
        for stop in (end for end in ends if 0 < end - start < 2 * header.frame_bytes + (1 << 16)):
            if not _crc(data[start:stop], 16, 0x8005):  # with the CRC at the end of a frame included, it is 0
                return (samples, first + stop) if samples < 1 << 36 else None
        ends.append(start)
    return None


def _frame_headers(data: bytes, max_block: int) -> list[tuple[int, int]]:
    """(Offset, samples up to the end of that frame) of the last frames, from the last to the first."""
    found, start = [], len(data)
    while (start := data.rfind(b"\xff", 0, start)) >= 0 and len(found) < _MAX_FRAMES:
        samples = _samples_until(data[start:start + 16], max_block)
        if samples:
            found.append((start, samples))
    return found


def _samples_until(data: bytes, max_block: int) -> int:
    """The samples up to the end of a frame, from the bytes of its header; 0 if these are no frame header."""
    if len(data) < 6 or data[1] | 1 != 0xF9 or data[3] & 1:
        return 0
    size_code, rate_code = data[2] >> 4, data[2] & 15
    number_bytes = 8 - (data[4] ^ 0xFF).bit_length() or 1  # as in UTF-8
    number = data[4] & (0x7F if number_bytes == 1 else 0x7F >> number_bytes)
    for byte in data[5:4 + number_bytes]:
        number = number << 6 | byte & 0x3F
    after = 4 + number_bytes
    size_bytes = {6: 1, 7: 2}.get(size_code, 0)
    block = int.from_bytes(data[after:after + size_bytes]) + 1 if size_bytes else _SIZES.get(size_code, 0)
    after += size_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if not block or after >= len(data) or _crc(data[:after + 1], 8, 0x07):
        return 0
    return (number if data[1] & 1 else number * max_block) + block  # a sample number, or a frame number


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    table, mask, crc = _crc_table(bits, polynomial), (1 << bits) - 1, 0
    for byte in data:
        crc = (crc << 8 & mask) ^ table[crc >> bits - 8 ^ byte]
    return crc


@cache
def _crc_table(bits: int, polynomial: int) -> list[int]:
    table = []
    for crc in range(256):
        crc <<= bits - 8
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc >> bits - 1 else 0)
            crc &= (1 << bits) - 1
        table.append(crc)
    return table
