"""Sample rate conversion: the same tone, in one piece or in blocks, and the length asked for."""

import librosa
import numpy as np
import pytest
from conftest import sine

from audio_utils.audio.resampling import fix_length, resample, resample_blocks


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44100, 22050), (8000, 44100), (48000, 44100), (11025, 8000)])
def test_resampling_preserves_frequency_level_and_phase(from_rate, to_rate):
    resampled = resample(sine(440, 1, from_rate, channels=2), from_rate, to_rate)
    assert resampled.shape == (2, to_rate)
    inner = slice(to_rate // 10, -to_rate // 10)
    assert np.abs(resampled - sine(440, 1, to_rate, channels=2))[:, inner].max() < 1e-3


def test_resampling_agrees_with_librosa():
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 12345)).astype(np.float32)
    expected = librosa.resample(audio, orig_sr=44100, target_sr=16000)
    assert np.array_equal(resample(audio, 44100, 16000), expected)


@pytest.mark.parametrize("to_rate", [8000, 5000, 11025])
def test_resampling_in_blocks_gives_the_same_samples(to_rate):
    audio = np.random.default_rng(0).normal(0, 0.1, (2, 9999)).astype(np.float32)
    whole = resample(audio, 8000, to_rate)
    pieces = np.concatenate(list(resample_blocks(np.split(audio, [1, 500, 4000], axis=1), 2, 8000, to_rate)), axis=1)
    assert abs(pieces.shape[1] - whole.shape[1]) <= 1
    samples = min(pieces.shape[1], whole.shape[1])
    np.testing.assert_allclose(pieces[:, :samples], whole[:, :samples], atol=1e-6)


def test_fix_length_cuts_or_pads_with_silence():
    assert np.array_equal(fix_length(np.array([[1, 2, 3]]), 2), [[1, 2]])
    assert np.array_equal(fix_length(np.array([[1, 2], [3, 4]]), 3), [[1, 2, 0], [3, 4, 0]])
