"""Sounds of any length as clips for a network: a short one padded, a long one cut into overlapping windows."""

import itertools
import queue
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio_utils.audio import audio_io, dc_offset, melgram
from audio_utils.audio.audio_io import AudioError
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.audio.resampling import resample_blocks

_MAX_PREFETCHED = 600  # blocks of a stream


class Clip(NamedTuple):
    """A short sound, or a window of a longer one."""
    start: float  # seconds; beginning of the time that the window represents
    end: float  # seconds
    melgram: np.ndarray  # float32 (mels, frames, channels), dB
    warning: str = ""  # if the file is silent or truncated, or its channels cancel each other out


class Segment(NamedTuple):
    """A time interval with one predicted class."""
    start: float  # seconds
    end: float  # seconds
    name: str  # of the class, or "none of these", never a background class
    probabilities: np.ndarray  # (classes,)
    status: str = ""  # "silence" or "very quiet" (levels.py), if the class is not reliable
    embedding: np.ndarray | None = None  # float32 (features,) of a window, if they are computed
    classes: tuple[int, ...] | None = None  # with MULTI_LABEL, the indices of all predicted classes; `name` joins them


def fits_in_clip(samples: int, rate: int, settings: MelgramSettings) -> bool:
    """Whether a sound is no longer than a training clip."""
    return samples * settings.sample_rate <= settings.clip_samples * rate


def require_channels(channels: int, settings: MelgramSettings, name: str | Path) -> None:
    """Reject a sound with more channels than the training clips; a network for mono takes any number."""
    if channels > settings.channels > 1:
        raise AudioError(f"{name}: has {channels} channels, the network {settings.channels}; remove some.")


def read_clip(path: str | Path, settings: MelgramSettings) -> Clip | None:
    """The Clip of a file, or None if it is longer than one (then only its header is read). Raises AudioError."""
    header = audio_io.info(path)
    require_channels(header.channels, settings, path)
    if not fits_in_clip(header.samples, header.rate, settings):
        return None
    return Clip(0.0, header.samples / header.rate, *melgram.of_file(path, settings))


def windows(blocks: Iterable[np.ndarray], rate: int, settings: MelgramSettings, hop_samples: int, name: str | Path,
            powers: np.ndarray | None = None) -> Iterator[Clip]:
    """The windows of a sound that arrives in blocks, float32 (channels, n) at `rate` Hz.

    hop_samples: between windows, at the sample rate of the settings. powers: (2,), to which the `mix_powers` of the
    sound are added if it is mixed to mono. Raises AudioError for NaN, infinite or absurdly large samples.
    """
    blocks = (audio_io.checked(block, name) for block in blocks)
    if powers is not None and settings.channels == 1:
        blocks = _measured(blocks, powers)
    if settings.removes_dc:
        blocks = _without_dc(blocks, rate, settings)
    matched = (melgram.match_channels(block, settings.channels, name) for block in blocks)
    resampled = resample_blocks(matched, settings.channels, rate, settings.sample_rate)
    for start, end, audio in cut(resampled, settings.clip_samples, hop_samples):
        yield Clip(start / settings.sample_rate, end / settings.sample_rate, melgram.melgram(audio, settings))


def _measured(blocks: Iterable[np.ndarray], powers: np.ndarray) -> Iterator[np.ndarray]:
    """The same blocks; adds their `mix_powers` to `powers`."""
    for block in blocks:
        if len(block) > 1:
            powers += melgram.mix_powers(block)
        yield block


def _without_dc(blocks: Iterable[np.ndarray], rate: int, settings: MelgramSettings) -> Iterator[np.ndarray]:
    """The blocks without the DC offset of the first window, if they are converted; `melgram` removes the rest later.

    So the first window equals that of a file with the same samples, and the offset has no step at which the filter of
    the resampling would ring.
    """
    first, samples, wanted = [], 0, melgram.source_samples(rate, settings)
    blocks = iter(blocks)
    while samples < wanted and (block := next(blocks, None)) is not None:
        first.append(block)
        samples += block.shape[1]
    if not first or not melgram.is_converted(len(first[0]), rate, settings):
        return itertools.chain(first, blocks)
    offsets = dc_offset.of(np.concatenate(first, axis=1)[:, :wanted])
    return (block - offsets for block in itertools.chain(first, blocks))


def cut(blocks: Iterable[np.ndarray], window: int, hop: int) -> Iterator[tuple[float, float, np.ndarray]]:
    """Cut a sound in blocks (channels, n) into windows (channels, window): yield (start, end, audio).

    start, end: the samples that a window represents, without gaps or overlap. The last window ends with the sound; a
    shorter sound is one shorter window.
    """
    buffer, offset = np.zeros((1, 0), np.float32), 0  # the buffer begins `offset` samples into the sound
    next_window, start = 0, 0
    for block in blocks:
        buffer = np.concatenate([buffer, block], axis=1) if buffer.size else block
        while offset + buffer.shape[1] > next_window + window:  # a window that ends with the sound is the last
            buffer, offset = buffer[:, next_window - offset:], next_window
            end = offset + (window + hop) / 2
            yield start, end, buffer[:, :window]
            next_window, start = offset + hop, end
    samples = offset + buffer.shape[1]
    if samples:
        yield start, samples, buffer[:, max(0, samples - window) - offset:]


def merge(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Join adjacent segments of the same status and class; their probabilities are averaged over time."""
    for (status, name), group in itertools.groupby(segments, key=lambda segment: (segment.status, segment.name)):
        same = list(group)
        seconds = [segment.end - segment.start for segment in same]
        probabilities = np.average([segment.probabilities for segment in same], axis=0, weights=seconds)
        yield Segment(same[0].start, same[-1].end, name, probabilities, status, classes=same[0].classes)


def by_class(segments: Iterable[Segment]) -> list[Segment]:
    """With MULTI_LABEL, a segment for each predicted class, with its probability only; adjacent ones are joined.

    Labels contain no commas, so the name of a segment can be split. A segment with a status has that as its name.
    """
    found, last = [], {}  # last: (status, name) → the adjacent segments that may be continued
    for segment in segments:
        parts = [segment._replace(name=segment.status or segment.name)] if segment.status or not segment.classes else [
            segment._replace(name=name, probabilities=segment.probabilities[[i]])
            for i, name in zip(segment.classes, segment.name.split(","), strict=True)]
        last = {(part.status, part.name): last.get((part.status, part.name), []) for part in parts}
        for part, same in zip(parts, last.values(), strict=True):
            if not same:
                found.append(same)
            same.append(part)
    return [joined for same in found for joined in merge(same)]


def prefetched(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield blocks that a thread reads in advance, so that a live stream loses nothing while Python is busy."""
    buffer = queue.Queue(_MAX_PREFETCHED)

    def read_all() -> None:
        try:
            for block in blocks:
                buffer.put(block)
            buffer.put(None)
        except Exception as error:
            buffer.put(error)

    def take() -> Iterator[np.ndarray]:
        while (block := buffer.get()) is not None:
            if isinstance(block, Exception):
                raise block
            yield block

    threading.Thread(target=read_all, daemon=True).start()
    return take()
