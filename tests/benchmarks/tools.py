"""Measure the speed of the audio tools: seconds of sound processed per second, with 1 process and with 2.

Writes  a table of medians to stdout; sounds in a temporary folder, which is removed at the end

    python tests/benchmarks/tools.py
    python tests/benchmarks/tools.py --files 4 --file-seconds 300
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from side_by_side import SUITE, medians, print_machine, print_table, run_seconds

from audio_utils.audio import audio_io
from audio_utils.runtime import command_line, script
from audio_utils.runtime.command_line import Limits

FILES = 8            # input files of each tool
FILE_SECONDS = 60.0  # length of each
RATE = 44100         # Hz
ROUNDS = 5           # of each tool, for the median; one more is the warm-up

_LIMITS = {"FILES": Limits(int, 1), "FILE_SECONDS": Limits(float, 1), "RATE": Limits(int, 1), "ROUNDS": Limits(int, 1)}
_TOOLS = {  # command → channels of its input
    "audio_utils/binauralify.py 12": 1,
    "audio_utils/split_audio.py 2": 2,
    "augment_data.py 3": 2,
}


def main():
    options = command_line.parse(globals(), _LIMITS)
    print_machine(f"{options.files} files of {options.file_seconds:g} s, {options.rate} Hz, 16 bits; "
                  f"medians of {options.rounds}")
    variants = {(tool, jobs): partial(speed, tool, jobs, options) for tool in _TOOLS for jobs in (1, 2)}
    speeds = medians(variants, options.rounds)
    print_table(["seconds of sound per second", "1 process", "2 processes"],
                *([tool, *(f"{speeds[tool, jobs]:.0f}" for jobs in (1, 2))] for tool in _TOOLS))


def speed(tool, jobs, options):
    """Seconds of sound processed per second, start-up included."""
    with tempfile.TemporaryDirectory() as folder:
        names = [make(folder, number, _TOOLS[tool], options) for number in range(options.files)]
        tool_path, *arguments = tool.split()
        command = [sys.executable, SUITE / tool_path, *arguments, *names, "--jobs", str(jobs)]
        return options.files * options.file_seconds / run_seconds(command, folder)


def make(folder, number, channels, options):
    """Write noise so loud that binauralify must attenuate it. Returns the file's name."""
    rng = np.random.default_rng(number)
    sound = rng.random((channels, round(options.file_seconds * options.rate)), np.float32) - 0.5
    audio_io.write(Path(folder) / f"{number}.wav", sound, options.rate)
    return f"{number}.wav"


if __name__ == "__main__":
    script.run(main)
