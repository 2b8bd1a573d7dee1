"""Join clips into the recording that they were split from; the inverse of split_audio.py.

Reads   the given clips, <file>_s1 <file>_s2 …   any audio of the same sample rate, channel count and sample type
Writes  <file>.wav beside them                   with exactly the samples of the clips

    python audio_utils/concat_audio.py recording_s*.wav
    python audio_utils/concat_audio.py Samples/*/*_s*.wav      # each recording separately

Clips are joined by number, 1, 2, 3 …, regardless of the order of the arguments. The clips
are not deleted; the padding of the last one is kept, and so is the tag that names their recording.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
import numpy as np

from audio_utils.audio import audio_io, tags
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.runtime import command_line, parallel, signals
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.errors import UserError
from audio_utils.runtime.parallel import Done
from audio_utils.runtime.safe_files import is_of_lost_attempt, replacing

OVERWRITE = False  # True: replace an existing recording
JOBS = None        # processes; None: one per core; or the address of a Dask scheduler
                   # ("tcp://host:8786"), whose workers share this folder: see audio_utils/README.md

_LIMITS = {"JOBS": Limits(int, 1, optional=True, address=True)}
_MIN_PARALLEL = 8  # recordings; with fewer, one process is faster
_CLIP = re.compile(r"(.+)_s0*([1-9][0-9]*)")


def main() -> int:
    options = command_line.parse(globals(), _LIMITS, positional=[
        ("files", {"metavar": "FILE", "nargs": "+", "help": "clips"})])
    signals.on_stop("Stopped. Finished files are kept.")
    recordings = list(group(dict.fromkeys(map(Path, command_line.expand(options.files)))).items())
    shared = (options.overwrite,)
    return parallel.report(parallel.each(join, recordings, "Joining", options.jobs, shared, _MIN_PARALLEL),
                           len(recordings), "clips joined")


def group(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """Recording → its clips; a file without a clip number is a group of its own, which `join` reports."""
    groups = defaultdict(list)
    for path in paths:
        clip = _CLIP.fullmatch(path.stem)
        groups[path.with_name(f"{clip[1]}.wav") if clip else path].append(path)
    return groups


def join(recording_and_clips: tuple[Path, list[Path]], overwrite: bool) -> Done:
    """Write one recording."""
    recording, clips = recording_and_clips
    clips = in_order(clips)
    if recording.exists() and not overwrite and not is_of_lost_attempt(recording):
        raise UserError(f"{recording}: already exists; rename it or add --overwrite.")
    header = common_header(clips)
    subtype = audio_io.wav_subtype(header.subtype)
    with replacing(recording) as unfinished, \
            audio_io.writing(unfinished, header.rate, header.channels, subtype, samples=header.samples,
                             comment=common_tag(clips)) as write_block:
        for clip in clips:
            copy(clip, write_block)
    return Done(f"{recording}: {len(clips)} clip{'s' if len(clips) > 1 else ''}, "
                f"{header.samples / header.rate:.6g} s.", len(clips))


def in_order(clips: list[Path]) -> list[Path]:
    """Sort clips by number. Raises UserError if a number is missing or occurs twice."""
    numbered = sorted((number_of(clip), clip) for clip in clips)
    for expected, (number, clip) in enumerate(numbered, 1):
        if number > expected:
            raise UserError(f"{clip}: clip {expected} of the recording is missing; give all its clips.")
        if number < expected:
            raise UserError(f"{clip}: another clip has the number {number}, too; leave one of them out.")
    return [clip for _, clip in numbered]


def number_of(clip: Path) -> int:
    """The number in the name of a clip. Raises UserError if there is none."""
    name = _CLIP.fullmatch(clip.stem)
    if not name:
        raise UserError(f"{clip}: has no clip number; rename it to {clip.stem}_s1{clip.suffix} or leave it out.")
    return int(name[2])


def common_header(clips: list[Path]) -> AudioInfo:
    """The header that the clips share, with the sum of their samples. Raises UserError if they differ."""
    headers = [audio_io.info(clip) for clip in clips]
    for clip, header in zip(clips, headers, strict=True):
        if describe(header) != describe(headers[0]):
            raise UserError(f"{clip}: has {describe(header)}, but {clips[0]} has {describe(headers[0])}; "
                            "convert one of them.")
    return headers[0]._replace(samples=sum(header.samples for header in headers))


def common_tag(clips: list[Path]) -> str:
    """The tag that the clips share, which names their recording; "" if they have none or different ones."""
    steps = set(map(tags.read, clips))
    return tags.text(steps.pop()) if len(steps) == 1 and () not in steps else ""


def describe(header: AudioInfo) -> str:
    """The properties that clips must share."""
    return f"{header.rate} Hz, {header.channels} channel(s), {audio_io.wav_subtype(header.subtype)}"


def copy(clip: Path, write_block: Callable[[np.ndarray], None]) -> None:
    """Write all samples of a clip. Raises UserError if it is truncated."""
    with audio_io.opened(clip, exact=True) as (header, blocks):
        missing = header.samples
        for block in blocks(header.samples):
            write_block(block)
            missing -= block.shape[1]
    if missing or header.cut_short:
        raise UserError(f"{clip}: is truncated; create the clip again.")


if __name__ == "__main__":
    script.run(main)
