"""Measure training and evaluation with all clips in memory, and with clips that are read from Preproc/ as needed.

Each variant trains in its own process on the same random melgrams, with a limited number of clips per epoch; the first
epoch, which builds the graph, does not count for the speed. Then eval_network.py, which always reads a batch at a time,
scores all the clips. The peak memory is that of the whole process.

Writes  a table of medians to stdout; melgrams in a temporary folder, which is removed at the end

    python tests/benchmarks/from_disk.py
    python tests/benchmarks/from_disk.py --clips 500,2000 --epoch-clips 300 --rounds 1    # a short trial
"""

import re
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
from side_by_side import SUITE, medians, peaks_of, print_machine, print_table, ratio
from train import SPEED, make_melgrams

from audio_utils.runtime import command_line, script
from audio_utils.runtime.command_line import Limits

CLIPS = "5000,20000"  # numbers of training clips, separated by commas
CLIP_SECONDS = 2.0    # length of each; one takes 66 kB
EPOCH_CLIPS = 2000    # training clips in an epoch
EPOCHS = 3            # per process; the first is not counted
ROUNDS = 3            # of all variants, for the medians

_LIMITS = {"CLIP_SECONDS": Limits(float, 0.1), "EPOCH_CLIPS": Limits(int, 16), "EPOCHS": Limits(int, 2),
           "ROUNDS": Limits(int, 1)}
_MIN_SPEED, _MAX_MEMORY = 0.9, 1.1  # targets: × in memory, × with the smallest number of clips
_VARIANTS = {"memory": 1e6, "disk": 0}  # MEMORY_GB


def main():
    options = command_line.parse(globals(), _LIMITS)
    counts = [int(each) for each in options.clips.split(",")]
    print_machine(f"clips of {options.clip_seconds:g} s, epochs of {options.epoch_clips} clips; medians of "
                  f"{options.rounds}")
    results = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            make_melgrams(Path(folder), 1, Namespace(clips=count, clip_seconds=options.clip_seconds))
            (Path(folder) / "Preproc/Test").symlink_to("Train")
            variants = {(count, name): lambda gb=gb: train(folder, gb, options) for name, gb in _VARIANTS.items()}
            results |= medians(variants, options.rounds, warm_up=0)
            results |= medians({(count, "eval_network.py"): lambda: evaluate(folder)}, options.rounds, warm_up=0)
    print_results(results, counts)


def train(folder, memory_gb, options):
    """(clips/s, peak memory in MB) of train_network.py."""
    return measure(folder, "train_network.py", "--memory-gb", memory_gb, "--epochs", options.epochs, "--fresh",
                   "--epoch-clips", 1, "--max-epoch-clips", options.epoch_clips, "--precision", "float32")


def evaluate(folder):
    """(NaN, peak memory in MB) of eval_network.py."""
    return measure(folder, "eval_network.py", "--report-clips", 0)


def measure(folder, name, *flags):
    with open(Path(folder) / "output.txt", "w+") as output:
        peak, _ = peaks_of([sys.executable, str(SUITE / name), *map(str, flags)], folder, output)
        output.seek(0)
        speeds = [float(each) for each in re.findall(SPEED, output.read(), re.MULTILINE)]
    return np.median(speeds[1:]) if speeds else np.nan, peak


def print_results(results, counts):
    speed, peak = ({key: float(each[i]) for key, each in results.items()} for i in (0, 1))
    rows = [["", "clips", "clips/s", f"× memory, ≥ {_MIN_SPEED}", "peak MB",
             f"× that of {counts[0]} clips, ≤ {_MAX_MEMORY}"]]
    for name in (*_VARIANTS, "eval_network.py"):
        for count in counts:
            trains, bounded = name in _VARIANTS, name != "memory"
            rows.append([name, str(count), f"{speed[count, name]:.0f}" if trains else "",
                         ratio(speed, (count, name), (count, "memory"), at_least=_MIN_SPEED) if trains else "",
                         f"{peak[count, name]:.0f}", ratio(peak, (count, name), (counts[0], name),
                                                           at_most=_MAX_MEMORY if bounded else None)])
    print_table(*rows)


if __name__ == "__main__":
    script.run(main)
