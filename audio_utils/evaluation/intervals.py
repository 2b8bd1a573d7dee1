"""Confidence intervals of accuracy and AUC, and calibration."""

import warnings
from collections.abc import Callable

import numpy as np

RESAMPLES = 1000  # of the bootstrap
MAX_BINS = 10  # of confidence
MIN_BIN_FILES = 10  # fewer give an interval that is too wide
MIN_CALIBRATION_FILES = 50  # fewer can't show that a network is well calibrated
OVERCONFIDENT = "Overconfident"  # a result of `calibration`
_CHUNK = 50  # resamples computed together; bounds the memory
_ROUNDING = 1e-9  # of an AUC


def wilson(correct: int, count: int) -> tuple[float, float]:
    """The 95% score interval of a proportion (Wilson 1927); valid for small counts and proportions near 1, too."""
    from scipy.stats import binomtest
    return tuple(binomtest(int(correct), int(count)).proportion_ci(0.95, "wilson"))


def mean_of_proportions(correct: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """The 95% interval of the mean of independent proportions, from that of each (Zou, Huang and Zhang 2009).

    correct, counts: int (proportions,).
    """
    found = correct / counts
    low, high = np.transpose([wilson(*pair) for pair in zip(correct, counts, strict=True)])
    lower, upper = (np.linalg.norm(found - end) / len(counts) for end in (low, high))
    return float(found.mean() - lower), float(found.mean() + upper)


def auc_interval(auc: float, positives: int, negatives: int) -> tuple[float, float]:
    """The 95% interval of one class's AUC, valid for few files and for an AUC of 1, too (Newcombe 2006, method 5).

    positives, negatives: numbers of files. As in Wilson's interval, the ends are the values that differ from `auc` by
    1.96 of their own standard errors.
    """
    from scipy.optimize import brentq
    mean = (positives + negatives) / 2

    def excess(value: float) -> float:
        spread = 2 * mean - 1 - 3 * (mean - 1) / ((2 - value) * (1 + value))
        return (value - auc) ** 2 - 1.96 ** 2 * value * (1 - value) * spread / (positives * negatives)

    inside = min(max(auc, 1e-9), 1 - 1e-9)  # at 0 and 1, both sides are equal
    return brentq(excess, 0, inside), brentq(excess, inside, 1)


def macro_auc_interval(labels: np.ndarray, probabilities: np.ndarray, resamples: int = RESAMPLES,
                       seed: int = 1) -> tuple[float, float]:
    """The 95% interval of the macro AUC: percentiles over resamples of the clips (Efron and Tibshirani 1993).

    Resampling is stratified by class, as in pROC (Robin et al. 2011), so no class is ever empty. If all resamples have
    the same macro AUC, as those of perfectly separated classes have, the percentiles would show no uncertainty; then
    the ends are the means of those of the classes, as if these were perfectly correlated.
    labels: int (clips,). probabilities: (clips, classes).
    """
    rng = np.random.default_rng(seed)
    aucs = np.concatenate([macro_aucs(resample(labels, _CHUNK, rng), labels, probabilities)
                           for _ in range(0, resamples, _CHUNK)])[:resamples]
    if np.ptp(aucs) > _ROUNDING:
        return tuple(np.percentile(aucs, (2.5, 97.5)))
    return tuple(np.mean([_interval_of_class(labels == label, probabilities[:, label]) for label in np.unique(labels)],
                         axis=0))


def _interval_of_class(positive: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """The interval of one class's AUC; positive: bool (clips,). scores: (clips,)."""
    auc = weighted_aucs(np.ones((len(scores), 1), np.float32), positive, scores)[0]
    return auc_interval(auc, positive.sum(), (~positive).sum())


def resample(labels: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """The number of times that each clip occurs in each resample: float32 (clips, resamples)."""
    weights = np.empty((len(labels), resamples), np.float32)
    for label in np.unique(labels):
        indices = np.flatnonzero(labels == label)
        weights[indices] = rng.multinomial(len(indices), np.full(len(indices), 1 / len(indices)), resamples).T
    return weights


def macro_aucs(weights: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The macro AUC of each resample (resamples,); weights: (clips, resamples), from `resample`."""
    return np.mean([weighted_aucs(weights, labels == label, probabilities[:, label]) for label in np.unique(labels)],
                   axis=0)


def weighted_aucs(weights: np.ndarray, positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """AUCs (resamples,): the fraction of positive-negative pairs that are ranked correctly; ties count half.

    weights: (clips, resamples). positive: bool (clips,). scores: (clips,).
    """
    order = np.argsort(scores[~positive])
    ranked = scores[~positive][order]
    lower = np.cumsum(np.concatenate([np.zeros_like(weights[:1]), weights[~positive][order]]), axis=0)
    below = sum(lower[np.searchsorted(ranked, scores[positive], side)] for side in ("left", "right"))
    return np.einsum("cr,cr->r", weights[positive], below, dtype=np.float64) / (2 * positive.sum() * (~positive).sum())


def multi_label_intervals(positives: np.ndarray, probabilities: np.ndarray, resamples: int = RESAMPLES,
                          seed: int = 1) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """The 95% intervals of macro average precision and macro AUC: percentiles over resamples of all clips.

    Each is a mean over the classes that have some, but not all, clips in the resample. None if there is no such class,
    or if all resamples have the same value, as with perfectly separated classes.
    positives: bool (clips, classes). probabilities: (clips, classes).
    """
    rng = np.random.default_rng(seed)
    usable = np.flatnonzero(positives.any(axis=0) & ~positives.all(axis=0))
    if not len(usable):
        return None, None
    found = [[], []]
    for _ in range(0, resamples, _CHUNK):
        weights = resample(np.zeros(len(positives), int), _CHUNK, rng)
        for values, measure in zip(found, (weighted_average_precisions, _aucs), strict=True):
            values.append(_mean_of_classes(measure, weights, positives[:, usable], probabilities[:, usable]))
    return tuple(_percentiles(np.concatenate(values)[:resamples]) for values in found)


def _mean_of_classes(measure: Callable[..., np.ndarray], weights: np.ndarray, positives: np.ndarray,
                     probabilities: np.ndarray) -> np.ndarray:
    """The mean of a measure over the classes, (resamples,); NaN if no class has positive and negative clips."""
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing
        return np.nanmean([np.where(weights[~positive].any(axis=0), measure(weights, positive, scores), np.nan)
                           for positive, scores in zip(positives.T, probabilities.T, strict=True)], axis=0)


def _aucs(weights: np.ndarray, positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The AUCs of resamples that need not be stratified; arguments as in `weighted_aucs`."""
    pairs = weights[positive].sum(axis=0) * weights[~positive].sum(axis=0)
    return weighted_aucs(weights, positive, scores) * positive.sum() * (~positive).sum() / pairs


def _percentiles(values: np.ndarray) -> tuple[float, float] | None:
    values = values[np.isfinite(values)]
    if not len(values) or np.ptp(values) <= _ROUNDING:
        return None
    return tuple(map(float, np.percentile(values, (2.5, 97.5))))


def weighted_average_precisions(weights: np.ndarray, positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average precisions (resamples,): the mean precision over the positive clips, each at its own score.

    weights: (clips, resamples). positive: bool (clips,). scores: (clips,).
    """
    order = np.argsort(-scores)
    own = np.flatnonzero(positive[order])  # the positive clips, the highest score first
    ranked, ordered = -scores[order], weights[order]
    accepted = np.cumsum(ordered, axis=0)[np.searchsorted(ranked, ranked[own], "right") - 1]  # including equal scores
    correct = np.cumsum(ordered[own], axis=0)[np.searchsorted(ranked[own], ranked[own], "right") - 1]
    return (ordered[own] * correct / np.maximum(accepted, 1)).sum(axis=0, dtype=np.float64) / correct[-1]


def calibration(confidence: np.ndarray, correct: np.ndarray) -> str:
    """The mean confidence compared with the interval of the accuracy, as one or a few words; arguments as below."""
    low, high = wilson(correct.sum(), len(correct))
    if not low <= confidence.mean() <= high:
        return OVERCONFIDENT if confidence.mean() > high else "Underconfident"
    return "Well calibrated" if len(correct) >= MIN_CALIBRATION_FILES else "Too few files to judge the calibration"


def reliability(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, float]:
    """A reliability diagram and the expected calibration error (Guo et al. 2017), from bins of equal counts.

    Such bins bias the error less than bins of equal width (Roelofs et al. 2022). Equal confidences are in one bin.
    confidence: (clips,), the probability of the predicted class. correct: bool (clips,).
    Returns float (bins, 5): mean confidence, accuracy, the low and high end of its interval, and the number of clips;
    and the error.
    """
    count = len(correct)
    bins = min(MAX_BINS, max(1, count // MIN_BIN_FILES))
    edges = np.sort(confidence)[[i * count // bins for i in range(1, bins)]]
    bin_of = np.searchsorted(np.unique(edges), confidence, side="right")
    rows = []
    for i in np.unique(bin_of):
        inside = bin_of == i
        rows.append([confidence[inside].mean(), correct[inside].mean(),
                     *wilson(correct[inside].sum(), inside.sum()), inside.sum()])
    found = np.array(rows, float)
    return found, float((found[:, 4] * np.abs(found[:, 0] - found[:, 1])).sum() / count)
