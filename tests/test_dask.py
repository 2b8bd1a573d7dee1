"""JOBS as the address of a Dask scheduler: the same files as from processes, whatever is killed. Two workers, here.

    python -m pytest tests/test_dask.py          # equal files, ^C, mistakes
    python -m pytest tests/test_dask.py --long   # also kills of workers, nannies and schedulers
"""

import fnmatch
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, sine, write
from dask_cluster import Cluster, wait_until

from audio_utils.runtime import parallel
from audio_utils.runtime.errors import UNFINISHED

pytestmark = [pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads processes from /proc"),
              pytest.mark.slow]
MAX_SECONDS = 35  # until the sentence about a scheduler that is gone


# --- the cluster -----------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")  # its processes need a tenth of a processor even without work
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("dask"))
    yield cluster
    cluster.stop()


@pytest.fixture
def own_cluster(tmp_path_factory):
    """A cluster that a test may damage."""
    clusters = []

    def start(**keywords):
        clusters.append(Cluster(tmp_path_factory.mktemp("dask"), **keywords))
        return clusters[-1]
    yield start
    for cluster in clusters:
        cluster.stop()


# --- files -----------------------------------------------------------------------------------------------------------

def sounds(folder, count, seconds):
    for i in range(count):
        write(folder / f"Samples/{'ab'[i % 2]}/{i}.wav", sine(200 + 3 * i, seconds))
    write(folder / "noise/hum.wav", sine(50, 2 * seconds))
    return folder


