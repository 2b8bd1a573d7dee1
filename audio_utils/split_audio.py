"""Split long recordings into clips of equal length (concat_audio.py is the inverse), or into clips of their labels.

Reads   the given files                any audio; any length, sample rate and channel count
        with LABELS, the labels beside each: <file>.txt (Audacity), <file>.Table.1.selections.txt (Raven), <file>.csv …
Writes  <file>_s1.wav, <file>_s2.wav … beside each; _s01 … if there are ten or more, so that they sort by number
        with LABELS: Samples/<label>/<file>_<start>-<end>.wav

    python audio_utils/split_audio.py 2 recording.wav
    python audio_utils/split_audio.py 0.5 e0*/*.wav -r     # remove each original after all its clips are written
    python audio_utils/split_audio.py 3 night*.wav --labels --background

The last clip, or a file shorter than one clip, is padded with silence. Samples are preserved exactly: clips have
the sample type of their file, or FLOAT for lossy compression (mp3, ogg). Either all clips of a file are written, or
none; after a crash, the same command completes them. Files that are already clips of this length are skipped. A tag in
the comment of each clip names its recording, so that preprocess_data.py keeps the clips of a recording in one split.

With LABELS, each label becomes the number of clips that is nearest to its length, at least one, around its middle. They
contain the audio beside the label, but at most half of the gap to another one; a clip without room for its full length
is shorter. Formats and rules: audio_utils/README.md.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
import numpy as np

from audio_utils.audio import audio_io, tags
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.data import label_cutting
from audio_utils.runtime import command_line, parallel, signals
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.errors import UserError
from audio_utils.runtime.parallel import Done
from audio_utils.runtime.safe_files import have_same_bytes, is_of_lost_attempt, replacing

LABELS = False      # True: cut the labels beside each recording into Samples/<label>/
BACKGROUND = False  # True: with LABELS, cut the rest of each recording into Samples/background/
CONTEXT = True      # False: clips contain only their label, and are shorter if the label is
REMOVE = False      # True: remove each original after all its clips are written
OVERWRITE = False   # True: replace existing clips; with LABELS, also remove clips of earlier labels of a recording
JOBS = None         # processes; None: one per core; or the address of a Dask scheduler
                    # ("tcp://host:8786"), whose workers share this folder: see audio_utils/README.md

_LIMITS = {"SECONDS": Limits(float, 0.001, 86400), "JOBS": Limits(int, 1, optional=True, address=True)}
_MAX_CLIPS = 1_000_000  # of a file; a header that is damaged may give any length
_MIN_PARALLEL = 8  # files; with fewer, one process is faster
_REMEDY = "remove such clips or add --overwrite"


def main() -> int:
    options = command_line.parse(globals(), _LIMITS, short={"REMOVE": "-r"}, positional=[
        ("seconds", {"metavar": "SECONDS", "type": float, "help": "length of a clip; fractions are allowed"}),
        ("files", {"metavar": "FILE", "nargs": "+", "help": "long recordings"})])
    check(options)
    signals.on_stop("Stopped. Finished files are kept.")
    files = list(dict.fromkeys(map(Path, command_line.expand(options.files))))
    if options.labels:
        return cut_labels(files, options)
    collisions = command_line.name_collisions(files, lambda path: path.absolute().with_suffix(""))
    shared = (collisions, options)
    return parallel.report(parallel.each(split, files, "Splitting", options.jobs, shared, _MIN_PARALLEL), len(files),
                           f"clips of {options.seconds:g} s")


def check(options: argparse.Namespace) -> None:
    """Reject invalid combinations of options."""
    if options.labels and options.remove:
        raise UserError("LABELS and REMOVE are both set; the rest of each recording would be lost; leave one out.")
    if not options.labels and (options.background or not options.context):
        raise UserError("BACKGROUND and CONTEXT need LABELS; set it, or leave them out.")


def cut_labels(files: list[Path], options: argparse.Namespace) -> int:
    """Cut the labels of recordings. Returns the exit status."""
    recordings = label_cutting.recordings(files, options.background)
    shared = (command_line.name_collisions([each.path for each in recordings], lambda path: path.stem), options)
    results = parallel.each(label_cutting.cut, recordings, "Cutting", options.jobs, shared, _MIN_PARALLEL)
    status = parallel.report(results, len(recordings), "clips")
    for folder in {clip.parent for recording in recordings for clip in recording.earlier}:
        with suppress(OSError):
            folder.rmdir()  # if its last clips were replaced by those of other labels
    return status


def split(path: Path, collisions: dict[Path, Path], options: argparse.Namespace) -> Done:
    """Write the clips of one file.

    collisions: file → an earlier file whose clips have the same names.
    """
    if path in collisions:
        raise UserError(f"{path}: its clips would have the same names as those of {collisions[path]}; rename it.")
    with audio_io.opened(path, exact=True) as (header, blocks):
        clip_samples = max(1, round(options.seconds * header.rate))
        if re.search(r"_s\d+$", path.stem) and header.samples <= clip_samples:
            return Done(f"{path}: is already a clip; skipped.", 0)
        count = -(-header.samples // clip_samples)
        if count > _MAX_CLIPS:
            raise UserError(f"{path}: would become {count} clips; give more seconds, or remove it if it is damaged.")
        clips = clip_paths(path, count)
        existing = check_existing(path, clips, options)
        comment = tags.text(tags.steps_from(tags.SPLIT, path))
        found = write_clips(clips, blocks, clip_samples, header, comment, options.remove, existing)
    complete = found == header.samples and not header.cut_short
    if options.remove and complete:
        path.unlink()
    count = -(-found // clip_samples)
    silence = (count * clip_samples - found) / header.rate
    return Done(f"{path}: {count} clip{'s' if count > 1 else ''} of {options.seconds:g} s"
                + (f", the last one padded with {silence:.3g} s of silence" if silence else "")
                + ("" if complete else "; the file is truncated" + (" and was kept" if options.remove else "")) + ".",
                count, not complete)


def clip_paths(path: Path, count: int) -> list[Path]:
    """The clips of a file: beside it, numbered from 1, all numbers with the same number of digits."""
    return [path.with_name(f"{path.stem}_s{number:0{len(str(count))}}.wav") for number in range(1, count + 1)]


def check_existing(path: Path, clips: list[Path], options: argparse.Namespace) -> set[Path]:
    """Raise UserError if clips would be overwritten, or mixed with those of an earlier split.

    Returns the clips that exist; they may be those of a run that was killed before it had written the others.
    """
    is_clip = re.compile(re.escape(path.stem) + r"_s\d+\.wav")
    existing = {each for each in path.parent.iterdir() if is_clip.fullmatch(each.name) and not is_of_lost_attempt(each)}
    if options.overwrite:
        existing -= set(clips)
    if not existing <= set(clips):
        remedy = "it belongs to another split; remove it" if options.overwrite else _REMEDY
        raise UserError(f"{path}: {min(existing).name} already exists; {remedy}.")
    return existing


def write_clips(clips: list[Path], blocks: Callable[[int], Iterator[np.ndarray]], samples: int, header: AudioInfo,
                comment: str, durable: bool, existing: set[Path]) -> int:
    """Write clips of `samples` each: all or, on failure, none. Returns the number of samples in the file.

    existing: clips that are replaced only by the same bytes; otherwise a UserError is raised.
    """
    found, others = 0, set(existing)
    with ExitStack() as finished:
        for clip in clips:
            pieces = blocks(samples)
            first = next(pieces, None)
            if first is None:  # the file is shorter than its header says
                break
            unfinished = finished.enter_context(replacing(clip, durable))
            found += write_clip(unfinished, chain([first], pieces), samples, header, comment)
            if clip in others:
                if not have_same_bytes(unfinished, clip):
                    break
                others.remove(clip)
        if others:
            raise UserError(f"{min(others)}: already exists; {_REMEDY}.")
    return found


def write_clip(path: Path, blocks: Iterable[np.ndarray], samples: int, header: AudioInfo, comment: str) -> int:
    """Write blocks (channels, n), padded with silence to `samples`. Returns the number of samples before padding."""
    missing = samples
    subtype = audio_io.wav_subtype(header.subtype)
    with audio_io.writing(path, header.rate, header.channels, subtype, samples=samples,
                          comment=comment) as write_block:
        for block in blocks:
            write_block(block)
            missing -= block.shape[1]
        for start in range(0, missing, audio_io.BLOCK):
            write_block(np.zeros((header.channels, min(missing - start, audio_io.BLOCK)), block.dtype))
    return samples - missing


if __name__ == "__main__":
    script.run(main)
