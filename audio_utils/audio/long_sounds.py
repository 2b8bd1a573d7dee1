"""Sounds that are longer than a clip: their loudest part, and the clips that they are cut into.

They are read in blocks, so that a recording of hours needs no more memory than one of seconds. A clip has the same
melgram as a file that contains only this part of the sound.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio_utils.audio import audio_io, melgram
from audio_utils.audio.audio_io import AudioError, AudioInfo
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.runtime.errors import UserError

BEGINNING, LOUDEST, ALL = MODES = ("beginning", "loudest", "all")  # the values of LONG_FILES
MAX_CLIPS = 1_000_000  # of a sound; a header that is damaged may give any length
_PART_SECONDS = 120  # of a sound that are computed at a time: a second or two of work
_STEPS = 100  # in the length of a clip: the loudest window begins at a multiple of such a step
_EQUAL = 1e-6  # relative difference of two energies that are equal except for rounding errors


class Part(NamedTuple):
    """The result of consecutive clips of a sound."""
    clips: int  # that exist; fewer than expected if the file is truncated
    silent: int  # clips
    powers: np.ndarray  # (2,): the sum of their `melgram.mix_powers`
    cut_short: bool  # the file is shorter than its header says


def check_mode(mode: str) -> None:
    """Reject any other LONG_FILES."""
    if mode not in MODES:
        raise UserError(f"LONG_FILES is {mode!r}; choose beginning, loudest or all.")


# --- where clips begin and end --------------------------------------------------------------------------------------

def is_long(header: AudioInfo, settings: MelgramSettings) -> bool:
    """Whether a sound is longer than a clip; in integers, as 220544 / 44100 * 44100 < 220544."""
    return header.samples * settings.sample_rate > settings.clip_samples * header.rate


def clip_count(header: AudioInfo, settings: MelgramSettings) -> int:
    """The number of clips that a sound is cut into; 0 if it is only one, which begins with the sound.

    The rest after the last whole clip is a clip too if it is at least half as long, padded with silence.
    """
    clip = settings.clip_samples * header.rate
    whole, rest = divmod(header.samples * settings.sample_rate, clip)
    count = whole + (2 * rest >= clip)
    return count if count > 1 else 0


def unused_seconds(header: AudioInfo, settings: MelgramSettings) -> float:
    """The length of the rest of a sound that is in none of its clips."""
    seconds = header.samples / header.rate
    return max(0.0, seconds - max(1, clip_count(header, settings)) * settings.clip_seconds)


def clip_start(number: int, rate: int, settings: MelgramSettings) -> int:
    """The first sample of a clip, numbered from 1, at the rate of its file."""
    return (number - 1) * settings.clip_samples * rate // settings.sample_rate


def parts(clips: int, settings: MelgramSettings) -> list[tuple[int, int]]:
    """(number of the first clip, count) of the parts of a sound that are computed one at a time."""
    count = max(1, int(_PART_SECONDS / settings.clip_seconds))
    return [(first, min(count, clips + 1 - first)) for first in range(1, clips + 1, count)]


def start_of(path: str | Path, settings: MelgramSettings, mode: str, number: int = 0) -> int:
    """The first sample of a clip of a file, at the file's rate; number: of the clip, 0 if the sound is not cut."""
    if number:
        return clip_start(number, audio_io.info(path).rate, settings)
    return loudest_start(path, settings) if mode == LOUDEST else 0


# --- the loudest part -----------------------------------------------------------------------------------------------

def of_file(path: str | Path, settings: MelgramSettings, mode: str) -> tuple[np.ndarray, str]:
    """The melgram of the beginning or of the loudest part of a file, and a warning: see `melgram.of_file`."""
    return melgram.of_file(path, settings, start_of(path, settings, mode))


