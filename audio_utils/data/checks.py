"""Problems of a data set that names, sizes and headers show, without decoding anything."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from audio_utils.audio.audio_io import AudioInfo
from audio_utils.data.sounds import SAMPLES, Sound
from audio_utils.data.split import is_augmented

FEW_SOUNDS = 10  # of a class; with fewer, only one or two are left for testing, and the score is luck
IMBALANCE = 3  # times the smallest class; always predicting the larger of two is then right 3 times in 4
UNEVEN_LENGTHS = 4  # times the median length of the shortest class; the padding alone then separates the classes
_MAX_NAMED = 10  # files named in one sentence
_PROBE = 1 << 12  # bytes compared of files of one size before any is read completely


def check_headers(sounds: list[Sound], headers: dict[Path, AudioInfo]) -> list[str]:
    """A sentence on each problem.

    sounds: those that can be read. headers: path → AudioInfo, of all of them or of the new ones.
    """
    known = {sound: headers[sound.path] for sound in sounds if sound.path in headers}
    rates = {sound: info.rate for sound, info in known.items()}
    channels = {sound: info.channels for sound, info in known.items()}
    seconds = {sound: info.samples / info.rate for sound, info in known.items()}
    return [*few_sounds(sounds), *imbalance(sounds), *duplicates(sounds), *uneven_lengths(seconds),
            *mixed_values(rates, "sample rate", f"SAMPLE_RATE = {min(rates.values(), default=0)}"),
            *mixed_values(channels, "channel count", "MONO = True")]


def named(things: Iterable[Any]) -> str:
    """The first names of a list, and the number of the others."""
    things = list(map(str, things))
    others = f" and {len(things) - _MAX_NAMED} more" if len(things) > _MAX_NAMED else ""
    return ", ".join(things[:_MAX_NAMED]) + others


def by_class(values: dict[Sound, Any]) -> dict[str, list]:
    """Sound → value as class → values."""
    found = defaultdict(list)
    for sound, value in values.items():
        found[sound.class_name].append(value)
    return dict(sorted(found.items()))


def few_sounds(sounds: list[Sound]) -> Iterator[str]:
    """A sentence on the classes with few sounds."""
    counts = Counter(sound.class_name for sound in sounds if not is_augmented(sound.name))
    small = [f"{name} ({count})" for name, count in sorted(counts.items()) if count < FEW_SOUNDS]
    if small:
        yield f"{named(small)}: fewer than {FEW_SOUNDS} sounds, too few to measure accuracy; add more."


def imbalance(sounds: list[Sound]) -> Iterator[str]:
    """A sentence on classes of unequal size."""
    counts = Counter(sound.class_name for sound in sounds)
    largest, smallest = _extremes(counts)
    if counts[largest] > IMBALANCE * counts[smallest]:
        yield (f"{largest}: has {counts[largest]} sounds but {smallest} only {counts[smallest]}, so a model can score "
               "well while rarely predicting the latter; add sounds to small classes, or copies (augment_data.py).")


def _extremes(values: dict) -> tuple:
    """The keys of the largest and of the smallest value, None if there are none."""
    return max(values, key=values.get, default=None), min(values, key=values.get, default=None)


def uneven_lengths(seconds: dict[Sound, float]) -> Iterator[str]:
    """A sentence on classes whose sounds differ in length."""
    medians = defaultdict(float, {name: np.median(lengths) for name, lengths in by_class(seconds).items()})
    longest, shortest = _extremes(medians)
    if medians[longest] > UNEVEN_LENGTHS * medians[shortest]:
        yield (f"{longest}: has sounds of {medians[longest]:.3g} s (median) but {shortest} of "
               f"{medians[shortest]:.3g} s, so a network can separate them by length alone; split the long ones "
               "(audio_utils/split_audio.py).")


def mixed_values(values: dict[Sound, int], title: str, remedy: str) -> Iterator[str]:
    """A sentence on sounds whose headers differ; values: Sound → sample rate or channel count."""
    counts, of_class = Counter(values.values()), {name: set(found) for name, found in by_class(values).items()}
    if any(one.isdisjoint(other) for one, other in combinations(of_class.values(), 2)):
        listed = named(f"{name}: {' and '.join(map(str, sorted(found)))}" for name, found in of_class.items())
        yield (f"{SAMPLES}/: the classes differ in {title} ({listed}), so a network may learn that instead of the "
               f"sounds; convert all to one {title} ({remedy}).")
    elif len(counts) > 1:
        usual, _ = _extremes(counts)
        others = [f"{sound.path} ({value})" for sound, value in values.items() if value != usual]
        yield (f"{named(others)}: a different {title} from most sounds ({usual}); conversion leaves audible traces; "
               f"convert all to one {title} ({remedy}), or keep {'it' if len(others) == 1 else 'them'}.")


def duplicates(sounds: list[Sound]) -> Iterator[str]:
    """A sentence on each kind of files with equal content. Augmented copies are always in their parent's split."""
    kinds = defaultdict(list)
    for group in same_bytes([sound for sound in sounds if not is_augmented(sound.path.name)]):
        several_classes = len({sound.class_name for sound in group}) > 1
        both_splits = len({sound.split for sound in group}) > 1
        kind = "in several classes" if several_classes else "in Train and in Test" if both_splits else ""
        kinds[kind].append(" = ".join(str(sound.path) for sound in group))
    for kind, groups in sorted(kinds.items(), reverse=True):
        effect = "the network learns contradictory labels" if kind == "in several classes" else \
            "the score is too optimistic"
        yield f"{named(groups)}: the same file {kind or 'several times'}, so {effect}; keep one."


def same_bytes(sounds: list[Sound]) -> list[list[Sound]]:
    """Sounds with equal content, in groups of two or more."""
    groups = [sounds]
    for key in (_size, _middle, _digest):  # each reads only what the ones before could not separate
        parts = defaultdict(list)
        for i, group in enumerate(groups):
            for sound in group:
                with suppress(OSError):  # unreadable files are reported elsewhere
                    parts[i, key(sound.path)].append(sound)
        groups = [part for part in parts.values() if len(part) > 1]
    return groups


def _size(path: Path) -> int:
    return os.stat(path).st_size


def _middle(path: Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(_size(path) // 2)
        return file.read(_PROBE)


def _digest(path: Path) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
