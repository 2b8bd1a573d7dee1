"""Scores and thresholds of MULTI_LABEL."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, hamming_loss, precision_score, recall_score

from audio_utils.evaluation import label_scores, metrics, thresholds
from audio_utils.evaluation.label_scores import MultiLabelEvaluation

FOUND = MultiLabelEvaluation(
    ["x/1.wav", "x/2.wav", "x/3.wav", "x/4.wav"], ["a", "b"],
    np.array([[1, 1], [1, 0], [0, 0], [0, 1]], bool),
    np.array([[0.9, 0.8], [0.4, 0.1], [0.6, 0.2], [0.1, 0.7]], np.float32))


def random(clips=80, classes=4, seed=1):
    """Predictions that are better than chance, with equal probabilities among them."""
    rng = np.random.default_rng(seed)
    positives = rng.random((clips, classes)) < np.linspace(0.2, 0.6, classes)
    probabilities = np.clip(0.3 * positives + rng.random((clips, classes)), 0, 1).round(1).astype(np.float32)
    return MultiLabelEvaluation([f"x/{i}.wav" for i in range(clips)], [f"c{i}" for i in range(classes)], positives,
                                probabilities)


def scores_of(found, lowest):
    return label_scores.score(found._replace(lowest=lowest), metrics.roc_curves(found), lowest)


def test_scores_are_exact():
    scores = scores_of(FOUND, np.array([0.5, 0.5]))
    assert scores["exact_match"] == FOUND.accuracy == 0.5
    a, b = scores["classes"]["a"], scores["classes"]["b"]
    assert (a["auc"], b["auc"], scores["macro_auc"]) == (0.75, 1, 0.875)
    assert a["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert b["average_precision"] == 1
    assert (a["missed"], a["extra"], b["missed"], b["extra"], a["f1"]) == (1, 1, 0, 0, 0.5)
    assert (scores["hamming_loss"], scores["files_without_labels"]) == (0.25, 1)
    assert "accuracy" not in scores
    assert any("2 of 8 decisions are wrong (Hamming loss 0.2500)" in line for line in label_scores.lines(scores))


def test_scores_agree_with_scikit_learn():
    found, lowest = random(), np.array([0.35, 0.5, 0.65, 0.5])
    scores, predicted = scores_of(found, lowest), found.probabilities >= lowest
    for average in ("macro", "micro"):
        assert scores[f"{average}_average_precision"] == pytest.approx(
            average_precision_score(found.positives, found.probabilities, average=average))
        for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            assert scores[f"{average}_{name}"] == pytest.approx(score(found.positives, predicted, average=average))
    assert scores["hamming_loss"] == pytest.approx(hamming_loss(found.positives, predicted))
    for kind in ("average_precision", "auc"):
        low, high = scores[f"macro_{kind}_interval"]
        assert low < scores[f"macro_{kind}"] < high


def test_a_class_without_clips_has_no_scores_and_counts_in_no_mean(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = FOUND._replace(class_names=["a", "a long name of a class " * 4],
                           positives=FOUND.positives & np.array([True, False]))
    scores = scores_of(found, np.array([0.5, 0.75]))
    a, none = scores["classes"].values()
    assert (none["average_precision"], none["auc"], none["recall"], none["extra"]) == (None, None, None, 1)
    assert (scores["macro_average_precision"], scores["macro_recall"]) == (a["average_precision"], a["recall"])
    table = label_scores.lines(scores)[:5]
    assert max(map(len, table)) <= 79
    assert table[3].split()[-6:] == ["1", "0.7500", "0.0%", "-", "-", "-"]
    empty = scores_of(FOUND._replace(positives=np.zeros((4, 2), bool)), np.array([0.5, 0.5]))
    assert (empty["macro_auc"], empty["macro_average_precision_interval"], empty["micro_recall"]) == (None, None, None)
    assert "Mean average precision -, macro AUC -." in label_scores.lines(empty)[-4]


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
    assert label_scores.uncertain_classes(known, ["a", "b"]) == ["b"]


def test_the_thresholds_of_a_fold_are_chosen_from_the_other_folds():
    first, second = random(100, 2), random(90, 2, seed=2)
    pooled = label_scores.of_folds([first, second])
    assert pooled.names == first.names + second.names
    for part, rows, other in ((first, pooled.lowest[:100], second), (second, pooled.lowest[100:], first)):
        expected = [each["max_f1"] for each in thresholds.choose(other).values()]
        assert (rows == expected).all()
        assert rows.shape == part.positives.shape


def test_classes_in_natural_order_keep_their_predictions():
    found = FOUND._replace(class_names=["a10", "a2"], lowest=np.array([0.5, 0.75])).in_natural_order()
    assert found.class_names == ["a2", "a10"]
    assert found.missed.tolist() == [[False, False], [False, True], [False, False], [True, False]]
    assert found.extra.sum() == 1
