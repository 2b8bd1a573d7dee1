"""Melgrams: librosa's values, channel by channel, at every rate and length."""

import dataclasses

import librosa
import numpy as np
import pytest
import scipy.fft
import soundfile
from conftest import sine, write

from audio_utils.audio import melgram
from audio_utils.audio.audio_io import AudioError
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.runtime.errors import UserError


def settings_for(rate=44100, seconds=1.0, channels=1):
    return MelgramSettings.of(rate, round(seconds * rate), channels, mels=96, window_ms=46.44, hop_ms=11.61)


def by_librosa(channel, settings):
    channel = (channel - channel.mean(dtype=np.float64)).astype(np.float32)
    power = librosa.feature.melspectrogram(y=channel, sr=settings.sample_rate, n_fft=settings.fft, n_mels=settings.mels,
                                           win_length=settings.window, hop_length=settings.hop)
    return librosa.power_to_db(power, ref=1.0, top_db=80)


def test_defaults_are_those_of_the_first_panotti():
    settings = settings_for(44100, 2)
    assert (settings.mels, settings.fft, settings.window, settings.hop) == (96, 2048, 2048, 512)
    assert settings.shape == (96, 173, 1)
    assert settings_for(8000).hop == 93  # the same 11.61 ms


@pytest.mark.parametrize("fft", [372, 375])
@pytest.mark.parametrize("samples", [1, 92, 93, 94, 1860])  # 1860 is a multiple of the hop
def test_the_shape_is_that_of_the_melgram_for_an_odd_fft_too(fft, samples):
    settings = dataclasses.replace(settings_for(8000), fft=fft, clip_samples=samples)
    assert melgram.melgram(sine(seconds=samples / 8000), settings).shape == settings.shape


