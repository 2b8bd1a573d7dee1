"""Compute a melgram of each sound in Samples/: a multichannel log-mel power spectrogram in dB.

Reads   Samples/<class>/*         wav, flac, ogg, mp3, aiff; any mix of rates, lengths and channel counts
Writes  Preproc/Train/<class>/<file>.npy and Preproc/Test/<class>/<file>.npy, float32 (mels, frames, channels);
        with LONG_FILES, clip 2 of night.wav is night_s2.wav.npy
        Preproc/settings.json     the settings that produced them
        Preproc/index.csv         content, split and status of each sound
        Preproc/skipped.csv       the files that are not used, and why
        Preproc/labels.csv        with MULTI_LABEL, the labels of each clip

    python preprocess_data.py
    python preprocess_data.py --clip-seconds 2 --mono
    python preprocess_data.py --clip-seconds 3 --long-files all    # cuts long recordings into clips
    python preprocess_data.py --multi-label       # several classes at once: Samples/labels.csv, folders "dog,rain"
    python preprocess_data.py --overwrite         # with other settings; the split does not change
    python preprocess_data.py --split-anew        # assign all sounds to Train and Test again

Run it again after adding, moving, changing or deleting sounds: only new melgrams are computed, and sounds stay in their
split. Clips that split_audio.py or binauralify.py made from one recording are kept in one split, if their class has at
least five recordings; with LONG_FILES, all clips of a file always are. The DC offset of each channel is removed.
If Samples/ contains your own split, Train/<class>/* and Test/<class>/*, it is used as it is; sounds in Val/<class>/*
are then the validation set of training.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # needed with PYTHONSAFEPATH
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
import time
from collections import Counter

from audio_utils.audio import audio_io, long_sounds, melgram
from audio_utils.data import compute, multi_label, split
from audio_utils.data.index import Entry
from audio_utils.data.plan import Plan, make_plan
from audio_utils.data.preproc import PREPROC
from audio_utils.data.sounds import SAMPLES, SPLITS, class_of
from audio_utils.runtime import command_line, safe_files, tables
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.console import say

SAMPLE_RATE = None       # Hz; None: the most frequent rate of the files; the others are resampled
CLIP_SECONDS = None      # seconds; None: the longest file's, without outliers; shorter ones are padded, longer ones cut
LONG_FILES = "beginning" # of a sound longer than CLIP_SECONDS: its "beginning", its "loudest" part, or "all": it is cut
                         # into clips, which stay in one split; a last one shorter than half of CLIP_SECONDS is left out
MONO = False             # True: mix all channels to one
MELS = 96                # bands from 0 Hz to half the sample rate
WINDOW_MS = 46.44        # milliseconds; 2048 samples at 44.1 kHz
HOP_MS = 11.61           # milliseconds between frames; 512 samples at 44.1 kHz

MULTI_LABEL = False      # True: a sound has any number of labels: those in its row of Samples/labels.csv (columns file
                         # and labels), or those in the name of its folder, separated by commas: "dog,rain"

TEST_FRACTION = 0.2      # of each class
SEED = 1                 # of the split
GROUP_BY = ""            # regular expression; files whose names differ only in the match (r"_\d+$": the takes of one
                         # speaker) stay in one split; if it has parentheses, so do files for which these match the
                         # same text (r"^(\w+?)_": the same first word)

SPLIT_ANEW = False       # True: assign all sounds to Train and Test again
OVERWRITE = False        # True: compute everything again, even with other settings
PRUNE = False            # True: delete the melgrams of sounds that were removed or can't be used
JOBS = None              # processes; None: one per core; or the address of a Dask scheduler
                         # ("tcp://host:8786"), whose workers share this folder: see audio_utils/README.md

_LIMITS = {
    "SAMPLE_RATE": Limits(int, 100, audio_io.HIGHEST_RATE, optional=True),
    "CLIP_SECONDS": Limits(float, 0.01, 86_400, optional=True),
    "MELS": Limits(int, *melgram.LIMITS["mels"]), "WINDOW_MS": Limits(float, 0.1, 10_000),
    "HOP_MS": Limits(float, 0.1, 10_000), "TEST_FRACTION": Limits(float, 0, 0.9), "SEED": Limits(int),
    "JOBS": Limits(int, 1, optional=True, address=True)}


def main() -> None:
    options = command_line.parse(globals(), _LIMITS)
    split.check_group_by(options.group_by)
    long_sounds.check_mode(options.long_files)
    start = time.monotonic()
    plan = make_plan(options, SAMPLES, PREPROC)
    PREPROC.mkdir(exist_ok=True)
    with safe_files.locked(PREPROC):
        used = compute.compute(plan, PREPROC, options.jobs, options.prune)
    print_summary(plan, used, time.monotonic() - start)


def print_summary(plan: Plan, used: list[Entry], seconds: float) -> None:
    """Print the number of clips per class and split, and what was computed; used: the entries of the index in use."""
    counts = Counter()
    for entry in used:
        counts[class_of(entry.name), entry.split] += max(1, entry.clips)
    clips = counts.total()
    if plan.labels is not None:
        counts = multi_label.count(multi_label.read(PREPROC), {f"{entry.split}/{name}" for entry in used
                                                               for name in entry.clip_names})
    classes = tables.in_natural_order({name for name, _ in counts})
    known = len({*classes} - {multi_label.NO_LABEL})
    splits = [split for split in SPLITS if split != "Val" or any(entry.split == "Val" for entry in used)]
    rows = [[name, *(str(counts[name, split]) for split in splits)] for name in classes]
    say("\n".join(tables.table([["class", *splits], *rows])))
    mels, frames, channels = plan.settings.shape
    cut = f", {clips} clips" if clips > len(used) else ""
    say(f"{len(used)} sounds in {known} classes{cut}: melgrams of {mels} mels, {frames} frames, {channels} "
        f"channel{'s' * (channels > 1)} ({plan.settings.clip_seconds:.4g} s at {plan.settings.sample_rate} Hz), "
        f"{clips * plan.settings.bytes / 1e6:.1f} MB in {PREPROC}/.")
    stale = {(clip.split, clip.name) for clip in plan.stale}
    computed = sum(max(1, entry.clips) for entry in used if (entry.split, entry.name) in stale) if stale else 0
    say(f"{computed} computed in {seconds:.1f} s, {clips - computed} already existed.")


if __name__ == "__main__":
    script.run(main)
