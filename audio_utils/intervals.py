"""How far the figures of a Test set can be trusted: 95% intervals and calibration."""

import numpy as np

RESAMPLES = 1000  # of the bootstrap
BINS = 15  # of confidence, as Guo et al. 2017 have them
_BLOCK = 50  # resamples at a time, which bounds the memory


def wilson(right, count):
    """The 95% interval of a share (Wilson 1927); it holds for few files, and for shares near 1, too."""
    from scipy.stats import binomtest
    return tuple(binomtest(int(right), int(count)).proportion_ci(0.95, "wilson"))


def bootstrap(labels, probabilities, resamples=RESAMPLES, seed=1):
    """The 95% interval of the macro AUC: percentiles over resamples of the files (Efron and Tibshirani 1993).

    Each class is resampled for itself, as in pROC (Robin et al. 2011), so that none is ever empty.
    """
    rng = np.random.default_rng(seed)
    aucs = [macro_aucs(draw(labels, _BLOCK, rng), labels, probabilities) for _ in range(0, resamples, _BLOCK)]
    return tuple(np.percentile(np.concatenate(aucs)[:resamples], (2.5, 97.5)))


def draw(labels, resamples, rng):
    """How often each file is in each resample: float32 (files, resamples)."""
    weights = np.empty((len(labels), resamples), np.float32)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        weights[places] = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), resamples).T
    return weights


def macro_aucs(weights, labels, probabilities):
    """The macro AUC of each resample; weights (files, resamples) as `draw` gives them."""
    return np.mean([weighted_aucs(weights, labels == label, probabilities[:, label]) for label in np.unique(labels)],
                   axis=0)


def weighted_aucs(weights, truth, scores):
    """AUCs (resamples,): the share of pairs, one true and one not, that are in order; ties count half."""
    order = np.argsort(scores[~truth])
    ranked = scores[~truth][order]
    lower = np.cumsum(np.concatenate([np.zeros_like(weights[:1]), weights[~truth][order]]), axis=0)
    below = sum(lower[np.searchsorted(ranked, scores[truth], side)] for side in ("left", "right"))
    return np.einsum("fr,fr->r", weights[truth], below, dtype=np.float64) / (2 * truth.sum() * (~truth).sum())


def reliability(confidence, right):
    """(bins for `plots.draw_reliability`, expected calibration error) after Guo et al. 2017."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins, error = np.full((BINS, 5), np.nan), 0.0
    bins[:, 4] = np.bincount(place, minlength=BINS) / len(right)
    for i in np.unique(place):
        inside = place == i
        bins[i, :4] = confidence[inside].mean(), right[inside].mean(), *wilson(right[inside].sum(), inside.sum())
        error += bins[i, 4] * abs(bins[i, 0] - bins[i, 1])
    return bins, float(error)