@pytest.mark.parametrize("rate", [1000, 2000, 8000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("seconds", [0.002, 0.1, 1.0])
@pytest.mark.filterwarnings("ignore:n_fft")
def test_melgrams_equal_librosa_at_every_rate_and_length(rate, seconds):
    settings = settings_for(rate, seconds, channels=2)
    rng = np.random.default_rng(0)
    audio = rng.normal(0, 0.1, (2, settings.clip_samples)).astype(np.float32)
    audio[1] *= np.linspace(1, 0, settings.clip_samples, dtype=np.float32) ** 8  # falls below the floor of top_db
    found = melgram.melgram(audio, settings)
    assert (found.shape, found.dtype) == (settings.shape, np.float32)
    for i, channel in enumerate(audio):
        assert np.abs(found[:, :, i] - by_librosa(channel, settings)).max() < 1e-3


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_melgrams_of_a_stereo_file_equal_librosa(tmp_path, subtype):
    audio = np.random.default_rng(1).normal(0, 0.1, (2, 44100)).astype(np.float32)
    path = write(tmp_path / "a.wav", audio, 44100, subtype=subtype)
    found, warning = melgram.of_file(path, settings_for(44100, 1, channels=2))
    loaded = soundfile.read(path, dtype="float32")[0].T
    for i in range(2):
        assert np.abs(found[:, :, i] - by_librosa(loaded[i], settings_for())).max() < 1e-3
    assert warning == ""


def test_each_channel_equals_its_own_mono_melgram():
    audio = np.concatenate([sine(300, rate=44100), sine(3000, rate=44100)])
    both = melgram.melgram(audio, settings_for(channels=2))
    for i in range(2):
        assert np.array_equal(both[:, :, [i]], melgram.melgram(audio[[i]], settings_for()))
        band = both[:, 40, i].argmax()
        assert abs(librosa.mel_frequencies(98, fmax=22050)[band + 1] - (300, 3000)[i]) < 80


@pytest.mark.parametrize("rate", [500, 1000, 2000, 4000])
def test_no_mel_band_is_empty(rate):
    assert all(filters.any(axis=0).all() for _, _, filters in settings_for(rate).tables.filters)


def test_silence_is_minus_100_db():
    found = melgram.melgram(np.zeros((1, 100), np.float32), settings_for())
    assert found.shape == (96, 87, 1)
    assert np.abs(found + 100).max() < 1e-4


def test_sounds_are_conformed_to_length_rate_and_channels():
    settings = settings_for(8000, 1, channels=2)
    conformed = melgram.conform(sine(440, 0.5, 16000), 16000, settings)
    assert conformed.shape == (2, 4000)
    assert np.array_equal(conformed[0], conformed[1])
    assert melgram.conform(sine(seconds=3, channels=2), 8000, settings).shape == (2, 8000)
    assert np.array_equal(melgram.match_channels(np.array([[1.0, 1], [0, 2]]), 1), [[0.5, 1.5]])
    assert np.array_equal(melgram.match_channels(np.array([[1.0], [2]]), 4), [[1], [2], [0], [0]])
    with pytest.raises(AudioError, match="loud.wav: has 3 channels, the other sounds 2"):
        melgram.match_channels(np.zeros((3, 5)), 2, "loud.wav")


@pytest.mark.parametrize("rate", [100, 1000, 8000, 11025, 22050, 44100, 96000])
def test_filters_window_and_fft_length_equal_librosa_and_scipy(rate):
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


def test_a_long_file_is_read_only_as_far_as_needed(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", sine(seconds=60))
    requested = []
    read = melgram.audio_io._blocks
    monkeypatch.setattr(melgram.audio_io, "_blocks", lambda *given: requested.append(given[-1]) or read(*given))
    melgram.of_file(path, settings_for(8000, 1))
    assert requested == [8800]


CONSTANTS = {"zero": (0, "FLOAT"), "offset": (0.2, "FLOAT"), "8 bits": (0.2, "PCM_U8"), "16 bits": (-0.7, "PCM_16"),
             "24 bits": (0.2, "PCM_24"), "full scale": (1, "PCM_16"), "loud": (1e9, "FLOAT"), "faint": (1e-6, "FLOAT")}


@pytest.mark.parametrize("noise", [0, 0.4])  # steps of the samples
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (8000, 2), (44100, 2), (6000, 1)])
@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_is_silent_in_every_sample_type_and_at_every_rate(tmp_path, name, rate, channels, noise):
    """Also with noise of less than one step of the samples, so that they alternate between two values."""
    value, subtype = CONSTANTS[name]
    step = {"PCM_U8": 2 ** -7, "PCM_16": 2 ** -15, "PCM_24": 2 ** -23}.get(subtype, abs(value) * 2 ** -24)
    value = value + step / 2 if 0 < abs(value) < 1 else value
    rng = np.random.default_rng(0)
    audio = np.full((channels, rate), value) + rng.uniform(-1, 1, (channels, rate)) * noise * step
    path = write(tmp_path / "a.wav", audio, rate, subtype=subtype)
    for clip_channels in (1, 2):
        found, warning = melgram.of_file(path, settings_for(8000, 0.5, clip_channels))
        assert found.max() <= melgram.SILENT_DB
        assert warning == f"{path}: is silent; kept."


def test_silent_and_truncated_files_give_a_warning(tmp_path):
    silent = write(tmp_path / "silent.wav", np.zeros((1, 8000)))
    assert melgram.of_file(silent, settings_for(8000))[1] == f"{silent}: is silent; kept."
    cut = write(tmp_path / "cut.wav", sine())
    cut.write_bytes(cut.read_bytes()[:8000])
    assert melgram.of_file(cut, settings_for(8000))[1] == f"{cut}: is truncated; the available part is used."


def test_settings_survive_json_and_invalid_ones_are_refused():
    settings = settings_for()
    good = settings.to_dict()
    assert MelgramSettings.from_dict(good, "s.json", "run x") == settings
    for bad in ({}, good | {"fft": "2048"}, good | {"mels": 0}, good | {"hop": 1e9}, good | {"format_version": "2"},
                good | {"channels": True}, good | {"window": 4096}, {**good, "clip_samples": None},
                good | {"format_version": 0}, good | {"format_version": True}):
        with pytest.raises(UserError, match="s.json: contains no valid settings; run x."):
            MelgramSettings.from_dict(bad, "s.json", "run x")


def test_settings_of_earlier_versions_are_read_and_those_of_a_later_one_are_refused():
    settings = settings_for()
    for version in range(1, melgram.FORMAT_VERSION + 1):
        old = dataclasses.replace(settings, format_version=version)
        assert MelgramSettings.from_dict(old.to_dict(), "s.json", "run x") == old
        assert old.removes_dc == (version > 1)
    with pytest.raises(UserError, match="s.json: was written by a newer version of Panotti; update Panotti, or run x"):
        MelgramSettings.from_dict({"format_version": melgram.FORMAT_VERSION + 1, "new": 1}, "s.json", "run x")
    assert settings.format_version == melgram.FORMAT_VERSION


def test_version_1_keeps_the_dc_offset():
    old = dataclasses.replace(settings_for(8000), format_version=1)
    audio = sine(seconds=0.5) + np.float32(0.2)
    padded = np.pad(audio, ((0, 0), (0, 4000)))
    assert np.array_equal(melgram.melgram(audio, old), melgram.melgram(padded, old))
    with_offset, without = (melgram.melgram(each, old) for each in (audio, sine(seconds=0.5)))
    assert np.abs(with_offset - without).max() > 20
    assert np.abs(melgram.melgram(audio, settings_for(8000)) - without).max() < 0.1


@pytest.mark.parametrize("rate", [1000, 2000, 8000, 44100])
def test_band_of_hz_equals_librosa_and_inverts_band_hz(rate):
    settings = settings_for(rate)
    for hz in (10, 200, 999, 1000, 1001, 20000):
        expected = librosa.hz_to_mel(hz) / librosa.hz_to_mel(rate / 2) * 97 - 1
        assert settings.band_of_hz(hz) == expected
    assert [settings.band_of_hz(hz) for hz in settings.band_hz] == pytest.approx(range(96), abs=1e-9)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rate", [8000, 44100])  # 44100 is resampled
@pytest.mark.parametrize(("scale", "window_ms", "hop_ms"), [(2.0 ** 31, 46.44, 20), (9e9, 46.44, 20),
                                                            (9e9, 100_000, 250)])
def test_melgrams_of_integers_stored_as_floats_are_finite(tmp_path, rate, scale, window_ms, hop_ms):
    noise = np.random.default_rng(0).choice([-1.0, 1.0], (2, rate)) * scale
    path = write(tmp_path / "x.wav", noise, rate, subtype="FLOAT")
    settings = MelgramSettings.of(8000, 8000, 2, 40, window_ms, hop_ms)
    found, warning = melgram.of_file(path, settings)
    assert np.isfinite(found).all()
    assert warning == ""


@pytest.mark.parametrize(("extension", "subtype"), [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_16"),
                                                    ("ogg", "VORBIS"), ("mp3", None)])
def test_channels_that_cancel_each_other_are_named(tmp_path, extension, subtype):
    tone = sine(rate=44100)  # Vorbis changes the phase of high frequencies, so that noise would not cancel
    rounding = np.random.default_rng(1).uniform(-1, 1, tone.shape).astype(np.float32) * 2 ** -15
    path = write(tmp_path / f"x.{extension}", np.concatenate([tone, rounding - tone]), 44100, subtype=subtype)
    text = f"{path}: its channels cancel each other out in the mono mix; invert or remove one of them."
    assert melgram.of_file(path, settings_for())[1] == text
    assert melgram.of_file(path, settings_for(channels=2))[1] == ""


@pytest.mark.parametrize("offsets", [(0.2, -0.2), (0.2, 0.2), (0.3, 0)])
def test_dc_offsets_do_not_affect_whether_channels_cancel(tmp_path, offsets):
    noise = np.random.default_rng(0).normal(0, 0.001, (2, 8000)) + np.array([offsets]).T
    path = write(tmp_path / "x.wav", noise, subtype="FLOAT")
    assert melgram.of_file(path, settings_for(8000))[1] == ""
    noise[1] = offsets[1] + offsets[0] - noise[0]
    path = write(tmp_path / "x.wav", noise, subtype="FLOAT")
    assert melgram.of_file(path, settings_for(8000))[1] == melgram.canceled(path)


@pytest.mark.parametrize("mix", [[[1, 0], [0, 1]], [[1, 0], [0.9, 0.1]], [[1, 0], [-0.9, 0.1]], [[1, 0], [1, 0]],
                                 [[1, 0], [0, 0]], [[1, 0], [0, 0.001]]])
def test_other_channels_do_not_cancel(tmp_path, mix):
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 8000))
    path = write(tmp_path / "x.wav", np.array(mix) @ noise)
    assert melgram.of_file(path, settings_for(8000))[1] == ""
