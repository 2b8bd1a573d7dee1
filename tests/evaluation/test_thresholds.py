"""thresholds.py: exact thresholds of known scores, and the precision, recall and F1 at them."""

import numpy as np
import pytest

from audio_utils.evaluation import thresholds
from audio_utils.evaluation.metrics import Evaluation, roc_curves, score
from audio_utils.runtime.errors import UserError


def evaluation(labels, first, class_names=("a", "b")):
    """Clips with these probabilities of the class a; the others share the rest."""
    first = np.array(first, np.float32)
    others = np.repeat((1 - first)[:, None] / (len(class_names) - 1), len(class_names) - 1, axis=1)
    labels = np.array([class_names.index(each) for each in labels])
    return Evaluation([str(i) for i in range(len(labels))], list(class_names), labels, np.c_[first, others])


def chosen(labels, first):
    """The thresholds of the class a."""
    return thresholds.choose(evaluation(labels, first))["a"]


def test_separated_classes_get_the_middle_of_the_gap():
    found = thresholds.choose(evaluation("aabb", [0.75, 0.5, 0.25, 0.125]))
    assert found["a"] == {"positives": 2, "max_f1": 0.375, "precision_90": 0.375}
    assert found["b"] == {"positives": 2, "max_f1": 0.625, "precision_90": 0.625}  # of 0.875, 0.75 | 0.5, 0.25


def test_max_f1_may_accept_a_wrong_clip_that_90_percent_precision_does_not():
    # accepted:      1 of 1   2 of 2   2 of 3   3 of 4   3 of 5;  F1: 2 * 3 / (4 + 3) with the first four
    found = chosen("aabab", [0.875, 0.75, 0.5, 0.25, 0.125])
    assert found == {"positives": 3, "max_f1": 0.1875, "precision_90": 0.625}


def test_90_percent_precision_is_the_lowest_threshold_with_it():
    labels = "a" * 8 + "b" + "a" + "b" * 5  # 8 of 8, 8 of 9 (88.9%), 9 of 10 (90%), 9 of 11
    found = chosen(labels, np.arange(15, 0, -1) / 16)
    assert found["precision_90"] == pytest.approx(5.5 / 16)
    assert found["max_f1"] == pytest.approx(5.5 / 16)


def test_equal_probabilities_are_accepted_together():
    found = chosen("abab", [0.5, 0.5, 0.5, 0.25])  # 2 of 3 with 0.5
    assert found == {"positives": 2, "max_f1": 0.375, "precision_90": None}


def test_of_equal_f1_the_higher_threshold_is_chosen():
    found = chosen("abba", [0.875, 0.5, 0.25, 0.125])  # F1 2 / (1 + 2) with one clip, and 4 / (4 + 2) with four
    assert found["max_f1"] == (0.875 + 0.5) / 2


def test_the_lowest_score_of_all_gets_half_of_it():
    assert chosen("aab", [0.5, 0.25, 0.75])["max_f1"] == 0.125
    assert chosen("ab", [0, 1])["max_f1"] == 0  # always wrong


def test_a_class_that_is_always_wrong_has_no_90_percent_precision():
    assert chosen("aabb", [0.1, 0.2, 0.7, 0.8]) == {
        "positives": 2, "max_f1": pytest.approx(0.05), "precision_90": None}


def test_a_class_without_positives_has_no_thresholds():
    found = thresholds.choose(evaluation("ab", [0.75, 0.25], ("a", "b", "c")))
    assert found["c"] == {"positives": 0, "max_f1": None, "precision_90": None}


def test_a_class_without_negatives_has_no_thresholds():
    found = thresholds.choose(Evaluation(["a/1"], ["a", "b"], np.array([0]), np.array([[0.9, 0.1]], np.float32)))
    assert found == {"a": {"positives": 1, "max_f1": None, "precision_90": None},
                     "b": {"positives": 0, "max_f1": None, "precision_90": None}}


def test_thresholds_between_neighboring_float32_separate_them():
    low, high = np.float32(0.7), np.nextafter(np.float32(0.7), np.float32(1))
    made = thresholds.of(evaluation("ab", [high, low]), "validation after epoch 1")
    result = thresholds.apply(evaluation("ab", [high, low]), made["classes"])["a"]["max_f1"]
    assert (result["precision"], result["recall"]) == (1, 1)


# --- applying -------------------------------------------------------------------------------------------------------

MADE = {"source": "validation after epoch 3", "clips": 20, "classes": {
    "a": {"positives": 12, "max_f1": 0.5, "precision_90": 0.9}, "b": {"positives": 8, "max_f1": 0.25,
                                                                     "precision_90": None}}}


