"""summary.py: mean, maximum and levels of a melgram."""

import numpy as np
import pytest

from audio_utils.data import summary


@pytest.mark.parametrize("mels", [1, 3, 8, 20])
def test_a_summary_has_mean_maximum_and_weighted_levels_of_groups_of_bands(mels):
    melgram = np.random.default_rng(mels).normal(-40, 10, (mels, 7, 2)).astype(np.float32)
    found = np.array([summary.of(melgram)], summary.dtype(mels))[0]
    assert found["mean_db"] == pytest.approx(melgram.mean(), abs=1e-4)
    assert found["max_db"] == melgram.max()
    weights = np.linspace(1, 2, 7)[:, None] * [1, 2]
    bands = (melgram * weights).sum(axis=(1, 2)) / weights.sum()
    groups = np.array_split(bands, min(8, mels))
    assert found["bands_db"] == pytest.approx([group.mean() for group in groups], abs=1e-4)


def test_silence_has_no_levels():
    mean, maximum, bands = summary.of(np.full((3, 4, 1), -100, np.float32))
    assert (mean, maximum) == (-100, -100)
    assert np.isnan(bands).all()
