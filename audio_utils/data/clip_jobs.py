"""Sounds as items of `parallel.each`: each is one job or, if it is cut into many clips, several.

So a recording of hours is computed on all cores, and each process holds only a few clips of it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from audio_utils.audio import long_sounds
from audio_utils.audio.long_sounds import Part
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data.assignment import PlannedClip
from audio_utils.data.sound import Sound
from audio_utils.runtime import parallel


class Job(NamedTuple):
    """Some clips of a sound."""
    sound: PlannedClip | Sound
    first: int  # number of the first clip, from 1; 0: the sound is not cut
    count: int  # clips; 0: only the file is read

    @property
    def path(self) -> Path:
        return self.sound.path


class Outcome(NamedTuple):
    """What was computed of a sound."""
    results: list  # of its jobs, in the order of their clips
    clips: int  # that it was cut into, fewer than expected if the file is truncated; 0: it is not cut
    warning: str  # "" if there is none


def each(function: Callable[..., tuple[Any, Part | str]], sounds: dict[PlannedClip | Sound, int],
         settings: MelgramSettings, jobs: int | str | None, shared: tuple,
         unchanged: frozenset = frozenset()) -> Iterator[tuple[PlannedClip | Sound, Outcome | Exception]]:
    """Call function(job, *shared) for each job of the sounds; yield (sound, its Outcome or an error) in any order.

    function: returns a result and, of a sound that is cut, the Part, otherwise a warning or "". sounds: sound → number
    of clips, 0 if it is not cut. unchanged: the sounds whose files are only read.
    """
    work = [Job(sound, first, count) for sound, clips in sounds.items() for first, count in
            (long_sounds.parts(clips, settings) if clips else [(0, int(sound not in unchanged))])]
    found = {}
    for job, result in parallel.each(function, work, "Melgrams", jobs, shared, _min_parallel(work)):
        if not job.first:
            yield job.sound, result if isinstance(result, Exception) else Outcome([result[0]], 0, result[1])
            continue
        found.setdefault(job.sound, {})[job] = result
        if sum(each.count for each in found[job.sound]) == sounds[job.sound]:
            yield job.sound, _joined(job.path, found.pop(job.sound), settings)


def _min_parallel(work: list[Job]) -> int:
    """The number of jobs from which processes are started: long jobs are worth it if they are few."""
    return 2 if sum(job.count for job in work) >= parallel.MIN_PARALLEL else parallel.MIN_PARALLEL


def _joined(path: Path, found: dict[Job, tuple[Any, Part] | Exception],
            settings: MelgramSettings) -> Outcome | Exception:
    """The Outcome of a sound that is cut, up to the first job that found the end of the file."""
    results, parts = [], []
    for job in sorted(found, key=lambda each: each.first):
        if isinstance(found[job], Exception):
            return found[job]
        results.append(found[job][0])
        parts.append(found[job][1])
        if parts[-1].clips < job.count:
            break
    expected = sum(job.count for job in found)
    return Outcome(results, sum(part.clips for part in parts), long_sounds.describe(path, parts, expected, settings))
