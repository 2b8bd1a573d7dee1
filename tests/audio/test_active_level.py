"""The active level: pauses, padding and DC do not count."""

import numpy as np
import pytest
from conftest import sine

from audio_utils.audio.active_level import active_frames, active_power


def test_pauses_and_a_dc_offset_do_not_count():
    audio = np.pad(sine(seconds=1, channels=2), ((0, 0), (8000, 4000)))
    assert active_power(audio, 8000) == pytest.approx(0.125, rel=1e-6)
    assert active_power(audio + np.float32(0.25), 8000) == pytest.approx(0.125, rel=1e-3)


@pytest.mark.parametrize(("softer_db", "expected_db"), [(18, 10 * np.log10((1 + 10 ** -1.8) / 2)), (20, 0)])
def test_frames_of_15_9_db_below_the_active_level_or_less_are_pauses(softer_db, expected_db):
    """With equal times, the mean is 3 dB below the louder part, and the threshold 18.8 dB."""
    audio = np.concatenate([sine(), sine(level=0.5 * 10 ** (-softer_db / 20))], axis=1)
    assert 10 * np.log10(active_power(audio, 8000) / 0.125) == pytest.approx(expected_db, abs=1e-4)


def test_the_power_is_the_mean_of_the_channels():
    audio = np.concatenate([sine(), 0 * sine(), sine(), 0 * sine()])
    assert active_power(audio, 8000) == pytest.approx(0.125 / 2, rel=1e-6)


@pytest.mark.parametrize("audio", [np.zeros((2, 1000)), np.full((1, 1000), 0.3), np.ones((1, 1))], ids=str)
def test_silence_has_no_power(audio):
    assert active_power(audio.astype(np.float32), 8000) == 0


@pytest.mark.parametrize("rate", [1, 20, 192000])
def test_short_sounds_and_unusual_rates(rate):
    assert active_power(np.float32([[1, -1]]), rate) == 1


def test_a_long_frame_weighs_more_than_a_short_one():
    assert active_frames(np.array([1, 0.05]), np.array([1, 1])).tolist() == [True, True]
    assert active_frames(np.array([1, 0.02]), np.array([20, 1])).tolist() == [True, False]
