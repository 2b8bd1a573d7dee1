"""The training state: from and to a checkpoint's JSON, and history.csv."""

import csv
import json
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
