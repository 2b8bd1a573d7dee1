"""Nothing is lost: killed at any moment, with ^C at any moment, on a full disk, twice at once.

    python -m pytest tests/test_reliability.py          # a few kills
    python -m pytest tests/test_reliability.py --long   # 100 of training, 50 of preprocessing and of augmenting
"""

import importlib.util
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import ROOT, sine, spoil, tones, write

import train_network
from audio_utils import parallel, safe_files, weights_file
from audio_utils.safe_files import UserError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")

QUICK = ("--network", "vgg", "--batch-size", 8, "--warm-up", 4, "--epoch-clips", 1)
UNFINISHED = safe_files.UNFINISHED
SECONDS_TO_STOP = 2


class Ended(NamedTuple):
    """How a process ended that was stopped."""
    status: int
    stdout: str
    stderr: str
    seconds: float  # from the signal to the end


# --- processes -------------------------------------------------------------------------------------------------------

def start(script, *arguments, cwd, longest_file=resource.RLIM_INFINITY):
    """Start a script of the suite in a session of its own, so that all its processes can be told from others.

    longest_file: bytes; beyond that, the disk is full for it.
    """
    def prepare():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs, as the tests may be, ignore it
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest_file, longest_file))

    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            start_new_session=True, preexec_fn=prepare)


def stop(process, number, group=True):
    """Send a signal, to all processes of the script or to the first alone, and see how it ends."""
    begun = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, number)
    try:
        process.wait(60)
    finally:
        process.kill()  # where it did not end, nothing of it may stay
    seconds = time.monotonic() - begun
    stdout, stderr = process.communicate(timeout=60)  # until the last worker has closed them
    assert not left_behind(process)
    return Ended(process.returncode, stdout, stderr, seconds)


def left_behind(process):
    """The ids of processes of the script's session that still run, after some time to end."""
    deadline = time.monotonic() + 5
    while (found := of_session(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def of_session(leader):
    """The ids of the processes in a session that are more than zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has just ended
            continue
        if int(session) == leader and state not in "ZX":
            found.append(int(folder.name))
    return found


def wait_for_its_first_line(process):
    """Wait until the script catches SIGTERM: before that, it is Python that starts and not yet ours."""
    bit = 1 << (signal.SIGTERM - 1)
    while process.poll() is None:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigCgt", "SigBlk"))]
        if any(mask & bit for mask in masks):
            return
        time.sleep(0.002)


def finish(script, *arguments, cwd):
    """Run a script to its end."""
    result = subprocess.run([sys.executable, str(ROOT / script), *map(str, arguments)], cwd=cwd, text=True,
                            capture_output=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return result


def tree(folder, pattern="*"):
    """{path: content} of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob(pattern))
            if path.is_file()}


def unfinished(folder):
    return [str(path) for path in folder.rglob(UNFINISHED + "*")]


# --- kills -----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with Samples/ and Preproc/ to copy from."""
    folder = tones(tmp_path_factory.mktemp("prepared"))
    finish("preprocess_data.py", cwd=folder)
    return folder


@pytest.fixture
def folder(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "work")


def drawn_signal(rng):
    """(SIGKILL or SIGINT, to the group or to the first process alone)."""
    return (signal.SIGKILL, signal.SIGINT)[rng.integers(2)], bool(rng.integers(2))


def epochs_of(lines):
    """The numbers of the epochs that were said to be done."""
    return [int(line.split()[1]) for line in lines if line.startswith("epoch ")]


def saved_epoch(folder):
    path = folder / "weights.hdf5"
    return weights_file.read(path).progress["epoch"] if path.exists() else 0


def kill_in_training(folder, flags, rng):
    """Start training, and kill it at a random moment. Returns the epochs that were begun and are not saved."""
    before = saved_epoch(folder)
    process = start("train_network.py", *flags, cwd=folder)
    lines = []
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0, 5))  # somewhere in its start
    else:
        while len(epochs_of(lines)) <= rng.integers(3):
            lines.append(process.stdout.readline())
            assert lines[-1], process.communicate()
        time.sleep(rng.uniform(0, 0.1))  # about an epoch's time
    ended = stop(process, *drawn_signal(rng))
    assert ended.status in (-signal.SIGKILL, 130, -signal.SIGINT), ended
    done = epochs_of([*lines, *ended.stdout.splitlines()])
    saved, said = saved_epoch(folder), max(done, default=before)
    assert saved >= said  # an epoch that was said to be done is never lost
    return said + bool(done) - saved if saved == said else 0


