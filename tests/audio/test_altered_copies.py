"""Altered copies: each transformation does what its parameter says, and channels keep their delays and levels."""

import platform
import sys

import numpy as np
import pytest
import soundfile
from conftest import sine, write

from audio_utils.audio import altered_copies

RATE = 44100
GAUSSIAN = {"noise": 0.005, "gaussian": True, "noise_seed": 1}
UNIFORM = {"noise": 0.005, "gaussian": False, "noise_seed": 1}
ALONE = [{"speed": 0.9}, {"speed": 1.1}, {"pitch_semitones": -2}, {"pitch_semitones": 2}, {"tempo": 0.9},
         {"tempo": 1.1}, {"level_db": -6}, GAUSSIAN, UNIFORM, {"shift": 0.2}, {"shift": -0.2}]


RANGES = {"speed": (0.9, 1.1), "pitch_semitones": (-2, 2), "tempo": (0.9, 1.1), "level_db": (-6, 6),
          "noise": (0, 0.005), "shift": (-0.2, 0.2)}


def apply(audio, rate, parameters, max_delay_ms=5.0):
    return altered_copies.apply(audio, rate, parameters, max_delay_ms)


def draw(seed, ranges=RANGES):
    return altered_copies.randomize_parameters(np.random.default_rng(seed), ranges)


def white(samples, *seed):
    return 0.1 * np.random.default_rng(seed).standard_normal(samples, np.float32)


def binaural(samples=2 * RATE, delay=20, gain_db=-6.0):
    """Noise that arrives `delay` samples later and softer in the second channel."""
    sound = white(samples + delay)
    return np.stack([sound[delay:], 10 ** (gain_db / 20) * sound[:samples]]).astype(np.float32)


def delay_of(audio, max_delay=40):
    """The delay of the second channel in fractional samples: the interpolated peak of the cross-correlation."""
    size = 2 * audio.shape[1]
    one, two = np.fft.rfft(audio.astype(float), size)
    around = np.fft.irfft(one.conj() * two, size)[np.r_[-max_delay - 1:max_delay + 2]]
    peak = 1 + np.argmax(around[1:-1])
    before, here, after = around[peak - 1:peak + 2]
    return peak - max_delay - 1 + 0.5 * (before - after) / (before - 2 * here + after)


def level_of(audio):
    """The level of the second channel relative to the first in dB."""
    one, two = np.square(audio.astype(float)).sum(axis=1)
    return 10 * np.log10(two / one)


def frequency_of(wave, rate):
    spectrum = np.abs(np.fft.rfft(wave * np.blackman(len(wave)), 1 << 20))
    return np.argmax(spectrum) * rate / (1 << 20)


def end_of(wave, rate):
    """The end of the sound in seconds."""
    return np.flatnonzero(np.abs(wave) > 0.1 * np.abs(wave).max())[-1] / rate


# --- one channel ---

@pytest.mark.parametrize(("parameters", "pitch", "tempo"), [
    ({"speed": 1.1}, 1.1, 1.1), ({"speed": 0.9}, 0.9, 0.9),
    ({"pitch_semitones": 2}, 2 ** (2 / 12), 1), ({"pitch_semitones": -2}, 2 ** (-2 / 12), 1),
    ({"tempo": 1.1}, 1, 1.1), ({"tempo": 0.9}, 1, 0.9),
    ({"speed": 1.05, "pitch_semitones": 1, "tempo": 0.95}, 1.05 * 2 ** (1 / 12), 1.05 * 0.95),
    ({"level_db": -3}, 1, 1), ({"shift": 0.0}, 1, 1), (UNIFORM, 1, 1)])
@pytest.mark.parametrize("rate", [8000, RATE])
def test_a_tone_gets_the_given_pitch_length_and_level(rate, parameters, pitch, tempo):
    tone = np.concatenate([sine(1000, 1.0, rate), np.zeros((1, rate), np.float32)], axis=1)
    copy = apply(tone, rate, parameters)
    assert copy.shape == tone.shape
    assert copy.dtype == np.float32
    end = end_of(copy[0], rate)
    assert end == pytest.approx(1 / tempo, abs=0.02)
    steady = copy[0, round(0.1 * rate):round((end - 0.1) * rate)]
    assert frequency_of(steady, rate) == pytest.approx(1000 * pitch, rel=1e-3)
    assert np.abs(steady).max() == pytest.approx(0.5 * 10 ** (parameters.get("level_db", 0) / 20), rel=0.02)


