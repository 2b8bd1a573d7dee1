"""The tag in the comment of a file that the suite wrote: the tool, its input, and so on back to the first recording.

The tag is ASCII text, MARK and JSON. libsndfile writes the comment of wav, FLAC, Ogg, mp3, AIFF and CAF files near the
beginning; other programs may move it to the end. Other formats have none, and their files have no tag.

    audio_io.write(clip, audio, rate, comment=tags.text(tags.steps_from(tags.SPLIT, recording)))
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import soundfile

from audio_utils.audio import audio_io

AUGMENT, SPLIT, BINAURALIFY = "augment_data.py", "split_audio.py", "binauralify.py"
BACKGROUND = "make_samples.py"
MARK = "panotti:"
_PROBE = 1 << 13  # bytes at the beginning and at the end of a file that are searched for MARK
_HEXADECIMAL = re.compile("[0-9a-f]*")
_MAX_STEPS = 100  # a longer tag is not one of ours
_MAX_TEXT = 2000  # characters; libsndfile does not read a longer comment of a wav file


class Step(NamedTuple):
    """One file that was made from another."""
    tool: str  # AUGMENT, SPLIT, BINAURALIFY or BACKGROUND
    source: str  # the name of the other file, without its folder; "" if the tag was too long
    size: int  # its bytes
    digest: str  # BLAKE2b of its bytes, 16 bytes in hexadecimal


def steps_from(tool: str, source: Path) -> tuple[Step, ...]:
    """The steps that lead from the first recording to what `tool` makes from `source`, the last one first."""
    return Step(tool, source.name, os.stat(source).st_size, digest_of(source)), *read(source)


def digest_of(path: Path) -> str:
    """The digest of a file, as in a Step. Raises OSError if it can't be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, _blake2b).hexdigest()


def _blake2b() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=16)


def copied(steps: Iterable[Step]) -> Step | None:
    """The first step that altered a recording, None if the file is not a copy: binauralify.py makes new recordings."""
    found = None
    for step in steps:
        if step.tool == BINAURALIFY:
            break
        found = step if step.tool == AUGMENT else found
    return found


def first_recording(steps: tuple[Step, ...]) -> str:
    """The digest and size of the recording at the first step, "" if no step has cut or rendered it."""
    return f"{steps[-1].digest}-{steps[-1].size}" if any(step.tool != AUGMENT for step in steps) else ""


# --- text -----------------------------------------------------------------------------------------------------------

def text(steps: Iterable[Step]) -> str:
    """The comment that holds these steps; without the latest names where it would be too long for a wav file."""
    steps = list(steps)
    for i in range(len(steps)):
        written = MARK + json.dumps([step._asdict() for step in steps], separators=(",", ":"))
        if len(written) <= _MAX_TEXT:
            break
        steps[i] = steps[i]._replace(source="")
    return written


def parse(comment: str) -> tuple[Step, ...]:
    """The steps in a comment, () if it has no valid tag; text around the tag is ignored."""
    _, mark, rest = comment.partition(MARK)
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        steps = json.JSONDecoder().raw_decode(rest)[0] if mark else []
        return tuple(_step(values) for values in steps[:_MAX_STEPS])
    return ()


def _step(values: dict) -> Step:
    """Raises TypeError, KeyError or ValueError if these are not the fields of a Step."""
    step = Step(*(values[name] for name in Step._fields))
    if [type(value) for value in step] != [str, str, int, str] or not _HEXADECIMAL.fullmatch(step.digest):
        raise TypeError
    step.source.encode(errors="surrogateescape")  # raises ValueError if it can't be the name of a file
    return step


# --- files ----------------------------------------------------------------------------------------------------------

def read(path: Path) -> tuple[Step, ...]:
    """The steps in a file's tag, () if it has none or can't be read. Most files have none; this takes 20 µs."""
    with suppress(OSError, ValueError, soundfile.LibsndfileError, TypeError):
        if _is_marked(path):
            with soundfile.SoundFile(audio_io._name(path)) as file:
                return parse(file.comment)
    return ()


def _is_marked(path: Path) -> bool:
    mark = MARK.encode()
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if mark in os.read(descriptor, _PROBE):
            return True
        end = os.lseek(descriptor, 0, os.SEEK_END)
        os.lseek(descriptor, max(0, end - _PROBE), os.SEEK_SET)
        return mark in os.read(descriptor, _PROBE)
    finally:
        os.close(descriptor)
