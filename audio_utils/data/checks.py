"""Problems of a data set that are detected from names, sizes and headers, without decoding."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from audio_utils.audio.audio_io import AudioInfo
from audio_utils.data import index
from audio_utils.data.index import UNKNOWN_CONTENT, Content
from audio_utils.data.sound import SPLITS, Skipped, Sound
from audio_utils.data.sounds import SAMPLES, parent_of
from audio_utils.runtime import parallel

FEW_SOUNDS = 10  # of a class; with fewer, only one or two are left for testing, and the score is mostly chance
IMBALANCE = 3  # times the smallest class; always predicting the larger of two is then right 3 times in 4
UNEVEN_LENGTHS = 4  # times the median length of the shortest class; the padding alone then separates the classes
NO_LABEL = "(no label)"  # the class of sounds without labels, in messages and tables
_MAX_NAMED = 3  # files named in one sentence; skipped.csv has all
_VERBS = ("is ", "has ", "contains ", "can't ", "does ", "needs ", "crashes ")  # reasons that need a singular subject

_SEVERAL_CLASSES, _SEVERAL_TIMES = "in several classes", "several times"  # where files are equal
_EFFECTS = {_SEVERAL_CLASSES: "the network learns contradictory labels", _SEVERAL_TIMES: "it counts as several sounds"}
_DIVIDED = "the score is too optimistic"  # the effect of equal files in several splits


def check_headers(sounds: list[Sound], headers: dict[str, AudioInfo], equal: list[list[Sound]] | None = None,
                  sample_rate: int | None = None, mono: bool = False, clip_seconds: float | None = None,
                  clips: Mapping[Sound, int] = MappingProxyType({}),
                  labels: Mapping[Sound, tuple[str, ...]] | None = None) -> list[str]:
    """A sentence about each problem.

    sounds: those that can be read. headers: file → AudioInfo, of all of them or of the new ones. equal: as
    `equal_files` finds. sample_rate, mono: the constants of preprocess_data.py, with which files may differ.
    clip_seconds: the length to which sounds are cut, None if only their beginning is used. clips: sound → number of its
    clips, {} if each has one. labels: with MULTI_LABEL, the labels of the sounds, which are their classes; rare
    labels are common, so unequal numbers are not reported.
    """
    equal = equal_files(sounds) if equal is None else equal
    every = per_label(sounds, labels)
    known = {sound: headers[sound.file] for sound in per_label(sounds, labels, (NO_LABEL,)) if sound.file in headers}
    seconds = {sound: min(info.samples / info.rate, clip_seconds or math.inf) for sound, info in known.items()}
    found = [*few_sounds(every), *(imbalance(sounds, clips) if labels is None else ()),
             *duplicates(with_labels(equal, labels), "" if labels is None else " and give it all labels"),
             *uneven_lengths(seconds), *copies(sounds)]
    if not sample_rate:
        rates = {sound: info.rate for sound, info in known.items()}
        found += mixed_values(rates, "sample rate", f"SAMPLE_RATE = {min(rates.values(), default=0)}")
    if not mono:
        found += mixed_values({sound: info.channels for sound, info in known.items()}, "channel count", "MONO = True")
    return found


def per_label(sounds: list[Sound], labels: Mapping[Sound, tuple[str, ...]] | None,
              none: tuple[str, ...] = ()) -> list[Sound]:
    """With MULTI_LABEL, each sound once per label, with the label as its class; none: the classes without a label."""
    return sounds if labels is None else [sound._replace(class_name=label) for sound in sounds
                                          for label in labels.get(sound, ()) or none]


def with_labels(groups: list[list[Sound]], labels: Mapping[Sound, tuple[str, ...]] | None) -> list[list[Sound]]:
    """With MULTI_LABEL, the same groups, with all labels of a sound, joined by commas, as its class."""
    return groups if labels is None else [[sound._replace(class_name=",".join(sorted(labels.get(sound, ()))))
                                           for sound in group] for group in groups]


def named(things: Iterable[Any]) -> str:
    """The first names of a list, and the number of the others."""
    things = list(map(str, things))
    others = f" and {len(things) - _MAX_NAMED} more" if len(things) > _MAX_NAMED else ""
    return ", ".join(things[:_MAX_NAMED]) + others


def summarize(skipped: list[Skipped]) -> list[str]:
    """A sentence about each reason for which files or folders are not used."""
    paths = defaultdict(list)
    for each in skipped:
        paths[each.reason.rstrip(".")].append(each.path)
    return [f"{_named_paths(group)}: {'each ' if len(group) > 1 and reason.startswith(_VERBS) else ''}{reason}."
            for reason, group in paths.items()]


def _named_paths(paths: list[Path]) -> str:
    shown = [f"{path}/" if path.is_dir() else path for path in paths[:_MAX_NAMED]]
    return named([*shown, *paths[_MAX_NAMED:]])


def by_class(values: dict[Sound, Any]) -> dict[str, list]:
    """Sound → value as class → values."""
    found = defaultdict(list)
    for sound, value in values.items():
        found[sound.class_name].append(value)
    return dict(sorted(found.items()))


def few_sounds(sounds: list[Sound]) -> Iterator[str]:
    """A sentence about the classes with few sounds."""
    counts = Counter(sound.class_name for sound in sounds if not sound.copy_of)
    small = [f"{name} ({count})" for name, count in sorted(counts.items()) if count < FEW_SOUNDS]
    if small:
        yield f"{named(small)}: fewer than {FEW_SOUNDS} sounds, too few to measure accuracy; add more."


def imbalance(sounds: list[Sound], clips: Mapping[Sound, int] = MappingProxyType({})) -> Iterator[str]:
    """A sentence about classes of unequal size; clips: sound → number of its clips, if sounds are cut."""
    counts = Counter(sound.class_name for sound in sounds)
    for sound, count in clips.items():
        counts[sound.class_name] += count - 1
    largest, smallest = _extremes(counts)
    if counts[largest] > IMBALANCE * counts[smallest]:
        unit = "clips" if clips else "sounds"
        yield (f"{largest}: has {counts[largest]} {unit} but {smallest} only {counts[smallest]}, so a model can score "
               "well while rarely predicting the latter; add sounds to small classes, or copies (augment_data.py), or "
               "use train_network.py --balance sample.")


def _extremes(values: dict) -> tuple:
    """The keys of the largest and of the smallest value, None if there are none."""
    return max(values, key=values.get, default=None), min(values, key=values.get, default=None)


def uneven_lengths(seconds: dict[Sound, float]) -> Iterator[str]:
    """A sentence about classes whose sounds differ in length."""
    medians = defaultdict(float, {name: np.median(lengths) for name, lengths in by_class(seconds).items()})
    longest, shortest = _extremes(medians)
    if medians[longest] > UNEVEN_LENGTHS * medians[shortest]:
        yield (f"{longest}: has sounds of {medians[longest]:.3g} s (median) but {shortest} of "
               f"{medians[shortest]:.3g} s, so a network can separate them by length alone; split the long ones "
               "(audio_utils/split_audio.py --remove).")


def mixed_values(values: dict[Sound, int], title: str, remedy: str) -> Iterator[str]:
    """A sentence about sounds whose headers differ; values: Sound → sample rate or channel count."""
    counts, of_class = Counter(values.values()), {name: set(found) for name, found in by_class(values).items()}
    if any(one.isdisjoint(other) for one, other in combinations(of_class.values(), 2)):
        listed = named(f"{name}: {' and '.join(map(str, sorted(found)))}" for name, found in of_class.items())
        yield (f"{SAMPLES}/: the classes differ in {title} ({listed}), so a network may learn that instead of the "
               f"sounds; convert all to one {title} ({remedy}).")
    elif len(counts) > 1:
        usual, _ = _extremes(counts)
        others = list(dict.fromkeys(f"{sound.file} ({value})" for sound, value in values.items() if value != usual))
        yield (f"{named(others)}: a different {title} from most sounds ({usual}); conversion leaves audible traces; "
               f"convert all to one {title} ({remedy}), or keep {'it' if len(others) == 1 else 'them'}.")


def copies(sounds: list[Sound]) -> Iterator[str]:
    """A sentence about files that are named as copies but have no tag, and whether they are copies."""
    taken = [sound.file for sound in sounds if sound.by_name]
    if taken:
        yield (f"{named(taken)}: named as a copy of a sound with the same sample rate and channel count, but without a "
               "tag; used as a copy, so never tested; rename recordings, or write copies again (augment_data.py "
               "--overwrite) to tag them.")
    named_so = [sound for sound in sounds if "_aug" in sound.file and not sound.copy_of]
    yield from about_recordings([sound.path for sound in named_so if parent_of(sound.name)])


def about_recordings(paths: list[Path]) -> Iterator[str]:
    """A sentence about files that are named as copies, but are not."""
    if paths:
        yield (f"{named(paths)}: named as a copy, but without a tag and not beside a file that it could be a copy of; "
               "used as a recording.")


# --- equal files ----------------------------------------------------------------------------------------------------

def equal_files(sounds: list[Sound], contents: Mapping[Sound, Content] = MappingProxyType({}),
                jobs: int | None = 1) -> list[list[Sound]]:
    """Groups of sounds with equal content, without augmented copies: these are always in their parent's split.

    contents: those that are known, or a part of them, which is not read then. jobs: as of `parallel.each`.
    """
    return same_bytes([sound for sound in sounds if not sound.copy_of], contents, jobs)


def duplicates(equal: list[list[Sound]], how: str = "") -> Iterator[str]:
    """A sentence about each kind of groups of files with equal content; how: more of the remedy if classes differ."""
    kinds = defaultdict(list)
    for group in equal:
        kinds[_kind(group)].append(group)
    for kind, groups in sorted(kinds.items(), key=lambda item: (item[0] != _SEVERAL_CLASSES, item[0])):
        keep = "keep one" + how * (kind == _SEVERAL_CLASSES)
        yield f"{_named_groups(groups)}: the same file {kind}, so {_EFFECTS.get(kind, _DIVIDED)}; {keep}."


def list_duplicates(equal: list[list[Sound]],
                    labels: Mapping[Sound, tuple[str, ...]] | None = None) -> list[Skipped]:
    """Each file of the groups but the first of each, with the name of that; labels: with MULTI_LABEL."""
    equal = with_labels(equal, labels)
    return [Skipped(sound.path, f"is used, but is the same file as {group[0].path} {_kind(group)}; keep one")
            for group in equal for sound in group[1:]]


def _kind(group: list[Sound]) -> str:
    if len({sound.class_name for sound in group}) > 1:
        return _SEVERAL_CLASSES
    splits = [split for split in SPLITS if any(sound.split == split for sound in group)]
    return f"in {' and in '.join(splits)}" if len(splits) > 1 else _SEVERAL_TIMES


def _named_groups(groups: list[list[Sound]]) -> str:
    """The names of whole groups, at most as many as are named in a sentence, and the number of the other files."""
    count, shown = 0, []
    for group in groups:
        if not shown or count + len(group) <= _MAX_NAMED:
            shown.append(" = ".join(sound.file for sound in group[:_MAX_NAMED]))
            count += min(len(group), _MAX_NAMED)
    others = sum(map(len, groups)) - count
    return ", ".join(shown) + (f" and {others} more" if others else "")


def same_bytes(sounds: list[Sound], contents: Mapping[Sound, Content] = MappingProxyType({}),
               jobs: int | None = 1) -> list[list[Sound]]:
    """Sounds with equal content, in groups of two or more. Arguments: as of `equal_files`."""
    groups = grouped(sounds, [_size(sound) for sound in sounds])
    for key, function in (("sample", index.sample_of), ("digest", _digest)):
        known = {sound: getattr(contents.get(sound, UNKNOWN_CONTENT), key) for group in groups for sound in group}
        files = [sound.file for group in groups for sound in group if not known[sound]]
        read = dict(parallel.each(function, files, "Comparing", jobs))
        keys = {sound: found or read[sound.file] for sound, found in known.items()}
        groups = [part for group in groups for part in grouped(
            group, [None if isinstance(keys[sound], Exception) else keys[sound] for sound in group])]
    return groups


def _digest(file: str) -> str:
    return index.content_of(file).digest


def _size(sound: Sound) -> int | None:
    with suppress(OSError):  # unreadable files are reported elsewhere
        return sound.stat.size if sound.stat else os.stat(sound.file).st_size
    return None


def grouped(things: list, keys: Iterable[Hashable]) -> list[list]:
    """The things with equal keys, in groups of two or more; those with the key None are left out."""
    keys = list(keys)
    once, often = set(), set()
    for key in keys:
        (often if key in once else once).add(key)
    groups = {key: [] for key in keys if key in often and key is not None} if often else {}
    for thing, key in zip(things, keys, strict=True) if groups else ():
        if key in groups:
            groups[key].append(thing)
    return list(groups.values())
