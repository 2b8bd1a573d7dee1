"""Measure the CPU time and the peak memory of planning for many sounds: the first plan, nothing to do, 10 new sounds.

The sounds are wav files of a few samples, all different. Only the first plan is made, and the melgrams and the index
that preprocessing would leave are written as empty files of the right size. CPU time is that of all processes, memory
the largest of each process.

Writes  a table to stdout; sounds and melgrams in a temporary folder, which is removed at the end

    python tests/benchmarks/planning.py
    python tests/benchmarks/planning.py --sounds 1000000    # takes 20 minutes and 10 GB of disk space
"""

import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from side_by_side import SUITE, in_fresh_process, print_machine, print_table

import preprocess_data
from audio_utils.data import index, plan, preproc
from audio_utils.runtime import command_line, script
from audio_utils.runtime.command_line import Limits

SOUNDS = 100_000  # files
CLASSES = 10      # folders
FOLDER = ""       # where the sounds are written; "": a temporary folder

_LIMITS = {"SOUNDS": Limits(int, 100), "CLASSES": Limits(int, 2)}
_RATE, _SAMPLES, _NEW = 8000, 64, 10
_FORMAT = struct.Struct("<4sI4s4sIHHIIHH4sI")  # the header of a wav file


def main():
    options = command_line.parse(globals(), _LIMITS)
    print_machine(f"{options.sounds} sounds of {_SAMPLES} samples in {options.classes} classes")
    with tempfile.TemporaryDirectory(dir=options.folder or None) as root:
        os.chdir(root)
        make_sounds(options.sounds, options.classes)
        rows = [["", "CPU s", "CPU s per million", "peak MB"], row("first plan", options, first_plan)]
        in_fresh_process(finish)
        rows.append(row("nothing to do", options, preprocess))
        make_sounds(_NEW, options.classes, first=options.sounds)
        rows.append(row(f"{_NEW} new", options, preprocess))
        print_table(*rows)
        shutil.rmtree(root, ignore_errors=True)


def make_sounds(count, classes, first=0):
    """Write wav files of random samples to Samples/<class>/."""
    for i in range(classes):
        os.makedirs(f"Samples/class {i}", exist_ok=True)
    size = 2 * _SAMPLES
    header = _FORMAT.pack(b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, _RATE, 2 * _RATE, 2, 16, b"data", size)
    for i in range(first, first + count):
        with open(f"Samples/class {i % classes}/sound {i:07} of the benchmark.wav", "wb", buffering=0) as file:
            file.write(header + os.urandom(size))


def row(title, options, function):
    """The title, CPU seconds, the same for a million sounds, and the peak memory of a function in its own process."""
    seconds, megabytes = in_fresh_process(function)
    return [title, f"{seconds:.1f}", f"{1e6 * seconds / options.sounds:.0f}", f"{megabytes:.0f}"]


def first_plan():
    make()
    return used(resource.RUSAGE_SELF)


def preprocess():
    subprocess.run([sys.executable, SUITE / "preprocess_data.py"], check=True)
    return used()


def make():
    preproc.PREPROC.mkdir(exist_ok=True)
    return plan.make_plan(command_line.constants(preprocess_data, {}), Path("Samples"), preproc.PREPROC)


def used(*who):
    """CPU seconds and peak megabytes of the child processes, and of this one if given."""
    usages = [resource.getrusage(each) for each in (resource.RUSAGE_CHILDREN, *who)]
    return (sum(usage.ru_utime + usage.ru_stime for usage in usages), max(usage.ru_maxrss for usage in usages) / 1024)


def finish():
    """Write Preproc/ as preprocessing leaves it, but with empty melgrams."""
    made = make()
    settings, entries = index.settings_id(made.settings), []
    for clip in made.clips:
        path = preproc.melgram_path("Preproc", clip.split, clip.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.truncate(preproc.melgram_file_bytes(made.settings))
        entries.append(made.entries[clip]._replace(content=index.content_of(clip.path), settings=settings))
    index.write("Preproc", entries)
    preproc.write_settings("Preproc", made.record | {"complete": True})
    preproc.write_skipped("Preproc", [])


if __name__ == "__main__":
    script.run(main)
