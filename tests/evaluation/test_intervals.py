"""Intervals agree with published tables, with theory and with scikit-learn; the calibration error with known bins."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from audio_utils.evaluation import intervals


@pytest.mark.parametrize(("correct", "count", "low", "high"), [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)])
def test_wilson_interval_equals_newcombe_1998_table_1(correct, count, low, high):
    assert intervals.wilson(correct, count) == pytest.approx((low, high), abs=5e-5)


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
    low, high = intervals.bootstrap(labels, probabilities)
    assert (low, high) == intervals.bootstrap(labels, probabilities)
    assert low < np.mean([roc_auc_score(labels == i, probabilities[:, i]) for i in range(3)]) < high


def test_bootstrap_interval_has_the_width_of_delong_1988():
    """Scores of two normal distributions; the standard error of the AUC is DeLong's."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 300)
    scores = rng.normal(labels * 1.0)
    low, high = intervals.bootstrap(labels, np.stack([-scores, scores], axis=1))
    order = scores[labels == 1][:, None] > scores[labels == 0]
    error = np.sqrt(order.mean(axis=1).var(ddof=1) / 300 + order.mean(axis=0).var(ddof=1) / 300)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_calibration_error_of_known_bins():
    confidence = np.array([0.61, 0.61, 0.61, 0.61, 0.95, 0.95, 1.0, 1.0])
    correct = np.array([1, 1, 1, 0, 1, 1, 1, 0], bool)
    bins, error = intervals.reliability(confidence, correct)
    assert error == pytest.approx(0.5 * abs(0.61 - 0.75) + 0.5 * abs(0.975 - 0.75))
    assert np.nansum(bins[:, 4]) == 1
    assert bins[14, :2] == pytest.approx((0.975, 0.75))
    assert np.isnan(bins[0, :4]).all()
