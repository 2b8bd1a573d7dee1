"""The one reader and writer of audio: float32 (channels, samples), whatever the file holds.

Reads what libsndfile reads (wav, flac, ogg, opus, mp3, aiff, ...), by content, not by extension.
"""

import math
import os
import re
import stat
import struct
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from audio_utils.safe_files import UNFINISHED, UserError, replacing

BLOCK = 1 << 18  # samples of each channel read at a time, so that memory follows the sound and not the header
HIGHEST_RATE = 1_000_000  # Hz; beyond this a header is damaged
_CUT_SHORT = re.compile(r"\b(?:data|SSND) : (\d+) \(should be (\d+)\)")
_UNKNOWN_BYTES = 0x7FFFF000  # from here on, to 4 GiB, a wav header's size only says that its writer couldn't go back
_SYSTEM_ERROR = 2  # libsndfile's code for what the operating system refused
_BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "ALAC_16": 16}  # the types in which a rounding error can be heard
_WAV_SAMPLE_BYTES = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
_WAV_BYTES = (1 << 32) - (1 << 16)  # a plain wav file counts its bytes in 32 bits; 64 KiB are left for the header
_WAV_TAGS = {(1, 8): "PCM_U8", (1, 16): "PCM_16", (1, 24): "PCM_24", (1, 32): "PCM_32",
             (3, 32): "FLOAT", (3, 64): "DOUBLE"}  # format tag and bits → subtype
_EXTENSIBLE = 0xFFFE  # the tag in a wav header that has the real one further on
_LONGEST_CHUNK = 1 << 24  # bytes of what may come before the samples of a wav
_WAV_SUBTYPES = {name: name for name in _WAV_SAMPLE_BYTES} | {
    "PCM_S8": "PCM_U8", "ALAC_16": "PCM_16", "ALAC_20": "PCM_24", "ALAC_24": "PCM_24", "ALAC_32": "PCM_32"}


class AudioError(UserError):
    """A file that holds no sound that can be used; the text names it and says why."""


class AudioInfo(NamedTuple):
    """What the header of an audio file says."""
    samples: int  # of each channel
    rate: int  # Hz
    channels: int
    cut_short: bool  # the file ends before its header says
    format: str  # "WAV", "FLAC", "OGG", ... as libsndfile has it
    subtype: str  # the type of its samples: "PCM_16", "FLOAT", "VORBIS", ... as libsndfile has it


def info(path):
    """Read the header alone. Raises AudioError where the file is no audio or holds no sample."""
    with _open(path) as file:
        return _info(path, file)


def read(path, start=0, samples=None):
    """Decode a file, or `samples` samples of it from `start`.

    Returns (audio, rate): float32 (channels, samples), and Hz. A file cut short gives what is there.
    Raises AudioError where it can't be decoded, holds no sample, or holds NaN or infinity.
    """
    with opened(path, start) as (facts, blocks):
        left = facts.samples - start
        audio = _whole(path, facts, blocks, left if samples is None else min(samples, left))
    return np.ascontiguousarray(audio), facts.rate


def read_beginning(path, seconds):
    """The first seconds of a file, opened once: (float32 (channels, samples), AudioInfo). Raises as `read` does."""
    with opened(path) as (facts, blocks):
        return _whole(path, facts, blocks, min(facts.samples, math.ceil(seconds * facts.rate))), facts


def _whole(path, facts, blocks, samples):
    pieces = list(blocks(samples))
    if samples > 0 and not pieces:
        raise AudioError(f"{path}: holds no sample; replace or remove it.")
    audio = pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros((facts.channels, 0), np.float32), *pieces], 1)
    if not np.isfinite(audio.sum()) and not np.isfinite(audio).all():
        raise AudioError(f"{path}: holds NaN or infinite samples; repair or remove it.")
    return audio


@contextmanager
def opened(path, start=0, exact=False, block=BLOCK):
    """Open a file that may be too long for the memory. Yields (facts, blocks).

    facts: the AudioInfo. blocks(n) decodes the next n samples, fewer where the file ends, and yields them as arrays
    (channels, at most `block`). exact: arrays not of float32 but of the type that loses nothing; written to a wav file
    of the type `wav_subtype(facts.subtype)`, every sample is what it was.
    """
    with _open(path) as file:
        facts = _info(path, file)
        if start:
            with _decoding(path):
                file.seek(min(start, facts.samples))
        yield facts, partial(_blocks, path, file, block, _exact_type(facts.subtype) if exact else "float32")


