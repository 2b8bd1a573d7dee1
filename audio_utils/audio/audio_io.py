"""The one reader and writer of audio files: float32 (channels, samples), whatever the file contains.

Reads every format of libsndfile (wav, flac, ogg, opus, mp3, aiff, ...), by content, not by extension.
"""

import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from audio_utils.audio.formats import HEAD, AudioError, conversion, unreadable
from audio_utils.audio.parts_file import UNKNOWN_SAMPLES, PartsFile, open_sound
from audio_utils.audio.quiet import silenced
from audio_utils.runtime.errors import UserError, without_prefix
from audio_utils.runtime.safe_files import replacing

BLOCK = 1 << 18  # samples of each channel decoded at a time, so that memory depends on the sound, not on its header
MAX_MAGNITUDE = 1e10  # of a sample: more than any 32-bit integer, and its power is far below the limit of float32
HIGHEST_RATE = 1_000_000  # Hz; a header with a higher rate is damaged
UNKNOWN_BYTES = 0x7F000000  # a header with this size or more comes from a program that wrote into a pipe
_CUT_SHORT = re.compile(r"\b(?:data|SSND) : (\d+) \(should be (\d+)\)")
_CHUNK, _MAX_CHUNKS = 1 << 20, 64  # bytes read at a time, and how often, to find out why libsndfile failed
_OGG_PAGE_SECONDS = 60  # maximum length of a page, except at extremely low bit rates
_SYSTEM_ERROR = 2  # libsndfile's code for an error of the operating system
_BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "ALAC_16": 16}  # the subtypes whose rounding errors are audible
_WAV_SAMPLE_BYTES = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
_ADD_PEAK_CHUNK = 0x1050  # libsndfile's SFC_SET_ADD_PEAK_CHUNK
_WAV_BYTES = (1 << 32) - (1 << 16)  # a plain wav file has 32-bit sizes; 64 KiB are left for the header
_WAV_SUBTYPES = {name: name for name in _WAV_SAMPLE_BYTES} | {
    "PCM_S8": "PCM_U8", "ALAC_16": "PCM_16", "ALAC_20": "PCM_24", "ALAC_24": "PCM_24", "ALAC_32": "PCM_32"}


class AudioInfo(NamedTuple):
    """The header of an audio file."""
    samples: int  # per channel
    rate: int  # Hz
    channels: int
    cut_short: bool  # the file is shorter than its header says
    format: str  # libsndfile's name: "WAV", "FLAC", "OGG", ...
    subtype: str  # libsndfile's name of the sample type: "PCM_16", "FLOAT", "VORBIS", ...


# --- reading --------------------------------------------------------------------------------------------------------

def info(path: str | Path) -> AudioInfo:
    """Read only the header. Raises AudioError if the file is not audio or has no samples."""
    with _open(path) as file:
        return _info(path, file)


def read(path: str | Path, start: int = 0, samples: int | None = None) -> tuple[np.ndarray, int]:
    """Decode a file, or `samples` samples of it from `start`; of a truncated file, the part that exists.

    Returns (audio, rate): float32 (channels, samples), and Hz.
    Raises AudioError if the file can't be decoded, has no samples, or has some that `checked` refuses.
    """
    with opened(path, start) as (header, blocks):
        rest = header.samples - start
        audio = _joined(path, header, blocks, rest if samples is None else min(samples, rest))
    return np.ascontiguousarray(audio), header.rate


def read_seconds(path: str | Path, seconds: float, start: int = 0) -> tuple[np.ndarray, AudioInfo]:
    """The first seconds of a file, or those from a sample on, which is opened only once. Raises as `read` does.

    Returns (float32 (channels, samples), header).
    """
    with opened(path, start) as (header, blocks):
        return _joined(path, header, blocks, min(header.samples - start, math.ceil(seconds * header.rate))), header


def _joined(path: str | Path, header: AudioInfo, blocks: Callable[[int], Iterator[np.ndarray]],
            samples: int) -> np.ndarray:
    pieces = list(blocks(samples))
    if samples > 0 and not pieces:
        raise AudioError(f"{path}: contains no samples; replace or remove it.")
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros((header.channels, 0), np.float32), *pieces], 1)


def checked(audio: np.ndarray, path: str | Path) -> np.ndarray:
    """The same audio (channels, n). Raises AudioError if it has NaN, infinite or absurdly large samples."""
    peak = max(audio.max(initial=0), -audio.min(initial=0))
    if peak <= MAX_MAGNITUDE:
        return audio
    magnitude = f"{peak:.0e}".replace("+", "")
    problem = f"samples of absurd magnitude ({magnitude})" if np.isfinite(peak) else "NaN or infinite samples"
    raise AudioError(f"{path}: contains {problem}; repair or remove it.")


