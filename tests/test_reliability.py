"""Nothing is lost: killed or interrupted at any moment, on a full disk, in two runs at the same time.

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
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import ROOT, run_main, sine, spoil, write

import train_network
from audio_utils.inference import checkpoint
from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UNFINISHED, UserError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads processes from /proc")

QUICK = ("--network", "vgg", "--batch-size", 8, "--warm-up", 4, "--epoch-clips", 1, "--precision", "float32",
         "--optimizer", "adamw")  # Muon's graphs take longer to trace
HERE = (*QUICK, "--network", "small")  # which exists only in the process of the tests
MAX_SECONDS_TO_STOP = 2


class Ended(NamedTuple):
    """The end of a process that was stopped."""
    status: int
    stdout: str
    stderr: str
    seconds: float  # from the signal to the end


# --- processes -------------------------------------------------------------------------------------------------------

def start(script, *arguments, cwd, max_file_bytes=resource.RLIM_INFINITY):
    """Start a script of the suite in a session of its own, by which its processes can be identified.

    max_file_bytes: at this size of a file, the disk is full for the script.
    """
    def prepare():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            start_new_session=True, preexec_fn=prepare)


def stop(process, number, group=True):
    """Send a signal to all processes of the script, or to the first alone, and wait for the end."""
    begun = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, number)
    try:
        process.wait(60)
    finally:
        process.kill()  # if it did not end
    seconds = time.monotonic() - begun
    stdout, stderr = process.communicate(timeout=60)  # waits until the last worker has closed them
    assert not left_behind(process)
    return Ended(process.returncode, stdout, stderr, seconds)


def left_behind(process):
    """The ids of the processes of the script's session that still run after 5 seconds."""
    deadline = time.monotonic() + 5
    while (found := of_session(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def of_session(leader):
    """The ids of the processes of a session, except for zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has just ended
            continue
        if int(session) == leader and state not in "ZX":
            found.append(int(folder.name))
    return found


def wait_for_handlers(process):
    """Wait until the script catches SIGTERM, when its imports are done and main() starts."""
    bit = 1 << (signal.SIGTERM - 1)
    while process.poll() is None:
        caught = Path(f"/proc/{process.pid}/status").read_text().partition("SigCgt:")[2].split()
        if caught and int(caught[0], 16) & bit:
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
def two_epochs(small_network, prepared, tmp_path_factory):
    """The same with a network trained for two epochs, to copy from."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("two_epochs") / "work")
    return run_main(train_network, folder, *HERE, "--epochs", 2)


@pytest.fixture
def trained(two_epochs, tmp_path):
    return shutil.copytree(two_epochs, tmp_path / "work")


def random_signal(rng):
    """(SIGKILL or SIGINT, whether to the whole group or to the first process alone)."""
    return (signal.SIGKILL, signal.SIGINT)[rng.integers(2)], bool(rng.integers(2))


def epochs_of(lines):
    """The numbers of the epochs in a script's output."""
    return [int(line.split()[1]) for line in lines if line.startswith("epoch ")]


def saved_epoch(folder):
    path = folder / "weights.hdf5"
    return checkpoint.read(path).training_state["epoch"] if path.exists() else 0


def kill_in_training(folder, flags, rng):
    """Start training, and kill it at a random moment. Returns the number of epochs that were started but not saved."""
    before = saved_epoch(folder)
    process = start("train_network.py", *flags, cwd=folder)
    lines = []
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0, 5))  # during its start
    else:
        while len(epochs_of(lines)) <= rng.integers(3):
            lines.append(process.stdout.readline())
            assert lines[-1], process.communicate()
        time.sleep(rng.uniform(0, 0.1))  # about the length of an epoch
    ended = stop(process, *random_signal(rng))
    assert ended.status in (-signal.SIGKILL, 130, -signal.SIGINT), ended
    printed = epochs_of([*lines, *ended.stdout.splitlines()])
    saved, last = saved_epoch(folder), max(printed, default=before)
    assert saved >= last  # an epoch in the output is never lost
    return last + bool(printed) - saved if saved == last else 0