def streamed(descriptor, name):
    """Open a wav that comes through a pipe bit by bit, perhaps without end: (rate, channels, blocks).

    blocks(n) waits for n samples and yields them as float32 (channels, n), again and again; the last are fewer.
    """
    facts, samples = {}, math.inf
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # a regular file (`< sound.flac`) libsndfile opens as any other
        facts, samples = _wav_header(descriptor, name)
    try:
        file = soundfile.SoundFile(descriptor, closefd=False, **facts)
    except (soundfile.LibsndfileError, TypeError):
        raise AudioError(f"{name}: is no audio that can be read; convert it to wav.") from None
    return file.samplerate, file.channels, partial(_blocks_of_stream, file, samples)


def _blocks_of_stream(file, samples, most):
    while samples > 0 and len(block := file.read(min(samples, most), dtype="float32", always_2d=True)):
        samples -= len(block)
        yield block.T


def _wav_header(descriptor, name):
    """Read as far as the first sample: (what SoundFile must be told of it, how many samples come).

    Libsndfile itself would stop where the header says; a program that writes into a pipe writes 0 there, or 2 or 4 GiB.
    """
    try:
        kind, data_bytes = _wav_chunks(descriptor)
        tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", kind[:16])
        subtype = _WAV_TAGS[struct.unpack("<H", kind[24:26])[0] if tag == _EXTENSIBLE else tag, bits]
        samples = data_bytes // (channels * _WAV_SAMPLE_BYTES[subtype])
        if not 0 < rate <= HIGHEST_RATE:
            raise ValueError(rate)
    except (struct.error, LookupError, ValueError, ZeroDivisionError):
        raise AudioError(f"{name}: is no wav; send one, as `arecord -f cd |` and `sox -d -t wav - |` do.") from None
    facts = {"samplerate": rate, "channels": channels, "subtype": subtype, "endian": "LITTLE", "format": "RAW"}
    return facts, samples if 0 < data_bytes < _UNKNOWN_BYTES else math.inf


def _wav_chunks(descriptor):
    """The chunk "fmt " and the size in bytes of the chunk "data" that comes next."""
    riff, _, wave = struct.unpack("<4sI4s", _bytes(descriptor, 12))
    if riff not in (b"RIFF", b"RF64") or wave != b"WAVE":
        raise ValueError("no RIFF")
    kind = b""
    while True:
        chunk, size = struct.unpack("<4sI", _bytes(descriptor, 8))
        if chunk == b"data":
            return kind, size
        if size > _LONGEST_CHUNK:
            raise ValueError(chunk)
        body = _bytes(descriptor, size + size % 2)
        kind = body if chunk == b"fmt " else kind


def _bytes(descriptor, count):
    """So many bytes of a pipe, fewer where it ends; not one more."""
    found = b""
    while len(found) < count and (more := os.read(descriptor, count - len(found))):
        found += more
    return found


def wav_subtype(subtype):
    """The type of wav that holds every sample of a file of this type; FLOAT for what was compressed with loss."""
    return _WAV_SUBTYPES.get(subtype, "FLOAT")


def _exact_type(subtype):
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(wav_subtype(subtype), "int32")  # PCM fills int32 from the top


def _blocks(path, file, most, dtype, samples):
    """Yield (channels, at most `most`) until `samples` are read or the file ends."""
    while samples > 0:
        with _decoding(path):
            block = _decoded(file, min(samples, most), dtype)
            nothing = not len(block) and not file.tell()
        if nothing:
            raise AudioError(f"{path}: holds no sample; replace or remove it.")
        if not len(block):
            return
        samples -= len(block)
        yield block.T


def _decoded(file, samples, dtype):
    """The next (samples, channels); numpy makes float32 of 16 bits in two thirds of the time that libsndfile takes."""
    if dtype == "float32" and file.subtype == "PCM_16":
        return file.read(samples, dtype="int16", always_2d=True) * np.float32(1 / (1 << 15))
    return file.read(samples, dtype=dtype, always_2d=True)


@contextmanager
def _decoding(path):
    try:
        yield
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path}: is damaged and can't be decoded ({_reason(error)}); replace or remove it.") from None


def _open(path):
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        raise AudioError(f"{path}: is not there; check the name.") from None
    if not stat.S_ISREG(facts.st_mode):
        raise AudioError(f"{path}: is not a file; give audio files.")
    if not facts.st_size:
        raise AudioError(f"{path}: is empty; replace or remove it.")
    try:
        return soundfile.SoundFile(_name(path))
    except PermissionError:
        raise AudioError(f"{path}: may not be read; change its permissions.") from None
    except (soundfile.LibsndfileError, TypeError, OSError):  # TypeError: a .raw file has no header
        raise AudioError(f"{path}: is no audio that can be read; convert it to wav or remove it.") from None