@contextmanager
def opened(path: str | Path, start: int = 0, exact: bool = False,
           block: int = BLOCK) -> Iterator[tuple[AudioInfo, Callable[[int], Iterator[np.ndarray]]]]:
    """Open a file that may be too long for memory. Yields (header, blocks).

    blocks(n) decodes the next n samples, fewer at the end of the file, and yields them as arrays (channels, up to
    `block`): `checked` float32, or with `exact` the type that represents every sample exactly. Such arrays, written to
    a wav file of the subtype `wav_subtype(header.subtype)`, give the same samples.
    """
    with _open(path) as file:
        header = _info(path, file)
        if start:
            with _decoding(path):
                _seek(file, min(start, header.samples))
        blocks = partial(_blocks, path, file, block, _exact_type(header.subtype) if exact else "float32")
        yield header, blocks if exact else lambda samples: (checked(each, path) for each in blocks(samples))


def _seek(file: soundfile.SoundFile | PartsFile, sample: int) -> None:
    """Continue with a sample. In the last page of an Ogg file, libsndfile finds a wrong one: it is decoded up to it."""
    file.seek(max(0, sample - (_OGG_PAGE_SECONDS * file.samplerate if file.format == "OGG" else 0)))
    while (missing := sample - file.tell()) > 0 and len(file.read(min(missing, BLOCK), dtype="float32")):
        pass


def wav_subtype(subtype: str) -> str:
    """The wav subtype that represents every sample of a given subtype; FLOAT for lossy compression."""
    return _WAV_SUBTYPES.get(subtype, "FLOAT")


def _exact_type(subtype: str) -> str:
    # libsndfile left-aligns PCM in int32
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(wav_subtype(subtype), "int32")


def _blocks(path: str | Path, file: soundfile.SoundFile | PartsFile, block_samples: int, dtype: str,
            samples: int) -> Iterator[np.ndarray]:
    """Yield (channels, up to block_samples) until `samples` are read or the file ends."""
    while samples > 0:
        with _decoding(path):
            block = _decoded(file, min(samples, block_samples), dtype)
            empty = not len(block) and not file.tell()
        if empty:
            raise AudioError(f"{path}: contains no samples; replace or remove it.")
        if not len(block):
            return
        samples -= len(block)
        yield block.T


def _decoded(file: soundfile.SoundFile | PartsFile, samples: int, dtype: str) -> np.ndarray:
    """The next (samples, channels). NumPy converts 16 bits to float32 in two thirds of libsndfile's time."""
    if file.format == "MP3":
        with silenced():
            return file.read(samples, dtype=dtype, always_2d=True)
    if dtype == "float32" and file.subtype == "PCM_16":
        return file.read(samples, dtype="int16", always_2d=True) * np.float32(1 / (1 << 15))
    return file.read(samples, dtype=dtype, always_2d=True)