def test_training_killed_at_random_is_training_never_killed(call, folder, tmp_path, request, capsys):
    kills = 100 if request.config.getoption("--long") else 2
    flags = (*QUICK, "--epochs", 8 * kills + 8, "--patience", 100_000, "--negligible", 0)
    alone = shutil.copytree(folder, tmp_path / "alone")
    call(train_network, alone, *flags)
    rng = np.random.default_rng(4)
    lost = [kill_in_training(folder, flags, rng) for _ in range(kills)]
    call(train_network, folder, *flags)
    with capsys.disabled():
        print(f"\ntraining: {kills} kills, epochs lost by each: {dict(Counter(lost))}")
    assert max(lost) <= 1
    for name in ("history.csv", "weights.hdf5"):
        assert (folder / name).read_bytes() == (alone / name).read_bytes()
    assert not unfinished(folder)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_resume_to_the_bit(folder, tmp_path, backend, request, monkeypatch):
    if not request.config.getoption("--long") or not importlib.util.find_spec(backend):
        pytest.skip("only with --long, where it is installed")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    alone = shutil.copytree(folder, tmp_path / "alone")
    finish("train_network.py", *QUICK, "--epochs", 5, cwd=alone)
    for epochs in (2, 5):
        finish("train_network.py", *QUICK, "--epochs", epochs, cwd=folder)
    assert (folder / "weights.hdf5").read_bytes() == (alone / "weights.hdf5").read_bytes()


def test_a_kill_between_two_files_costs_nothing(call, folder):
    """weights.hdf5 is written first: with it, the others are made again, also where training has come to its end."""
    call(train_network, folder, *QUICK, "--epochs", 2)
    whole = tree(folder)
    (folder / "history.csv").unlink()
    (folder / "training_curves.png").unlink()
    (folder / f"{UNFINISHED}history.csv").write_text("epo")
    call(train_network, folder, *QUICK, "--epochs", 2)
    assert tree(folder).keys() == whole.keys()
    assert tree(folder)["history.csv"] == whole["history.csv"]


def test_weights_spoilt_by_the_last_step_of_an_epoch_are_not_saved(call, folder):
    call(train_network, folder, *QUICK, "--epochs", 1)
    before = (folder / "weights.hdf5").read_bytes()
    with spoil(np.nan), pytest.raises(UserError, match="The validation loss became nan in epoch 2; weights.hdf5 is as"):
        call(train_network, folder, *QUICK, "--epochs", 3)
    assert (folder / "weights.hdf5").read_bytes() == before
    assert "Going on after epoch 1" in call(train_network, folder, *QUICK, "--epochs", 3)


def kill_at_random(script, arguments, folder, longest, rng):
    """Start a script, and kill it within `longest` seconds. Returns whether that came before its end."""
    process = start(script, *arguments, cwd=folder)
    wait_for_its_first_line(process)
    time.sleep(rng.uniform(0, longest))
    number, group = drawn_signal(rng)
    ended = stop(process, number, group)
    if number != signal.SIGKILL:  # a worker killed so may lose its parent before it is ours
        assert "Traceback" not in ended.stderr, ended.stderr
    return ended.status != 0


def many_tones(folder, files, extension="wav"):
    for hz, name in enumerate(("a", "b")):
        for i in range(files):
            write(folder / f"Samples/{name}/{i}.{extension}", sine(300 + 10 * i + hz, 0.5, channels=2))
    return folder


def kill_until_done(script, arguments, folder, kills, made):
    """Kill a script at random, from the beginning again whenever it has come to its end; then let it end."""
    finish(script, *arguments, cwd=folder)
    whole = tree(folder)
    begun = time.monotonic()
    finish(script, *arguments, cwd=folder)
    longest = 2.5 * (time.monotonic() - begun)
    rng, killed = np.random.default_rng(5), 0
    made(folder)
    while killed < kills:
        killed += kill_at_random(script, arguments, folder, longest, rng)
        if tree(folder).keys() == whole.keys() and rng.random() < 0.5:
            made(folder)
    finish(script, *arguments, cwd=folder)
    assert tree(folder) == whole
    return whole


def test_preprocessing_killed_at_random_makes_the_same_tree(tmp_path, request):
    long = request.config.getoption("--long")
    folder = many_tones(tmp_path, 400 if long else 100)
    whole = kill_until_done("preprocess_data.py", (), folder, 50 if long else 3,
                            made=lambda folder: shutil.rmtree(folder / "Preproc"))
    assert sum(name.endswith(".npy") for name in whole) == 800 if long else 200