def _name(path):
    return os.fsencode(path) if os.name == "posix" else os.fspath(path)  # a name need not be UTF-8


def _info(path, file):
    if not 0 < file.samplerate <= HIGHEST_RATE:
        raise AudioError(f"{path}: its header gives a sample rate of {file.samplerate} Hz; replace or remove it.")
    if file.frames <= 0:
        raise AudioError(f"{path}: holds no sample; replace or remove it.")
    found = _CUT_SHORT.search(file.extra_info)
    cut_short = bool(found) and int(found[2]) < int(found[1]) < _UNKNOWN_BYTES
    return AudioInfo(file.frames, file.samplerate, file.channels, cut_short, file.format, file.subtype)


def _reason(error):
    return str(getattr(error, "error_string", error)).rstrip(".").removeprefix("Error : ")


def resample(audio, from_rate, to_rate):
    """Resample (channels, samples) from one rate in Hz to another with soxr, as librosa does."""
    if from_rate == to_rate:
        return audio
    import soxr
    samples = -(-audio.shape[1] * to_rate // from_rate)  # rounded up, as librosa.resample has it
    return fix_length(np.ascontiguousarray(soxr.resample(audio.T, from_rate, to_rate).T), samples)


def resample_blocks(blocks, channels, from_rate, to_rate):
    """Resample a sound that comes in blocks (channels, n): the same samples as `resample` gives for the whole."""
    if from_rate == to_rate:
        yield from blocks
        return
    import soxr
    stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block.T).T
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).T


def fix_length(audio, samples):
    """Cut (channels, n), or pad it with silence at the end, to (channels, samples)."""
    missing = samples - audio.shape[1]
    return np.pad(audio, ((0, 0), (0, missing))) if missing > 0 else audio[:, :samples]


def write(path, audio, rate, subtype=None, format=None):
    """Write float32 (channels, samples); values beyond ±1 are kept only by float formats.

    subtype, format: libsndfile's names of the type of the samples ("PCM_16", "FLOAT", ...) and of the file ("WAV",
    ...); by default what is usual for the format, and what the extension says.
    """
    with replacing(path) as unfinished, \
            writing(unfinished, rate, len(audio), subtype, format, audio.shape[1]) as write_block:
        for start in range(0, audio.shape[1], BLOCK):  # libsndfile's ogg writer crashes on much longer ones
            write_block(audio[:, start:start + BLOCK])


@contextmanager
def writing(path, rate, channels, subtype=None, format=None, samples=0):
    """Open a file to be written piece by piece: yields write_block, to be called with arrays (channels, n).

    samples: of each channel in all; a wav file that would pass 4 GiB is made an RF64 one (EBU Tech 3306).
    """
    if Path(path).suffix.lower() == ".wav" and samples * channels * _WAV_SAMPLE_BYTES.get(subtype, 2) > _WAV_BYTES:
        format = "RF64"
    open(path, "wb").close()  # where that can't be, Python says why and libsndfile doesn't
    with _encoding(path):
        file = soundfile.SoundFile(_name(path), "w", rate, channels, subtype, format=format)

    def write_block(block):
        with _encoding(path):
            file.write(_rounded(block, _BITS.get(file.subtype)).T)

    try:
        yield write_block
    finally:
        with _encoding(path):
            file.close()


def _rounded(block, bits):
    """int32 (channels, n), filled from the top, of the nearest values of few bits; libsndfile itself rounds down."""
    if bits is None or not np.issubdtype(block.dtype, np.floating):
        return block
    full_scale = 1 << (bits - 1)
    return np.clip(np.rint(block * full_scale), -full_scale, full_scale - 1).astype(np.int32) << (32 - bits)


@contextmanager
def _encoding(path):
    try:
        yield
    except (soundfile.LibsndfileError, AssertionError, TypeError, ValueError) as error:
        name = str(path).replace(UNFINISHED, "")
        if isinstance(error, AssertionError) or getattr(error, "code", None) == _SYSTEM_ERROR:  # not all was written
            raise UserError(f"{name}: the disk is full; make room and run the same command again.") from None
        raise UserError(f"{name}: can't be written ({_reason(error)}); choose another format or rate.") from None
