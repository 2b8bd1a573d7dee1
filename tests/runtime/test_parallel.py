"""One function over many files: every item has its result, and a crash costs its own file only."""

import os
import signal
import time
from pathlib import Path

import pytest

from audio_utils.runtime import parallel
from audio_utils.runtime.errors import UserError
from audio_utils.runtime.parallel import Done

needs_signals = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def work(item, offset=0):
    if item == 3:
        raise UserError("3: is bad.")
    if item == 4:
        raise FileNotFoundError(2, "No such file", "4")
    if item == 5:
        raise MemoryError
    return item + offset


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_bad_file_does_not_stop_the_others(jobs, capsys):
    results = dict(parallel.each(work, list(range(64)), "Working", jobs, (100,)))
    failed = {item: str(results.pop(item)) for item in (3, 4, 5)}
    assert failed[3] == "3: is bad."
    assert "No such file" in failed[4]
    assert failed[5] == "5: needs more memory than is available; shorten or remove it."
    assert results == {item: item + 100 for item in range(64) if item not in (3, 4, 5)}


def test_other_exceptions_are_raised():
    with pytest.raises(TypeError):
        list(parallel.each(work, ["x"], "Working", 1))


def test_no_items_are_no_results():
    assert not list(parallel.each(work, [], "Working", 4, min_parallel=0))


def test_few_items_run_in_this_process():
    assert [pid for _, pid in parallel.each(process_of, [1, 2, 3], "Working", 8)] == [os.getpid()] * 3


def process_of(_item):
    return os.getpid()


def test_report_prints_results_and_errors_and_returns_the_status(capsys):
    done = Done("x.wav: done.", 1)
    assert parallel.report([(1, done)], 1, "clips") == 0
    assert parallel.report([(1, done), (2, UserError("y.wav: is bad.")),
                            (3, FileNotFoundError(2, "No such file", "z.wav"))], 3, "clips") == 1
    found = capsys.readouterr()
    assert found.out == "x.wav: done.\n" * 2
    assert found.err == "y.wav: is bad.\nz.wav: No such file.\n"


def test_of_many_files_problems_and_a_summary_are_printed(capsys):
    results = [Done("x.wav: done.", 4)] * 8 + [Done("y.wav: is cut.", 2, True), Done("z.wav: skipped.", 0)]
    assert parallel.report(enumerate([*results, UserError("bad.wav: is bad.")]), 11, "clips of 2 s") == 1
    assert tuple(capsys.readouterr()) == ("y.wav: is cut.\n9 files: 34 clips of 2 s; 1 skipped.\n",
                                          "bad.wav: is bad.\n")
    assert parallel.report([(1, UserError("bad.wav: is bad."))], 11, "clips") == 1
    assert capsys.readouterr().out == ""


# --- crashes ---------------------------------------------------------------------------------------------------------

def crash_at(item, culprits, once):
    """For a worker: crash as a library does; if `once` names a file, the first time only."""
    if item in culprits and not (once and Path(once).exists()):
        if once:
            Path(once).touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return -item


@needs_signals
@pytest.mark.slow
def test_a_file_that_crashes_a_library_is_named_and_the_others_are_done():
    results = dict(parallel.each(crash_at, list(range(200)), "Working", 2, ([50, 51, 199], "")))
    failed = {item: str(result) for item, result in results.items() if result != -item}
    assert failed == {item: f"{item}: crashes the process that works on it; replace or remove it."
                      for item in (50, 51, 199)}
    assert len(results) == 200


@needs_signals
@pytest.mark.slow
def test_a_worker_killed_once_costs_nothing(tmp_path):
    results = dict(parallel.each(crash_at, list(range(100)), "Working", 2, ([7], str(tmp_path / "killed"))))
    assert results == {item: -item for item in range(100)}


@needs_signals
@pytest.mark.slow
def test_workers_that_all_die_are_reported():
    with pytest.raises(UserError, match="Worker processes keep being killed from outside"):
        list(parallel.each(crash_at, list(range(100)), "Working", 2, (range(100), "")))


@needs_signals
@pytest.mark.slow
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