def test_augmenting_killed_at_random_makes_the_same_files(tmp_path, request):
    def remove_copies(folder):
        for path in folder.rglob("*_aug*"):
            path.unlink()

    long = request.config.getoption("--long")
    folder = many_tones(tmp_path, 60 if long else 15, "flac")
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.flac"))
    whole = kill_until_done("augment_data.py", (3, *files), folder, 50 if long else 3, made=remove_copies)
    assert len(whole) == 4 * len(files)


# --- ^C --------------------------------------------------------------------------------------------------------------

def answers(ended, number):
    """It ended within 2 seconds, with its status and one sentence; before that may be warnings, but no traceback."""
    assert ended.status == 128 + number, ended
    *before, last = ended.stderr.strip().splitlines()
    assert last.startswith("Stopped"), ended
    assert not any(line.startswith(("Stopped", "Traceback", "  File", "Process ")) for line in before), ended
    assert ended.seconds < SECONDS_TO_STOP


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("script", "seconds"), [
    ("preprocess_data.py", (0, 0.05, 0.3)), ("augment_data.py", (0, 0.1)), ("train_network.py", (0.2, 1.5))])
def test_stopped_while_it_starts(tmp_path, folder, script, seconds, number):
    many_tones(folder, 100)
    arguments = (200, *folder.glob("Samples/*/*")) if script == "augment_data.py" else ()
    for each in seconds:
        process = start(script, *arguments, cwd=folder)
        wait_for_its_first_line(process)
        time.sleep(each)
        answers(stop(process, number), number)
        assert not unfinished(folder)


@pytest.mark.parametrize("script", ["preprocess_data.py", "augment_data.py"])
def test_twice_in_a_row_is_as_once(tmp_path, script):
    many_tones(tmp_path, 200)
    arguments = (200, *tmp_path.glob("Samples/*/*")) if script == "augment_data.py" else ("--jobs", 2)
    process = start(script, *arguments, cwd=tmp_path)
    while not any(tmp_path.rglob("*.npy")) and not any(tmp_path.rglob("*_aug*")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    answers(stop(process, signal.SIGINT), signal.SIGINT)
    assert not unfinished(tmp_path)


# --- workers ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_first_process_killed_leaves_no_worker(tmp_path, number):
    many_tones(tmp_path, 150)
    process = start("preprocess_data.py", "--jobs", 2, cwd=tmp_path)
    while not any(tmp_path.rglob("*.npy")):
        time.sleep(0.01)
    assert len(of_session(process.pid)) >= 3
    ended = stop(process, number, group=False)  # which sees that none is left
    assert "Traceback" not in ended.stderr


WRITES_WITHOUT_END = """
from contextlib import suppress
from audio_utils import parallel, safe_files

def write(number):
    while True:
        with suppress(FileNotFoundError), safe_files.replacing(f"{number}.txt") as unfinished:
            sum(range(30_000))
            unfinished.write_text("")

if __name__ == "__main__":
    list(parallel.each(write, range(8), "Writing", 8, fewest=8))
"""


def test_workers_that_lose_the_first_process_leave_nothing_unfinished(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    script = tmp_path / "write.py"
    script.write_text(WRITES_WITHOUT_END)
    for _ in range(3):
        process = start(script, cwd=tmp_path)
        while len(list(tmp_path.glob("?.txt"))) < 8:
            time.sleep(0.01)
        stop(process, signal.SIGKILL, group=False)
        assert not unfinished(tmp_path)
        for path in tmp_path.glob("?.txt"):
            path.unlink()


def crash_at(item, culprits, once):
    """For a worker: end as a library does that crashes; where `once` names a file, the first time only."""
    if item in culprits and not (once and Path(once).exists()):
        if once:
            Path(once).touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return -item


def test_a_file_that_makes_a_library_crash_is_named_and_the_others_are_done():
    results = dict(parallel.each(crash_at, list(range(200)), "Working", 2, ([50, 51, 199], "")))
    failed = {item: str(result) for item, result in results.items() if result != -item}
    assert failed == {item: f"{item}: ends the process that works on it; replace or remove it."
                      for item in (50, 51, 199)}
    assert len(results) == 200


def test_a_worker_killed_once_costs_nothing(tmp_path):
    results = dict(parallel.each(crash_at, list(range(100)), "Working", 2, ([7], str(tmp_path / "killed"))))
    assert results == {item: -item for item in range(100)}


def test_where_every_worker_dies_it_says_so():
    with pytest.raises(UserError, match="Worker processes are ended from outside again and again"):
        list(parallel.each(crash_at, list(range(100)), "Working", 2, (range(100), "")))


# --- two at once -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("script", "claimed"), [("preprocess_data.py", "Preproc"), ("augment_data.py", "Samples"),
                                                 ("train_network.py", ".")])
