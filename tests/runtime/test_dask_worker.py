"""A chunk is begun once, its journal shows what is done, and a worker that is taken for dead replaces no file."""

import os
import pickle
import threading
from pathlib import Path

import pytest

from audio_utils.runtime import dask_worker, safe_files
from audio_utils.runtime.dask_worker import PROBE, Run
from audio_utils.runtime.errors import UNFINISHED, UserError


@pytest.fixture
def run(tmp_path):
    """A run whose script works in tmp_path/work."""
    folders = [tmp_path / "work/journals", tmp_path / "disk/probe"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / PROBE).write_text("token")
    return Run(str(folders[0]), str(tmp_path / "work"), tuple(map(str, folders)), "token", dask_worker.suite_digest(),
               dask_worker.package_versions())


def run_chunk(run, function, items, *shared, number=0, is_repeated=False):
    return dask_worker.run_chunk(tuple(run), number, pickle.dumps((function, shared)), pickle.dumps(items), is_repeated)


def halve(item):
    if item % 2:
        raise UserError(f"{item}: is odd.")
    return item // 2


def test_a_chunk_returns_the_content_of_its_journal(run):
    before = os.getcwd()
    kind, seconds, content = run_chunk(run, halve, [4, 3, 2])
    assert kind == "done"
    assert seconds < 1
    assert run.journal(0).read_bytes() == content
    results, files = dask_worker.read_journal(content)
    assert [str(each) for each in results] == ["2", "3: is odd.", "1"]
    assert files == []
    assert os.getcwd() == before


def test_a_chunk_is_not_begun_twice_nor_after_the_end_of_the_run(run):
    run.journal(0).touch()
    assert run_chunk(run, halve, [2]) == ("begun",)
    assert run_chunk(run, halve, [2], number=1)[0] == "done"
    os.rename(run.folder, run.folder + "-")
    assert run_chunk(run, halve, [2], number=2) == ("begun",)


def write_and_fail(name):
    safe_files.write_text(f"{name}.txt", name)
    with safe_files.replacing(f"{name}2.txt") as unfinished:
        unfinished.write_text("half")
        raise ZeroDivisionError  # stands for the death of the process


def test_the_journal_names_unfinished_files_of_the_item_in_progress(run):
    with pytest.raises(ZeroDivisionError):
        run_chunk(run, write_and_fail, ["a"])
    results, files = dask_worker.read_journal(run.journal(0).read_bytes() + b"\x80")  # an incomplete record
    tag = safe_files.tag()
    assert results == []
    assert files == [f"{run.working_directory}/{UNFINISHED}{tag}{name}.txt" for name in ("a", "a2")]
    assert Path(run.working_directory, "a.txt").read_text() == "a"


def write_while_recovered(name, journal):
    safe_files.write_text(f"{name}1.txt", name)
    with safe_files.replacing(f"{name}2.txt") as unfinished:
        unfinished.write_text("new")
        Path(journal).unlink()  # by the client, which takes this worker for dead


def test_a_worker_that_is_taken_for_dead_replaces_no_file_and_stops(run):
    assert run_chunk(run, write_while_recovered, ["a", "b"], str(run.journal(0))) == ("begun",)
    assert [path.name for path in Path(run.working_directory).glob("*.txt")] == ["a1.txt"]


def own(name):
    return safe_files.is_of_lost_attempt(Path(name))


def test_files_that_a_dead_worker_wrote_in_this_run_are_recognized(run):
    for name, seconds in (("old", -10), ("new", 10)):
        path = Path(run.working_directory, name)
        path.touch()
        date = Path(run.folder, PROBE).stat().st_mtime + seconds
        os.utime(path, (date, date))
    for is_repeated in (False, True):
        _, _, content = run_chunk(run, own, ["old", "new", "none"], number=is_repeated, is_repeated=is_repeated)
        assert dask_worker.read_journal(content)[0] == [False, is_repeated, False]
    assert not own(Path(run.working_directory, "new"))  # afterwards


# --- checks ----------------------------------------------------------------------------------------------------------

def test_a_worker_writes_a_probe_for_the_client(run):
    assert dask_worker.difference(tuple(run)) == ""
    for folder in run.probed:
        assert [path.read_text() for path in Path(folder).glob(f"{safe_files.tag()}*")] == ["token"]


def test_a_worker_that_differs_refuses_in_one_sentence(run):
    name = f"Dask worker on {os.uname().nodename}: "
    others = [(run._replace(suite="other"), f"{name}runs another version of the suite (from {dask_worker.SUITE}); copy "
               "the suite of this host there and restart the worker."),
              (run._replace(packages=("Python 2.7", *run.packages[1:])), f"{name}has {run.packages[0]}, but this "
               "process Python 2.7; install the same versions on all hosts."),
              (run._replace(token="other"), f"{run.working_directory}/: {name}does not see the same files there; mount "
               "the folder at the same path on all hosts, writable, or stop that worker.")]
    for other, sentence in others:
        sentence = sentence.replace(": does not", " does not")
        assert dask_worker.difference(tuple(other)) == sentence
        assert run_chunk(other, halve, [2]) == ("refused", sentence)
    assert not run.journal(0).exists()


def test_a_folder_that_the_worker_does_not_have_is_named(run, tmp_path):
    os.rename(tmp_path / "disk", tmp_path / "elsewhere")
    assert dask_worker.difference(tuple(run)).startswith(f"{tmp_path}/disk/: Dask worker on ")


def wait_for(entered, leave):
    entered.set()
    leave.wait(5)


def test_a_worker_with_several_threads_refuses(run, monkeypatch):
    entered, leave = threading.Event(), threading.Event()
    monkeypatch.setattr(dask_worker, "_loaded", lambda _: (wait_for, (leave,)))
    monkeypatch.setattr(pickle, "loads", lambda _: [entered])
    thread = threading.Thread(target=run_chunk, args=(run, None, []))
    thread.start()
    entered.wait(5)
    assert run_chunk(run, halve, [2], number=1)[1].endswith("has several threads; start the workers with --nthreads 1.")
    leave.set()
    thread.join()
