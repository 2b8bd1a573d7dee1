"""A Dask scheduler and its workers on this machine, for tests and benchmarks; Linux only."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


class Cluster:
    """A scheduler, and a nanny process with the workers; each in a session of its own.

    workers: their number. environment: of the scheduler.
    """

    def __init__(self, folder, workers=2, **environment):
        self.folder, self.processes, self.environment = folder, [], environment
        file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", 0, "--scheduler-file", file)
        wait_until(lambda: _address(file))
        self.address = _address(file)
        if workers:
            self.add_workers(workers)

    def add_workers(self, count, *flags):
        """Start a nanny process with workers."""
        return self._start("worker", self.address, "--nworkers", count, "--nthreads", 1, "--local-directory",
                           self.folder, *flags)

    def log(self, kind):
        """What the processes of a kind, "scheduler" or "worker", have printed."""
        return _text(self.folder / f"{kind}.log")

    def _start(self, kind, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *map(str, arguments), "--no-dashboard"]
        with open(self.folder / f"{kind}.log", "a") as log:
            self.processes.append(subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log,
                                                   start_new_session=True, env=os.environ | self.environment))
        return self.processes[-1]

    def workers(self):
        """The ids of the worker processes."""
        return [process for process in self._members() if "spawn_main" in _text(f"/proc/{process}/cmdline")]

    def cpu_seconds(self):
        """CPU time of all processes so far, with those that have ended and been waited for."""
        ticks = sum(int(each) for process in self._members()
                    for each in _text(f"/proc/{process}/stat").rpartition(")")[2].split()[11:15])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _members(self):
        leaders = {process.pid for process in self.processes}
        sessions = {int(path.parent.name): _text(path).rpartition(")")[2].split()[3:4]
                    for path in Path("/proc").glob("[0-9]*/stat")}
        return [process for process, session in sessions.items() if session and int(session[0]) in leaders]

    def stop(self):
        """Kill all processes."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _address(file):
    with suppress(OSError, ValueError):
        return json.loads(file.read_text())["address"]


def _text(path):
    with suppress(OSError):
        return Path(path).read_text()
    return ""


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