def outputs(folder):
    """{path: content} of all files below a folder but the index, which has inodes and dates."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in ("index.csv", "samples.png")}


def found(folder, pattern):
    """The paths of files and folders; those below a folder that is just being removed are left out."""
    return [Path(root, name) for root, folders, names in os.walk(folder) for name in [*folders, *names]
            if fnmatch.fnmatch(name, pattern)]


def unfinished(folder):
    return found(folder, UNFINISHED + "*")


COMMANDS = {
    "preprocess_data.py": ("--clip-seconds", 0.1, "--long-files", "all"),
    "augment_data.py": (2, "Samples/a/*.wav", "Samples/b/*.wav", "--noise-folder", "noise"),
    "audio_utils/split_audio.py": (0.1, "Samples/a/*.wav"),
    "audio_utils/binauralify.py": (3, "Samples/b/*.wav"),
    "audio_utils/concat_audio.py": ("Samples/a/*_s*.wav", "--overwrite"),
    "audio_utils/inspect_samples.py": ()}


def test_all_outputs_are_byte_equal_to_those_of_processes(cluster, tmp_path, run_here, run):
    printed = {}
    for jobs in (1, cluster.address):
        folder = sounds(tmp_path / str(jobs)[:3], 24, 0.25)
        for script, arguments in COMMANDS.items():
            runner = run if jobs != 1 and "split" in script else run_here  # functions of __main__, too
            printed[script, jobs] = runner(script, *arguments, "--jobs", jobs, cwd=folder)
        assert not unfinished(folder)
    assert outputs(tmp_path / "1") == outputs(tmp_path / "tcp")
    for script in COMMANDS:
        ours, theirs = (without_seconds(printed[script, jobs].stdout) for jobs in (1, cluster.address))
        assert ours == theirs
        assert printed[script, cluster.address].stderr == printed[script, 1].stderr


def without_seconds(text):
    return [line for line in text.splitlines() if " in " not in line]


# --- kills -----------------------------------------------------------------------------------------------------------

FILES = [f"Samples/{'ab'[i % 2]}/{i}.wav" for i in range(160)]
LONG_COMMANDS = {"[!.]*.npy": ["preprocess_data.py"], "[!.]*_aug*": ["augment_data.py", 2, *FILES],
                 "[!.]*_s*": ["audio_utils/split_audio.py", 0.05, *FILES]}  # keys: pattern of the files that it makes
SUMMARIES = {"[!.]*.npy": "160 computed in", "[!.]*_aug*": "320 copies written in", "[!.]*_s*": "160 files: 3200 clips"}


@pytest.fixture(scope="module", params=[pytest.param(pattern, marks=[pytest.mark.long] * (pattern != "[!.]*.npy"))
                                        for pattern in LONG_COMMANDS])
def work(request, tmp_path_factory):
    """A pattern, a folder of sounds to copy from, and {path: content} of the files that processes make of them."""
    folder = sounds(tmp_path_factory.mktemp("sounds") / "before", 160, 1)
    done = shutil.copytree(folder, folder.parent / "done")
    script, *arguments = LONG_COMMANDS[request.param]
    subprocess.run([sys.executable, ROOT / script, *map(str, arguments), "--jobs", "2"], cwd=done, check=True,
                   capture_output=True)
    return request.param, folder, made(done, request.param)


def start(folder, pattern, address):
    """Start the command that makes such files, and wait for the first."""
    script, *arguments = LONG_COMMANDS[pattern]
    process = subprocess.Popen([sys.executable, ROOT / script, *map(str, arguments), "--jobs", address], cwd=folder,
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: process.poll() is not None or found(folder, pattern))
    return process


def assert_finished(process, folder, pattern, expected):
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (0, "")
    assert made(folder, pattern) == expected
    assert not unfinished(folder)
    return stdout


def made(folder, pattern):
    return {str(path.relative_to(folder)): path.read_bytes() for path in found(folder, pattern)}


def test_an_interrupted_run_is_completed_by_the_same_command(cluster, tmp_path, work):
    pattern, before, expected = work
    folder = shutil.copytree(before, tmp_path / "work")
    process = start(folder, pattern, cluster.address)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=5)
    assert process.returncode == 130
    assert stderr.startswith("\nStopped. Finished ")
    assert stderr.count("\n") == 2
    wait_until(lambda: not unfinished(folder), 5)  # a worker finishes the file that it is writing
    before = made(folder, pattern)
    assert 0 < len(before) < len(expected)
    assert before.items() <= expected.items()
    if pattern != "[!.]*_s*":  # split_audio.py refuses to mix clips with those of an earlier run
        assert_finished(start(folder, pattern, cluster.address), folder, pattern, expected)


@pytest.mark.long
@pytest.mark.parametrize("with_nanny", [False, True])
def test_a_killed_worker_changes_nothing(own_cluster, tmp_path, work, with_nanny):
    pattern, before, expected = work
    folder = shutil.copytree(before, tmp_path / "work")
    cluster = own_cluster(workers=1)
    first = cluster.processes[-1]
    cluster.add_workers(1)
    wait_until(lambda: len(cluster.workers()) == 2)
    process = start(folder, pattern, cluster.address)
    if with_nanny:
        os.killpg(first.pid, signal.SIGKILL)
    else:
        os.kill(cluster.workers()[0], signal.SIGKILL)
    assert SUMMARIES[pattern] in assert_finished(process, folder, pattern, expected)


@pytest.mark.long
def test_a_worker_that_is_taken_for_dead_and_then_continues_changes_nothing(own_cluster, tmp_path, work):
    pattern, before, expected = work
    folder = shutil.copytree(before, tmp_path / "work")
    cluster = own_cluster(workers=1, DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="3s")
    stopped = cluster.add_workers(1, "--no-nanny")
    wait_until(lambda: cluster.log("scheduler").count("Register worker") == 2)
    process = start(folder, pattern, cluster.address)
    time.sleep(0.2)
    stopped.send_signal(signal.SIGSTOP)
    assert SUMMARIES[pattern] in assert_finished(process, folder, pattern, expected)
    stopped.send_signal(signal.SIGCONT)
    time.sleep(3)
    assert made(folder, pattern) == expected
    assert not unfinished(folder)


def crash_at(item, culprits, once=""):
    if item in culprits and not (once and Path(once).exists()):
        if once:
            Path(once).touch()
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(0.005)
    return -item


@pytest.fixture
def by_value():
    """Functions of this module are sent as code: workers can't import it."""
    import cloudpickle
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.long
def test_exactly_the_items_that_crash_are_named(own_cluster, by_value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = dict(parallel.each(crash_at, list(range(200)), "", own_cluster().address, ([50, 51, 199],)))
    failed = {item: str(result) for item, result in results.items() if result != -item}
    assert failed == {item: f"{item}: crashes the process that works on it; replace or remove it."
                      for item in (50, 51, 199)}
    assert len(results) == 200
    assert not unfinished(tmp_path)


@pytest.mark.long
def test_an_item_whose_worker_is_killed_once_is_not_named(own_cluster, by_value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared = ([7], str(tmp_path / "killed"))
    results = dict(parallel.each(crash_at, list(range(200)), "", own_cluster().address, shared))
    assert results == {item: -item for item in range(200)}


# --- mistakes --------------------------------------------------------------------------------------------------------

def failing(run, folder, address):
    """The sentence of a run that fails, and the seconds that it takes."""
    begun = time.monotonic()
    result = run("preprocess_data.py", "--jobs", address, cwd=folder, status=1)
    assert time.monotonic() - begun < MAX_SECONDS
    assert result.stdout == ""
    assert not unfinished(folder)
    return result.stderr


@pytest.mark.long
def test_a_scheduler_that_is_absent_is_one_sentence(run, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
    assert failing(run, sounds(tmp_path, 4, 0.1), address) == (
        f"{address}: no Dask scheduler answers; start one, or correct JOBS.\n")


@pytest.mark.long
def test_a_scheduler_without_workers_is_one_sentence(own_cluster, run, tmp_path):
    address = own_cluster(workers=0).address
    assert failing(run, sounds(tmp_path, 4, 0.1), address) == (
        f"{address}: the Dask scheduler has no workers; start some (dask worker {address} --nthreads 1) and run the "
        "same command again.\n")


@pytest.mark.long
def test_a_scheduler_that_is_killed_is_one_sentence(own_cluster, tmp_path):
    folder = sounds(tmp_path, 160, 1)
    cluster = own_cluster()
    process = start(folder, "[!.]*.npy", cluster.address)
    os.killpg(cluster.scheduler.pid, signal.SIGKILL)
    _, stderr = process.communicate(timeout=MAX_SECONDS)
    assert process.returncode == 1
    assert stderr == (f"{cluster.address}: the connection to the Dask scheduler is lost; finished work is kept; start "
                      "the scheduler and its workers again, and run the same command again.\n")
    wait_until(lambda: not unfinished(folder), 5)
