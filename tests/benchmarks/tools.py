"""How fast the sound tools are: seconds of sound that go in for each second on the clock, with 1 process and with 2.

Writes  a table of medians to stdout; the sounds it makes and what becomes of them in a temporary folder, for as long
        as it runs

    python tests/benchmarks/tools.py
    python tests/benchmarks/tools.py --files 4 --file-seconds 300
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

SUITE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SUITE))
import numpy as np

from audio_utils import audio_io, command_line

FILES = 8            # sounds given to each tool
FILE_SECONDS = 60.0  # length of each
RATE = 44100         # Hz
RUNS = 5             # of each tool, of which the median is given

_TOOLS = {  # what is run → the channels of its sounds
    "audio_utils/binauralify.py 12": 1,
    "audio_utils/split_audio.py 2": 2,
    "augment_data.py 3": 2,
}


def main():
    options = command_line.parse(globals())
    print_machine(options)
    print(f"{'seconds of sound in a second':36}{'1 process':>12}{'2 processes':>14}")
    for tool, channels in _TOOLS.items():
        speeds = [median_speed(tool, channels, jobs, options) for jobs in (1, 2)]
        print(f"{tool:36}{speeds[0]:12.0f}{speeds[1]:14.0f}", flush=True)


def print_machine(options):
    parts = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "soundfile", "soxr"))
    print(f"{cpu_name()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, "
          f"{parts}")
    print(f"{options.files} files of {options.file_seconds:g} s, {options.rate} Hz, 16 bits; {options.runs} runs\n")


def cpu_name():
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def median_speed(tool, channels, jobs, options):
    """Seconds of sound that go into the tool for each second that it takes, its start included."""
    sound_seconds = options.files * options.file_seconds
    return statistics.median(sound_seconds / run_seconds(tool, channels, jobs, options) for _ in range(options.runs))


def run_seconds(tool, channels, jobs, options):
    with tempfile.TemporaryDirectory() as folder:
        names = [make(folder, number, channels, options) for number in range(options.files)]
        script, *arguments = tool.split()
        command = [sys.executable, SUITE / script, *arguments, *names, "--jobs", str(jobs)]
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def make(folder, number, channels, options):
    """Write noise of a level at which binauralify has to lower it. Returns the file's name."""
    rng = np.random.default_rng(number)
    sound = rng.random((channels, round(options.file_seconds * options.rate)), np.float32) - 0.5
    audio_io.write(Path(folder) / f"{number}.wav", sound, options.rate)
    return f"{number}.wav"


if __name__ == "__main__":
    command_line.run(main)