@pytest.mark.parametrize(("system", "machine", "required"), [
    ("linux", "x86_64", True), ("linux", "aarch64", False), ("darwin", "arm64", True), ("win32", "AMD64", True)])
def test_python_stretch_is_optional_where_it_has_no_wheels(monkeypatch, system, machine, required):
    """Where it is required and missing, the import fails, and one sentence says how to install it."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setitem(sys.modules, "python_stretch", None)
    assert altered_copies.can_stretch() == required


def test_tempo_moves_a_click_in_proportion():
    click = np.zeros((1, RATE), np.float32)
    click[0, RATE // 2] = 1
    for tempo in (0.9, 1.1):
        at = np.argmax(np.abs(apply(click, RATE, {"tempo": tempo})))
        assert at / RATE == pytest.approx(0.5 / tempo, abs=0.002)


@pytest.mark.parametrize("shift", [0.2, -0.2, 0.12345, 1, 0])
def test_shift_is_circular_and_changes_no_sample(shift):
    audio = binaural(1000)
    np.testing.assert_array_equal(apply(audio, RATE, {"shift": shift}),
                                  np.roll(audio, round(1000 * shift), axis=1))


def test_level_is_a_gain():
    audio = binaural(1000)
    np.testing.assert_allclose(apply(audio, RATE, {"level_db": 6}), audio * 10 ** 0.3, rtol=1e-6)


def test_noise_has_the_given_level_and_is_independent_in_each_channel():
    audio = 0.5 * sine(100, 2, RATE, channels=2)  # peak 0.25
    added = apply(audio, RATE, GAUSSIAN) - audio
    assert added.std() == pytest.approx(0.005 * 0.25, rel=0.01)
    assert abs(np.corrcoef(added)[0, 1]) < 0.02
    added = apply(audio, RATE, UNIFORM) - audio
    assert np.abs(added).max() == pytest.approx(0.005 * 0.25, rel=0.01)
    assert added.std() == pytest.approx(0.005 * 0.25 / 3 ** 0.5, rel=0.01)
    assert abs(np.corrcoef(added)[0, 1]) < 0.02


# --- differences between channels ---

@pytest.mark.parametrize("parameters", ALONE, ids=str)
def test_each_transformation_preserves_delay_and_level_between_two_ears(parameters):
    copy = apply(binaural(), RATE, parameters)
    assert delay_of(copy) == pytest.approx(20, abs=0.05)
    assert level_of(copy) == pytest.approx(-6, abs=0.05)


@pytest.mark.parametrize(("rate", "delay"), [(RATE, 20), (RATE, -31), (8000, 5), (16000, 0)])
def test_any_combination_preserves_delay_and_level_between_two_ears(rate, delay):
    audio = binaural(rate, abs(delay), -9)[:: 1 if delay >= 0 else -1]
    for seed in range(8):
        copy = apply(audio, rate, draw(seed))
        assert delay_of(copy) == pytest.approx(delay, abs=0.1), draw(seed)
        assert level_of(copy) == pytest.approx(level_of(audio), abs=0.1), draw(seed)


def test_without_the_correction_the_delay_shrinks():
    copy = apply(binaural(), RATE, {"speed": 1.1}, max_delay_ms=0)
    assert delay_of(copy) == pytest.approx(20 / 1.1, abs=0.1)


def test_four_channels_keep_their_delays():
    sound = white(RATE + 60)
    audio = np.stack([sound[60 - delay:RATE + 60 - delay] for delay in (0, 7, 20, 40)])
    copy = apply(audio, RATE, {"speed": 1.1, "pitch_semitones": -1, "tempo": 0.9})
    assert [round(delay_of(copy[[0, other]]), 1) for other in (1, 2, 3)] == [7, 20, 40]


def test_equal_channels_stay_equal_and_match_the_mono_sound():
    mono = white(RATE)[None]
    for parameters in (each for each in ALONE if "noise" not in each):
        one, two = apply(np.repeat(mono, 2, axis=0), RATE, parameters)
        np.testing.assert_allclose(one, two, atol=1e-6)
        np.testing.assert_allclose(one, apply(mono, RATE, parameters)[0], atol=1e-4)


@pytest.mark.parametrize("parameters", ALONE, ids=str)
def test_applying_is_deterministic_and_does_not_modify_the_input(parameters):
    audio = binaural(5000)
    before = audio.copy()
    copy = apply(audio, RATE, parameters)
    np.testing.assert_array_equal(audio, before)
    np.testing.assert_array_equal(copy, apply(np.asfortranarray(audio), RATE, parameters))
    assert not np.array_equal(copy, audio)


@pytest.mark.parametrize("rate", [1, 20, 8000, 192000])
@pytest.mark.parametrize("samples", [1, 2, 50, 3000])
def test_short_sounds_and_unusual_rates(rate, samples):
    audio = binaural(samples, 1)
    for parameters in ALONE:
        copy = apply(audio, rate, parameters)
        assert copy.shape == audio.shape
        assert np.isfinite(copy).all()


def test_silence_stays_silent():
    for parameters in ALONE:
        assert not apply(np.zeros((2, 4000), np.float32), RATE, parameters).any()


# --- parameters ---

def test_parameters_are_never_empty_and_within_their_ranges():
    draws = [draw(seed) for seed in range(500)]
    subsets = {frozenset(each) & set(RANGES) for each in draws}
    assert frozenset() not in subsets
    assert len(subsets) == 63
    for name, (lowest, highest) in RANGES.items():
        values = [each[name] for each in draws if name in each]
        assert lowest <= min(values) < max(values) <= highest
        assert 200 < len(values) < 300
    assert {each["gaussian"] for each in draws if "noise" in each} == {True, False}


def test_only_the_given_transformations_are_drawn():
    ranges = {"pitch_semitones": (-2, 2), "shift": (-0.1, 0.1)}
    draws = [draw(seed, ranges) for seed in range(100)]
    assert set().union(*draws) == set(ranges)
    assert max(abs(each.get("shift", 0)) for each in draws) <= 0.1


def test_the_order_of_the_draws_is_fixed():
    assert draw(1) == pytest.approx({
        "pitch_semitones": 1.8018547853037412, "tempo": 0.9288319225439268, "level_db": 5.383793365646927,
        "noise": 0.0015591572600524273, "gaussian": True, "noise_seed": 7634208958675629714}, rel=1e-15)


# --- files ---

def copies_of(path, count, ranges=RANGES, overwrite=False):
    counts = altered_copies.write_copies(path, count, ranges, 1, 5.0, overwrite)
    return counts, sorted(path.parent.glob("*_aug*"))


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_integer_formats_never_clip_and_float_formats_may_exceed_1(tmp_path, subtype):
    path = write(tmp_path / "loud.wav", 0.9 * sine(441, 0.5, RATE, channels=2, level=1.0), RATE, subtype=subtype)
    _, copies = copies_of(path, 30)
    peaks = [np.abs(soundfile.read(copy)[0]).max() for copy in copies]
    if subtype == "FLOAT":
        assert max(peaks) > 1.3
    else:
        assert max(peaks) <= 1
        for copy in copies:
            audio = soundfile.read(copy)[0]
            assert np.count_nonzero(np.abs(audio) > 0.9999) < 20, copy  # a clipped sine stays at its maximum


def test_a_full_scale_sound_is_attenuated_or_unchanged_never_clipped(tmp_path):
    path = write(tmp_path / "full.wav", sine(441, 0.5, RATE, level=1.0), RATE)
    _, copies = copies_of(path, 20, {"level_db": (-6, 6)})
    peaks = [np.abs(soundfile.read(copy)[0]).max() for copy in copies]
    assert len(set(peaks)) == 20
    assert 0.49 < min(peaks) < 0.6


def test_existing_copies_are_kept_unless_overwrite(tmp_path):
    path = write(tmp_path / "a.wav", sine(seconds=0.25))
    (tmp_path / "a_aug2.wav").write_bytes(b"mine")
    counts, copies = copies_of(path, 3)
    assert counts == {"written": 2, "kept": 1, "seconds": 0.5}
    assert copies[1].read_bytes() == b"mine"
    assert copies_of(path, 3)[0] == {"kept": 3}
    assert copies_of(path, 3, overwrite=True)[0] == {"written": 3, "kept": 0, "seconds": 0.75}
    assert soundfile.info(copies[1]).frames == 2000
