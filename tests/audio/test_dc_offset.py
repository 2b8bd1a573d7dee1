"""dc_offset.py: means are subtracted exactly, and a constant leaves no rounding noise."""

import numpy as np
import pytest
from conftest import sine

from audio_utils.audio import dc_offset


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("samples", [1, 511, 512, 513, 5000, 3_000_003])
def test_the_mean_of_each_channel_is_as_accurate_as_float32(samples, layout):
    rng = np.random.default_rng(0)
    audio = np.asarray(rng.normal([[0.2], [-3], [1e4]], 0.1, (3, samples)), np.float32, order=layout)
    expected = audio.astype(np.float64).mean(axis=1, keepdims=True)
    assert dc_offset.of(audio).dtype == np.float32
    assert np.abs(dc_offset.of(audio) / expected - 1).max() < 2 ** -23
    assert dc_offset.of(audio[:, :0]).tolist() == [[0], [0], [0]]


def test_offsets_are_subtracted_from_each_channel():
    audio = sine(channels=2, level=0.1) + np.array([[0.2], [-0.5]], np.float32)
    found = dc_offset.remove(audio)
    assert np.abs(found - sine(channels=2, level=0.1)).max() < 1e-6
    assert np.abs(found.mean(axis=1, dtype=np.float64)).max() < 1e-7
    out = np.empty_like(audio)
    assert dc_offset.remove(audio, np.array([[0.1], [0]], np.float32), out) is out
    assert np.array_equal(out, audio - np.array([[0.1], [0]], np.float32))


@pytest.mark.parametrize("samples", [1, 2, 7, 100_000])
@pytest.mark.parametrize("value", [0, 0.1, -0.2, 1 / 3, 1, 1e10, -3e-9])
def test_a_constant_becomes_zero(value, samples):
    channel = np.full((1, samples), value, np.float32)
    assert not dc_offset.remove(channel).any()
    channel[0, ::3] = np.nextafter(channel[0, 0], np.float32(np.inf))  # the next value of float32
    assert not dc_offset.remove(channel).any() or value == 0


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_a_constant_between_two_values_of_pcm_becomes_zero(bits):
    step = np.float32(2.0 ** (1 - bits))
    pattern = np.random.default_rng(0).integers(0, 2, (1, 20_000)).astype(np.float32)
    for value in (1, 7, -5, -2):
        assert not dc_offset.remove(step * (value + pattern)).any()
        assert dc_offset.remove(step * (value + pattern) + step / 4).any()  # not values of that type
    three = pattern.copy()
    three[0, 5] = 2
    assert dc_offset.remove(step * (5 + three)).any()


@pytest.mark.parametrize("step", [2.0 ** -7, 2.0 ** -15, 2.0 ** -23])
def test_clicks_and_square_waves_on_zero_are_kept(step):
    click = np.zeros((1, 8000), np.float32)
    click[0, 4000] = step
    square = np.where(sine() > 0, np.float32(step), 0)
    for audio in (click, -click, square, square - np.float32(step / 2)):
        assert dc_offset.remove(audio).any()
