"""Join clips again into the recording that they were cut from; the inverse of split_audio.py.

Reads   the clips named, <file>_s1 <file>_s2 …   any audio; of one rate, channel count and sample type
Writes  <file>.wav beside them                   every sample as it is in the clips

    python audio_utils/concat_audio.py recording_s*.wav
    python audio_utils/concat_audio.py Samples/*/*_s*.wav      # every recording for itself

Clips are joined in the order of their numbers, 1, 2, 3 …, whatever the order in which they are named. The silence that
the last one was padded with stays. The clips stay too.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder; a script knows only its own
from audio_utils import audio_io, command_line, parallel
from audio_utils.safe_files import UserError, replacing

OVERWRITE = False  # True: replace a recording that is there already
JOBS = None        # processes; None: one for each core

_FEWEST = 8  # recordings from which more than one process pays
_CLIP = re.compile(r"(.+)_s0*([1-9][0-9]*)")


def main():
    options = command_line.parse(globals(), [("files", {"metavar": "FILE", "nargs": "+", "help": "clips"})])
    command_line.on_stop("Stopped; the files that were finished are kept.")
    command_line.check_number(options, "jobs", int, 1, none=True)
    groups = group(dict.fromkeys(map(Path, command_line.expand(options.files))))
    return parallel.report(parallel.each(join, list(groups.items()), "Joining", options.jobs, (options,), _FEWEST))


def group(paths):
    """Recording → its clips; what has no clip's name stands for itself, to be reported."""
    groups = defaultdict(list)
    for path in paths:
        clip = _CLIP.fullmatch(path.stem)
        groups[path.with_name(f"{clip[1]}.wav") if clip else path].append(path)
    return groups


def join(recording_and_clips, options):
    """Write one recording. Returns a sentence that says what was done."""
    recording, clips = recording_and_clips
    clips = in_order(clips)
    if recording.exists() and not options.overwrite:
        raise UserError(f"{recording}: is there already; rename it or add --overwrite.")
    facts = common_facts(clips)
    subtype = audio_io.wav_subtype(facts.subtype)
    with replacing(recording) as unfinished, \
            audio_io.writing(unfinished, facts.rate, facts.channels, subtype, samples=facts.samples) as write_block:
        for clip in clips:
            copy(clip, write_block)
    return f"{recording}: {len(clips)} clip{'s' if len(clips) > 1 else ''}, {facts.samples / facts.rate:.6g} s."


def in_order(clips):
    """Sort clips by number; refuse them where one is missing or there twice."""
    numbered = sorted((number_of(clip), clip) for clip in clips)
    for expected, (number, clip) in enumerate(numbered, 1):
        if number > expected:
            raise UserError(f"{clip}: number {expected} is missing before it; name all clips of the recording.")
        if number < expected:
            raise UserError(f"{clip}: there is another number {number}; leave one of them out.")
    return [clip for _, clip in numbered]


def number_of(clip):
    name = _CLIP.fullmatch(clip.stem)
    if not name:
        raise UserError(f"{clip}: is not named as a clip is; rename it {clip.stem}_s1{clip.suffix} or leave it out.")
    return int(name[2])


def common_facts(clips):
    """The AudioInfo that the clips share, with their samples added up; refuse clips that differ."""
    every = [audio_io.info(clip) for clip in clips]
    for clip, facts in zip(clips, every, strict=True):
        if kind(facts) != kind(every[0]):
            raise UserError(f"{clip}: has {kind(facts)}, but {clips[0]} has {kind(every[0])}; convert one of them.")
    return every[0]._replace(samples=sum(facts.samples for facts in every))


def kind(facts):
    return f"{facts.rate} Hz, {facts.channels} channel(s), {audio_io.wav_subtype(facts.subtype)}"


def copy(clip, write_block):
    with audio_io.opened(clip, exact=True) as (facts, blocks):
        missing = facts.samples
        for block in blocks(facts.samples):
            write_block(block)
            missing -= block.shape[1]
    if missing or facts.cut_short:
        raise UserError(f"{clip}: ends before its header says; make the clip again.")


if __name__ == "__main__":
    command_line.run(main)
