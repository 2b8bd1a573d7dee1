"""Training on several devices with JAX; here they are virtual devices of this processor, in one process or in two.

    python -m pytest tests/test_several_devices.py          # two devices against one
    python -m pytest tests/test_several_devices.py --long   # also two processes: equal, killed, continued
"""

import csv
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT, names
from dask_cluster import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="jax is not installed"),
              pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads processes from /proc")]
FLAGS = ("--network", "vgg", "--batch-size", 4, "--warm-up", 4, "--epoch-clips", 1, "--fixed-epochs", 0)
MAX_SECONDS = 120  # until the other processes have ended

BOTH = """
import os, sys
import numpy as np
sys.path.insert(0, {root!r})
import panotti_models, train_network
from audio_utils.data.standardization import Standardization
from audio_utils.evaluation import plots
from audio_utils.inference import device, distribution, network
from audio_utils.training.balance import Balance
from panotti_models import layers

def small(x, classes):
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dropout(0.3)(layers.BatchNormalization()(layers.GlobalAveragePooling2D()(x)))
    return layers.Dense(classes, activation="softmax", dtype="float32")(x)

panotti_models.NETWORKS["small"] = small
plots.training_curves = lambda path, history: None
Balance.class_weights = np.array([0.5, 2], "f4")
two_devices, distribution._distribution = distribution._distribution, lambda: None
for folder in ("one", "two"):
    os.chdir(os.path.join({parent!r}, folder))
    sys.argv = ["train_network.py", *sys.argv[1:]]
    train_network.main()
    distribution._distribution = two_devices
assert not device.on_gpu()
model = panotti_models.build("small", (16, 9, 1), 2, Standardization(np.full(16, -40), np.full(16, 200)))
melgrams = np.random.default_rng(1).normal(-40, 15, (5, 16, 9, 1)).astype("f4")
found = network.predict(model, melgrams)
assert found.shape == (5, 2)
assert np.allclose(found, model.predict_on_batch(melgrams), atol=1e-6)
"""


# --- files -----------------------------------------------------------------------------------------------------------

def arrays(folder):
    """{name: array} of weights.hdf5, without the metadata."""
    found = {}
    with h5py.File(folder / "weights.hdf5") as file:
        file.visititems(lambda name, item: found.update({name: item[...]} if isinstance(item, h5py.Dataset) else {}))
    del found["panotti/about"]
    return found


def rows(folder):
    with open(folder / "history.csv") as file:
        return [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]


def require_close(one, two, tolerance):
    """Two folders have the same history and weights, within a tolerance relative to the largest value of an array."""
    for row, other in zip(rows(one), rows(two), strict=True):
        assert row == pytest.approx(other, rel=tolerance, nan_ok=True)
    found, expected = arrays(two), arrays(one)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.abs(found[name].astype(float) - array.astype(float)).max() <= tolerance * max(1, np.abs(array).max())


# --- two devices -----------------------------------------------------------------------------------------------------

def environment(devices=1, **variables):
    return os.environ | {"KERAS_BACKEND": "jax", "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
                         **variables}


