"""A wav that arrives through a pipe, perhaps without end.

Libsndfile stops at the size that a wav header gives. If a program writes a wav into a pipe (sox, ffmpeg, arecord), the
size is not known in advance, and the header says 0, or 2 or 4 GiB. So the header is parsed here, and libsndfile decodes
raw samples.
"""

import math
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import numpy as np
import soundfile

from audio_utils.audio.audio_io import HIGHEST_RATE, UNKNOWN_BYTES, checked
from audio_utils.audio.formats import AudioError
from audio_utils.audio.parts_file import PartsFile, open_sound
from audio_utils.audio.quiet import silenced

_SUBTYPES = {(1, 8): "PCM_U8", (1, 16): "PCM_16", (1, 24): "PCM_24", (1, 32): "PCM_32",
             (3, 32): "FLOAT", (3, 64): "DOUBLE"}  # (format tag, bits) → libsndfile's subtype
_BYTES = {subtype: bits // 8 for (_, bits), subtype in _SUBTYPES.items()}  # of a sample
_EXTENSIBLE = 0xFFFE  # with this format tag, the actual one is in the extension of the chunk "fmt "
_MAX_CHUNK = 1 << 24  # bytes of a chunk before the samples; a larger one is damaged


def streamed(descriptor: int, name: str) -> tuple[int, int, Callable[[int], Iterator[np.ndarray]]]:
    """Open a wav from a file descriptor: (rate in Hz, channels, blocks). Raises AudioError if it is not a wav.

    blocks(n) waits for each n samples and yields them as float32 (channels, n); the last of each wav may be shorter.
    """
    layout, sizes = {}, iter([math.inf])
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # libsndfile opens a regular file (`< sound.flac`) as any other
        layout, data_bytes = _parse_header(descriptor, name)
        sizes = _sizes(descriptor, name, layout, data_bytes)
    try:
        with silenced():
            file = soundfile.SoundFile(descriptor, closefd=False, **layout) if layout else open_sound(descriptor, name)
    except (soundfile.LibsndfileError, TypeError):
        raise AudioError(f"{name}: is not a readable audio file; convert it to wav.") from None
    return file.samplerate, file.channels, partial(_blocks, file, name, sizes)


def _blocks(file: soundfile.SoundFile | PartsFile, name: str, sizes: Iterator[float],
            block_samples: int) -> Iterator[np.ndarray]:
    """sizes: the samples of each wav in the stream."""
    for samples in sizes:
        while samples > 0 and len(block := _read_block(file, name, min(samples, block_samples))):
            samples -= len(block)
            yield checked(block.T, name)


def _read_block(file: soundfile.SoundFile | PartsFile, name: str, samples: int) -> np.ndarray:
    try:
        with silenced() if file.format == "MP3" else nullcontext():
            return file.read(samples, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError):
        raise AudioError(f"{name}: is damaged and can't be decoded; send another.") from None


def _parse_header(descriptor: int, name: str, start: bytes = b"") -> tuple[dict[str, int | str], int]:
    """Read up to the first sample: (the arguments of SoundFile, the bytes of all samples).

    start: the first bytes, if they have been read already.
    """
    try:
        fmt, data_bytes = _read_chunks(descriptor, start)
        tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", fmt[:16])
        subtype = _SUBTYPES[struct.unpack("<H", fmt[24:26])[0] if tag == _EXTENSIBLE else tag, bits]
        if not 0 < rate <= HIGHEST_RATE or not channels:
            raise ValueError(rate)
    except (struct.error, LookupError, ValueError):
        raise AudioError(f"{name}: is not a wav stream; send one, as `arecord -f cd |` and `sox -d -t wav - |` do."
                         ) from None
    layout = {"samplerate": rate, "channels": channels, "subtype": subtype, "endian": "LITTLE", "format": "RAW"}
    return layout, data_bytes


def _sizes(descriptor: int, name: str, layout: dict[str, int | str], data_bytes: int) -> Iterator[float]:
    """Yield the number of samples of each wav in a stream (`cat a.wav b.wav |`); read them before the next iteration.

    Raises AudioError if they differ in layout.
    """
    sample_bytes = layout["channels"] * _BYTES[layout["subtype"]]
    while 0 < data_bytes < UNKNOWN_BYTES:
        yield data_bytes // sample_bytes
        _read(descriptor, data_bytes % sample_bytes + data_bytes % 2)
        start = _next_wav(descriptor)
        if not start:
            return
        following, data_bytes = _parse_header(descriptor, name, start)
        if following != layout:
            raise AudioError(f"{name}: is joined from recordings with different sample rates, channel counts or "
                             "sample types; send them separately.")
    yield math.inf


def _next_wav(descriptor: int) -> bytes:
    """Skip the chunks after the samples; returns the first bytes of the next wav, b"" if there is none."""
    while (start := _read(descriptor, 8))[:4] not in (b"RIFF", b"RF64"):
        size = int.from_bytes(start[4:], "little")
        if len(start) < 8 or not start[:4].isascii() or size > _MAX_CHUNK:
            return b""
        _read(descriptor, size + size % 2)
    return start


def _read_chunks(descriptor: int, start: bytes) -> tuple[bytes, int]:
    """Read up to the chunk "data": (the chunk "fmt ", the size of "data" in bytes)."""
    riff, _, wave = struct.unpack("<4sI4s", start + _read(descriptor, 12 - len(start)))
    if riff not in (b"RIFF", b"RF64") or wave != b"WAVE":
        raise ValueError("no RIFF")
    fmt = b""
    while True:
        chunk, size = struct.unpack("<4sI", _read(descriptor, 8))
        if chunk == b"data":
            return fmt, size
        if size > _MAX_CHUNK:
            raise ValueError(chunk)
        body = _read(descriptor, size + size % 2)
        fmt = body if chunk == b"fmt " else fmt


def _read(descriptor: int, count: int) -> bytes:
    """Exactly `count` bytes of a pipe, fewer at its end."""
    found = b""
    while len(found) < count and (more := os.read(descriptor, count - len(found))):
        found += more
    return found
