"""melgram_layers.py: the graph computes the melgram of audio/melgram.py, for sounds that are numerically difficult."""

import dataclasses

import numpy as np
import pytest
from conftest import sine

import panotti_models
from audio_utils.audio import melgram
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.inference import melgram_layers

keras = panotti_models.keras
RATE, SAMPLES = 8000, 2000
STANDARD = MelgramSettings.of(RATE, SAMPLES, 2, 32, 46.44, 11.61)  # FFT 375: odd, and longer than the window of 372


def noise(level=1.0, channels=2, seed=0):
    return (level * np.random.default_rng(seed).standard_normal((channels, SAMPLES))).astype(np.float32)


def tone(frequency=1000, level=0.5):
    return sine(frequency, SAMPLES / RATE, RATE, 2, level)


SOUNDS = {
    "noise": noise(0.1), "silence": noise(0), "tone above noise at -75 dB": tone() + noise(1e-4),
    "full-scale square wave": np.sign(tone(997) + 1e-9).astype(np.float32),
    "channels of different levels": noise() * np.float32([[1], [1e-4]]), "one silent channel": noise() * [[1], [0]],
    "DC offset": noise(1e-3) + np.float32(0.7), "constant": np.full((2, SAMPLES), 0.3, np.float32),
    "constant but for its last bit": np.float32(0.25) + np.float32(2 ** -15) * (noise() > 0),
    "alternating between 0 and the last bit": np.float32(2 ** -15) * (noise() > 0),
    "very loud": noise(1e8), "click": np.eye(1, SAMPLES, SAMPLES - 1, dtype=np.float32).repeat(2, axis=0)}


def computed(settings, audio):
    """The melgrams of clips (clips, channels, samples) by the graph."""
    inputs = keras.Input(audio.shape[1:])
    return keras.ops.convert_to_numpy(keras.Model(inputs, melgram_layers.melgrams(inputs, settings))(audio))


def expected(settings, audio):
    return np.stack([melgram.melgram(each, settings) for each in audio])


def test_difficult_sounds_have_the_same_melgram():
    audio = np.stack([each.astype(np.float32) for each in SOUNDS.values()])
    differences = np.abs(computed(STANDARD, audio) - expected(STANDARD, audio)).max(axis=(1, 2, 3))
    assert dict(zip(SOUNDS, differences, strict=True)) == pytest.approx(dict.fromkeys(SOUNDS, 0), abs=5e-3)


@pytest.mark.parametrize("changes", [
    {"window": 256, "fft": 256, "hop": 64}, {"window": 300, "fft": 384, "hop": 128}, {"hop": 500}, {"hop": 31},
    {"window": 49, "fft": 49, "hop": 5, "mels": 8}, {"window": 7, "fft": 7, "hop": 9, "clip_samples": 10, "mels": 1},
    {"clip_samples": 100}, {"clip_samples": 93 * 20}, {"channels": 1}, {"channels": 5}, {"format_version": 1}],
    ids=str)
def test_every_setting_has_the_same_melgram(changes):
    settings = dataclasses.replace(STANDARD, **changes)
    audio = noise(0.1, 2 * settings.channels)[:, :settings.clip_samples] + np.float32(0.5)
    audio = audio.reshape(2, settings.channels, settings.clip_samples)
    assert computed(settings, audio) == pytest.approx(expected(settings, audio), abs=1e-3)


def test_a_padded_sound_has_the_melgram_of_the_sound():
    audio = noise(0.01)[:, :1200] + np.float32(0.5)
    padded = np.pad(audio - audio.mean(axis=1, keepdims=True), ((0, 0), (0, SAMPLES - 1200)))
    assert computed(STANDARD, padded[None])[0] == pytest.approx(melgram.melgram(audio, STANDARD), abs=1e-3)
