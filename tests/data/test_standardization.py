"""The mean and variance of each band, over the training clips alone."""

import itertools

import numpy as np

from audio_utils.data import standardization
from audio_utils.data.standardization import Standardization


def test_mean_and_variance_of_each_band_after_level_normalization():
    melgrams = np.random.default_rng(0).normal(-40, 10, (5, 4, 30, 2)).astype(np.float32)
    normalized = melgrams - melgrams.max(axis=(1, 2, 3), keepdims=True)
    found = Standardization.of(melgrams)
    assert np.allclose(found.mean, normalized.mean(axis=(0, 2, 3)), atol=1e-4)
    assert np.allclose(found.variance, normalized.var(axis=(0, 2, 3)), rtol=1e-4)
    assert (found.mean.dtype, found.variance.dtype) == (np.float32, np.float32)


def test_only_the_clips_at_the_indices_count():
    melgrams = np.random.default_rng(0).normal(size=(5, 4, 30, 1)).astype(np.float32)
    spoiled = melgrams.copy()
    spoiled[[1, 4]] = np.nan
    some = np.array([0, 2, 3])
    assert np.array_equal(Standardization.of(spoiled, some), Standardization.of(melgrams[some]))


def test_the_level_of_a_clip_has_no_effect():
    melgrams = np.random.default_rng(0).normal(size=(3, 4, 30, 1)).astype(np.float32)
    louder = melgrams + np.float32([0, 16, -32])[:, None, None, None]
    assert np.allclose(Standardization.of(louder), Standardization.of(melgrams), atol=1e-4)


def test_a_constant_band_has_a_variance_to_divide_by():
    assert (Standardization.of(np.zeros((2, 3, 4, 1), np.float32)).variance > 0).all()


def test_of_many_clips_a_random_sample_is_used_which_is_always_the_same(monkeypatch):
    melgrams = np.random.default_rng(0).normal(size=(9, 4, 30, 1)).astype(np.float32)
    monkeypatch.setattr(standardization, "MAX_CLIPS", 4)
    found = Standardization.of(melgrams[:8], np.arange(1, 8))
    assert all(map(np.array_equal, found, Standardization.of(melgrams, range(1, 8))))
    samples = [Standardization.of(melgrams[list(each)]) for each in itertools.combinations(range(1, 8), 4)]
    assert sum(all(map(np.array_equal, found, each)) for each in samples) == 1
