"""The one reader and writer of audio: float32 (channels, samples), whatever the file holds.

Reads what libsndfile reads (wav, flac, ogg, opus, mp3, aiff, ...), by content, not by extension.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from audio_utils.safe_files import UserError, replacing

BLOCK = 1 << 18  # samples of each channel read at a time, so that memory follows the sound and not the header
HIGHEST_RATE = 1_000_000  # Hz; beyond this a header is damaged
_CUT_SHORT = re.compile(r"\b(?:data|SSND) : (\d+) \(should be (\d+)\)")
_STREAMED = (0, 0x7FFFFFFF)  # data sizes that a program which could not seek leaves in a wav header: 0, or near 2 or 4 GiB


class AudioError(UserError):
    """A file that holds no sound that can be used; the text names it and says why."""


class AudioInfo(NamedTuple):
    """What the header of an audio file says."""
    samples: int  # of each channel
    rate: int  # Hz
    channels: int
    cut_short: bool  # the file ends before its header says


def info(path):
    """Read the header alone. Raises AudioError where the file is no audio or holds no sample."""
    with _open(path) as file:
        return _info(path, file)


def read(path, start=0, samples=None):
    """Decode a file, or `samples` samples of it from `start`.

    Returns (audio, rate): float32 (channels, samples), and Hz. A file cut short gives what is there.
    Raises AudioError where it can't be decoded, holds no sample, or holds NaN or infinity.
    """
    with _open(path) as file:
        facts = _info(path, file)
        try:
            if start:
                file.seek(min(start, facts.samples))
            blocks = list(_blocks(file, facts.samples - start if samples is None else min(samples, facts.samples - start)))
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError(f"{path}: is damaged and can't be decoded ({_reason(error)}); replace or remove it.") from None
    audio = np.concatenate(blocks).T if blocks else np.zeros((facts.channels, 0), np.float32)
    if not np.isfinite(audio.sum()) and not np.isfinite(audio).all():
        raise AudioError(f"{path}: holds NaN or infinite samples; repair or remove it.")
    if not audio.shape[1] and samples != 0 and start < facts.samples:
        raise AudioError(f"{path}: holds no sample; replace or remove it.")
    return np.ascontiguousarray(audio), facts.rate


def _blocks(file, samples):
    """Blocks of (samples, channels) until `samples` are read or the file ends."""
    while samples > 0:
        block = file.read(min(samples, BLOCK), dtype="float32", always_2d=True)
        if not len(block):
            return
        samples -= len(block)
        yield block


def _open(path):
    if not Path(path).exists():
        raise AudioError(f"{path}: is not there; check the name.")
    if not Path(path).is_file():
        raise AudioError(f"{path}: is not a file; give audio files.")
    if not Path(path).stat().st_size:
        raise AudioError(f"{path}: is empty; replace or remove it.")
    try:
        return soundfile.SoundFile(path)
    except PermissionError:
        raise AudioError(f"{path}: may not be read; change its permissions.") from None
    except (soundfile.LibsndfileError, TypeError, OSError):  # TypeError: a .raw file has no header
        raise AudioError(f"{path}: is no audio that can be read; convert it to wav or remove it.") from None


def _info(path, file):
    if not 0 < file.samplerate <= HIGHEST_RATE:
        raise AudioError(f"{path}: its header gives a sample rate of {file.samplerate} Hz; replace or remove it.")
    if file.frames <= 0:
        raise AudioError(f"{path}: holds no sample; replace or remove it.")
    found = _CUT_SHORT.search(file.extra_info)
    cut_short = bool(found) and int(found[1]) > int(found[2]) and int(found[1]) not in _STREAMED \
        and int(found[1]) < 0x7FFFF000
    return AudioInfo(file.frames, file.samplerate, file.channels, cut_short)


def _reason(error):
    return str(getattr(error, "error_string", error)).rstrip(".").removeprefix("Error : ")


def resample(audio, from_rate, to_rate):
    """Resample (channels, samples) from one rate in Hz to another with soxr, as librosa does."""
    if from_rate == to_rate:
        return audio
    import soxr
    samples = -(-audio.shape[1] * to_rate // from_rate)  # rounded up, as librosa.resample has it
    return fix_length(np.ascontiguousarray(soxr.resample(audio.T, from_rate, to_rate).T), samples)


def fix_length(audio, samples):
    """Cut (channels, n), or pad it with silence at the end, to (channels, samples)."""
    missing = samples - audio.shape[1]
    return np.pad(audio, ((0, 0), (0, missing))) if missing > 0 else audio[:, :samples]


def write(path, audio, rate, subtype=None):
    """Write float32 (channels, samples) in the format of the extension; values beyond ±1 are kept only by float formats.

    subtype: libsndfile's name of the sample type ("PCM_16", "FLOAT", ...); by default the format's usual one.
    """
    with replacing(path) as unfinished:
        soundfile.write(unfinished, audio.T, rate, subtype=subtype)
