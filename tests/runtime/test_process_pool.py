"""Worker processes: a crash costs its own file only, and no process outlives its parent."""

import os
import signal
import time
from pathlib import Path

import pytest

from audio_utils.runtime import parallel, safe_files
from audio_utils.runtime.errors import UserError

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals"), pytest.mark.slow]


def crash_at(item, culprits, once):
    """For a worker: crash as a library does; if `once` names a file, the first time only."""
    if item in culprits and not (once and Path(once).exists()):
        if once:
            Path(once).touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return -item


def test_a_file_that_crashes_a_library_is_named_and_the_others_are_done():
    results = dict(parallel.each(crash_at, list(range(200)), "Working", 2, ([50, 51, 199], "")))
    failed = {item: str(result) for item, result in results.items() if result != -item}
    assert failed == {item: f"{item}: crashes the process that works on it; replace or remove it."
                      for item in (50, 51, 199)}
    assert len(results) == 200


def test_a_worker_killed_once_costs_nothing(tmp_path):
    results = dict(parallel.each(crash_at, list(range(100)), "Working", 2, ([7], str(tmp_path / "killed"))))
    assert results == {item: -item for item in range(100)}


def test_workers_that_all_die_are_reported():
    with pytest.raises(UserError, match="Worker processes keep being killed from outside"):
        list(parallel.each(crash_at, list(range(100)), "Working", 2, (range(100), "")))


def process_of(_item):
    return os.getpid()


def test_a_consumer_that_stops_early_leaves_no_worker(tmp_path):
    results = parallel.each(process_of, list(range(200)), "Working", 2)
    _, worker = next(results)
    results.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail(f"process {worker} is still there")


def write_new(item, folder):
    """As the tools do: refuse to replace a file of the user. The process is killed after the first item that is 7."""
    path = Path(folder, f"{item}.txt")
    if path.exists() and not safe_files.is_of_lost_attempt(path):
        raise UserError(f"{path.name}: already exists.")
    safe_files.write_text(path, "new")
    if item == 7 and not Path(folder, "killed").exists():
        Path(folder, "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)


def test_files_of_a_killed_process_are_written_again_but_those_of_the_user_are_kept(tmp_path):
    (tmp_path / "9.txt").write_text("the user's")
    results = dict(parallel.each(write_new, list(range(64)), "Writing", 2, (str(tmp_path),)))
    assert str(results.pop(9)) == "9.txt: already exists."
    assert set(results.values()) == {None}
    assert (tmp_path / "9.txt").read_text() == "the user's"
