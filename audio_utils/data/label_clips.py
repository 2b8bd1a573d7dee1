"""The clips of a labeled recording: which samples become a clip of which class.

Each label becomes the number of clips that is nearest to its length, at least one, around its middle:

    |-------------clip-------------|                   |------clip------|------clip------|
                |label|                                  |-----------label-------------|

A clip contains the audio beside its label, but at most half of the gap to another label. If there is no room for a clip
of full length, it is shorter.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from math import ceil
from typing import NamedTuple

BACKGROUND = "background"  # the class of the unlabeled rest


class Interval(NamedTuple):
    """Samples of a recording."""
    start: int
    end: int  # the first one after it


class LabelClip(NamedTuple):
    """A clip to be cut."""
    class_name: str
    start: int  # samples
    end: int


def plan(labels: list[tuple[str, Interval]], others: list[Interval], samples: int, clip_samples: int,
         context: bool = True, background: bool = False) -> list[LabelClip]:
    """The clips of a recording, in order of their start; equal ones only once.

    labels: (class, interval within the recording), not empty. others: intervals, perhaps empty, that are labeled but do
    not become clips, and are neither background nor in a clip. samples: of the recording. context: clips contain audio
    beside the label. background: clips of the rest, all of full length.
    """
    rooms = _rooms([interval for _, interval in labels], others, samples) if context else [each for _, each in labels]
    clips = {LabelClip(name, *part) for (name, interval), room in zip(labels, rooms, strict=True)
             for part in _parts(interval, room, clip_samples)}
    if background:
        used = [Interval(clip.start, clip.end) for clip in clips] + [interval for _, interval in labels]
        used += [Interval(each.start - clip_samples // 2, each.end + clip_samples // 2) if each.start == each.end
                 else each for each in others]
        clips |= {LabelClip(BACKGROUND, *part) for gap in _gaps(used, samples) if gap.end - gap.start >= clip_samples
                  for part in _parts(gap, gap, clip_samples)}
    return sorted(clips, key=lambda clip: (clip.start, clip.end, clip.class_name))


def _parts(interval: Interval, room: Interval, clip_samples: int) -> Iterator[Interval]:
    """Adjacent clips around the middle of an interval, within the room, which contains it."""
    available = room.end - room.start
    length = min(clip_samples, available)
    count = max(1, min(ceil((interval.end - interval.start) / clip_samples - 0.5), available // clip_samples))
    middle = (interval.start + interval.end - count * length) // 2
    first = min(max(middle, room.start), room.end - count * length)
    return (Interval(first + i * length, first + (i + 1) * length) for i in range(count))


def _rooms(intervals: list[Interval], others: list[Interval], samples: int) -> list[Interval]:
    """The samples that clips of each interval may contain: up to the middle of the gaps to its neighbors."""
    marked = [*intervals, *others]
    by_start, by_end = sorted(marked), sorted(marked, key=lambda each: each.end)
    starts, ends = [each.start for each in by_start], [each.end for each in by_end]
    last_ends = list(accumulate((each.end for each in by_start), max))  # of the intervals up to each one
    first_starts = list(accumulate((each.start for each in reversed(by_end)), min))[::-1]  # from each one on

    def room(interval: Interval) -> Interval:
        before, after = bisect_left(starts, interval.start), bisect_right(ends, interval.end)
        left = (min(last_ends[before - 1], interval.start) + interval.start) // 2 if before else 0
        right = (max(first_starts[after], interval.end) + interval.end) // 2 if after < len(ends) else samples
        return Interval(left, right)

    return list(map(room, intervals))


def _gaps(used: Iterable[Interval], samples: int) -> Iterator[Interval]:
    """The intervals between those that are used."""
    end = 0
    for interval in sorted(used):
        if interval.start > end:
            yield Interval(end, min(interval.start, samples))
        end = max(end, interval.end)
    if end < samples:
        yield Interval(end, samples)


def overlapping(labels: list[tuple[str, Interval]]) -> int:
    """The number of labels that overlap an earlier one of another class."""
    count, reached = 0, {}  # class → the end of its labels so far
    for name, (start, end) in sorted(labels, key=lambda each: each[1]):
        count += any(other != name and reached[other] > start for other in reached)
        reached[name] = max(reached.get(name, 0), end)
    return count


def passes(clips: list[LabelClip]) -> Iterator[list[LabelClip]]:
    """The clips, ordered by their start, in groups in which none overlap, so that each is cut in one reading."""
    while clips:
        group, rest, end = [], [], 0
        for clip in clips:
            (rest if clip.start < end else group).append(clip)
            end = group[-1].end
        yield group
        clips = rest