@contextmanager
def _decoding(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused(path, error) from None
    except (soundfile.LibsndfileError, RuntimeError) as error:
        if getattr(error, "code", None) == _SYSTEM_ERROR:
            _read_through(path)
        raise AudioError(f"{path}: is damaged and can't be decoded ({_reason(error)}); replace or remove it.") from None


def _refused(path: str | Path, error: OSError) -> AudioError:
    """What the operating system says about a file that it can't read."""
    if os.path.islink(path) and not os.path.exists(path):
        return AudioError(f"{path}: is a link to a file that does not exist; fetch it, or remove the link.")
    if isinstance(error, FileNotFoundError):
        return AudioError(f"{path}: does not exist; check the name.")
    remedy = "make it readable (chmod +r)" if isinstance(error, PermissionError) else "check the disk, or remove it"
    return AudioError(f"{path}: {(error.strerror or str(error)).lower()}; {remedy}.")


def _read_through(path: str | Path) -> bytes:
    """Read a file that libsndfile can't: raises AudioError if the operating system is the reason. Returns its head."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
            for _ in range(_MAX_CHUNKS):
                file.read(_CHUNK)
    except OSError as error:
        raise _refused(path, error) from None
    return head


def _open(path: str | Path) -> soundfile.SoundFile | PartsFile:
    try:
        status = os.stat(path)
    except ValueError:  # a null byte in the name
        raise AudioError(f"{path}: does not exist; check the name.") from None
    except OSError as error:
        raise _refused(path, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path}: is not a file; give audio files.")
    if not status.st_size:
        raise AudioError(f"{path}: is empty; replace or remove it.")
    try:
        with silenced():
            return open_sound(_name(path), path)
    except OSError as error:
        raise _refused(path, error) from None
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a .raw file has no header
        raise unreadable(path, _read_through(path)) from None


def _name(path: str | Path) -> bytes | str:
    return os.fsencode(path) if os.name == "posix" else os.fspath(path)  # a file name may be invalid UTF-8


def _info(path: str | Path, file: soundfile.SoundFile | PartsFile) -> AudioInfo:
    if not 0 < file.samplerate <= HIGHEST_RATE:
        raise AudioError(f"{path}: its header gives a sample rate of {file.samplerate} Hz; replace or remove it.")
    if file.frames <= 0:
        raise AudioError(f"{path}: contains no samples; replace or remove it.")
    if file.frames >= UNKNOWN_SAMPLES:
        raise AudioError(f"{path}: is damaged and has no known length; replace or remove it.")
    if "analyze : detection failed" in file.extra_info:  # 24 bits in three bytes or in four
        raise AudioError(f"{path}: its header gives an ambiguous sample type; convert it ({conversion(path)}), then "
                         "remove it.")
    sizes = _CUT_SHORT.search(file.extra_info)
    cut_short = bool(sizes) and int(sizes[2]) < int(sizes[1]) < UNKNOWN_BYTES
    cut_short = cut_short or getattr(file, "cut_short", False)
    return AudioInfo(file.frames, file.samplerate, file.channels, cut_short, file.format, file.subtype)


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).rstrip(".").removeprefix("Error : ")


# --- writing --------------------------------------------------------------------------------------------------------

def write(path: str | Path, audio: np.ndarray, rate: int, subtype: str | None = None, format: str | None = None,
          comment: str = "") -> None:
    """Write float32 (channels, samples), atomically; only float subtypes keep values beyond ±1.

    subtype, format: libsndfile's names of the sample type ("PCM_16", "FLOAT", ...) and of the file format ("WAV",
    ...); by default the format's usual subtype, and the format of the extension. comment: ASCII text; not written
    if the format has no comment.
    """
    with replacing(path) as unfinished, \
            writing(unfinished, rate, len(audio), subtype, format, audio.shape[1], comment) as write_block:
        for start in range(0, audio.shape[1], BLOCK):  # libsndfile's ogg writer crashes on much longer arrays
            write_block(audio[:, start:start + BLOCK])


@contextmanager
def writing(path: str | Path, rate: int, channels: int, subtype: str | None = None, format: str | None = None,
            samples: int = 0, comment: str = "") -> Iterator[Callable[[np.ndarray], None]]:
    """Open a file to write in blocks: yields write_block, a function of arrays (channels, n).

    samples: the total per channel; a wav file that would exceed 4 GiB is written as RF64 (EBU Tech 3306). comment: as
    in `write`.
    """
    if Path(path).suffix.lower() == ".wav" and samples * channels * _WAV_SAMPLE_BYTES.get(subtype, 2) > _WAV_BYTES:
        format = "RF64"
    open(path, "wb").close()  # if this fails, Python gives the reason; libsndfile would not
    with _encoding(path):
        file = soundfile.SoundFile(_name(path), "w", rate, channels, subtype, format=format)
    if file.format.startswith("WAV"):  # AIFF files without this chunk are misread
        with suppress(AttributeError):  # a later soundfile may have other private names
            soundfile._snd.sf_command(file._file, _ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)  # it would contain the time
    if comment:
        with suppress(soundfile.LibsndfileError):  # the format has none
            file.comment = comment

    def write_block(block: np.ndarray) -> None:
        with _encoding(path):
            file.write(_rounded(block, _BITS.get(file.subtype)).T)

    try:
        yield write_block
    finally:
        with _encoding(path):
            file.close()


def _rounded(block: np.ndarray, bits: int | None) -> np.ndarray:
    """Left-aligned int32 (channels, n) of the nearest values of few bits; libsndfile itself rounds down."""
    if bits is None or not np.issubdtype(block.dtype, np.floating):
        return block
    full_scale = 1 << (bits - 1)
    return np.clip(np.rint(block * full_scale), -full_scale, full_scale - 1).astype(np.int32) << (32 - bits)


@contextmanager
def _encoding(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (soundfile.LibsndfileError, AssertionError, TypeError, ValueError) as error:
        name = without_prefix(path)
        if isinstance(error, AssertionError) or getattr(error, "code", None) == _SYSTEM_ERROR:  # incomplete write
            raise UserError(f"{name}: the disk is full; make room and run the same command again.") from None
        raise UserError(f"{name}: can't be written ({_reason(error)}); choose another format or rate.") from None
