"""variation.py: what it changes in a batch, and that it changes nothing else; by NumPy and in a graph alike."""

import numpy as np
import pytest

from audio_utils.melgram import MelgramSettings
from audio_utils.variation import Variation, mixed
from panotti_models import keras

HZ = MelgramSettings.of(8000, 4000, 2, 20, 46, 12).band_hz
FILL = np.arange(20, dtype=np.float32) + 100


def by_numpy(variation, melgrams, drawn):
    return variation.batch(melgrams, drawn)


def in_graph(variation, melgrams, drawn):
    tensors = {name: keras.ops.convert_to_tensor(array) for name, array in drawn.items()}
    return np.array(variation.batch_in_graph(keras.ops, keras.ops.convert_to_tensor(melgrams), tensors))


@pytest.fixture(params=[by_numpy, in_graph])
def varied(request, rng):
    """(melgrams, places, Variation's shares) → (the batch, what was drawn)."""
    def vary(melgrams, places=None, hz=HZ, fill=FILL, **shares):
        variation = of(hz, fill, **shares)
        before = melgrams.copy()
        drawn = variation.draw(np.arange(len(melgrams)) if places is None else places, melgrams.shape[2], rng)
        batch = request.param(variation, melgrams, drawn)
        assert np.array_equal(melgrams, before)
        assert batch.dtype == np.float32
        return batch, drawn
    return vary


def of(hz=HZ, fill=FILL, **shares):
    nothing = dict.fromkeys(("time_shift", "frequency_warp", "mixup", "masked_bands", "masked_time"), 0)
    return Variation(**nothing | shares, band_hz=hz, fill=fill)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def melgrams():
    return np.random.default_rng(0).normal(-40, 15, (6, 20, 50, 2)).astype(np.float32)


def test_nothing_is_varied_where_nothing_is_asked_for(melgrams, varied):
    chosen = np.array([4, 0, 4, 2])
    batch, _ = varied(melgrams, chosen)
    assert np.array_equal(batch, melgrams[chosen])


def test_rolls_each_clip_for_itself(melgrams, varied):
    chosen = np.array([4, 0, 4, 2])
    batch, drawn = varied(melgrams, chosen, time_shift=0.2)
    assert len(set(drawn["shift"])) > 1
    for place, shift, after in zip(chosen, drawn["shift"], batch, strict=True):
        assert np.array_equal(np.roll(melgrams[place], shift, axis=1), after)


def test_rolls_as_far_either_way_as_is_said(varied):
    ramp = np.broadcast_to(np.arange(50, dtype=np.float32)[:, None], (1, 20, 50, 1)).copy()
    starts = varied(ramp, np.zeros(2000, int), time_shift=0.2)[0][:, 0, 0, 0]
    assert set((-starts + 25) % 50 - 25) == set(range(-10, 11))


def test_warps_frequencies_by_a_factor_that_differs_from_clip_to_clip(varied):
    hz = MelgramSettings.of(8000, 4000, 1, 96, 46, 12).band_hz
    tones = np.random.default_rng(1).uniform(800, 2500, 200)
    clips = np.exp(-np.square(np.log(hz / tones[:, None]) / 0.1))[:, :, None, None].astype(np.float32)
    batch, _ = varied(clips, hz=hz, fill=np.zeros(96, np.float32), frequency_warp=0.2)
    factors = hz[batch[:, :, 0, 0].argmax(axis=1)] / tones
    assert 0.81 < factors.min() < 0.86
    assert 1.16 < factors.max() < 1.23
    assert abs(np.log(factors).mean()) < 0.03


def test_a_warp_treats_frames_and_channels_alike(melgrams, varied):
    steady = np.repeat(melgrams[:, :, :1, :1], 50, axis=2).repeat(2, axis=3)
    batch, _ = varied(steady, frequency_warp=0.3)
    assert (batch == batch[:, :, :1, :1]).all()
    assert not np.allclose(batch[:, :, 0, 0], melgrams[:, :, 0, 0])


def test_mixes_two_and_two_in_clip_and_truth_alike(melgrams, varied):
    batch, drawn = varied(melgrams, mixup=0.3)
    truth = mixed(np.eye(6, dtype=np.float32), drawn)
    assert np.allclose(truth.sum(axis=1), 1, atol=1e-6)
    assert (truth.diagonal() >= 0.5).all()  # each is itself still
    assert ((truth > 0).sum(axis=1) <= 2).all()
    assert (truth.diagonal() < 0.999).any()
    assert np.allclose(batch, np.einsum("ij,jmfc->imfc", truth, melgrams), atol=1e-4)


def test_masks_a_run_of_bands_and_a_run_of_frames_in_all_channels(melgrams, varied):
    batch, _ = varied(melgrams, masked_bands=0.3, masked_time=0.1)
    runs = []
    for before, after in zip(melgrams, batch, strict=True):
        hidden = (after != before).all(axis=2)  # (mels, frames)
        assert np.array_equal(hidden, (after != before).any(axis=2))
        expected = before.max() + FILL[np.nonzero(hidden)[0], None]
        assert np.array_equal(after[hidden], np.repeat(expected, 2, axis=1))
        bands, frames = np.flatnonzero(hidden.all(axis=1)), np.flatnonzero(hidden.all(axis=0))
        for run, most in ((bands, 6), (frames, 5)):
            assert len(run) <= most
            assert np.array_equal(run, np.arange(len(run)) + (run[0] if len(run) else 0))
        assert hidden.sum() == 50 * len(bands) + 20 * len(frames) - len(bands) * len(frames)
        runs.append((len(bands), len(frames)))
    assert len(set(runs)) > 2


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 1, 1, 8), (2, 4, 1, 1), (2, 1, 7, 1), (6, 20, 50, 2)])
def test_all_at_once_by_numpy_and_in_a_graph_alike(shape, rng):
    melgrams = rng.normal(-40, 15, shape).astype(np.float32)
    variation = of(np.arange(1.0, 1 + shape[1]), np.zeros(shape[1], np.float32), time_shift=1, frequency_warp=1,
                   mixup=0.3, masked_bands=1, masked_time=1)
    drawn = variation.draw(rng.permutation(shape[0]), shape[2], rng)
    batch = by_numpy(variation, melgrams, drawn)
    assert batch.shape == shape
    assert np.isfinite(batch).all()
    assert np.allclose(batch, in_graph(variation, melgrams, drawn), rtol=0, atol=1e-4)
