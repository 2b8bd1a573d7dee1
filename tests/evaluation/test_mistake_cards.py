"""The audio and the axes of the report's cards agree with the sounds."""

import io

import numpy as np
import pytest
import soundfile
from conftest import sine, write

from audio_utils.audio import melgram
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.evaluation import mistake_cards
from audio_utils.evaluation.mistake_cards import Source

RATE = 8000
SETTINGS = MelgramSettings.of(RATE, RATE, 1, 48, 46.44, 11.61)  # clips of one second


@pytest.mark.parametrize(("frequency", "label"), [(500, "500 Hz"), (2000, "2 kHz")])
def test_frequency_ticks_are_at_the_band_of_a_tone(frequency, label):
    tone = melgram.melgram(sine(frequency), SETTINGS)[:, 40, 0]
    height = next(height for height, text in mistake_cards.hz_ticks(SETTINGS) if text == label)
    assert (tone.argmax() + 0.5) / 48 == pytest.approx(height, abs=1 / 48)


def test_time_ticks_are_at_the_frame_of_a_click():
    click = np.zeros((1, RATE), np.float32)
    click[0, RATE // 2] = 1
    _, frames, _ = SETTINGS.shape
    power = melgram.melgram(click, SETTINGS)[:, :, 0].sum(axis=0)
    position = next(at for at, text in mistake_cards.time_ticks(SETTINGS, frames) if text == "0.5 s")
    assert (power.argmax() + 0.5) / frames == pytest.approx(position, abs=1.01 / frames)


def test_padding_is_not_shown():
    melgrams = np.stack([melgram.melgram(np.pad(sine(500, seconds), ((0, 0), (0, RATE - round(RATE * seconds)))),
                                         SETTINGS) for seconds in (0.2, 0.5)])
    assert mistake_cards.frames_to_show(melgrams) == pytest.approx(0.5 * RATE / SETTINGS.hop, abs=4)
    assert mistake_cards.frames_to_show(0 * melgrams) == SETTINGS.shape[1]


@pytest.mark.parametrize(("rate", "channels", "seconds"), [(8000, 1, 0.5), (44100, 2, 0.5), (96000, 2, 3.0),
                                                           (12345, 1, 0.5), (16000, 3, 0.5)])
def test_player_has_the_sound(tmp_path, rate, channels, seconds):
    """Each of two channels has its own sine; the part beyond the clip is cut."""
    frequencies = (440, 700, 440)[:channels]
    sound = np.concatenate([sine(frequency, seconds, rate) for frequency in frequencies])
    content, note = mistake_cards.audio_of(Source(write(tmp_path / "a.wav", sound, rate)), SETTINGS)
    decoded, mp3_rate = soundfile.read(io.BytesIO(content), always_2d=True)
    assert len(decoded) / mp3_rate == pytest.approx(min(seconds, 1), abs=0.001)
    assert decoded.shape[1] == (channels if channels < 3 else 1)
    for frequency, wave in zip(frequencies, decoded.T, strict=False):
        assert np.abs(np.fft.rfft(wave, mp3_rate)).argmax() == pytest.approx(frequency, abs=2)
    assert ("3 channels mixed to mono" in note) == (channels == 3)
    assert ("of 3 s" in note) == (seconds == 3)


def test_sound_that_is_missing_or_damaged_is_named(tmp_path):
    damaged = tmp_path / "b.wav"
    damaged.write_bytes(b"RIFF, or not")
    for path in (tmp_path / "a.wav", damaged):
        content, note = mistake_cards.audio_of(Source(path), SETTINGS)
        assert content is None
        assert note.startswith(f"{path}: ")


@pytest.mark.parametrize(("number", "mode", "frequency", "start"), [(0, "beginning", 300, ""), (2, "all", 500, "1"),
                                                                    (0, "loudest", 700, "2")])
def test_player_has_the_part_of_a_long_sound_that_the_clip_is_of(tmp_path, number, mode, frequency, start):
    parts = [sine(hertz, level=level) for hertz, level in ((300, 0.3), (500, 0.3), (700, 0.5))]
    path = write(tmp_path / "a.wav", np.concatenate(parts, axis=1))
    content, note = mistake_cards.audio_of(Source(path, number, mode), SETTINGS)
    decoded, _ = soundfile.read(io.BytesIO(content))
    assert np.abs(np.fft.rfft(decoded[:RATE])).argmax() == pytest.approx(frequency, abs=2)
    assert note == "1 s of 3 s" + (f", from {start}.00 s" if start else "")
    assert mistake_cards.audio_of(Source(path, 4), SETTINGS) == (
        None, f"{path} is shorter than when it was preprocessed")