@pytest.mark.slow
@pytest.mark.usefixtures("without_curves")
def test_training_from_disk_killed_at_random_gives_the_same_files_as_in_memory(call, folder, tmp_path, request, capsys):
    kills = 100 if request.config.getoption("--long") else 1
    flags = (*QUICK, "--epochs", 8 * kills + 8, "--patience", 100_000, "--min-delta", 0, "--loss-target", 0,
             "--max-epoch-clips", 9)
    uninterrupted = shutil.copytree(folder, tmp_path / "uninterrupted")
    call(train_network, uninterrupted, *flags)
    rng = np.random.default_rng(4)
    lost = [kill_in_training(folder, (*flags, "--memory-gb", 0), rng) for _ in range(kills)]
    call(train_network, folder, *flags, "--memory-gb", 0)
    with capsys.disabled():
        print(f"\ntraining: {kills} kills, epochs lost by each: {dict(Counter(lost))}")
    assert max(lost) <= 1
    for name in ("history.csv", "weights.hdf5"):
        assert (folder / name).read_bytes() == (uninterrupted / name).read_bytes()
    assert not unfinished(folder)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_resume_exactly(folder, tmp_path, backend, request, monkeypatch):
    if not request.config.getoption("--long") or not importlib.util.find_spec(backend):
        pytest.skip("only with --long, if it is installed")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    uninterrupted = shutil.copytree(folder, tmp_path / "uninterrupted")
    finish("train_network.py", *QUICK, "--epochs", 5, cwd=uninterrupted)
    for epochs in (2, 5):
        finish("train_network.py", *QUICK, "--epochs", epochs, cwd=folder)
    assert (folder / "weights.hdf5").read_bytes() == (uninterrupted / "weights.hdf5").read_bytes()


@pytest.mark.slow
def test_a_kill_between_two_files_costs_nothing(call, trained):
    """weights.hdf5 is written first; the other files are restored from it, even after the end of training."""
    whole = tree(trained)
    (trained / "history.csv").unlink()
    (trained / "training_curves.png").unlink()
    (trained / f"{UNFINISHED}history.csv").write_text("epo")
    call(train_network, trained, *HERE, "--epochs", 2)
    assert tree(trained).keys() == whole.keys()
    assert tree(trained)["history.csv"] == whole["history.csv"]


@pytest.mark.slow
def test_weights_spoiled_by_the_last_step_of_an_epoch_are_not_saved(call, trained):
    before = (trained / "weights.hdf5").read_bytes()
    with spoil(np.nan), pytest.raises(UserError, match="The validation loss became nan in epoch 3; weights.hdf5 is un"):
        call(train_network, trained, *HERE, "--epochs", 4)
    assert (trained / "weights.hdf5").read_bytes() == before
    assert "Continuing after epoch 2" in call(train_network, trained, *HERE, "--epochs", 4)


def kill_at_random(script, arguments, folder, max_seconds, rng):
    """Start a script, and kill it within that time. Returns whether it was killed before its end."""
    process = start(script, *arguments, cwd=folder)
    wait_for_handlers(process)
    time.sleep(rng.uniform(0, max_seconds))
    number, group = random_signal(rng)
    ended = stop(process, number, group)
    if number != signal.SIGKILL:  # a worker may lose a killed parent while it starts
        assert "Traceback" not in ended.stderr, ended.stderr
    return ended.status != 0


def many_tones(folder, files, extension="wav"):
    for hz, name in enumerate(("a", "b")):
        for i in range(files):
            write(folder / f"Samples/{name}/{i}.{extension}", sine(300 + 10 * i + hz, 0.5, channels=2))
    return folder


