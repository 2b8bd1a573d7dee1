"""Background noise: the SNR is exact, channels get different noise, and recordings are loops."""

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.audio import audio_io, background_noise
from audio_utils.audio.active_level import active_power
from audio_utils.audio.resampling import resample
from audio_utils.runtime.errors import UserError

DRAWS = [(position, offset) for position in (0, 0.3, 0.999) for offset in (0, 0.5, 0.999)]


def white(samples, channels=1, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal((channels, samples), np.float32)


def recording(folder, audio, rate=8000):
    return background_noise.measure(write(folder / "noise.wav", audio, rate, subtype="FLOAT"))


def added(noise, audio, rate=8000, snr_db=0.0, position=0.3, offset=0.6):
    return background_noise.add(audio, rate, noise, snr_db, position, offset) - audio


def correlation(one, two, max_delay=80):
    """The highest correlation at any delay of up to 10 ms."""
    around = np.fft.irfft(np.fft.rfft(one, 2 * len(one)).conj() * np.fft.rfft(two, 2 * len(two)))
    return np.abs(around[np.r_[-max_delay:max_delay + 1]]).max() / np.sqrt((one @ one) * (two @ two))


# --- level ---

@pytest.mark.parametrize("snr_db", [-5, 0, 20])
@pytest.mark.parametrize(("rate", "noise_rate", "noise_channels"), [
    (8000, 8000, 1), (8000, 44100, 1), (44100, 8000, 2), (8000, 8000, 2), (16000, 48000, 5)])
def test_the_snr_of_the_active_parts_is_exact(tmp_path, snr_db, rate, noise_rate, noise_channels):
    noise = recording(tmp_path, white(3 * noise_rate, noise_channels), noise_rate)
    audio = np.pad(sine(rate=rate, channels=2), ((0, 0), (rate // 2, rate)))
    audio[1] *= 0.5  # the powers are 1/8 and 1/32, and their mean 5/64
    power = active_power(added(noise, audio + np.float32(0.01), rate, snr_db), rate)
    assert 10 * np.log10(5 / 64 / power) == pytest.approx(snr_db, abs=0.01)


def test_the_snr_is_that_of_the_powers_themselves(tmp_path):
    """Without `active_power`: a continuous sound and steady noise have no pauses."""
    noise = added(recording(tmp_path, white(40000)), sine(seconds=2), snr_db=10)
    assert 10 * np.log10(0.125 / noise.var()) == pytest.approx(10, abs=0.01)


def test_the_dc_offset_of_the_noise_is_removed(tmp_path):
    noise = white(30000, 2)
    plain = added(recording(tmp_path, noise), sine(seconds=3, channels=2))
    offset = added(recording(tmp_path, noise + np.float32([[0.5], [-1]])), sine(seconds=3, channels=2))
    np.testing.assert_allclose(offset, plain, atol=1e-5)


def test_silence_stays_silent(tmp_path):
    assert not added(recording(tmp_path, white(8000)), np.zeros((2, 4000), np.float32)).any()


@pytest.mark.parametrize(("position", "offset"), DRAWS)
def test_a_stretch_never_lies_in_a_pause_of_the_recording(tmp_path, position, offset):
    noise = white(40000)
    noise[:, 400:39000] = 0
    noise = added(recording(tmp_path, noise), sine(seconds=0.1, channels=2), 8000, 6, position, offset)
    assert (np.square(noise).sum(axis=1) > 0.01).all()


# --- channels ---

@pytest.mark.parametrize(("channels", "noise_channels"), [(2, 1), (4, 1), (4, 2), (2, 4)])
@pytest.mark.parametrize("seconds", [9.7, 2, 0.7])  # longer than the sound, as long, shorter
@pytest.mark.parametrize(("position", "offset"), DRAWS[1::6])
def test_each_channel_gets_another_stretch_of_the_same_level(tmp_path, channels, noise_channels, seconds, position,
                                                             offset):
    noise = recording(tmp_path, white(round(8000 * seconds), noise_channels))
    noise = added(noise, sine(seconds=2, channels=channels), position=position, offset=offset)
    for i in range(1, channels):
        assert correlation(noise[i - 1], noise[i]) < 0.1
    np.testing.assert_allclose(noise.var(axis=1), noise.var(), rtol=0.01)


def test_noise_with_as_many_channels_is_used_channel_by_channel(tmp_path):
    noise = white(40000)
    noise = added(recording(tmp_path, np.concatenate([noise, -0.5 * noise])), sine(seconds=2, channels=2))
    np.testing.assert_allclose(noise[1], -0.5 * noise[0], atol=1e-6)


def test_a_mono_sound_gets_the_mean_of_the_channels(tmp_path):
    one, two = white(40000, 2)
    stereo = added(recording(tmp_path, np.stack([one, two])), sine())
    mono = added(recording(tmp_path, (one + two)[None] / 2), sine())
    np.testing.assert_allclose(stereo, mono, atol=1e-5)


# --- the recording ---

@pytest.mark.parametrize(("position", "offset"), DRAWS)
def test_a_stretch_is_a_part_of_the_recording_around_a_frame(tmp_path, position, offset):
    noise = white(80000)
    found = added(recording(tmp_path, noise), sine(seconds=1), position=position, offset=offset)[0]
    start = round(int(position * 500) * 160 - offset * (8000 - 160)) % (80000 - 400)
    expected = np.r_[noise[0], noise[0, 400:]][start:start + 8000]  # after its end, the recording begins again
    inner = slice(0, min(8000, 80000 - 400 - start))  # but is crossfaded there
    assert np.corrcoef(found[inner], expected[inner])[0, 1] > 0.99999


def test_a_stretch_is_resampled_as_the_whole_recording_is(tmp_path):
    noise = white(96000)
    found = added(recording(tmp_path, noise, 16000), sine(seconds=1), position=0.5, offset=0.25)[0]
    start = (150 * 320 - round(0.25 * (16000 - 320))) // 2
    expected = resample(noise - noise.mean(), 16000, 8000)[0, start:start + 8000]
    np.testing.assert_allclose(found / found.std(), expected / expected.std(), atol=1e-3)


def test_a_short_recording_is_repeated_with_a_crossfade_that_preserves_its_power(tmp_path):
    noise = recording(tmp_path, white(1600))
    found = added(noise, sine(seconds=20), offset=0.0, position=0.0)[0]
    period = 1600 - 400
    np.testing.assert_allclose(found[period + 400:], found[400:-period], atol=1e-6)
    overlap = background_noise._crossfaded(white(400, 1000), white(400, 1000, seed=1), 400)
    np.testing.assert_allclose(overlap.var(axis=0), 0.01, rtol=0.25)  # of 1,000 values each


@pytest.mark.parametrize("samples", [160, 161, 399, 4000])
@pytest.mark.parametrize("length", [1, 2, 159, 160, 161, 4000])
def test_recordings_and_sounds_of_any_length(tmp_path, samples, length):
    noise = recording(tmp_path, white(samples))
    for rate in (1000, 8000, 44100):
        assert np.isfinite(background_noise.add(sine(seconds=1)[:, :length], rate, noise, 0, 0.9, 0.9)).all()


def test_only_the_stretch_of_a_long_recording_is_decoded(tmp_path, monkeypatch):
    noise = recording(tmp_path, white(800000))
    decoded = []
    read = audio_io.read
    monkeypatch.setattr(audio_io, "read", lambda *arguments: decoded.append(read(*arguments)) or decoded[-1])
    added(noise, sine(channels=2))
    assert [audio.shape for audio, _ in decoded] == [(1, 8000), (1, 8000)]


@pytest.mark.parametrize(("audio", "sentence"), [
    (np.zeros((1, 8000)), "is silent, so it is no noise; remove it."),
    (np.full((2, 8000), 0.3), "is silent, so it is no noise; remove it."),
    (np.full((1, 8000), 1e5), "is silent, so it is no noise; remove it."),
    (2.0 ** -16 * white(8000), "is silent, so it is no noise; remove it."),
    (white(159), "is shorter than 20 ms, too short for noise; remove it."),
    (white(8000) * [[1], [-1]], "its channels cancel each other out in the mono mix; invert or remove one of them."),
    (np.full((1, 8000), np.nan), "contains NaN or infinite samples; repair or remove it.")],
    ids=["zeros", "constant", "large constant", "16-bit rounding", "short", "canceling", "NaN"])
def test_a_recording_that_is_no_noise_is_one_sentence(tmp_path, audio, sentence):
    with pytest.raises(UserError) as error:
        recording(tmp_path, audio)
    assert str(error.value) == f"{tmp_path}/noise.wav: {sentence}"


def test_noise_that_is_ultrasound_is_refused_at_a_low_rate(tmp_path):
    noise = recording(tmp_path, sine(20000, 1, 48000), 48000)
    with pytest.raises(UserError, match=r"noise.wav: the stretch that was drawn for a sound is silent at 8000 Hz"):
        added(noise, sine(seconds=0.5))


def test_too_few_frames_for_the_channels_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"noise.wav: is too short for 2 different stretches, one per channel"):
        added(recording(tmp_path, white(160)), sine(channels=2))
