"""Measure the CPU time of preprocessing and augmenting by Dask workers, compared with as many processes.

A scheduler and the workers run on this machine and are started before; the CPU time is that of all of them and of the
script, start-up of the script and of the processes included.

Writes  a table of medians to stdout; sounds in a temporary folder, which is removed at the end

    python tests/benchmarks/dask_jobs.py
    python tests/benchmarks/dask_jobs.py --files 400 --rounds 1    # a short trial
"""

import resource
import sys
import tempfile
from functools import partial
from pathlib import Path
from shutil import copytree, rmtree

from preprocess import make_sounds
from side_by_side import SUITE, medians, print_machine, print_table, ratio, run_seconds

from audio_utils.runtime import command_line, script
from audio_utils.runtime.command_line import Limits

sys.path.insert(0, str(SUITE / "tests"))
from dask_cluster import Cluster, wait_until

FILES = 4000        # sounds
FILE_SECONDS = 2.0  # length of each
WORKERS = 2         # Dask workers, and processes
ROUNDS = 3          # of both, for the medians

_LIMITS = {"FILES": Limits(int, 2), "FILE_SECONDS": Limits(float, 0.1), "WORKERS": Limits(int, 1),
           "ROUNDS": Limits(int, 1)}
_MAX_CPU = 1.1  # target: × the processes'
_SCRIPTS = {"preprocess_data.py": (), "augment_data.py": (1, "Samples/*/*")}


def main():
    options = command_line.parse(globals(), _LIMITS)
    print_machine(f"{options.files} mono wav files of {options.file_seconds:g} s, {options.workers} workers; "
                  f"medians of {options.rounds}")
    with tempfile.TemporaryDirectory() as root:
        make_sounds(Path(root, "sounds"), options.files, 1, "wav", options.file_seconds)
        cluster = Cluster(Path(root), options.workers)
        try:
            wait_until(lambda: len(cluster.workers()) == options.workers)
            variants = {(name, jobs): partial(measure, Path(root), name, jobs, cluster)
                        for name in _SCRIPTS for jobs in (options.workers, cluster.address)}
            found = medians(variants, options.rounds, warm_up=0)
        finally:
            cluster.stop()
    rows = [["", "CPU s, processes", "CPU s, Dask", f"ratio, ≤ {_MAX_CPU}", "s, processes", "s, Dask"]]
    for name in _SCRIPTS:
        (cpu, seconds), (dask_cpu, dask_seconds) = (found[name, jobs] for jobs in (options.workers, cluster.address))
        rows.append([name, f"{cpu:.1f}", f"{dask_cpu:.1f}",
                     ratio({"dask": dask_cpu, "pool": cpu}, "dask", "pool", at_most=_MAX_CPU),
                     f"{seconds:.1f}", f"{dask_seconds:.1f}"])
    print_table(*rows)


def measure(root, name, jobs, cluster):
    """(CPU seconds, seconds) of a script."""
    folder = copytree(root / "sounds", root / "work")
    before = children_cpu_seconds() + cluster.cpu_seconds()
    command = [sys.executable, str(SUITE / name), *map(str, _SCRIPTS[name]), "--jobs", str(jobs)]
    seconds = run_seconds(command, folder)
    used = children_cpu_seconds() + cluster.cpu_seconds() - before
    rmtree(folder)
    return used, seconds


def children_cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    script.run(main)
