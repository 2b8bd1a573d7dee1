"""Cut long recordings into clips of equal length; concat_audio.py is the inverse.

Reads   the files named              any audio, any length, rate and channel count
Writes  <file>_s1.wav, <file>_s2.wav … beside each; _s01 … where there are ten or more, so that they sort

    python audio_utils/split_audio.py 2 recording.wav
    python audio_utils/split_audio.py 0.5 e0*/*.wav -r     # remove each original when all its clips are in place

The last clip is padded with silence to the length of the others, and so is a file shorter than one clip. Samples stay
exactly what they are: clips have their file's own sample type, or FLOAT where it was compressed with loss (mp3, ogg).
The clips of a file appear all together or not at all. Clips of this length that are given again are passed over.
"""

import re
import sys
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder; a script knows only its own
from audio_utils import command_line  # first of all: it answers ^C from here on

# isort: split
import numpy as np

from audio_utils import audio_io, parallel
from audio_utils.safe_files import UserError, replacing

REMOVE = False     # True: remove each original when all its clips are in place
OVERWRITE = False  # True: replace clips that are there already
JOBS = None        # processes; None: one for each core

_FEWEST = 8  # files from which more than one process pays
_DAY = 86400  # seconds; a longer clip is a slip of the finger


def main():
    options = command_line.parse(globals(), [
        ("seconds", {"metavar": "SECONDS", "type": float, "help": "length of a clip; fractions are allowed"}),
        ("files", {"metavar": "FILE", "nargs": "+", "help": "long recordings"})], short={"REMOVE": "-r"})
    command_line.on_stop("Stopped; the files that were finished are kept.")
    command_line.check_number(options, "seconds", float, 0.001, _DAY)
    command_line.check_number(options, "jobs", int, 1, none=True)
    files = list(dict.fromkeys(map(Path, command_line.expand(options.files))))
    rivals = command_line.rivals(files, lambda path: path.absolute().with_suffix(""))
    return parallel.report(parallel.each(split, files, "Splitting", options.jobs, (rivals, options), _FEWEST))


def split(path, rivals, options):
    """Write the clips of one file. Returns a sentence that says what was done."""
    if path in rivals:
        raise UserError(f"{path}: its clips would have the names of those of {rivals[path]}; rename it.")
    with audio_io.opened(path, exact=True) as (facts, blocks):
        clip_samples = max(1, round(options.seconds * facts.rate))
        if re.search(r"_s\d+$", path.stem) and facts.samples <= clip_samples:
            return f"{path}: is a clip already, passed over."
        clips = clip_paths(path, -(-facts.samples // clip_samples))
        check_free(path, clips, options.overwrite)
        found = write_clips(clips, blocks, clip_samples, facts, options.remove)
    whole = found == facts.samples and not facts.cut_short
    if options.remove and whole:
        path.unlink()
    made = -(-found // clip_samples)
    silence = (made * clip_samples - found) / facts.rate
    return (f"{path}: {made} clip{'s' if made > 1 else ''} of {options.seconds:g} s"
            + (f", the last with {silence:.3g} s of silence added" if silence else "")
            + ("" if whole else "; it ends before its header says" + (" and was kept" if options.remove else "")) + ".")


def clip_paths(path, count):
    """Where the clips of a file go: beside it, numbered from 1 with as many digits each as the last needs."""
    return [path.with_name(f"{path.stem}_s{number:0{len(str(count))}}.wav") for number in range(1, count + 1)]


def check_free(path, clips, overwrite):
    """Refuse to overwrite clips, and to leave those of an earlier split among the new ones."""
    is_clip = re.compile(re.escape(path.stem) + r"_s\d+\.wav")
    there = {each for each in path.parent.iterdir() if is_clip.fullmatch(each.name)}
    if overwrite:
        there -= set(clips)
    if there:
        remedy = "it is of another split; remove it" if overwrite else "remove such clips or add --overwrite"
        raise UserError(f"{path}: {min(there).name} is there already; {remedy}.")


def write_clips(clips, blocks, samples, facts, durable):
    """Write the clips of `samples` each, all or, where that fails, none. Returns how many samples the file held."""
    found = 0
    with ExitStack() as finished:
        for clip in clips:
            pieces = blocks(samples)
            first = next(pieces, None)
            if first is None:  # the header promised more
                break
            unfinished = finished.enter_context(replacing(clip, durable))
            found += write_clip(unfinished, chain([first], pieces), samples, facts)
    return found


def write_clip(path, blocks, samples, facts):
    """Write blocks (channels, n), and silence up to `samples`. Returns how many were not silence."""
    missing = samples
    subtype = audio_io.wav_subtype(facts.subtype)
    with audio_io.writing(path, facts.rate, facts.channels, subtype, samples=samples) as write_block:
        for block in blocks:
            write_block(block)
            missing -= block.shape[1]
        for start in range(0, missing, audio_io.BLOCK):
            write_block(np.zeros((facts.channels, min(missing - start, audio_io.BLOCK)), block.dtype))
    return samples - missing


if __name__ == "__main__":
    command_line.run(main)
