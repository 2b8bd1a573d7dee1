"""What the benchmarks have in common: the machine in a line, sides that run in turn, processes, tables.

    from side_by_side import medians, print_machine, print_table
"""

import multiprocessing
import os
import platform
import shlex
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SUITE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SUITE))
import numpy as np

_PACKAGES = ("numpy", "scipy", "soundfile", "librosa", "soxr", "keras", os.environ.get("KERAS_BACKEND", "tensorflow"))
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # of the processor, as far as they decide how fast we are
_POLL_SECONDS = 0.02


# --- the machine ----------------------------------------------------------------------------------------------------

def print_machine(*remarks):
    """Print what the figures depend on: processor, cores, load, versions; then the remarks."""
    flags = [flag for flag in _FLAGS if flag in cpu_fact("flags").split()]
    print(f"{cpu_fact('model name') or platform.processor()} ({' '.join(flags) or 'no vector flags known'}), "
          f"{len(usable_cores())} of {os.cpu_count()} cores used, load {os.getloadavg()[0]:.1f}, {platform.system()}",
          *gpus(), sep=", ")
    print(", ".join([f"Python {platform.python_version()}", *map(with_version, _PACKAGES)]))
    print(*remarks, "", sep="\n", flush=True)


def cpu_fact(name):
    """A line of Linux's account of the first processor; "" where there is none."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith(name)), "")


def with_version(package):
    try:
        return f"{package} {version(package)}"  # without importing it
    except PackageNotFoundError:
        return f"no {package}"


def split_flags(text):
    """As a shell splits them, but that a backslash is itself: regular expressions have them."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    return list(lexer)


def gpus():
    """The names of NVIDIA's GPUs here."""
    with suppress(OSError):
        return subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True).stdout.splitlines()
    return []


def usable_cores():
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count()))


@contextmanager
def on_cores(count):
    """Within, this process and those it starts run on the first `count` of its cores (Linux; elsewhere on all)."""
    before = usable_cores()
    if count > len(before):
        raise SystemExit(f"{count} cores are asked for, and there are {len(before)}.")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, before[:count])
    try:
        yield
    finally:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, before)


# --- sides ----------------------------------------------------------------------------------------------------------

def medians(sides, rounds, warm_up=1):
    """Run the sides (name → function) in turn, A B C, A B C, …: name → the median of what each function returned.

    That is a number, or several, of which each has its median. Rounds that count for nothing go before, to warm up.
    """
    results = {name: [] for name in sides}
    for number in range(warm_up + rounds):
        for name, side in sides.items():
            result = side()
            if number >= warm_up:
                results[name].append(result)
    return {name: np.median(found, axis=0) for name, found in results.items()}


def seconds_of(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def run_seconds(command, folder):
    """How long a command takes, its start included; what it says on stderr is seen."""
    return seconds_of(lambda: subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL))


def in_fresh_process(function, *arguments):
    """What a function of the script's top level returns in a new process, which ends with it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peaks_of(command, folder):
    """Run a command: the peak memory in MB of its process, and of the largest of those that it starts."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    found = Counter()
    while process.poll() is None:
        for each in _family(process.pid):  # not the largest figure: at first each is a copy of its parent
            found[each] = peak_megabytes(each) or found[each]
        time.sleep(_POLL_SECONDS)
    if process.returncode:
        raise SystemExit(f"{command[-1]}: ended with {process.returncode}.")
    return found.pop(process.pid), max(found.values(), default=0)


def _family(process_id):
    """A process, those that it started, and those that these started."""
    found = [process_id]
    for path in Path(f"/proc/{process_id}/task").glob("*/children"):
        with suppress(OSError):  # it has ended meanwhile
            found += [each for child in path.read_text().split() for each in _family(int(child))]
    return found


def peak_megabytes(process_id="self"):
    """The most memory a process has had so far (VmHWM: unlike getrusage's, nothing of the parent is in it).

    0 where the process is gone, or the system is not Linux.
    """
    try:
        lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), 0)


# --- tables ---------------------------------------------------------------------------------------------------------

def print_table(*rows):
    """Print rows of texts, the first the heads of the columns; the first column flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        print("  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]), flush=True)
    print(flush=True)


def ratio(values, over, under, least=None, most=None):
    """values[over] / values[under] as text; where a target is missed, with the target."""
    found = values[over] / values[under]
    missed = f" < {least:g}" if least and found < least else f" > {most:g}" if most and found > most else ""
    return f"{found:.2f}{missed}"
