"""Rooms: the direct sound keeps its time, the sound its length and level, and channels their differences."""

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.audio import rooms
from audio_utils.audio.active_level import active_power
from audio_utils.runtime.errors import UserError


def white(samples=8000, channels=1):
    return 0.1 * np.random.default_rng(0).standard_normal((channels, samples), np.float32)


def impulses(*channels, samples=1000):
    """(channels, samples) of zeros but for {sample: value} of each channel."""
    response = np.zeros((len(channels), samples))
    for channel, values in zip(response, channels, strict=True):
        channel[list(values)] = list(values.values())
    return response


def reverberate(folder, audio, response, rate=8000, response_rate=8000):
    path = write(folder / "room.wav", response, response_rate, subtype="FLOAT")
    return rooms.reverberate(audio, rate, rooms.check(path))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("response", [impulses({0: 1}), impulses({700: -0.1}), impulses({899: 3}),
                                      impulses({0: 2}, samples=2)])
def test_a_direct_sound_alone_changes_nothing_but_the_sign(tmp_path, channels, response):
    audio = white(channels=channels)
    np.testing.assert_allclose(np.sign(response.sum()) * reverberate(tmp_path, audio, response), audio, atol=1e-6)


def test_reflections_are_added_and_the_active_level_is_preserved(tmp_path):
    audio = np.pad(white(4000), ((0, 0), (0, 4000)))
    found = reverberate(tmp_path, audio, impulses({100: 0.2, 900: 0.1}))
    expected = audio + 0.5 * np.pad(audio, ((0, 0), (800, 0)))[:, :8000]
    expected *= np.sqrt(active_power(audio, 8000) / active_power(expected, 8000))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found.shape, found.dtype) == (audio.shape, np.float32)


def test_a_response_for_each_channel_adds_its_delays_and_levels(tmp_path):
    audio = np.repeat(white(), 2, axis=0)
    one, two = reverberate(tmp_path, audio, impulses({107: 0.5}, {100: 1}))
    np.testing.assert_allclose(one[7:], 0.5 * two[:-7], atol=1e-6)
    np.testing.assert_allclose(two / two.std(), audio[1] / audio.std(), atol=1e-3)  # it arrives first


def test_with_another_channel_count_the_first_channel_is_for_all(tmp_path):
    several = impulses({50: 1, 90: 0.4}, {60: 1}, {70: 1})
    for channels in (1, 2):
        audio = white(channels=channels)
        np.testing.assert_array_equal(reverberate(tmp_path, audio, several),
                                      reverberate(tmp_path, audio, several[:1]))


@pytest.mark.parametrize(("rate", "response_rate"), [(8000, 44100), (44100, 8000), (16000, 48000)])
def test_the_direct_sound_keeps_its_time_if_the_response_is_resampled(tmp_path, rate, response_rate):
    audio = sine(500, 0.5, rate)
    found = reverberate(tmp_path, audio, impulses({441: 1}, samples=8000), rate, response_rate)
    np.testing.assert_allclose(found[:, 200:-200], audio[:, 200:-200], atol=0.1)  # half a sample at 8 kHz


@pytest.mark.parametrize(("before_db", "is_direct"), [(-19, True), (-21, False)])
def test_the_direct_sound_begins_20_db_below_the_maximum(tmp_path, before_db, is_direct):
    audio = white()
    found = reverberate(tmp_path, audio, impulses({100: 10 ** (before_db / 20), 150: 1}))
    shift = 50 if is_direct else 0
    assert np.corrcoef(found[0, 200:], audio[0, 200 - shift:8000 - shift])[0, 1] > 0.98


def test_silence_stays_silent(tmp_path):
    assert not reverberate(tmp_path, np.zeros((2, 1000), np.float32), impulses({3: 1})).any()


@pytest.mark.parametrize("rate", [1, 20, 192000])
@pytest.mark.parametrize("samples", [1, 2, 50, 3000])
def test_short_sounds_and_unusual_rates(tmp_path, rate, samples):
    found = reverberate(tmp_path, white(samples, 2), impulses({3: 1, 90: 0.5}), rate)
    assert found.shape == (2, samples)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(("response", "sentence"), [
    (np.zeros((1, 100)), "is silent, or one of its channels is; repair or remove it."),
    (impulses({3: 1}, {}), "is silent, or one of its channels is; repair or remove it."),
    (impulses({3: 1}, samples=30 * 8000 + 1), "is longer than 30 s, so it is no impulse response; remove it."),
    (white(80000, 2), "does not decay by 20 dB, so it is no impulse response; remove it."),
    (sine(), "does not decay by 20 dB, so it is no impulse response; remove it."),
    (impulses({3: np.inf}), "contains NaN or infinite samples; repair or remove it.")],
    ids=["silent", "silent channel", "long", "noise", "tone", "infinite"])
def test_a_file_that_is_no_impulse_response_is_one_sentence(tmp_path, response, sentence):
    with pytest.raises(UserError) as error:
        reverberate(tmp_path, white(), response)
    assert str(error.value) == f"{tmp_path}/room.wav: {sentence}"
