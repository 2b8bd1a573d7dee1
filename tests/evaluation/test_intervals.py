"""Intervals agree with published tables, with theory and with scikit-learn; the calibration error with known bins."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from audio_utils.evaluation import intervals


@pytest.mark.parametrize(("correct", "count", "low", "high"), [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)])
def test_wilson_interval_equals_newcombe_1998_table_1(correct, count, low, high):
    assert intervals.wilson(correct, count) == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_a_mean_is_that_of_one_proportion_and_narrower_for_several():
    assert intervals.mean_of_proportions(np.array([15]), np.array([148])) == pytest.approx(intervals.wilson(15, 148))
    low, high = intervals.wilson(15, 148)
    both = intervals.mean_of_proportions(np.array([15, 15]), np.array([148, 148]))
    assert (both[1] - both[0]) * 2 ** 0.5 == pytest.approx(high - low)


def test_the_interval_of_a_mean_covers_it_in_about_95_of_100_samples():
    rng, counts, rates = np.random.default_rng(1), np.array([100, 20, 10]), np.array([0.95, 0.8, 0.6])
    found = [intervals.mean_of_proportions(rng.binomial(counts, rates), counts) for _ in range(300)]
    assert 0.92 < np.mean([low <= rates.mean() <= high for low, high in found]) < 0.98


def test_weighted_auc_equals_sklearn_on_repeated_clips():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 60)
    scores = rng.integers(0, 8, 60) / 8  # many ties
    weights = intervals.resample(labels, 20, rng)
    for counts, auc in zip(weights.T.astype(int), intervals.weighted_aucs(weights, labels == 1, scores), strict=True):
        assert auc == pytest.approx(roc_auc_score(np.repeat(labels == 1, counts), np.repeat(scores, counts)), abs=1e-6)


def test_bootstrap_is_stratified_and_reproducible():
    labels = np.array([0] * 3 + [1] * 50 + [2] * 7)
    weights = intervals.resample(labels, 200, np.random.default_rng(0))
    for label in range(3):
        assert np.unique(weights[labels == label].sum(axis=0)) == [np.sum(labels == label)]
    probabilities = np.random.default_rng(1).dirichlet(np.ones(3), 60)
    low, high = intervals.macro_auc_interval(labels, probabilities)
    assert (low, high) == intervals.macro_auc_interval(labels, probabilities)
    assert low < np.mean([roc_auc_score(labels == i, probabilities[:, i]) for i in range(3)]) < high


def test_bootstrap_interval_has_the_width_of_delong_1988():
    """Scores of two normal distributions; the standard error of the AUC is DeLong's."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 300)
    scores = rng.normal(labels * 1.0)
    low, high = intervals.macro_auc_interval(labels, np.stack([-scores, scores], axis=1))
    order = scores[labels == 1][:, None] > scores[labels == 0]
    error = np.sqrt(order.mean(axis=1).var(ddof=1) / 300 + order.mean(axis=0).var(ddof=1) / 300)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


@pytest.mark.parametrize("auc", [0, 0.5, 1])
def test_equal_resamples_give_the_mean_of_the_intervals_of_the_classes(auc):
    labels = np.repeat([0, 1, 2], [2, 3, 7])
    probabilities = np.full((12, 3), 1 / 3) if auc == 0.5 else np.abs(np.eye(3)[labels] - (1 - auc))
    ends = [intervals.auc_interval(auc, count, 12 - count) for count in (2, 3, 7)]
    found = intervals.macro_auc_interval(labels, probabilities)
    assert found == pytest.approx(np.mean(ends, axis=0))
    assert found[1] - found[0] > 0.2


def test_interval_of_an_auc_covers_it():
    """Coverage over simulated normal scores, with few positives, as in a test set of ten classes."""
    rng = np.random.default_rng(4)
    true, covered = 0.9214, 0  # Φ(2 / √2)
    for _ in range(400):
        positive, negative = rng.normal(2, 1, 8), rng.normal(0, 1, 72)
        low, high = intervals.auc_interval(np.mean(positive[:, None] > negative), 8, 72)
        covered += low <= true <= high
    assert 0.92 <= covered / 400 <= 0.99


@pytest.mark.parametrize(("auc", "positives", "negatives"), [(1, 4, 36), (0, 4, 36), (0.5, 1, 1), (0.999, 500, 500)])
def test_interval_of_an_extreme_auc_is_not_empty(auc, positives, negatives):
    low, high = intervals.auc_interval(auc, positives, negatives)
    assert 0 <= low <= auc <= high <= 1
    assert high - low > 0.001
    mirrored = intervals.auc_interval(1 - auc, negatives, positives)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)


@pytest.mark.parametrize(("confidence", "files", "text"), [
    (0.89, 50, "Well calibrated"), (0.89, 40, "Too few files to judge the calibration"), (1.0, 40, "Overconfident"),
    (0.6, 40, "Underconfident")])
def test_only_a_clear_difference_is_found_in_few_files(confidence, files, text):
    assert intervals.calibration(np.full(files, confidence), np.arange(files) % 10 > 0) == text


def test_calibration_error_of_known_bins():
    confidence = np.repeat([0.61, 0.95, 1.0], 10)
    correct = np.repeat([True, False, True, False, True], [8, 2, 9, 1, 10])
    bins, error = intervals.reliability(confidence, correct)
    assert bins[:, [0, 1, 4]] == pytest.approx(np.array([[0.61, 0.8, 10], [0.95, 0.9, 10], [1, 1, 10]]))
    assert error == pytest.approx((0.19 + 0.05 + 0) / 3)


@pytest.mark.parametrize(("count", "bins"), [(1, 1), (19, 1), (57, 5), (1000, 10)])
def test_bins_have_equal_counts(count, bins):
    confidence = np.random.default_rng(5).uniform(0.3, 1, count)
    found, _ = intervals.reliability(confidence, confidence > 0.5)
    assert len(found) == bins
    assert np.ptp(found[:, 4]) <= 1
    assert found[:, 4].sum() == count


def test_equal_confidences_are_in_one_bin():
    found, error = intervals.reliability(np.ones(100), np.arange(100) < 90)
    assert len(found) == 1
    assert error == pytest.approx(0.1)


# --- several labels -------------------------------------------------------------------------------------------------

def test_weighted_average_precisions_are_those_of_scikit_learn():
    from sklearn.metrics import average_precision_score
    rng = np.random.default_rng(1)
    positive, scores = rng.random(60) < 0.3, rng.random(60).round(1)
    weights = rng.integers(0, 4, (60, 5)).astype(np.float32)
    expected = [average_precision_score(positive, scores, sample_weight=each) for each in weights.T]
    assert np.allclose(intervals.weighted_average_precisions(weights, positive, scores), expected, atol=1e-6)


def test_intervals_of_several_labels_contain_the_mean_and_need_errors_and_two_kinds_of_clips():
    rng = np.random.default_rng(1)
    positives = rng.random((90, 3)) < (0.5, 0.02, 0)  # of the second class, some resamples have no clip
    scores = positives + rng.normal(size=(90, 3))
    found = intervals.multi_label_intervals(positives, scores, 200)
    for (low, high), measure in zip(found, (intervals.weighted_average_precisions, intervals.weighted_aucs),
                                    strict=True):
        mean = np.mean([measure(np.ones((90, 1), np.float32), positives[:, i], scores[:, i])[0] for i in (0, 1)])
        assert 0 < low < mean < high <= 1
    assert intervals.multi_label_intervals(positives, 1.0 * positives, 50) == (None, None)
    assert intervals.multi_label_intervals(np.zeros((5, 2), bool), np.zeros((5, 2))) == (None, None)
