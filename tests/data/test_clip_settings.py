"""The settings of preprocessing: from the constants, and from the sounds' headers."""

from pathlib import Path

import pytest

import preprocess_data
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.data import clip_settings
from audio_utils.runtime import command_line
from audio_utils.runtime.errors import UserError


def options(**changes):
    return command_line.constants(preprocess_data, changes)


def headers(*samples, rates=(8000,), channels=(1,)):
    """{path: AudioInfo} of files of these lengths."""
    return {Path(f"{i}.wav"): AudioInfo(length, rates[i % len(rates)], channels[i % len(channels)], False, "WAV",
                                        "PCM_16") for i, length in enumerate(samples)}


@pytest.mark.parametrize(("rates", "rate"), [([8000, 8000, 44100], 8000), ([8000, 44100], 44100)])
def test_the_rate_is_the_most_frequent_one_or_the_higher_of_equals(rates, rate):
    assert clip_settings.choose(headers(*[800] * len(rates), rates=rates), options()).sample_rate == rate


def test_the_clip_length_is_the_maximum_at_that_rate():
    found = clip_settings.choose(headers(800, 4410, 1001, rates=[8000, 44100, 8000]), options())
    assert found.clip_samples == 1001


def test_a_few_files_over_4_times_as_long_do_not_determine_the_clip_length():
    assert clip_settings.choose(headers(*[1000] * 99, 4001), options()).clip_samples == 1000
    assert clip_settings.choose(headers(*[1000] * 99, 4000), options()).clip_samples == 4000


def test_channels_are_the_maximum_and_mono_is_one():
    assert clip_settings.choose(headers(800, 800, channels=[1, 3]), options()).channels == 3
    assert clip_settings.choose(headers(800, 800, channels=[1, 3]), options(MONO=True)).channels == 1


def test_constants_override_the_sounds():
    found = clip_settings.choose(headers(800), options(SAMPLE_RATE=4000, CLIP_SECONDS=0.5, MELS=20))
    assert (found.sample_rate, found.clip_samples, found.mels) == (4000, 2000, 20)


@pytest.mark.parametrize(("changes", "problem"), [
    ({"CLIP_SECONDS": 86_400, "HOP_MS": 0.5}, "0.wav: is the longest sound; with 8.64e.04 s each melgram would take"),
    ({"WINDOW_MS": 10_000, "SAMPLE_RATE": 384_000}, "These constants make fft = 3840000; lower SAMPLE_RATE")])
def test_melgrams_that_no_machine_can_hold_are_refused(changes, problem):
    with pytest.raises(UserError, match=problem):
        clip_settings.choose(headers(800), options(**changes))


@pytest.mark.parametrize("samples", [220_544, 44_099, 1_000_003])
def test_sounds_of_the_usual_length_are_not_named_as_longer(samples, capsys):
    sounds = headers(*[samples] * 99, 2 * samples, rates=[44_100])
    clip_settings.warn_of_changes(sounds, clip_settings.choose(sounds, options()), options(), chosen=True)
    assert capsys.readouterr().err.startswith("99.wav: longer than ")


def test_a_record_holds_the_settings_and_their_constants():
    settings = clip_settings.choose(headers(800), options())
    found = clip_settings.record_of(settings, options(GROUP_BY="x"))
    assert settings.to_dict().items() <= found.items()
    assert found["constants"] == {
        "SAMPLE_RATE": None, "CLIP_SECONDS": None, "LONG_FILES": "beginning", "MONO": False, "MELS": 96,
        "WINDOW_MS": 46.44, "HOP_MS": 11.61, "TEST_FRACTION": 0.2, "SEED": 1, "GROUP_BY": "x"}
