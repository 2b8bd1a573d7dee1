"""fold_thresholds.py: weights.hdf5 and training take the thresholds of cross-validation with the same clips only."""

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data.clips import Clips, one_hot
from audio_utils.data.standardization import Standardization
from audio_utils.evaluation import thresholds
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.training import fold_thresholds, known_clips

SETTINGS = MelgramSettings.of(8000, 2000, 1, 8, 46.44, 11.61)
EVALUATION = Evaluation(list("abcd"), ["x", "y"], np.array([0, 0, 1, 1]), np.eye(2, dtype=np.float32)[[0, 0, 1, 1]])
FOUND = thresholds.of(EVALUATION, "cross-validation with 2 folds")


def clips(level=-40.0, names="abcd"):
    melgrams = np.array([np.full(SETTINGS.shape, level + i, np.float32) for i in range(len(names))])
    return Clips(melgrams, one_hot(np.arange(len(names)) % 2, 2), list(names), ["x", "y"])


def wanted(network="vgg", settings=SETTINGS, of=None):
    return fold_thresholds.of_clips(network, settings, of or clips())


@pytest.fixture
def weights(tmp_path):
    """A weights.hdf5 without Keras's part, trained on `clips()`."""
    standardization = Standardization(np.zeros(SETTINGS.mels, np.float32), np.ones(SETTINGS.mels, np.float32))
    with h5py.File(tmp_path / "weights.hdf5", "w") as file:
        checkpoints.write(file, Checkpoint("vgg", ["x", "y"], SETTINGS, {}, standardization, {}, []),
                          clips=known_clips.hashes(None, clips()))
    return tmp_path / "weights.hdf5"


def test_weights_trained_on_the_same_clips_get_the_thresholds(weights, capsys):
    fold_thresholds.store(weights, FOUND, wanted())
    assert checkpoints.read(weights).thresholds == FOUND
    assert capsys.readouterr().out == (f"{weights}: now contains the thresholds of cross-validation, for "
                                       "predict_class.py --min-probability auto.\n")


def test_the_order_of_the_clips_does_not_matter():
    shown = clips()
    order = [2, 0, 3, 1]
    other = Clips(shown.melgrams[order], shown.targets[order], [shown.names[i] for i in order], shown.class_names)
    assert wanted(of=other) == wanted()
    assert json.loads(json.dumps(wanted())) == wanted()


@pytest.mark.parametrize(("other", "reason"), [
    (wanted("residual"), "trained as 'vgg'"), (wanted() | {"class_names": ["x", "z"]}, "with other classes"),
    (wanted() | {"settings": {}}, "with other preprocessing"), (wanted(of=clips(names="abc")), "on other sounds"),
    (wanted(of=clips(-50)), "on other sounds"), (wanted() | {"balance": "loss"}, "with another BALANCE"),
    (wanted() | {"start_from": "d1"}, "with another START_FROM")])
def test_weights_of_another_training_stay_as_they_are(weights, capsys, other, reason):
    before = weights.read_bytes()
    fold_thresholds.store(weights, FOUND, other)
    assert weights.read_bytes() == before
    out = capsys.readouterr().out
    assert f"{weights}: does not get these thresholds, because it was trained " in out
    assert reason in out
    assert out.count("\n") == 1


def test_weights_of_an_older_version_stay_as_they_are(weights, capsys):
    with h5py.File(weights, "r+") as file:
        del file["panotti/clips"]
    fold_thresholds.store(weights, FOUND, wanted())
    assert "by an older version, which did not record the clips" in capsys.readouterr().out
    assert checkpoints.read(weights).thresholds == {}


def test_weights_of_a_fold_stay_as_they_are(weights, capsys):
    checkpoint = checkpoints.read(weights)._replace(training_state={"held_out": ["a"]})
    with h5py.File(weights, "r+") as file:
        del file["panotti"]
    checkpoints.write(weights, checkpoint, clips=known_clips.hashes(None, clips()))
    fold_thresholds.store(weights, FOUND, wanted())
    assert "it was trained on a part of the sounds" in capsys.readouterr().out
    assert checkpoints.read(weights).thresholds == {}


def test_without_weights_nothing_is_written_or_said(tmp_path, capsys):
    fold_thresholds.store(tmp_path / "weights.hdf5", FOUND, wanted())
    assert list(tmp_path.iterdir()) == []
    assert tuple(capsys.readouterr()) == ("", "")


@pytest.mark.parametrize(("scores", "taken"), [
    (None, False), ({}, False), ({"thresholds": FOUND}, False), ({"thresholds": FOUND, "fingerprint": wanted()}, True),
    ({"thresholds": FOUND, "fingerprint": wanted("residual")}, False)])
def test_training_takes_the_thresholds_of_the_same_clips(tmp_path, capsys, scores, taken):
    path = tmp_path / "scores.json"
    if scores is not None:
        path.write_text(json.dumps(scores))
    assert fold_thresholds.read(path, "vgg", SETTINGS, clips()) == (FOUND if taken else {})
    out, err = capsys.readouterr()
    assert not err
    assert out == (f"Thresholds for predict_class.py: from {path}, cross-validation with 2 folds.\n" if taken else "")


@pytest.mark.parametrize("content", [
    "{", "[]", json.dumps({"thresholds": {"source": 3}, "fingerprint": wanted()}),
    json.dumps({"fingerprint": wanted()})])
def test_a_damaged_file_of_scores_is_one_sentence(tmp_path, capsys, content):
    path = tmp_path / "scores.json"
    path.write_text(content)
    assert fold_thresholds.read(path, "vgg", SETTINGS, clips()) == {}
    assert capsys.readouterr().err == (f"{path}: is damaged; its thresholds are not used; run train_network.py --folds "
                                       "again.\n")


def test_training_keeps_the_thresholds_of_cross_validation():
    from audio_utils.training.trainer import Trainer
    made = Checkpoint("vgg", ["x", "y"], SETTINGS, {}, None, {}, [], thresholds=FOUND)
    for cross_validated in (True, False):
        trainer = SimpleNamespace(cross_validated=cross_validated, state=SimpleNamespace(epoch=3), checkpoint=made)
        Trainer._choose_thresholds(trainer, EVALUATION)
        assert trainer.checkpoint.thresholds == (FOUND if cross_validated else
                                                 FOUND | {"source": "validation after epoch 3"})


def test_the_fingerprint_of_a_checkpoint_is_that_of_the_clips_it_was_trained_on(weights):
    assert fold_thresholds.of_checkpoint(weights, checkpoints.read(weights)) == wanted()


def test_scores_that_cant_be_read_are_reported(tmp_path, capsys):
    assert fold_thresholds.read(tmp_path, "vgg", SETTINGS, clips()) == {}  # a folder
    assert str(tmp_path) in capsys.readouterr().err
