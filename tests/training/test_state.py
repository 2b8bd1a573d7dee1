"""The training state: from and to a checkpoint's JSON, and history.csv."""

import csv
import json
import math
from dataclasses import asdict

import pytest

from audio_utils.training.state import COLUMNS, TrainingState, write_history

ROW = dict.fromkeys(COLUMNS, 0.5)


def state(**changes):
    return TrainingState(**{"constants": {"EPOCHS": 3}, "epoch": 1, "validation": ["a/1.wav"], "history": [ROW]}
                         | changes)


def test_it_survives_json():
    assert TrainingState.from_dict(json.loads(json.dumps(asdict(state())))) == state()


@pytest.mark.parametrize("changes", [
    {"epoch": "1"}, {"epoch": 2}, {"history": [{"epoch": 1}]}, {"history": [ROW | {"loss": "low"}]},
    {"best_loss": None}, {"validation": "a/1.wav"}, {"constants": [1]}, {"unknown": 1}, {"step": 1.5}])
def test_anything_else_is_refused(changes):
    with pytest.raises((TypeError, KeyError)):
        TrainingState.from_dict(asdict(state()) | changes)


def test_it_knows_whether_validation_clips_were_trained_on():
    assert not TrainingState({}).trained_on_validation
    assert not state().trained_on_validation
    assert state(history=[ROW | {"val_loss": None}]).trained_on_validation


def test_history_has_a_line_per_epoch(tmp_path):
    write_history(tmp_path / "history.csv", [ROW, ROW | {"val_loss": None}])
    rows = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["val_loss"] for row in rows] == ["0.5", ""]


def test_a_continued_training_has_new_counters_and_a_new_decay():
    some = state(plateau_loss=0.3, plateau_epoch=1, best_loss=0.3, decay_start=1, decay_end=1)
    some.continue_training(patience=8, anneal_epochs=16)
    assert (some.first_epoch, some.plateau_epoch, some.plateau_loss) == (1, 1, math.inf)
    assert (some.best_loss, some.decay_start, some.decay_end) == (0.3, 0, 0)


def test_after_training_on_validation_clips_a_continued_training_does_not_validate():
    some = state(history=[ROW | {"val_loss": None}], best_loss=0.3, decay_start=0, decay_end=1)
    some.continue_training(patience=8, anneal_epochs=16)
    assert (some.best_loss, some.decay_start, some.decay_end) == (math.inf, 9, 25)
    some.history.append(ROW)
    assert some.trained_on_validation


def test_a_state_of_an_older_version_is_read():
    values = asdict(state())
    for name in ("first_epoch", "backend", "precision"):
        del values[name]
    assert TrainingState.from_dict(values) == state()
