"""Scores and thresholds of MULTI_LABEL."""

import csv

import numpy as np
import pytest

from audio_utils.evaluation import label_scores, metrics
from audio_utils.evaluation.label_scores import MultiLabelEvaluation

FOUND = MultiLabelEvaluation(
    ["x/1.wav", "x/2.wav", "x/3.wav", "x/4.wav"], ["a", "b"],
    np.array([[1, 1], [1, 0], [0, 0], [0, 1]], bool),
    np.array([[0.9, 0.8], [0.4, 0.1], [0.6, 0.2], [0.1, 0.7]], np.float32))


def test_scores_are_exact():
    scores = label_scores.score(FOUND, metrics.roc_curves(FOUND), np.array([0.5, 0.5]))
    assert scores["exact_match"] == FOUND.accuracy == 0.5
    a, b = scores["classes"]["a"], scores["classes"]["b"]
    assert (a["auc"], b["auc"], scores["macro_auc"]) == (0.75, 1, 0.875)
    assert a["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert b["average_precision"] == 1
    assert (a["mistakes"], b["mistakes"], a["f1"]) == (2, 0, 0.5)
    assert "accuracy" not in scores
    assert any("2 of 8 decisions" in line for line in label_scores.lines(scores))


def test_the_loss_is_the_sum_over_the_classes():
    truth = np.where(FOUND.positives, FOUND.probabilities, 1 - FOUND.probabilities)
    assert FOUND.loss == pytest.approx(-np.log(truth).sum() / 4, rel=1e-6)


def test_thresholds_are_of_f1_or_half_with_few_clips_or_the_given_number():
    known = {"source": "validation", "clips": 40, "classes": {
        "a": {"positives": 20, "max_f1": 0.3, "precision_90": 0.7}, "b": {"positives": 3, "max_f1": 0.1,
                                                                          "precision_90": None}}}

    def chosen(value, thresholds=known):
        return label_scores.decision_thresholds(value, thresholds, ["a", "b"], "weights.hdf5").tolist()
    assert chosen("auto") == chosen(0.0) == [0.3, 0.5]
    assert chosen(0.25) == [0.25, 0.25]
    assert chosen("precision") == [0.7, np.inf]
    assert chosen(0.0, {}) == [0.5, 0.5]
    assert label_scores.describe(0.0, known, ["a", "b"])[1].endswith("fewer than 10 validation clips: b.")


def test_mistakes_are_sorted_by_their_distance_from_the_threshold(tmp_path):
    lowest = np.array([0.5, 0.75])
    label_scores.write_mistakes(tmp_path / "mistakes.csv", FOUND, lowest)
    with open(tmp_path / "mistakes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["class"], row["came_out_as"]) for row in rows][2] == ("x/4.wav", "b", "no")
    assert "x/3.wav: should be none of these but came out as a" in label_scores.mistake_lines(FOUND, lowest)