def kill_repeatedly(script, arguments, folder, kills, reset):
    """Kill a script so many times, starting again with `reset` when it has finished; then let it finish."""
    begun = time.monotonic()
    finish(script, *arguments, cwd=folder)
    max_seconds = time.monotonic() - begun
    whole = tree(folder)
    rng, killed = np.random.default_rng(5), 0
    reset(folder)
    while killed < kills:
        killed += kill_at_random(script, arguments, folder, max_seconds, rng)
        if tree(folder).keys() == whole.keys() and rng.random() < 0.5:
            reset(folder)
    finish(script, *arguments, cwd=folder)
    assert tree(folder) == whole
    return whole


@pytest.mark.slow
def test_preprocessing_killed_at_random_writes_the_same_files(tmp_path, request):
    long = request.config.getoption("--long")
    folder = many_tones(tmp_path, 400 if long else 60)
    whole = kill_repeatedly("preprocess_data.py", (), folder, 50 if long else 3,
                            reset=lambda folder: shutil.rmtree(folder / "Preproc"))
    assert sum(name.endswith(".npy") for name in whole) == (800 if long else 120)


def relabel(samples, removed, rng):
    """Move some sounds to other classes and names, remove some to a folder beside, and bring some back, at random."""
    for path in sorted([*samples.rglob("*.wav"), *removed.iterdir()]):
        new = samples / str(rng.choice(["a", "b", "c"])) / f"{rng.integers(1 << 30)}.wav"
        if rng.random() < 0.2:
            path.rename(removed / path.name if rng.random() < 0.3 else new)


def melgrams_by_sound(folder):
    """{content of the sound: (its split, content of its melgram)}; fails if a melgram has no sound, or a sound two."""
    found, paths = {}, {}
    for path in sorted((folder / "Preproc").rglob("*.npy")):
        split, class_name, name = path.relative_to(folder / "Preproc").parts
        sound = (folder / "Samples" / class_name / name.removesuffix(".npy")).read_bytes()
        assert sound not in found, (path, paths[sound])
        found[sound], paths[sound] = (split, path.read_bytes()), path
    return found


@pytest.mark.slow
def test_preprocessing_killed_after_relabeling_and_removing_keeps_each_sound_in_its_split(tmp_path, request):
    kills = 50 if request.config.getoption("--long") else 3
    for i, name in enumerate("abc" * 14):
        write(tmp_path / f"Samples/{name}/{i}.wav", sine(300 + 10 * i, 0.5))
    finish("preprocess_data.py", cwd=tmp_path)
    first, rng = melgrams_by_sound(tmp_path), np.random.default_rng(3)
    (tmp_path / "removed").mkdir()
    for _ in range(kills):
        relabel(tmp_path / "Samples", tmp_path / "removed", rng)
        sounds = tree(tmp_path / "Samples")
        kill_at_random("preprocess_data.py", ("--prune",), tmp_path, 0.3, rng)
        assert tree(tmp_path / "Samples") == sounds
    for path in (tmp_path / "removed").iterdir():
        path.rename(tmp_path / "Samples/a" / path.name)
    relabel(tmp_path / "Samples", tmp_path / "removed", rng)
    sounds = tree(tmp_path / "Samples")
    finish("preprocess_data.py", "--prune", cwd=tmp_path)
    assert tree(tmp_path / "Samples") == sounds
    assert melgrams_by_sound(tmp_path) == {sound: first[sound] for sound in sounds.values()}


@pytest.mark.slow
def test_augmenting_killed_at_random_writes_the_same_files(tmp_path, request):
    def remove_copies(folder):
        for path in folder.rglob("*_aug*"):
            path.unlink()

    long = request.config.getoption("--long")
    folder = many_tones(tmp_path, 60 if long else 8, "flac")
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.flac"))
    whole = kill_repeatedly("augment_data.py", (3, *files), folder, 50 if long else 3, reset=remove_copies)
    assert len(whole) == 4 * len(files)


# --- ^C --------------------------------------------------------------------------------------------------------------