def loudest_start(path: str | Path, settings: MelgramSettings) -> int:
    """The first sample of the part of a clip's length that has the most energy, in all channels together.

    Their DC offset in that part does not count. Parts begin at multiples of a hundredth of their length; of several
    with the same energy, the first is taken.
    """
    with audio_io.opened(path) as (header, blocks):
        if not is_long(header, settings):
            return 0
        window = melgram.source_samples(header.rate, settings)
        step = max(1, window // _STEPS)
        best, loudest = 0, 0.0
        for first, energies in _energies(blocks(header.samples), step, window // step):
            position = int(np.argmax(energies >= energies.max() * (1 - _EQUAL)))
            if energies[position] > loudest * (1 + _EQUAL):
                best, loudest = first + position, energies[position]
        return min(best * step, header.samples - window)


def _energies(blocks: Iterable[np.ndarray], step: int, steps: int) -> Iterator[tuple[int, np.ndarray]]:
    """The energies (windows,) of all windows of a number of steps that end in a block, and the step of the first one.

    step: samples.
    """
    rest, sums, first = None, None, 0
    for block in blocks:
        audio = block if rest is None else np.concatenate([rest, block], axis=1)
        whole = audio.shape[1] // step * step
        rest = audio[:, whole:]
        pieces = audio[:, :whole].reshape(len(audio), -1, step)
        new = np.stack([pieces.sum(axis=2, dtype=np.float64), np.square(pieces, dtype=np.float64).sum(axis=2)])
        sums = new if sums is None else np.concatenate([sums, new], axis=2)  # (2, channels, steps)
        if sums.shape[2] >= steps:
            sum_, squares = np.lib.stride_tricks.sliding_window_view(sums, steps, axis=2).sum(axis=3)
            yield first, (squares - np.square(sum_) / (steps * step)).sum(axis=0)
            first += sums.shape[2] - (steps - 1)
            sums = sums[:, :, sums.shape[2] - (steps - 1):]


# --- all clips ------------------------------------------------------------------------------------------------------

def compute_clips(path: str | Path, settings: MelgramSettings, first: int, count: int,
                  write: Callable[[int, np.ndarray], None]) -> Part:
    """Call write(number, melgram) for `count` clips of a file, beginning with number `first`.

    Raises AudioError if the file can't be used.
    """
    number, silent, powers = first - 1, 0, np.zeros(2)
    with _opened_at(path, first, settings) as (header, blocks):
        for number, audio in enumerate(_cut(header, blocks, settings, first, count), first):
            result = melgram.melgram(melgram.conform(audio, header.rate, settings, path), settings)
            silent += int(result.max() <= melgram.SILENT_DB)
            if settings.channels == 1 < len(audio):
                powers += melgram.mix_powers(audio)
            write(number, result)
    return Part(number + 1 - first, silent, powers, header.cut_short)


@contextmanager
def _opened_at(path: str | Path, number: int,
               settings: MelgramSettings) -> Iterator[tuple[AudioInfo, Callable[[int], Iterator[np.ndarray]]]]:
    """`audio_io.opened` at the first sample of a clip."""
    start = clip_start(number, audio_io.info(path).rate, settings)
    with ExitStack() as stack:
        try:
            header, blocks = stack.enter_context(audio_io.opened(path, start))
        except AudioError:  # a truncated file has no such sample: the blocks before it are skipped, up to the end
            header, blocks = stack.enter_context(audio_io.opened(path))
            for _ in blocks(start):
                pass
        yield header, blocks


def _cut(header: AudioInfo, blocks: Callable[[int], Iterator[np.ndarray]], settings: MelgramSettings, first: int,
         count: int) -> Iterator[np.ndarray]:
    """The audio (channels, samples) of clips, each with the margin for the resampling, at the rate of the file."""
    wanted = math.ceil((settings.clip_seconds + melgram.RESAMPLING_MARGIN) * header.rate)
    buffer, position = np.zeros((header.channels, 0), np.float32), clip_start(first, header.rate, settings)
    for number in range(first, first + count):
        start = clip_start(number, header.rate, settings)
        buffer, position = buffer[:, start - position:], start
        missing = min(wanted, header.samples - start) - buffer.shape[1]
        buffer = np.concatenate([buffer, *blocks(missing)], axis=1)
        is_half = 2 * buffer.shape[1] * settings.sample_rate >= settings.clip_samples * header.rate
        if not is_half and (number > 1 or not buffer.size):  # the file is truncated
            return
        yield buffer


def describe(path: str | Path, results: list[Part], clips: int, settings: MelgramSettings) -> str:
    """A warning about the parts of a file, "" if there is none; clips: the number that was expected."""
    found, silent = (sum(getattr(part, name) for part in results) for name in ("clips", "silent"))
    if settings.channels == 1 and melgram.cancels(*sum(part.powers for part in results)):
        return melgram.canceled(path)
    if silent:
        return f"{path}: {silent} of its {found} clips {'are' if silent > 1 else 'is'} silent; kept."
    if found < clips or any(part.cut_short for part in results):
        return f"{path}: is truncated; the available part is used."
    return ""