def test_scores_at_the_thresholds_are_those_of_the_other_clips():
    found = evaluation("aabb", [0.75, 0.25, 0.625, 0.5])
    result = thresholds.apply(found, MADE["classes"])
    assert result["a"] == {
        "max_f1": {"threshold": 0.5, "precision": pytest.approx(1 / 3), "recall": 0.5, "f1": pytest.approx(0.4)},
        "precision_90": {"threshold": 0.9, "precision": None, "recall": 0, "f1": 0}}
    assert result["b"] == {
        "max_f1": {"threshold": 0.25, "precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3)}, "precision_90": None}


def test_labels_of_the_test_files_do_not_influence_the_thresholds():
    for labels in ("aabb", "bbaa", "aaaa"):
        found = evaluation(labels, [0.75, 0.25, 0.625, 0.5])
        scores = thresholds.add_to(score(found, roc_curves(found)), found, MADE)
        assert scores["thresholds"] == MADE
        assert [each["thresholds"]["max_f1"]["threshold"] for each in scores["classes"].values()] == [0.5, 0.25]


def test_without_thresholds_the_scores_stay_the_same():
    found = evaluation("ab", [0.75, 0.25])
    scores = score(found, roc_curves(found))
    assert thresholds.add_to(scores, found, {}) is scores


# --- prediction -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("value", "expected"), [
    (0.5, [0.5, 0.5]), (1, [1, 1]), (np.float32(0.25), [0.25, 0.25]), ("auto", [0.5, 0.25]),
    ("precision", [0.9, np.inf])])
def test_the_lowest_probability_of_each_class(value, expected):
    found = thresholds.lowest_probabilities(value, MADE, ["a", "b"], "weights.hdf5")
    assert found.tolist() == expected


def test_auto_accepts_a_class_without_a_threshold():
    made = MADE | {"classes": MADE["classes"] | {"b": {"positives": 0, "max_f1": None, "precision_90": None}}}
    assert thresholds.lowest_probabilities("auto", made, ["b", "a"], "weights.hdf5").tolist() == [0, 0.5]
    assert thresholds.describe("auto", made)[1:] == ["Predicted with any probability, without a threshold: b."]


@pytest.mark.parametrize("value", ["often", "0.5", None, 2, -0.1, float("nan"), (2, 5), True])
def test_nonsense_is_refused(value):
    with pytest.raises(UserError, match=r"MIN_PROBABILITY is .*; set it to auto, precision or a number of at least 0 "
                                        r"and at most 1(; write 2\.5)?\."):
        thresholds.lowest_probabilities(value, MADE, ["a", "b"], "weights.hdf5")


@pytest.mark.parametrize("value", [0.5, "auto", "precision"])
def test_background_classes_are_never_predicted(value):
    lowest = thresholds.lowest_probabilities(value, MADE, ["a", "b"], "weights.hdf5", ["b"])
    expected = thresholds.lowest_probabilities(value, MADE, ["a", "b"], "weights.hdf5")
    assert lowest.tolist() == [expected[0], np.inf]
    assert thresholds.describe(value, MADE, ["b"]) == thresholds.describe(value, MADE)[:1]


def test_missing_thresholds_are_one_sentence():
    with pytest.raises(UserError) as error:
        thresholds.lowest_probabilities("auto", {}, ["a", "b"], "weights.hdf5")
    assert str(error.value) == ("weights.hdf5: contains no thresholds for MIN_PROBABILITY = 'auto'; run "
                                "train_network.py --folds 5, which chooses them.")


def test_source_uncertain_and_missing_thresholds_are_described():
    assert thresholds.describe(0.5, MADE) == []
    assert thresholds.describe("auto", MADE) == [
        "Thresholds from validation after epoch 3, 20 clips.",
        "Uncertain, with fewer than 10 clips: b; train_network.py --folds 5 gives better thresholds."]
    assert thresholds.describe("precision", MADE)[1:] == [
        "Never predicted, because no threshold has a precision of 90%: b."]
    none = {"positives": 20, "max_f1": 0.5, "precision_90": None}
    made = {"source": "cross-validation with 5 folds", "clips": 2400, "classes": dict.fromkeys("abcde", none)
            | {"f": {"positives": 3, "max_f1": 0.5, "precision_90": 0.5}}}
    assert thresholds.describe("precision", made) == [
        "Thresholds from cross-validation with 5 folds, 2,400 clips.",
        "Uncertain, with fewer than 10 clips: f; add sounds and run train_network.py --folds 5 again.",
        "Never predicted, because no threshold has a precision of 90%: a, b, c and 2 more."]


# --- damaged files --------------------------------------------------------------------------------------------------

def changed(**values):
    """MADE with other values of the class a."""
    return MADE | {"classes": MADE["classes"] | {"a": MADE["classes"]["a"] | values}}


def test_valid_thresholds_are_accepted():
    thresholds.check({}, ["a", "b"])
    thresholds.check(MADE, ["b", "a"])


@pytest.mark.parametrize("damaged", [
    None, [], 3, {"source": "x"}, MADE | {"more": 1}, MADE | {"source": 3}, MADE | {"clips": 2.0}, MADE | {"clips": -1},
    MADE | {"clips": True}, MADE | {"classes": []}, MADE | {"classes": None}, MADE | {"classes": {"a": {}, "c": {}}},
    MADE | {"classes": {"a": 1, "b": 2}}, changed(max_f1=float("nan")), changed(max_f1=float("inf")),
    changed(max_f1=1.5), changed(max_f1=-0.1), changed(max_f1="0.5"), changed(max_f1=True), changed(precision_90=[0.5]),
    changed(positives=None), changed(positives=-1), changed(more=0.5)])
def test_damaged_thresholds_are_refused(damaged):
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        thresholds.check(damaged, ["a", "b"])
