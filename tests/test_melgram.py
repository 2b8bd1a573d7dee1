"""Melgrams: librosa's values, channel by channel, at every rate and length."""

import librosa
import numpy as np
import pytest
import scipy.fft
import soundfile
from conftest import sine, write

from audio_utils import melgram
from audio_utils.audio_io import AudioError
from audio_utils.melgram import MelgramSettings
from audio_utils.safe_files import UserError


def settings_for(rate=44100, seconds=1.0, channels=1):
    return MelgramSettings.of(rate, round(seconds * rate), channels, mels=96, window_ms=46.44, hop_ms=11.61)


def by_librosa(channel, settings):
    power = librosa.feature.melspectrogram(y=channel, sr=settings.sample_rate, n_fft=settings.fft, n_mels=settings.mels,
                                           win_length=settings.window, hop_length=settings.hop)
    return librosa.power_to_db(power, ref=1.0, top_db=80)


def test_original_settings():
    settings = settings_for(44100, 2)
    assert (settings.mels, settings.fft, settings.window, settings.hop) == (96, 2048, 2048, 512)
    assert settings.shape == (96, 173, 1)
    assert settings_for(8000).hop == 93  # the same 11.61 ms


@pytest.mark.parametrize("rate", [1000, 2000, 8000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("seconds", [0.002, 0.1, 1.0])
@pytest.mark.filterwarnings("ignore:n_fft")
def test_equal_to_librosa(rate, seconds):
    settings = settings_for(rate, seconds, channels=2)
    rng = np.random.default_rng(0)
    audio = rng.normal(0, 0.1, (2, settings.clip_samples)).astype(np.float32)
    audio[1] *= np.linspace(1, 0, settings.clip_samples, dtype=np.float32) ** 8  # falls through the floor of top_db
    found = melgram.melgram(audio, settings)
    assert (found.shape, found.dtype) == (settings.shape, np.float32)
    for i, channel in enumerate(audio):
        assert np.abs(found[:, :, i] - by_librosa(channel, settings)).max() < 1e-3


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_equal_to_librosa_from_a_stereo_file(tmp_path, subtype):
    audio = np.random.default_rng(1).normal(0, 0.1, (2, 44100)).astype(np.float32)
    path = write(tmp_path / "a.wav", audio, 44100, subtype=subtype)
    found, remark = melgram.of_file(path, settings_for(44100, 1, channels=2))
    loaded = soundfile.read(path, dtype="float32")[0].T
    for i in range(2):
        assert np.abs(found[:, :, i] - by_librosa(loaded[i], settings_for())).max() < 1e-3
    assert remark == ""


def test_each_channel_is_its_mono_run():
    audio = np.concatenate([sine(300, rate=44100), sine(3000, rate=44100)])
    both = melgram.melgram(audio, settings_for(channels=2))
    for i in range(2):
        assert np.array_equal(both[:, :, [i]], melgram.melgram(audio[[i]], settings_for()))
        band = both[:, 40, i].argmax()
        assert abs(librosa.mel_frequencies(98, fmax=22050)[band + 1] - (300, 3000)[i]) < 80


@pytest.mark.parametrize("rate", [500, 1000, 2000, 4000])
def test_no_mel_band_is_empty(rate):
    assert all(filters.any(axis=0).all() for _, _, filters in settings_for(rate).tables.filters)


def test_silence_is_the_floor():
    found = melgram.melgram(np.zeros((1, 100), np.float32), settings_for())
    assert found.shape == (96, 1, 1)
    assert np.abs(found + 100).max() < 1e-4


def test_conform_length_rate_and_channels():
    settings = settings_for(8000, 1, channels=2)
    conformed = melgram.conform(sine(440, 0.5, 16000), 16000, settings)
    assert conformed.shape == (2, 8000)
    assert np.array_equal(conformed[0], conformed[1])
    assert not conformed[:, 4000:].any()
    assert melgram.conform(sine(seconds=3, channels=2), 8000, settings).shape == (2, 8000)
    assert np.array_equal(melgram.match_channels(np.array([[1.0, 1], [0, 2]]), 1), [[0.5, 1.5]])
    assert np.array_equal(melgram.match_channels(np.array([[1.0], [2]]), 4), [[1], [2], [0], [0]])
    with pytest.raises(AudioError, match="loud.wav: has 3 channels, the other sounds 2"):
        melgram.match_channels(np.zeros((3, 5)), 2, "loud.wav")


@pytest.mark.parametrize("rate", [100, 1000, 8000, 11025, 22050, 44100, 96000])
def test_tables_are_those_of_librosa_and_scipy(rate):
    for mels in (1, 40, 96, 128):
        settings = MelgramSettings.of(rate, rate, 1, mels, 46.44, 11.61)
        filters = np.zeros((1 + settings.fft // 2, mels), np.float32)
        for bands, bins, block in settings.tables.filters:
            filters[bins, bands] = block
        assert np.array_equal(filters, librosa.filters.mel(sr=rate, n_fft=settings.fft, n_mels=mels).T)
        window = librosa.filters.get_window("hann", settings.window)
        assert np.allclose(settings.tables.window, librosa.util.pad_center(window, size=settings.fft), atol=1e-7)
    for length in range(2, 3000):
        assert melgram.fast_length(length) == scipy.fft.next_fast_len(length, real=True)


def test_a_long_file_is_read_no_further_than_needed(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", sine(seconds=60))
    asked = []
    read = melgram.audio_io._blocks
    monkeypatch.setattr(melgram.audio_io, "_blocks", lambda *given: asked.append(given[-1]) or read(*given))
    melgram.of_file(path, settings_for(8000, 1))
    assert asked == [8800]


def test_remarks(tmp_path):
    silent = write(tmp_path / "silent.wav", np.zeros((1, 8000)))
    assert melgram.of_file(silent, settings_for(8000))[1] == f"{silent}: is silent; kept."
    cut = write(tmp_path / "cut.wav", sine())
    cut.write_bytes(cut.read_bytes()[:8000])
    assert melgram.of_file(cut, settings_for(8000))[1] == f"{cut}: is cut short; what is there is used."


def test_settings_survive_json_and_refuse_rubbish():
    settings = settings_for()
    good = settings.to_dict()
    assert MelgramSettings.from_dict(good, "s.json") == settings
    for bad in ({}, good | {"fft": "2048"}, good | {"mels": 0}, good | {"hop": 1e9}, good | {"format_version": 99},
                good | {"channels": True}, good | {"window": 4096}, {**good, "clip_samples": None}):
        with pytest.raises(UserError, match="s.json: holds no settings"):
            MelgramSettings.from_dict(bad, "s.json")
