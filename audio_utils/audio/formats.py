"""Files that libsndfile can't read: their formats, recognized by content, and the command that converts them."""

import re
import shlex
from pathlib import Path

from audio_utils.runtime.errors import UserError

HEAD = 64  # bytes by which a format is recognized

_FORMATS = {  # a pattern of the first bytes → the format
    rb"....ftypM4[AB]": "M4A (AAC or ALAC)", rb"....ftyp3g": "3GP (AMR or AAC)", rb"....ftyp": "MP4",
    rb"\xff[\xf0\xf1\xf8\xf9]|ADIF": "AAC", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "WMA",
    rb"\x1a\x45\xdf\xa3": "WebM or Matroska", rb"#!AMR": "AMR", rb"MAC ": "Monkey's Audio", rb"wvpk": "WavPack",
    rb"TTA[12]": "True Audio", rb"MPCK|MP\+": "Musepack", rb"DSD |FRM8": "DSD", rb"\x0b\x77": "AC-3",
    rb"\x7f\xfe\x80\x01": "DTS", rb"FLV\x01": "Flash video", rb"\.RMF": "RealAudio", rb"RIFF....AVI ": "AVI",
    rb"OggS.{24,}(?:Speex|\x80theora|\x7fFLAC)": "Ogg (Speex, Theora or FLAC)", rb"caff": "CAF with another codec",
    rb"(?:RIFF|RIFX|RF64)....WAVE.": "WAV with an unusual codec or header",
    rb"FORM....AIF[FC].": "AIFF with an unusual codec or header"}


class AudioError(UserError):
    """A file that can't be used as audio. Its text names the file and the reason."""


def unreadable(path: str | Path, head: bytes) -> AudioError:
    """The error for a file that libsndfile refuses; head: its first bytes."""
    if head.startswith((b"version https://git-lfs", b"/annex/objects/")):
        return AudioError(f"{path}: is a pointer to a file that is not on this machine; "
                          "fetch it (git lfs pull, or git annex get).")
    for pattern, name in _FORMATS.items():
        if re.match(pattern, head, re.DOTALL):
            return AudioError(f"{path}: is in the format {name}, which can't be read; convert it "
                              f"({conversion(path)}), then remove it.")
    return AudioError(f"{path}: is not a readable audio file; convert it to wav or remove it.")


def conversion(path: str | Path) -> str:
    """The command that converts a file to wav."""
    path = Path(path)
    target = path.with_suffix(".wav")
    if target == path:
        target = path.with_name(f"{path.stem}_converted.wav")
    return f"ffmpeg -i {shlex.quote(str(path))} {shlex.quote(str(target))}"
