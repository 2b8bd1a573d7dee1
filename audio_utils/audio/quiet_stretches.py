"""The background of a recording: its quiet stretches, joined.

Levels are those of frames, relative to each other, because the gain of recordings differs. A frame is quiet if it is
far below the loudest one and near the noise floor of the recording. So a continuous sound, such as rain, has no quiet
frames. Digital silence and fades are not background.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio_utils.audio import audio_io, dc_offset
from audio_utils.audio.audio_io import AudioInfo

FRAME_SECONDS = 0.05
SILENT_DB = -85  # dBFS, root mean square of a frame; the rounding errors of 16 bits have -101
FLOOR_PERCENTILE, FLOOR_RANGE_DB = 10, 6  # the noise floor, of all frames that are not silent; and the range above it
GUARD_FRAMES = 2  # beside other frames, which are left out
MIN_FRAMES = 4  # of a stretch, without these
STEADY_DB = 3  # the greatest difference of the mean levels of the halves of a stretch
MIN_SECONDS = 0.5  # of all stretches together; less would be repeated too often
_FADE_SECONDS = 0.01  # over which two stretches overlap


class Background(NamedTuple):
    """The background of a recording."""
    audio: np.ndarray  # float32 (channels, samples)
    quiet_seconds: float  # of the stretches; the rest is repetition
    header: AudioInfo


def of_file(path: str | Path, quiet_db: float, max_seconds: float) -> Background | None:
    """The background of a recording, as long as the recording, but at most `max_seconds`; None if there is none.

    If the quiet stretches are shorter, they are repeated, backward and forward in turn, so that a network can't tell
    background by its length. quiet_db: below the loudest frame. Raises AudioError.
    """
    with audio_io.opened(path) as (header, blocks):
        frame = max(1, round(FRAME_SECONDS * header.rate))
        framed = _framed(blocks(header.samples), frame)
        levels = np.concatenate([np.zeros(0), *(levels_db(block, frame) for block in framed)])
    stretches = find_quiet(levels, quiet_db)
    if sum(stop - start for start, stop in stretches) * frame < MIN_SECONDS * header.rate:
        return None
    wanted = round(min(len(levels) * frame, max_seconds * header.rate))
    pieces = (audio_io.read(path, start * frame, min((stop - start) * frame, wanted))[0] for start, stop in stretches)
    without_dc = (piece - dc_offset.of(piece) for piece in pieces)  # where pieces overlap, it would be a bump
    quiet = joined(without_dc, max(1, round(_FADE_SECONDS * header.rate)), wanted)
    audio = np.pad(quiet, ((0, 0), (0, wanted - quiet.shape[1])), "reflect")
    return Background(audio, quiet.shape[1] / header.rate, header)


def _framed(blocks: Iterable[np.ndarray], frame: int) -> Iterator[np.ndarray]:
    """The same sound in blocks (channels, n) of whole frames; an incomplete frame at the end is left out."""
    rest = None
    for block in blocks:
        block = block if rest is None else np.concatenate([rest, block], axis=1)
        whole = block.shape[1] // frame * frame
        rest = block[:, whole:]
        yield block[:, :whole]


def levels_db(audio: np.ndarray, frame: int) -> np.ndarray:
    """The level of each frame, dBFS: the power without the DC offset, mean over the channels.

    audio: (channels, frames × frame).
    """
    frames = audio.reshape(len(audio), -1, frame)
    return 10 * np.log10(np.maximum(frames.var(axis=2, dtype=np.float64).mean(axis=0), 1e-20))


def find_quiet(levels: np.ndarray, quiet_db: float) -> list[tuple[int, int]]:
    """The quiet stretches as (first frame, frame after the last); levels: of the frames, dBFS."""
    audible = levels[levels > SILENT_DB]
    if not len(audible):
        return []
    limit = min(levels.max() - quiet_db, np.percentile(audible, FLOOR_PERCENTILE) + FLOOR_RANGE_DB)
    edges = np.flatnonzero(np.diff(((levels > SILENT_DB) & (levels <= limit)).astype(np.int8), prepend=0, append=0))
    stretches = [(start + GUARD_FRAMES * (start > 0), stop - GUARD_FRAMES * (stop < len(levels)))
                 for start, stop in edges.reshape(-1, 2).tolist()]
    return [(start, stop) for start, stop in stretches
            if stop - start >= MIN_FRAMES and _is_steady(levels[start:stop])]


def _is_steady(levels: np.ndarray) -> bool:
    """Whether a stretch is not a part of a fade; levels: of its frames, dBFS."""
    middle = len(levels) // 2
    return abs(levels[:middle].mean() - levels[middle:].mean()) <= STEADY_DB


def joined(pieces: Iterator[np.ndarray], fade: int, samples: int) -> np.ndarray:
    """The pieces (channels, n) one after another, overlapping by `fade` samples; at most `samples`, as in total.

    Within the overlap, the sum of the powers is constant, as the pieces are noise.
    """
    rising = np.sqrt(np.linspace(0, 1, fade + 2, dtype=np.float32)[1:-1])
    parts = [next(pieces)]
    count = parts[0].shape[1]
    while count < samples and (piece := next(pieces, None)) is not None:
        parts[-1], end = parts[-1][:, :-fade], parts[-1][:, -fade:]
        parts.append(np.concatenate([end * rising[::-1] + piece[:, :fade] * rising, piece[:, fade:]], axis=1))
        count += piece.shape[1] - fade
    return np.concatenate(parts, axis=1)[:, :samples]
