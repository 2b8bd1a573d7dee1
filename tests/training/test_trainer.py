"""trainer.py: repeated epochs, layers of an older version, and the precision; with a small network."""

import shutil

import h5py
import numpy as np
import pytest
from conftest import tones
from networks import small

import panotti_models
import preprocess_data
import train_network
from audio_utils.inference import checkpoint, device, network
from audio_utils.runtime.errors import UserError
from audio_utils.training import precision
from audio_utils.training.trainer import Trainer

FLAGS = ("--network", "small", "--batch-size", 4, "--warm-up", 0, "--epoch-clips", 1, "--validation-fraction", 0.2)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_curves")]


def other(x, classes):
    return small(x, classes, filters=6)


@pytest.fixture(autouse=True)
def _bfloat16(monkeypatch):
    monkeypatch.setattr(device, "best_precision", lambda: "mixed_bfloat16")


@pytest.fixture
def define(monkeypatch):
    """A function that defines the network "small"; at first, it is `small`."""
    def define_network(function):
        monkeypatch.setitem(panotti_models.NETWORKS, "small", function)
    define_network(small)
    return define_network


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """For the tests of this file: prepared/, with Samples/ and Preproc/ to copy from."""
    folder = tones(tmp_path_factory.mktemp("folders") / "prepared", files=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["preprocess_data.py"])
        preprocess_data.main()
    return folder.parent


@pytest.fixture
def train(folders, tmp_path, call, define):
    """Train in a folder, by default a copy of prepared/: its name, flags → (output, path of weights.hdf5)."""
    def train_in(name, *flags, parent=tmp_path, source="prepared"):
        if not (parent / name).exists():
            shutil.copytree(folders / source, parent / name)
        return call(train_network, parent / name, *FLAGS, *flags), parent / name / "weights.hdf5"
    return train_in


@pytest.fixture
def two_epochs(folders, train):
    """weights.hdf5 after two epochs, in two_epochs/."""
    if not (folders / "two_epochs").exists():
        train("two_epochs", "--epochs", 2, parent=folders)
    return folders / "two_epochs/weights.hdf5"


def state(path):
    return checkpoint.read(path).training_state


def arrays(path):
    """{name: bytes} of all arrays in weights.hdf5."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[...].tobytes()} if isinstance(item, h5py.Dataset)
                                                        else {}))
    del found["panotti/about"]
    return found


# --- repeated epochs -------------------------------------------------------------------------------------------------

@pytest.fixture
def fail(monkeypatch):
    """A function that makes the first so many attempts at each epoch end with a state of NaN."""
    def fail_first(attempts):
        right, done = Trainer._train_epoch, []

        def train_epoch(trainer):
            logs = right(trainer)
            if done.count(trainer.state.epoch) < attempts:
                done.append(trainer.state.epoch)
                for variable in trainer.model.variables + trainer.optimizer.variables:
                    variable.assign(np.full(variable.shape, np.nan if "float" in variable.dtype else 7))
                trainer.ema.weights = network.arrays(trainer.model.weights)
            return logs

        monkeypatch.setattr(Trainer, "_train_epoch", train_epoch)
    return fail_first


def test_an_epoch_is_repeated_once_and_equals_one_that_never_failed(train, two_epochs, fail):
    fail(1)
    out, path = train("found", "--epochs", 2)
    for epoch in (1, 2):
        assert (f"The validation loss became nan in epoch {epoch}; the epoch is repeated once, from the weights before "
                "it.\n") in out
    assert path.read_bytes() == two_epochs.read_bytes()
    assert (path.parent / "history.csv").read_text() == (two_epochs.parent / "history.csv").read_text()
    fail(3)
    with pytest.raises(UserError, match="The validation loss became nan in epoch 3; weights.hdf5 is unchanged since"):
        train("found", "--epochs", 3)
    assert path.read_bytes() == two_epochs.read_bytes()


# --- layers of an older version --------------------------------------------------------------------------------------

def test_a_network_whose_definition_has_changed_is_continued_as_it_was(train, two_epochs, define):
    train("found", "--epochs", 1)
    define(other)
    out, path = train("found", "--epochs", 2)
    assert ("weights.hdf5: panotti_models.py now defines other layers of 'small'; training continues with those in the "
            "file; --fresh uses the new ones.\n") in out
    assert path.read_bytes() == two_epochs.read_bytes()


# --- the precision ---------------------------------------------------------------------------------------------------

def test_the_check_of_bfloat16_does_not_change_training(train, two_epochs):
    _, path = train("unchecked", "--epochs", 2, "--precision", "mixed_bfloat16")
    assert arrays(path) == arrays(two_epochs)
    assert len(arrays(path)) > 20
    assert state(path)["precision_check"] == {}
    assert state(two_epochs)["precision_check"]["problem"] == ""


def test_a_resume_on_another_machine_checks_again_and_names_the_change(train, two_epochs, monkeypatch):
    monkeypatch.setattr(precision, "check", lambda *_: "gives NaN or infinite weights")
    monkeypatch.setattr(precision, "_found", {})
    assert "PRECISION" not in train("work", "--epochs", 2, source="two_epochs")[0]
    monkeypatch.setattr(device, "_processor", lambda: "another")
    out, path = train("work", "--epochs", 3)
    assert ("PRECISION: a training step in bfloat16 gives NaN or infinite weights on this machine; float32 is used "
            "instead.\nThe precision was mixed_bfloat16 until epoch 2 and is now float32;") in out
    assert state(path)["precision_check"]["device"] == "another"
    assert state(path)["precision"] == "float32"
