"""The audio files of a folder and of all folders in it: recordings of noise, impulse responses."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from audio_utils.data.sound import Skipped
from audio_utils.data.sounds import may_be_audio, visible
from audio_utils.runtime import parallel
from audio_utils.runtime.errors import UserError, sentence


def find(folder: str, constant: str) -> list[Path]:
    """The audio files in a folder and below it, sorted; annotations, text, pictures and hidden files are ignored.

    folder: if it is "", there are none. constant: that contains the folder, for messages. Raises UserError if it is not
    a folder or has no such file.
    """
    if not folder:
        return []
    if not os.path.isdir(folder):
        problem = "is not a folder" if os.path.exists(folder) else "does not exist"
        raise UserError(f"{folder}: {problem}; set {constant} to a folder of audio files.")
    files = sorted(_below(Path(folder), set()), key=os.fsencode)
    if not files:
        raise UserError(f"{folder}: contains no audio files; set {constant} to a folder of audio files.")
    return files


def _below(folder: Path, passed: set[str]) -> Iterator[Path]:
    """passed: the folders before this one; a link may lead back to one of them."""
    real = os.path.realpath(folder)
    if real in passed:
        return
    passed.add(real)
    for path in visible(folder):
        if path.is_dir():
            yield from _below(path, passed)
        elif may_be_audio(path.name):
            yield path


def load(folder: str, files: list[Path], function: Callable[[Path], Any],
         jobs: int | str | None) -> tuple[list, list[Skipped]]:
    """The results of a function of each file, in their order, and the files that it refuses.

    folder: that contains the files, for the UserError that is raised if it refuses all of them.
    """
    results = dict(parallel.each(function, files, "Reading", jobs))
    refused = [Skipped.of(file, sentence(results[file])) for file in files if isinstance(results[file], Exception)]
    if files and len(refused) == len(files):
        first = refused[0]
        raise UserError(f"{folder}: contains no usable file ({first.path.name} {first.reason}).")
    return [results[file] for file in files if not isinstance(results[file], Exception)], refused
