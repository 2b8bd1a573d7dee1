"""TENSORBOARD: each epoch is written once, whatever was interrupted, and unusable folders are one sentence."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UserError
from audio_utils.training import tensorboard_scalars
from audio_utils.training.tensorboard_scalars import Scalars

HISTORY = [{"epoch": epoch, "loss": 1 / epoch, "accuracy": 0.5, "val_loss": None if epoch > 2 else 0.1,
            "val_accuracy": None if epoch > 2 else 1.0, "learning_rate": 0.1 * epoch} for epoch in range(1, 5)]


def model():
    import panotti_models
    return SimpleNamespace(optimizer=panotti_models.keras.optimizers.SGD(3.0))


# --- during training -------------------------------------------------------------------------------------------------

def test_each_epoch_is_written_once_with_the_values_of_history_csv(tensorboard):
    Scalars("tb", "fold_1", model(), []).write(HISTORY[:1])
    resumed = Scalars("tb", "fold_1", model(), HISTORY[:2])  # the first run was killed before it wrote epoch 2
    resumed.write(HISTORY[:3])
    resumed.write(HISTORY)
    assert [epoch for epoch, *_ in tensorboard["tb/fold_1"]] == [1, 2, 3, 4]
    assert [rate for *_, rate in tensorboard["tb/fold_1"]] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert tensorboard["tb/fold_1"][1][1] == {"loss": 0.5, "accuracy": 0.5, "val_loss": 0.1, "val_accuracy": 1.0}
    assert tensorboard["tb/fold_1"][2][1] == {"loss": 1 / 3, "accuracy": 0.5}


def test_nothing_is_written_without_a_folder_or_by_another_process(tensorboard, monkeypatch):
    Scalars("", "", model(), HISTORY).write(HISTORY)
    monkeypatch.setattr(safe_files, "_writer", safe_files.Writer(discards=True))
    Scalars("tb", "", model(), HISTORY).write(HISTORY)
    assert tensorboard == {}


def test_a_full_disk_is_said_once_and_the_next_run_adds_the_epochs(tensorboard, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("No space\nleft")

    scalars = Scalars("tb", "", model(), HISTORY[:1])
    with monkeypatch.context() as patch:
        patch.setattr(type(scalars.callback), "on_epoch_end", fail)
        scalars.write(HISTORY[:2])
        scalars.write(HISTORY[:3])
    assert capsys.readouterr().err == ("tb: TENSORBOARD can't write any more (No space left); when you run the same "
                                       "command again, the missing epochs are added.\n")
    Scalars("tb", "", model(), HISTORY)
    assert [epoch for epoch, *_ in tensorboard["tb"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("history", [HISTORY[:2], [], [HISTORY[0], HISTORY[1] | {"loss": 0.4}, HISTORY[2]]])
def test_a_folder_with_another_training_is_refused(tensorboard, history):
    Scalars("tb é", "", model(), HISTORY[:3])
    with pytest.raises(UserError, match="^tb é: contains the scalars of another training; choose another folder for"):
        Scalars("tb é", "", model(), history)


def test_files_are_those_of_keras_and_a_damaged_one_is_completed(tmp_path):
    pytest.importorskip("tensorboard")
    folder = tmp_path / "tb é [1]"
    Scalars(str(folder), "", model(), HISTORY[:2])
    file, = (folder / "train").iterdir()
    file.write_bytes(file.read_bytes()[:-100])  # the disk was full in epoch 2
    (folder / "train/events.out.tfevents.0.rubbish").write_bytes(b"rubbish" * 99)
    (folder / "train/events.out.tfevents.0.empty").touch()
    assert list(tensorboard_scalars._losses(folder)) == [1]
    Scalars(str(folder), "", model(), HISTORY)
    assert tensorboard_scalars._losses(folder) == {row["epoch"]: np.float32(row["loss"]) for row in HISTORY}
    assert sorted(path.name for path in folder.iterdir()) == ["train", "validation"]
    tensorboard_scalars.check(str(folder), fresh=False)
    with pytest.raises(UserError, match="contains the scalars of another training"):
        tensorboard_scalars.check(str(folder), fresh=True)


# --- the folder ------------------------------------------------------------------------------------------------------

def test_a_folder_is_not_made_before_training(tmp_path, monkeypatch, tensorboard):
    monkeypatch.chdir(tmp_path)
    for name in ("", "new/tb", ".", "a, b", str(tmp_path / "ü")):
        tensorboard_scalars.check(name, fresh=True)
    assert os.listdir() == []


@pytest.mark.parametrize(("name", "says"), [
    (None, 'TENSORBOARD is None; set it to the name of a folder, as a text, or to "".'),
    ("file", "file: is not a folder, but TENSORBOARD needs one of this name"),
    ("file/tb", "file: is not a folder, but TENSORBOARD needs one of this name"),
    ("broken/tb", "broken: is not a folder, but TENSORBOARD needs one of this name"),
    ("used", "used/validation: is not a folder, but TENSORBOARD needs one of this name"),
    ("Samples", "TENSORBOARD is 'Samples'; Samples/ is for sounds, so choose another folder."),
    ("./Preproc/tb", "TENSORBOARD is './Preproc/tb'; Preproc/ is for sounds, so choose another folder."),
    ("link/tb", "TENSORBOARD is 'link/tb'; Samples/ is for sounds"),
    ("old", "old: contains the scalars of another training"), ("folds", "folds: contains the scalars of another")])
def test_an_unusable_folder_is_one_sentence(tmp_path, monkeypatch, tensorboard, name, says):
    monkeypatch.chdir(tmp_path)
    for each in ("used", "Samples", "old/train", "folds/fold_1/train"):
        (tmp_path / each).mkdir(parents=True)
    for each in ("file", "used/validation", "old/train/events.out.tfevents.1.host", "folds/fold_1/train/"
                 "events.out.tfevents.1.host"):
        (tmp_path / each).touch()
    (tmp_path / "link").symlink_to("Samples")
    (tmp_path / "broken").symlink_to("nothing")
    with pytest.raises(UserError) as error:
        tensorboard_scalars.check(name, fresh=True)
    assert str(error.value).startswith(says)


def test_a_folder_that_can_not_be_written_to_is_named(tmp_path, monkeypatch, tensorboard):
    def refuse(dir):
        raise PermissionError(13, "Permission denied", f"{dir}/tmp123")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(PermissionError) as error:
        tensorboard_scalars.check(str(tmp_path / "tb"), fresh=False)
    assert error.value.filename == str(tmp_path)


def test_missing_packages_are_named_with_the_command(monkeypatch):
    monkeypatch.setattr(tensorboard_scalars, "_PACKAGES", ("numpy", "no_tensorflow", "no_tensorboard"))
    tensorboard_scalars.check("", fresh=False)
    with pytest.raises(UserError, match=r"^TENSORBOARD needs no_tensorflow and no_tensorboard, not installed in .*; "
                                        r"pip install no_tensorflow no_tensorboard\.$"):
        tensorboard_scalars.check("tb", fresh=False)