def assert_stopped(ended, number):
    """It ended within 2 seconds with its status and one sentence; warnings may precede it, but no traceback."""
    assert ended.status == 128 + number, ended
    *before, last = ended.stderr.strip().splitlines()
    assert last.startswith("Stopped"), ended
    assert not any(line.startswith(("Stopped", "Traceback", "  File", "Process ")) for line in before), ended
    assert ended.seconds < MAX_SECONDS_TO_STOP


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("script", "seconds"), [
    ("preprocess_data.py", (0, 0.05, 0.3)), ("augment_data.py", (0, 0.1)), ("train_network.py", (0.2, 1.5))])
def test_a_script_can_be_stopped_while_it_starts(tmp_path, folder, script, seconds, number):
    many_tones(folder, 100)
    arguments = (200, *folder.glob("Samples/*/*")) if script == "augment_data.py" else ()
    for each in seconds:
        process = start(script, *arguments, cwd=folder)
        wait_for_handlers(process)
        time.sleep(each)
        assert_stopped(stop(process, number), number)
        assert not unfinished(folder)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["preprocess_data.py", "augment_data.py"])
def test_a_second_interrupt_changes_nothing(tmp_path, script):
    many_tones(tmp_path, 200)
    arguments = (200, *tmp_path.glob("Samples/*/*")) if script == "augment_data.py" else ("--jobs", 2)
    process = start(script, *arguments, cwd=tmp_path)
    while not any(tmp_path.rglob("*.npy")) and not any(tmp_path.rglob("*_aug*")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert_stopped(stop(process, signal.SIGINT), signal.SIGINT)
    assert not unfinished(tmp_path)


# --- workers ---------------------------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_the_first_process(tmp_path, number):
    many_tones(tmp_path, 150)
    process = start("preprocess_data.py", "--jobs", 2, cwd=tmp_path)
    while not any(tmp_path.rglob("*.npy")):
        time.sleep(0.01)
    assert len(of_session(process.pid)) >= 3
    ended = stop(process, number, group=False)  # asserts that none is left
    assert "Traceback" not in ended.stderr


WRITE_ENDLESSLY = """
from contextlib import suppress
from audio_utils.runtime import parallel, safe_files

def write(number):
    while True:
        with suppress(FileNotFoundError), safe_files.replacing(f"{number}.txt") as unfinished:
            sum(range(30_000))
            unfinished.write_text("")

if __name__ == "__main__":
    list(parallel.each(write, range(8), "Writing", 8, min_parallel=8))
"""


@pytest.mark.slow
def test_workers_that_lose_the_first_process_leave_no_unfinished_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    script = tmp_path / "write.py"
    script.write_text(WRITE_ENDLESSLY)
    for _ in range(3):
        process = start(script, cwd=tmp_path)
        while len(list(tmp_path.glob("?.txt"))) < 8:
            time.sleep(0.01)
        stop(process, signal.SIGKILL, group=False)
        assert not unfinished(tmp_path)
        for path in tmp_path.glob("?.txt"):
            path.unlink()


# --- two runs at the same time ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(("script", "locked"), [("preprocess_data.py", "Preproc"), ("augment_data.py", "Samples"),
                                                ("train_network.py", ".")])
def test_a_second_run_in_one_folder_is_refused(run, folder, script, locked):
    arguments = (1, *folder.glob("Samples/*/*")) if script == "augment_data.py" else ()
    before = tree(folder)
    with safe_files.locked(folder / locked):
        refused = run(script, *arguments, cwd=folder, status=1)
    assert refused.stderr == (f"{(folder / locked).resolve()}/: another run is writing here; wait until it ends, or "
                              "stop it.\n")
    assert tree(folder) == before


# --- a full disk -----------------------------------------------------------------------------------------------------

def run_with_limit(script, *arguments, cwd, max_file_bytes):
    """Run a script that can write no larger file."""
    process = start(script, *arguments, cwd=cwd, max_file_bytes=max_file_bytes)
    stdout, stderr = process.communicate(timeout=120)
    return Ended(process.returncode, stdout, stderr, 0)


DISK_FULL = "the disk is full; make room and run the same command again.\n"


def assert_disk_full(ended, name):
    """It reported for this file, in one sentence, that the disk is full."""
    assert (ended.status, ended.stderr) == (1, f"{name}: {DISK_FULL}")


