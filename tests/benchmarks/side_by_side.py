"""Shared by the benchmarks: a description of the machine, variants that run in turn, processes, tables.

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
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # of the processor, those that affect the speed
_POLL_SECONDS = 0.02


# --- the machine ----------------------------------------------------------------------------------------------------

def print_machine(*notes):
    """Print what the figures depend on: processor, cores, load, versions; then the notes."""
    flags = [flag for flag in _FLAGS if flag in cpu_info("flags").split()]
    print(f"{cpu_info('model name') or platform.processor()} ({' '.join(flags) or 'no vector flags known'}), "
          f"{len(usable_cores())} of {os.cpu_count()} cores used, load {os.getloadavg()[0]:.1f}, {platform.system()}",
          *gpus(), sep=", ")
    print(", ".join([f"Python {platform.python_version()}", *map(with_version, _PACKAGES)]))
    print(*notes, "", sep="\n", flush=True)


def cpu_info(name):
    """An entry of the first processor in /proc/cpuinfo; "" if there is none."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith(name)), "")


def with_version(package):
    """A package's name and version, without importing it."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def split_flags(text):
    """Split flags as a shell does, except that backslashes are kept, for regular expressions."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    return list(lexer)


def gpus():
    """The names of the NVIDIA GPUs of this machine."""
    with suppress(OSError):
        return subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True).stdout.splitlines()
    return []


def usable_cores():
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count()))


@contextmanager
def on_cores(count):
    """Within the block, this process and its children run on the first `count` cores (Linux only; elsewhere on all)."""
    before = usable_cores()
    if count > len(before):
        raise SystemExit(f"{count} cores are needed, but only {len(before)} are available.")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, before[:count])
    try:
        yield
    finally:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, before)


# --- variants -------------------------------------------------------------------------------------------------------

def medians(variants, rounds, warm_up=1):
    """Run the variants (name → function) in turn, A B C, A B C, …: name → the median of its results.

    A function returns a number, or several, each with its own median. The warm-up rounds come first and do not count.
    """
    results = {name: [] for name in variants}
    for number in range(warm_up + rounds):
        for name, variant in variants.items():
            result = variant()
            if number >= warm_up:
                results[name].append(result)
    return {name: np.median(found, axis=0) for name, found in results.items()}


def seconds_of(function, *arguments):
    """The duration of a call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def run_seconds(command, folder):
    """The duration of a command, start-up included; its stderr is shown, its stdout is not."""
    return seconds_of(lambda: subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL))


def in_fresh_process(function, *arguments):
    """The result of a top-level function, called in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peaks_of(command, folder, stdout=subprocess.DEVNULL):
    """Run a command: the peak memory in MB of its process, and of the largest of its children."""
    process = subprocess.Popen(command, cwd=folder, stdout=stdout)
    found = Counter()
    while process.poll() is None:
        for each in _family(process.pid):  # the latest value, not the largest: a child begins as a copy of its parent
            found[each] = peak_megabytes(each) or found[each]
        time.sleep(_POLL_SECONDS)
    if process.returncode:
        raise SystemExit(f"{command[-1]}: failed with exit status {process.returncode}.")
    return found.pop(process.pid), max(found.values(), default=0)


def _family(process_id):
    """A process and all its descendants."""
    found = [process_id]
    for path in Path(f"/proc/{process_id}/task").glob("*/children"):
        with suppress(OSError):  # the process has ended
            found += [each for child in path.read_text().split() for each in _family(int(child))]
    return found


def peak_megabytes(process_id="self"):
    """The peak memory of a process so far (VmHWM, which does not include the parent's memory as getrusage does).

    0 if the process has ended, or the system is not Linux.
    """
    try:
        lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), 0)


# --- tables ---------------------------------------------------------------------------------------------------------

def print_table(*rows):
    """Print rows of texts, the header first; the first column is aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        print("  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]), flush=True)
    print(flush=True)


def ratio(values, numerator, denominator, at_least=None, at_most=None):
    """values[numerator] / values[denominator] as text; a missed target is appended."""
    value = values[numerator] / values[denominator]
    missed = f" < {at_least:g}" if at_least and value < at_least else \
        f" > {at_most:g}" if at_most and value > at_most else ""
    return f"{value:.2f}{missed}"
