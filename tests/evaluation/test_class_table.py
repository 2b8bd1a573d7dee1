"""The scores of each class are right, and the dot plot of the AUC has its dots at the right positions."""

import numpy as np
import pytest

from audio_utils.evaluation.class_table import about_balance, auc_dots, class_table, threshold_rows
from audio_utils.evaluation.metrics import Evaluation, roc_curves, score


def test_class_table_has_precision_recall_and_undefined_scores():
    labels = np.repeat([0, 1], 4)
    probabilities = np.eye(3, dtype=np.float32)[labels]
    probabilities[0] = [0.1, 0.1, 0.8]  # an a predicted as c
    evaluation = Evaluation(list("abcdefgh"), ["a", "b", "c"], labels, probabilities)
    table = class_table(evaluation, score(evaluation, roc_curves(evaluation)), {"a": 16, "b": 16, "c": 5})
    a, b, c = table["rows"]
    assert (a["precision"], a["recall"], a["train"], a["test"]) == (1, 0.75, 16, 4)
    assert a["f1"] == pytest.approx(2 * 0.75 / 1.75)
    assert (b["recall"], b["auc"]) == (1, 1)
    assert (c["precision"], c["test"], c["auc"]) == (0, 0, None)
    assert (c["recall"], c["f1"]) == (None, None)
    assert table["all"]["recall"] == pytest.approx((0.75 + 1) / 2)
    assert table["lowest"] is a


@pytest.mark.parametrize(("unequal", "text"), [
    (31, "Balanced accuracy, the mean recall of the classes: 50.00% (95% interval 44.5% to 63.9%)."), (30, "")])
def test_the_balanced_accuracy_is_given_if_the_classes_are_unequal(unequal, text):
    labels = np.repeat([0, 1], [unequal, 10])
    evaluation = Evaluation(["f"] * len(labels), ["a", "b", "none"], labels, np.float32([[1, 0, 0]] * len(labels)))
    assert about_balance(score(evaluation, {})) == text


def test_threshold_rows_are_in_the_order_of_the_names():
    at = {"threshold": 0.6, "precision": 1, "recall": 1, "f1": 1}
    results = {"max_f1": at, "precision_90": None, "uncertain": True}
    rows = results | {"max_f1": at | {"rejects": True}}
    scores = {"thresholds": {"classes": {"a": {"positives": 3}, "b": {"positives": 4}}},
              "classes": {"a": {"thresholds": results}, "b": {"thresholds": results}}}
    assert threshold_rows(["b", "a"], scores) == [{"name": "b", "positives": 4} | rows,
                                                  {"name": "a", "positives": 3} | rows]
    at["threshold"] = 0.5  # the more probable of two classes always has at least this probability
    assert [row["max_f1"]["rejects"] for row in threshold_rows(["a", "b"], scores)] == [False, False]
    assert threshold_rows(["a"], scores | {"classes": {"a": {}}}) == []


def row(name, auc, test=50):
    return {"name": name, "auc": auc, "test": test}


def test_dots_are_at_their_ticks_and_hard_classes_are_marked():
    dots = auc_dots([row("a", 0.7), row("b", 0.98), row("c", 0.99), row("d", 1.0), row("e", None, 0)])
    assert [each["name"] for each in dots["rows"]] == list("abcd")
    assert [each["hard"] for each in dots["rows"]] == [True, False, False, False]
    assert ("0.7", pytest.approx(dots["rows"][0]["dot"])) in [(label, at) for at, label in dots["ticks"]]
    assert dots["rows"][3]["dot"] == 100
    for each in dots["rows"]:
        assert 0 <= each["start"] <= each["dot"] <= each["start"] + each["width"] + 1e-9 <= 100 + 1e-6


def test_without_aucs_there_are_no_dots():
    assert auc_dots([row("a", None)])["rows"] == []
