"""Scores of predictions whose accuracy, AUC and loss are known."""

import csv
import json

import numpy as np
import pytest

from audio_utils.data.clips import Clips, one_hot
from audio_utils.evaluation.metrics import Evaluation, roc_curves, score, write_mistakes


def evaluation(predicted, labels, confidence):
    """One clip for each label, predicted with that confidence; the other classes share the rest."""
    probabilities = np.repeat((1 - np.array(confidence, np.float32))[:, None] / 2, 3, axis=1)
    probabilities[np.arange(len(labels)), predicted] = confidence
    return Evaluation([f"{'xyz'[label]}/{i}.wav" for i, label in enumerate(labels)], ["x", "y", "z"],
                      np.array(labels), probabilities)


@pytest.mark.parametrize(("order", "accuracy", "auc"), [
    ([0, 1, 2], 1, 1), ([1, 2, 0], 0, (1 / 6 + 1 / 3 + 1 / 4) / 3)])
def test_scores_of_perfect_and_of_wrong_predictions(order, accuracy, auc):
    labels = np.array([0, 0, 1, 1, 2])
    found = evaluation(np.array(order)[labels], labels, [0.98] * 5)
    scores = score(found, roc_curves(found))
    assert scores["accuracy"] == accuracy
    assert scores["macro_auc"] == pytest.approx(auc)
    assert found.loss == pytest.approx(-np.log(0.98 if accuracy else 0.01), rel=1e-3)


def test_class_without_clips_has_no_auc():
    found = evaluation([0, 1, 1], [0, 0, 1], [0.9, 0.8, 0.7])
    scores = score(found, roc_curves(found))
    assert scores["classes"]["z"] == {"auc": None, "files": 0, "mistakes": 0, "precision": None, "recall": None,
                                      "f1": None}
    assert scores["macro_auc"] == np.mean([scores["classes"][name]["auc"] for name in "xy"])


def test_one_class_alone_has_no_macro_auc():
    found = evaluation([0, 1], [0, 0], [0.9, 0.8])
    scores = score(found, roc_curves(found))
    assert (scores["macro_auc"], scores["macro_auc_interval"]) == (None, None)


def test_confusion_counts_true_classes_by_row():
    assert evaluation([1, 1, 2], [0, 1, 1], [0.9] * 3).confusion.tolist() == [[0, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_mistakes_table_begins_with_the_most_confident(tmp_path):
    write_mistakes(tmp_path / "m.csv", evaluation([1, 1, 2, 0], [0, 1, 1, 1], [0.6, 0.9, 0.8, 0.7]))
    assert list(csv.reader((tmp_path / "m.csv").open())) == [
        ["file", "should_be", "came_out_as", "probability", "probability_of_truth"],
        ["y/2.wav", "y", "z", "0.8000", "0.1000"], ["y/3.wav", "y", "x", "0.7000", "0.1500"],
        ["x/0.wav", "x", "y", "0.6000", "0.2000"]]


def test_evaluation_of_some_clips_and_of_pooled_folds():
    clips = Clips(np.zeros((4, 1, 1, 1)), one_hot([0, 1, 1, 0], 2), list("abcd"), ["x", "y"])
    parts = [Evaluation.of(clips, np.full((2, 2), 0.5), np.array(indices)) for indices in ([1, 3], [0, 2])]
    pooled = Evaluation.pooled(parts)
    assert pooled.names == ["b", "d", "a", "c"]
    assert pooled.labels.tolist() == [1, 0, 0, 1]
    assert Evaluation.of(clips, pooled.probabilities).names == clips.names


def test_natural_order_changes_no_score():
    found = evaluation([0, 1, 1, 2], [0, 1, 2, 2], [0.9, 0.8, 0.7, 0.6])._replace(class_names=["a10", "a9", "a1"])
    shown = found.in_natural_order()
    assert shown.class_names == ["a1", "a9", "a10"]
    for each in (found, shown):
        assert [each.class_names[i] for i in each.labels] == ["a10", "a9", "a1", "a1"]
        assert [each.class_names[i] for i in each.predicted] == ["a10", "a9", "a9", "a1"]
    assert score(shown, roc_curves(shown))["classes"] == score(found, roc_curves(found))["classes"]


def test_precision_recall_and_f1_are_those_of_the_most_probable_class():
    found = evaluation([0, 0, 0, 0, 1], [0, 0, 0, 1, 2], [0.9] * 5)
    scores = score(found, roc_curves(found))
    each = [[scores["classes"][name][kind] for name in "xyz"] for kind in ("precision", "recall", "f1")]
    assert each == [[0.75, 0, None], [1, 0, 0], [pytest.approx(6 / 7), 0, 0]]
    assert [scores[f"macro_{kind}"] for kind in ("precision", "recall", "f1")] == pytest.approx([0.25, 1 / 3, 2 / 7])
    assert json.loads(json.dumps(scores, allow_nan=False))["classes"]["z"]["precision"] is None


@pytest.mark.parametrize("seed", range(3))
def test_balanced_accuracy_precision_recall_and_f1_are_those_of_scikit_learn(seed):
    from sklearn.metrics import balanced_accuracy_score, precision_recall_fscore_support
    rng = np.random.default_rng(seed)
    found = evaluation(rng.integers(0, 3, 40), rng.integers(0, 3, 40), [0.9] * 40)
    scores = score(found, roc_curves(found))
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(found.labels, found.predicted))
    expected = precision_recall_fscore_support(found.labels, found.predicted)
    assert [[scores["classes"][name][kind] for name in "xyz"] for kind in ("precision", "recall", "f1")] == [
        pytest.approx(row) for row in expected[:3]]


def test_the_balanced_loss_is_the_mean_over_the_classes_that_have_clips():
    found = evaluation([0, 0, 0, 1], [0, 0, 0, 1], [0.5, 0.5, 0.5, 0.25])
    assert found.loss == pytest.approx((3 * np.log(2) + np.log(4)) / 4)
    assert found.balanced_loss == pytest.approx((np.log(2) + np.log(4)) / 2)
    equal = evaluation([0, 1, 0, 2], [0, 0, 1, 1], [0.9, 0.8, 0.7, 0.6])
    assert equal.balanced_loss == pytest.approx(equal.loss)
