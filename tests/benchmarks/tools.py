"""How fast the sound tools are: seconds of sound that go in for each second on the clock, with 1 process and with 2.

Writes  a table of medians to stdout; the sounds it makes and what becomes of them in a temporary folder, for as long
        as it runs

    python tests/benchmarks/tools.py
    python tests/benchmarks/tools.py --files 4 --file-seconds 300
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from side_by_side import SUITE, medians, print_machine, print_table, run_seconds

from audio_utils import audio_io, command_line

FILES = 8            # sounds given to each tool
FILE_SECONDS = 60.0  # length of each
RATE = 44100         # Hz
ROUNDS = 5           # of each tool, of which the median is given; one more warms up

_TOOLS = {  # what is run → the channels of its sounds
    "audio_utils/binauralify.py 12": 1,
    "audio_utils/split_audio.py 2": 2,
    "augment_data.py 3": 2,
}


def main():
    options = command_line.parse(globals())
    print_machine(f"{options.files} files of {options.file_seconds:g} s, {options.rate} Hz, 16 bits; "
                  f"medians of {options.rounds}")
    sides = {(tool, jobs): partial(speed, tool, jobs, options) for tool in _TOOLS for jobs in (1, 2)}
    speeds = medians(sides, options.rounds)
    print_table(["seconds of sound in a second", "1 process", "2 processes"],
                *([tool, *(f"{speeds[tool, jobs]:.0f}" for jobs in (1, 2))] for tool in _TOOLS))


def speed(tool, jobs, options):
    """Seconds of sound that go into the tool for each second that it takes, its start included."""
    with tempfile.TemporaryDirectory() as folder:
        names = [make(folder, number, _TOOLS[tool], options) for number in range(options.files)]
        script, *arguments = tool.split()
        command = [sys.executable, SUITE / script, *arguments, *names, "--jobs", str(jobs)]
        return options.files * options.file_seconds / run_seconds(command, folder)


def make(folder, number, channels, options):
    """Write noise of a level at which binauralify has to lower it. Returns the file's name."""
    rng = np.random.default_rng(number)
    sound = rng.random((channels, round(options.file_seconds * options.rate)), np.float32) - 0.5
    audio_io.write(Path(folder) / f"{number}.wav", sound, options.rate)
    return f"{number}.wav"


if __name__ == "__main__":
    command_line.run(main)
