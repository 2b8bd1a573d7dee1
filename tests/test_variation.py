"""variation.py: what it changes in a batch, and that it changes nothing else."""

import numpy as np
import pytest

from audio_utils import variation
from audio_utils.melgram import MelgramSettings


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def melgrams():
    return np.random.default_rng(0).normal(-40, 15, (6, 20, 50, 2)).astype(np.float32)


def test_gathers_and_rolls_each_clip_for_itself(melgrams, rng):
    before = melgrams.copy()
    chosen = np.array([4, 0, 4, 2])
    batch = variation.gather_rolled(melgrams, chosen, 0.2, rng)
    found = []
    for place, after in zip(chosen, batch, strict=True):
        rolls = [roll for roll in range(-10, 11) if np.array_equal(np.roll(melgrams[place], roll, axis=1), after)]
        assert len(rolls) == 1
        found += rolls
    assert len(set(found)) > 1
    assert np.array_equal(melgrams, before)
    assert np.array_equal(variation.gather_rolled(melgrams, chosen, 0, rng), melgrams[chosen])


def test_rolls_as_far_either_way_as_is_said(rng):
    ramp = np.broadcast_to(np.arange(50, dtype=np.float32)[:, None], (1, 1, 50, 1))
    starts = variation.gather_rolled(ramp, np.zeros(2000, int), 0.2, rng)[:, 0, 0, 0]
    assert set((-starts + 25) % 50 - 25) == set(range(-10, 11))


def test_warps_frequencies_by_a_factor_that_differs_from_clip_to_clip(rng):
    settings = MelgramSettings.of(8000, 4000, 1, 96, 46, 12)
    hz = settings.band_hz
    tones = np.random.default_rng(1).uniform(800, 2500, 200)
    batch = np.exp(-np.square(np.log(hz / tones[:, None]) / 0.1))[:, :, None, None].astype(np.float32)
    variation.warp(batch, 0.2, hz, rng)
    factors = hz[batch[:, :, 0, 0].argmax(axis=1)] / tones
    assert 0.81 < factors.min() < 0.86
    assert 1.16 < factors.max() < 1.23
    assert abs(np.log(factors).mean()) < 0.03


def test_a_warp_treats_frames_and_channels_alike_and_none_changes_nothing(melgrams, rng):
    hz = MelgramSettings.of(8000, 4000, 2, 20, 46, 12).band_hz
    batch = melgrams.copy()
    variation.warp(batch, 0.0, hz, rng)
    assert np.allclose(batch, melgrams, atol=1e-4)
    steady = np.repeat(melgrams[:, :, :1, :1], 50, axis=2).repeat(2, axis=3)
    variation.warp(steady, 0.3, hz, rng)
    assert (steady == steady[:, :, :1, :1]).all()
    assert not np.allclose(steady[:, :, 0, 0], melgrams[:, :, 0, 0])


def test_mixes_two_and_two_in_clip_and_truth_alike(melgrams, rng):
    batch, truth = melgrams.copy(), np.eye(6, dtype=np.float32)
    variation.mix(batch, truth, 0.3, rng)
    assert np.allclose(truth.sum(axis=1), 1, atol=1e-6)
    assert (truth.diagonal() >= 0.5).all()  # each is itself still
    assert ((truth > 0).sum(axis=1) <= 2).all()
    assert (truth.diagonal() < 0.999).any()
    assert np.allclose(batch, np.einsum("ij,jmfc->imfc", truth, melgrams), atol=1e-4)


def test_masks_a_run_of_bands_and_a_run_of_frames_in_all_channels(melgrams, rng):
    batch, fill = melgrams.copy(), np.arange(20, dtype=np.float32) + 100
    variation.mask(batch, 0.3, 0.1, fill, rng)
    runs = []
    for before, after in zip(melgrams, batch, strict=True):
        hidden = (after != before).all(axis=2)  # (mels, frames)
        assert np.array_equal(hidden, (after != before).any(axis=2))
        expected = before.max() + fill[np.nonzero(hidden)[0], None]
        assert np.array_equal(after[hidden], np.repeat(expected, 2, axis=1))
        bands, frames = np.flatnonzero(hidden.all(axis=1)), np.flatnonzero(hidden.all(axis=0))
        for run, most in ((bands, 6), (frames, 5)):
            assert len(run) <= most
            assert np.array_equal(run, np.arange(len(run)) + (run[0] if len(run) else 0))
        assert hidden.sum() == 50 * len(bands) + 20 * len(frames) - len(bands) * len(frames)
        runs.append((len(bands), len(frames)))
    assert len(set(runs)) > 2


def test_nothing_is_masked_where_nothing_is_asked_for(melgrams, rng):
    batch = melgrams.copy()
    variation.mask(batch, 0, 0, np.zeros(20, np.float32), rng)
    assert np.array_equal(batch, melgrams)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 1, 1, 8), (2, 4, 1, 1), (2, 1, 7, 1)])
def test_the_smallest_clips(shape, rng):
    melgrams = rng.normal(size=shape).astype(np.float32)
    batch, truth = variation.gather_rolled(melgrams, np.arange(len(melgrams)), 1, rng), np.eye(len(melgrams))
    variation.mix(batch, truth, 0.3, rng)
    variation.mask(batch, 1, 1, np.zeros(shape[1], np.float32), rng)
    variation.warp(batch, 1, np.arange(1.0, 1 + shape[1]), rng)
    assert batch.shape == shape
    assert np.isfinite(batch).all()