def test_a_second_run_in_one_folder_is_refused(run, folder, script, claimed):
    arguments = (1, *folder.glob("Samples/*/*")) if script == "augment_data.py" else ()
    before = tree(folder)
    with safe_files.claimed(folder / claimed):
        refused = run(script, *arguments, cwd=folder, status=1)
    where = (folder / claimed).resolve()
    assert refused.stderr == f"{where}/: another run is writing here; wait until it ends, or stop it.\n"
    assert tree(folder) == before


# --- a full disk -----------------------------------------------------------------------------------------------------

def run_with_limit(script, *arguments, cwd, bytes):
    """Run a script that may write no file longer than so many bytes."""
    process = start(script, *arguments, cwd=cwd, longest_file=bytes)
    stdout, stderr = process.communicate(timeout=120)
    return Ended(process.returncode, stdout, stderr, 0)


def is_full(ended, name):
    """It said of this file, in one sentence, that the disk is full."""
    assert (ended.status, ended.stderr) == (1, f"{name}: the disk is full; make room and run the same command again.\n")


def test_full_disk_in_preprocessing(tmp_path):
    many_tones(tmp_path, 40)
    is_full(run_with_limit("preprocess_data.py", cwd=tmp_path, bytes=100), "Preproc/settings.json")
    ended = run_with_limit("preprocess_data.py", cwd=tmp_path, bytes=3000)
    is_full(ended, ended.stderr.partition(":")[0])
    assert ended.stderr.startswith("Preproc/T")
    assert not list(tmp_path.rglob("*.npy"))
    assert not unfinished(tmp_path)
    finish("preprocess_data.py", cwd=tmp_path)
    assert len(list(tmp_path.rglob("*.npy"))) == 80


def test_full_disk_in_augmenting(tmp_path):
    sound = write(tmp_path / "Samples/a/x.wav", sine())
    is_full(run_with_limit("augment_data.py", 1, "Samples/a/x.wav", cwd=tmp_path, bytes=3000), "Samples/a/x_aug1.wav")
    assert list(tree(tmp_path)) == [str(sound.relative_to(tmp_path))]


def test_full_disk_in_training_and_evaluation(call, folder, request):
    call(train_network, folder, *QUICK, "--epochs", 2)
    before = tree(folder)
    largest = len(before["weights.hdf5"])
    limits = (10_000, largest // 2, largest - 1) if request.config.getoption("--long") else (10_000,)
    for limit in limits:  # HDF5 crashed at some of these when it wrote the file itself
        is_full(run_with_limit("train_network.py", *QUICK, "--epochs", 3, cwd=folder, bytes=limit), "weights.hdf5")
        assert tree(folder) == before
    ended = run_with_limit("eval_network.py", cwd=folder, bytes=5000)
    is_full(ended, ended.stderr.partition(":")[0])
    assert not unfinished(folder)
    assert {name: tree(folder)[name] for name in before} == before


SMALL_DISK = """mount -t tmpfs -o size={size} none {place} && cp -r {folder}/. {place} && cd {place} && shift 1
"$@"; status=$?; find . -name '.unfinished-*'; exit $status"""


def run_on_small_disk(script, *arguments, folder, size, place):
    """Run a script on a copy of a folder in a file system of so many bytes, which a name space of its own can mount."""
    place.mkdir()
    unshared = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*unshared, "mount", "-t", "tmpfs", "none", place],
                                                     capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    shell = SMALL_DISK.format(size=size, place=place, folder=folder)
    return subprocess.run([*unshared, "bash", "-c", shell, "bash", "", sys.executable, str(ROOT / script),
                           *map(str, arguments)], text=True, capture_output=True, timeout=120)


@pytest.mark.parametrize(("script", "flags", "room", "says"), [
    ("preprocess_data.py", ("--hop-ms", 1), 100_000, "Preproc/: the melgrams need"),
    ("train_network.py", QUICK, 300_000, "weights.hdf5: the disk is full")])
def test_small_disk(folder, tmp_path, script, flags, room, says):
    if script == "preprocess_data.py":
        shutil.rmtree(folder / "Preproc")
    size = 8192 * len(tree(folder)) + sum(map(len, tree(folder).values())) + room
    result = run_on_small_disk(script, *flags, folder=folder, size=size, place=tmp_path / "disk")
    assert result.returncode == 1, result
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert UNFINISHED not in result.stdout
