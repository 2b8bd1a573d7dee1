"""quiet_stretches.py: quiet stretches are found in known signals, and joined without a trace."""

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.audio import audio_io, quiet_stretches

RATE = 8000
FRAME = 400


def noise(seconds, level_db, channels=1, seed=1):
    """Noise with this level, dBFS."""
    wave = np.random.default_rng(seed).standard_normal((channels, round(seconds * RATE)))
    return (10 ** (level_db / 20) * wave).astype(np.float32)


def bark(background_db=-60, before=1.0, after=1.0, channels=1):
    """Noise with half a second of a loud tone in it."""
    audio = noise(before + 0.5 + after, background_db, channels)
    audio[:, round(before * RATE):round((before + 0.5) * RATE)] += sine(1000, 0.5, RATE, channels)
    return audio


def background_of(folder, audio, quiet_db=20, max_seconds=300, rate=RATE):
    return quiet_stretches.of_file(write(folder / "a.wav", audio, rate, subtype="FLOAT"), quiet_db, max_seconds)


def level_db(audio):
    return 10 * np.log10(np.mean(np.square(audio - audio.mean(axis=1, keepdims=True), dtype=np.float64)))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("background_db", [-70, -35])
def test_the_background_has_the_level_of_the_noise_and_none_of_the_tone(tmp_path, background_db, channels):
    audio = bark(background_db, channels=channels) + np.float32(0.1)  # and a DC offset
    found = background_of(tmp_path, audio)
    assert found.audio.shape == audio.shape
    assert found.audio.dtype == np.float32
    assert found.quiet_seconds == pytest.approx(2 - 4 * quiet_stretches.FRAME_SECONDS, abs=0.11)
    spectrum = np.abs(np.fft.rfft(found.audio[0]))
    hz = np.fft.rfftfreq(audio.shape[1], 1 / RATE)
    assert spectrum[np.abs(hz - 1000) < 5].max() < 6 * np.median(spectrum[1:])
    assert level_db(found.audio) == pytest.approx(background_db, abs=0.5)


def test_no_piece_of_it_is_digital_silence(tmp_path):
    audio = np.concatenate([np.zeros((1, 8000), np.float32), bark(), np.zeros((1, 8000), np.float32)], axis=1)
    found = background_of(tmp_path, audio)
    assert found.audio.shape == audio.shape
    assert (quiet_stretches.levels_db(found.audio, FRAME) > -63).all()


@pytest.mark.parametrize("audio", [
    noise(2, -20),  # continuous, such as rain
    np.concatenate([sine(seconds=1), np.zeros((1, RATE), np.float32)], axis=1),  # padded with digital silence
    np.zeros((1, 2 * RATE), np.float32), np.full((1, 2 * RATE), 0.25, np.float32),
    sine(seconds=4) * np.geomspace(1, 0.001, 4 * RATE, dtype=np.float32),  # it fades without end
    bark(before=0.2, after=0.2), sine(seconds=0.01)], ids=["continuous", "padded", "silent", "constant", "fading",
                                                           "too little", "shorter than a frame"])
def test_a_recording_without_quiet_has_no_background(tmp_path, audio):
    assert background_of(tmp_path, audio) is None


def test_a_fade_is_background_only_near_the_noise_floor():
    floor = np.random.default_rng(1).uniform(-61, -59, 60)
    fade = np.linspace(-10, -60, 40)  # dBFS, 2 s
    (start, stop), = quiet_stretches.find_quiet(np.concatenate([fade, floor]), 20)
    assert start in range(36, 39)
    assert stop == 100


@pytest.mark.parametrize(("levels", "expected"), [
    ([-10] * 5 + [-60] * 10 + [-10] * 5 + [-60] * 10, [(7, 13), (22, 30)]),  # not at the ends of the recording
    ([-60] * 10 + [-10] * 3 + [-60] * 7, [(0, 8), (15, 20)]), ([-60] * 5 + [-10] + [-60] * 9, [(8, 15)]),
    ([-10] * 5 + [-29] * 10, []), ([-10] * 5 + [-31] * 10, [(7, 15)]), ([-10] + [-200] * 20 + [-60] * 8, [(23, 29)]),
    ([-200] * 20, []), ([], [])])
def test_stretches_end_two_frames_from_a_sound(levels, expected):
    assert quiet_stretches.find_quiet(np.array(levels, float), 20) == expected


def test_pieces_overlap_so_that_the_power_of_noise_is_constant():
    pieces = [noise(0.5, -40, seed=seed) for seed in range(200)]
    found = quiet_stretches.joined(iter(pieces), 80, 10 ** 9)
    assert found.shape == (1, 200 * 4000 - 199 * 80)
    starts = np.arange(1, 200) * (4000 - 80)
    at_joints = np.concatenate([found[:, start:start + 80] for start in starts], axis=1)
    assert level_db(at_joints) == pytest.approx(-40, abs=0.2)
    assert (found[:, :3920] == pieces[0][:, :3920]).all()
    assert (quiet_stretches.joined(iter(pieces), 80, 5000) == found[:, :5000]).all()


def test_it_is_at_most_as_long_as_asked_and_reads_no_more(tmp_path, monkeypatch):
    wanted = []
    read = audio_io.read
    monkeypatch.setattr(audio_io, "read", lambda path, start, samples: wanted.append(samples) or read(path, start,
                                                                                                      samples))
    found = background_of(tmp_path, bark(before=8), max_seconds=1)
    np.testing.assert_allclose(found.audio, bark(before=8)[:, :RATE], atol=1e-4)
    assert wanted == [RATE]


def test_any_rate_and_a_sound_in_several_blocks(tmp_path, monkeypatch):
    assert background_of(tmp_path, noise(0.001, -40), rate=1) is None
    whole = background_of(tmp_path, bark()).audio
    monkeypatch.setattr(audio_io.opened.__wrapped__, "__defaults__", (0, False, 1234))
    assert (background_of(tmp_path, bark()).audio == whole).all()