def test_two_devices_train_like_one(prepared, tmp_path):
    """With dropout, batch normalization, mixup across devices, class weights, validation, predictions of five clips."""
    for name in ("one", "two"):
        shutil.copytree(prepared, tmp_path / name)
    code = BOTH.format(root=str(ROOT), parent=str(tmp_path))
    result = subprocess.run([sys.executable, "-c", code, *map(str, FLAGS), "--network", "small", "--epochs", "2",
                             "--balance", "loss"],
                            env=environment(devices=2), text=True, capture_output=True, timeout=900)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(" on 2 × cpu (jax, float32).") == 1
    assert "MIXUP 0.3" in result.stdout
    require_close(tmp_path / "one", tmp_path / "two", 2e-5)


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """A folder that one process with two devices has trained in, for ten epochs."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("devices") / "whole")
    subprocess.run([sys.executable, ROOT / "train_network.py", *map(str, FLAGS), "--epochs", "10"], cwd=folder,
                   env=environment(devices=2), capture_output=True, check=True, timeout=900)
    return folder


@pytest.mark.long
def test_two_devices_evaluate_like_one(whole, tmp_path):
    found = []
    for devices in (1, 2):
        folder = shutil.copytree(whole, tmp_path / str(devices))
        subprocess.run([sys.executable, ROOT / "eval_network.py"], cwd=folder, env=environment(devices), check=True,
                       capture_output=True, timeout=900)
        found.append(json.loads((folder / "scores.json").read_text()))
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-5)
    assert found[0]["accuracy"] == found[1]["accuracy"]


@pytest.mark.long
def test_a_batch_that_can_not_be_divided_is_one_sentence(prepared):
    result = subprocess.run([sys.executable, ROOT / "train_network.py", "--batch-size", "15"], cwd=prepared, text=True,
                            env=environment(devices=2), capture_output=True, timeout=900)
    assert (result.returncode, result.stderr) == (
        1, "BATCH_SIZE is 15; with 2 devices, set it to a multiple of 2.\n")


# --- two processes ---------------------------------------------------------------------------------------------------

@contextmanager
def two_processes(folder, *flags, flags_of_1=()):
    """Start both commands in a folder; they are killed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = []
    for rank in range(2):
        variables = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": address, "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
                     "KERAS_DISTRIBUTION_PROCESS_ID": str(rank)}
        command = [sys.executable, ROOT / "train_network.py", *map(str, FLAGS + flags), *(flags_of_1 if rank else ())]
        processes.append(subprocess.Popen(command, cwd=folder, env=environment(**variables), text=True,
                                          stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def ends(processes, seconds=900):
    """Of each process: status, stdout, stderr."""
    found = [(process.communicate(timeout=seconds), process.returncode) for process in processes]
    return [(status, *texts) for texts, status in found]


def actual_process(command):
    """The id of the process that a command has started."""
    wait_until(children := Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text)
    return int(children().split()[0])


@pytest.mark.long
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_and_the_same_commands_continue_exactly(prepared, whole, tmp_path, killed):
    """As in one process with two devices, byte for byte."""
    folder = shutil.copytree(prepared, tmp_path / "work")
    with two_processes(folder, "--epochs", 400) as processes:
        for line in processes[0].stdout:
            if line.startswith("epoch    2"):
                break
        os.kill(actual_process(processes[killed]), signal.SIGKILL)
        found = ends(processes, MAX_SECONDS)
    assert [status for status, *_ in found] == [1, 1]
    assert found[killed][2].startswith(f"Process {killed} of 2 was killed (SIGKILL")
    assert found[1 - killed][2].startswith(f"Process {1 - killed} of 2 lost the connection to the others")
    assert all(stderr.count("\n") == 1 for *_, stderr in found)
    with two_processes(folder, "--epochs", 10) as processes:
        found = ends(processes)
    assert [(status, stderr) for status, _, stderr in found] == [(0, ""), (0, "")]
    assert found[1][1] == ""
    assert "Continuing after epoch " in found[0][1]
    for name in ("history.csv", "weights.hdf5"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert names(folder) == names(whole)


@pytest.mark.long
def test_two_processes_cross_validate(prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "work")
    with two_processes(folder, "--epochs", 2, "--folds", 2) as processes:
        found = ends(processes)
    assert [(status, stderr) for status, _, stderr in found] == [(0, ""), (0, "")]
    assert found[1][1] == ""
    assert "2 folds: mean accuracy" in found[0][1]
    assert {"fold_1", "fold_2", "scores.json", "report.html"} <= set(names(folder / "folds"))


@pytest.mark.long
def test_processes_with_different_flags_are_one_sentence(prepared):
    before = names(prepared)
    with two_processes(prepared, "--epochs", 2, flags_of_1=("--seed", "2")) as processes:
        found = ends(processes)
    sentence = "Processes 0 and 1 differ in their constants or flags; all hosts need the same.\n"
    assert [(status, stderr) for status, _, stderr in found] == [(1, sentence), (1, f"Process 1: {sentence}")]
    assert names(prepared) == before
