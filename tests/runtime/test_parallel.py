"""One function over many files: every item has its result; the report."""

import os

import pytest

from audio_utils.runtime import parallel
from audio_utils.runtime.errors import UserError
from audio_utils.runtime.parallel import Done


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


def test_an_address_is_the_number_of_cores_for_large_results():
    assert [parallel.on_this_machine(jobs) for jobs in (None, 3, "tcp://host:8786")] == [None, 3, None]


def test_dask_is_not_imported_without_items():
    assert not list(parallel.each(work, [], "Working", "tcp://127.0.0.1:1"))
