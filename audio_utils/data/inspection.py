"""Statistics of decoded sounds, and problems that are detected from them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from audio_utils.audio import audio_io
from audio_utils.data.checks import by_class, named
from audio_utils.data.multi_label import NO_LABEL, Labels
from audio_utils.data.sounds import Sound
from audio_utils.runtime import errors, parallel
from audio_utils.runtime.tables import in_natural_order

Value = TypeVar("Value")

_FRAME_SECONDS = 0.01  # a frame is either active or silent
_FULL_SCALE = 0.99  # the highest amplitude of 8-bit samples


class SoundStatistics(NamedTuple):
    """The statistics of one decoded sound."""
    info: audio_io.AudioInfo
    active_seconds: float  # not silent
    level_db: float  # root mean square over all channels less their DC offsets, dBFS; at least -80
    clipped: float  # fraction of the samples that are clipped
    silent_channels: int  # channels that are silent while another is not
    dc_channels: int  # channels whose DC offset exceeds SILENT_DB and the level of the sound without it

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.info.samples / self.info.rate


# --- one sound ------------------------------------------------------------------------------------------------------

def measure_all(sounds: list[Sound], silent_db: float, jobs: int | None) -> tuple[
        dict[Sound, SoundStatistics], list[str]]:
    """Decode all sounds: the statistics of those that can be decoded, and a sentence about each of the others."""
    threshold = 10 ** (silent_db / 20)
    results = dict(parallel.each(measure, [sound.path for sound in sounds], "Decoding", jobs, (threshold,)))
    failed = [errors.sentence(results[sound.path]) for sound in sounds
              if isinstance(results[sound.path], Exception)]
    return {sound: results[sound.path] for sound in sounds
            if isinstance(results[sound.path], SoundStatistics)}, failed


def measure(path: Path, threshold: float) -> SoundStatistics:
    """Decode a sound block by block; threshold: the amplitude, around the DC offset, below which it is silent.

    Raises AudioError if it can't be decoded or has NaN, infinite or absurdly large samples.
    """
    peaks, sums, squares, clipped, active, samples = 0, 0.0, 0.0, 0, 0, 0  # the first three: of each channel
    with audio_io.opened(path) as (info, blocks):
        for block in blocks(info.samples):
            sums += block.sum(axis=1, dtype=np.float64)
            squares += np.square(block, dtype=np.float64).sum(axis=1)
            samples += block.shape[1]
            clipped += clipped_samples(block, np.abs(block))
            magnitude = np.abs(block - (sums / samples).astype(np.float32)[:, np.newaxis])  # preprocessing removes DC
            peaks = np.maximum(peaks, magnitude.max(axis=1))
            active += _active_samples(magnitude.max(axis=0) > threshold, max(1, round(_FRAME_SECONDS * info.rate)))
    info = info._replace(samples=samples, cut_short=info.cut_short or samples < info.samples)
    values = samples * info.channels
    powers = np.maximum(0, squares / samples - np.square(sums / samples))  # of each channel
    return SoundStatistics(info, active / info.rate, 10 * np.log10(max(powers.mean(), 1e-8)), clipped / values,
                           sum(peaks <= threshold) if max(peaks) > threshold else 0,
                           int((np.square(sums / samples) > np.maximum(threshold ** 2, powers)).sum()))


def clipped_samples(block: np.ndarray, magnitude: np.ndarray) -> int:
    """The number of clipped samples of (channels, n); magnitude: their absolute values.

    Of three or more equal samples in a row at full scale, the inner ones are clipped. Lossy compression blurs them;
    there, clipped parts exceed ±1 when decoded.
    """
    equal = (block[:, 1:] == block[:, :-1]) & (magnitude[:, 1:] >= _FULL_SCALE)
    return (equal[:, 1:] & equal[:, :-1]).sum() + (magnitude > 1).sum()


def _active_samples(loud: np.ndarray, frame: int) -> int:
    """The number of samples in frames that contain a loud sample; loud: bool (n,)."""
    starts = np.arange(0, len(loud), frame)
    lengths = np.diff(np.append(starts, len(loud)))
    return lengths[np.logical_or.reduceat(loud, starts)].sum()


# --- labels ---------------------------------------------------------------------------------------------------------

def by_label(values: Mapping[Sound, Value], labels: Mapping[Sound, Labels] | None) -> dict[Sound, Value]:
    """With MULTI_LABEL, the value of each sound once for each of its labels, which is its class then.

    Sounds without labels are in the class NO_LABEL. labels: None without MULTI_LABEL; then the values are unchanged.
    """
    if labels is None:
        return dict(values)
    return {sound._replace(class_name=label): value for sound, value in values.items()
            for label in labels[sound] or (NO_LABEL,)}


def combinations(labels: Iterable[Labels]) -> list[tuple[str, int]]:
    """(labels, number of sounds) of each combination of labels, the most frequent first."""
    counts = Counter(", ".join(in_natural_order(each)) or NO_LABEL for each in labels)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


# --- problems -------------------------------------------------------------------------------------------------------

def find_problems(statistics: dict[Sound, SoundStatistics], nearly_empty: float,
                  clipped: float) -> dict[str, list[Sound]]:
    """Problem → the sounds that have it.

    nearly_empty: fraction of the median active time of the class. clipped: fraction of the samples.
    """
    active = {sound: each.active_seconds for sound, each in statistics.items()}
    median = {name: np.median(seconds) for name, seconds in by_class(active).items()}
    return {"silent": [sound for sound in statistics if not active[sound]],
            "empty": [sound for sound in statistics if 0 < active[sound] < nearly_empty * median[sound.class_name]],
            "clipped": [sound for sound, each in statistics.items() if each.clipped > clipped],
            "silent channel": [sound for sound, each in statistics.items() if each.silent_channels],
            "DC offset": [sound for sound, each in statistics.items() if each.dc_channels]}


def describe_problems(problems: dict[str, list[Sound]], silent_db: float) -> list[str]:
    """A sentence about each problem that sounds have."""
    texts = {"silent": f"silent, never above {silent_db:g} dBFS; remove",
             "empty": "nearly empty, much shorter than others of the class without silence; check",
             "clipped": "clipped at full scale; record again with less gain, or keep",
             "silent channel": "silent in some but not all channels; repair or remove",
             "DC offset": "a DC offset larger than the sound itself (preprocessing removes it); check the recorder, "
                          "or keep"}
    return [sentence for problem, sounds in problems.items()
            for sentence in about_files(dict.fromkeys(sound.path for sound in sounds), texts[problem])]


def about_files(paths: Iterable[Path], problem: str) -> list[str]:
    """A sentence about these files, ending in "it" or "them"; none if there are no files."""
    paths = list(paths)
    return [f"{named(paths)}: {problem} {'it' if len(paths) == 1 else 'them'}."] if paths else []
