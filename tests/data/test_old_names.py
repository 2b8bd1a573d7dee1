"""Files of older versions are read by one table of names."""

import dataclasses
import json
import shutil

import h5py
import numpy as np
import pytest
from conftest import tones

from audio_utils.audio import melgram
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import old_names, preproc
from audio_utils.data.standardization import Standardization
from audio_utils.inference import checkpoint
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UserError
from audio_utils.training.state import TrainingState


def test_old_names_become_new_ones_and_others_stay():
    assert old_names.renamed({"KEEP_TOGETHER": "x", "SEED": 3}, old_names.CONSTANTS) == {"GROUP_BY": "x", "SEED": 3}
    assert old_names.renamed({"GROUP_BY": "x"}, old_names.CONSTANTS) == {"GROUP_BY": "x"}


def test_new_names_are_those_in_use():
    import preprocess_data
    import train_network
    constants = {*vars(preprocess_data), *vars(train_network)}
    assert set(old_names.CONSTANTS.values()) <= constants
    assert not set(old_names.CONSTANTS) & constants
    assert set(old_names.CHECKPOINT.values()) <= set(Checkpoint._fields)
    assert set(old_names.TRAINING_STATE.values()) <= {each.name for each in dataclasses.fields(TrainingState)}


def test_no_name_of_today_is_an_old_one():
    for table in (old_names.CONSTANTS, old_names.CHECKPOINT, old_names.TRAINING_STATE):
        assert not set(table) & set(table.values())


# --- whole files -----------------------------------------------------------------------------------------------------

def with_old_names(values, names):
    """A dictionary as an older version wrote it."""
    return old_names.renamed(values, {new: old for old, new in names.items()})


def age_settings(path):
    """Give settings.json its old names."""
    values = safe_files.read_json(path, "")
    values["constants"] = with_old_names(values["constants"], old_names.CONSTANTS)
    safe_files.write_json(path, values)


def age_weights(path):
    """Give the JSON of weights.hdf5 its old names, and leave out what is new."""
    with h5py.File(path, "r+") as file:
        about = json.loads(file["panotti/about"][...].tobytes())
        state = about["training_state"]
        state["constants"] = with_old_names(state["constants"], old_names.CONSTANTS)
        for name in ("EMA_EVERY", "LOSS_TARGET", "OPTIMIZER", "TIME_STRETCH", "FIXED_EPOCHS"):
            state["constants"].pop(name, None)
        about["training_state"] = with_old_names(state, old_names.TRAINING_STATE)
        about["preprocessing"]["constants"] = with_old_names(about["preprocessing"]["constants"], old_names.CONSTANTS)
        del file["panotti/about"]
        text = json.dumps(with_old_names(about, old_names.CHECKPOINT)).encode()
        file["panotti/about"] = np.frombuffer(text, np.uint8)
    return text


def test_an_old_weights_file_has_the_new_names(tmp_path):
    settings = MelgramSettings.of(8000, 800, 1, 4, 46.44, 11.61)
    state = dataclasses.asdict(TrainingState({"EMA_DECAY": 0.9, "SEED": 1}, ema_updates=3, decay_end=7))
    written = Checkpoint("vgg", ["a", "b"], settings, settings.to_dict() | {"constants": {"GROUP_BY": "x", "MELS": 4}},
                         Standardization(np.zeros(4, np.float32), np.ones(4, np.float32)), state, [])
    h5py.File(tmp_path / "weights.hdf5", "w").close()
    checkpoint.write(tmp_path / "weights.hdf5", written)
    text = age_weights(tmp_path / "weights.hdf5")
    for old in ("record", "progress", "steps", "averaged", "marked_loss", "cooled_until", "AVERAGING", "KEEP_TOGETHER"):
        assert f'"{old}"'.encode() in text
    found = checkpoint.read(tmp_path / "weights.hdf5")
    assert found._replace(standardization=None) == written._replace(standardization=None)
    assert TrainingState.from_dict(found.training_state).decay_end == 7


@pytest.mark.slow
@pytest.mark.usefixtures("small_network", "without_curves")
def test_an_old_training_is_continued_exactly(call, tmp_path, monkeypatch):
    import preprocess_data
    import train_network
    flags = ("--network", "small", "--batch-size", 8, "--warm-up", 4, "--epoch-clips", 1, "--time-mask", 0.1,
             "--mixup", 0.3, "--fixed-epochs", 0, "--precision", "float32")
    older = ("--optimizer", "adamw")
    folder = tones(tmp_path / "old")
    monkeypatch.setattr(melgram, "FORMAT_VERSION", 1)
    call(preprocess_data, folder, "--group-by", r"(\d)$")
    call(train_network, folder, *flags, *older, "--epochs", 2)
    new = shutil.copytree(folder, tmp_path / "new")
    age_settings(folder / "Preproc/settings.json")
    age_weights(folder / "weights.hdf5")
    assert "KEEP_TOGETHER" in (folder / "Preproc/settings.json").read_text()
    assert preproc.read_settings(folder / "Preproc") == preproc.read_settings(new / "Preproc")
    assert "0 computed" in call(preprocess_data, folder, "--group-by", r"(\d)$")
    monkeypatch.undo()
    said = call(train_network, folder, *flags, "--epochs", 4, "--time-mask", 0.2)
    assert "TIME_MASK was 0.1 and is now 0.2." in said
    assert "OPTIMIZER was adamw and is now muon: the optimizer stays as it is; --fresh applies it." in said
    assert "MIXUP averaged levels in dB until epoch 2; now it adds powers." in said
    assert "Continuing after epoch 2" in said
    call(train_network, new, *flags, *older, "--epochs", 4, "--time-mask", 0.2)
    assert (folder / "weights.hdf5").read_bytes() == (new / "weights.hdf5").read_bytes()
    assert (folder / "history.csv").read_bytes() == (new / "history.csv").read_bytes()
    call(preprocess_data, folder, "--group-by", r"(\d)$")
    with pytest.raises(UserError, match="trained on melgrams of an earlier version of Panotti; train again"):
        call(train_network, folder, *flags, "--epochs", 4)
    assert (folder / "weights.hdf5").read_bytes() == (new / "weights.hdf5").read_bytes()