@contextmanager
def max_file_size(max_bytes):
    """Within, this process can write no larger file: saves the start of Keras in another one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
def test_a_full_disk_in_preprocessing(tmp_path):
    many_tones(tmp_path, 40)
    assert_disk_full(run_with_limit("preprocess_data.py", cwd=tmp_path, max_file_bytes=100), "Preproc/index.csv")
    ended = run_with_limit("preprocess_data.py", cwd=tmp_path, max_file_bytes=20_000)
    assert_disk_full(ended, ended.stderr.partition(":")[0])
    assert ended.stderr.startswith("Preproc/T")
    assert not list(tmp_path.rglob("*.npy"))
    assert not unfinished(tmp_path)
    finish("preprocess_data.py", cwd=tmp_path)
    assert len(list(tmp_path.rglob("*.npy"))) == 80
    shutil.rmtree(tmp_path / "Preproc")
    ended = run_with_limit("preprocess_data.py", "--mels", 1, cwd=tmp_path, max_file_bytes=8_000)  # small melgrams
    assert_disk_full(ended, "Preproc/index.csv")


def test_a_full_disk_in_augmenting(tmp_path):
    sound = write(tmp_path / "Samples/a/x.wav", sine())
    ended = run_with_limit("augment_data.py", 1, "Samples/a/x.wav", cwd=tmp_path, max_file_bytes=3000)
    assert_disk_full(ended, "Samples/a/x_aug1.wav")
    assert list(tree(tmp_path)) == [str(sound.relative_to(tmp_path))]


@pytest.mark.slow
def test_a_full_disk_in_training_and_evaluation(run_here, trained, request):
    before = tree(trained)
    largest = len(before["weights.hdf5"])
    limits = (10_000, largest // 2, largest - 1) if request.config.getoption("--long") else (10_000,)
    for limit in limits:  # HDF5 crashed at some of these when it wrote the file
        with max_file_size(limit):
            refused = run_here("train_network.py", *HERE, "--epochs", 3, cwd=trained, status=1)
        assert refused.stderr == f"weights.hdf5: {DISK_FULL}"
        assert tree(trained) == before
    with max_file_size(5000):
        refused = run_here("eval_network.py", cwd=trained, status=1)
    assert refused.stderr == f"{refused.stderr.partition(':')[0]}: {DISK_FULL}"
    assert not unfinished(trained)
    assert {name: tree(trained)[name] for name in before} == before


SMALL_DISK = """mount -t tmpfs -o size={size} none {mount} && cp -r {folder}/. {mount} && cd {mount} && shift 1
"$@"; status=$?; find . -name '.unfinished-*'; exit $status"""


def run_on_small_disk(script, *arguments, folder, size, mount):
    """Run a script on a copy of a folder in a file system of so many bytes, mounted in a namespace of its own."""
    mount.mkdir()
    unshared = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*unshared, "mount", "-t", "tmpfs", "none", mount],
                                                     capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    shell = SMALL_DISK.format(size=size, mount=mount, folder=folder)
    return subprocess.run([*unshared, "bash", "-c", shell, "bash", "", sys.executable, str(ROOT / script),
                           *map(str, arguments)], text=True, capture_output=True, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize(("script", "flags", "free_bytes", "sentence"), [
    ("preprocess_data.py", ("--hop-ms", 1), 100_000, "Preproc/: the melgrams need"),
    ("train_network.py", QUICK, 300_000, "weights.hdf5: the disk is full")])
def test_a_small_disk_is_reported_in_one_sentence(folder, tmp_path, script, flags, free_bytes, sentence):
    if script == "preprocess_data.py":
        shutil.rmtree(folder / "Preproc")
    size = 8192 * len(tree(folder)) + sum(map(len, tree(folder).values())) + free_bytes
    result = run_on_small_disk(script, *flags, folder=folder, size=size, mount=tmp_path / "disk")
    assert result.returncode == 1, result
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert UNFINISHED not in result.stdout
