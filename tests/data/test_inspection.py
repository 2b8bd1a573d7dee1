"""Statistics of synthesized sounds are exact."""

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.data.inspection import clipped_samples, describe_problems, find_problems, measure, measure_all
from audio_utils.data.sounds import Sound

SILENT = 10 ** (-60 / 20)


@pytest.mark.parametrize("seconds", [1, 100])  # 100 s are several blocks
def test_statistics_are_exact(tmp_path, seconds):
    tone = sine(100, seconds / 2, 8000, level=0.5)
    path = write(tmp_path / "a.wav", np.concatenate([0 * tone, tone], axis=1), subtype="FLOAT")
    found = measure(path, SILENT)
    assert found.seconds == seconds
    assert found.active_seconds == pytest.approx(seconds / 2, abs=0.02)
    assert found.level_db == pytest.approx(10 * np.log10(0.5 ** 2 / 2 / 2), abs=1e-3)
    assert (found.clipped, found.silent_channels, found.info.samples) == (0, 0, 8000 * seconds)


@pytest.mark.parametrize("seconds", [1, 100])
def test_a_dc_offset_changes_no_other_statistic(tmp_path, seconds):
    tone = sine(100, seconds / 2, 8000, level=0.3)
    audio = np.concatenate([0 * tone, tone], axis=1)
    plain, moved, silent = (measure(write(tmp_path / "a.wav", each, subtype="FLOAT"), SILENT)
                            for each in (audio, audio + 0.2, 0 * audio - 0.3))
    assert moved.active_seconds == plain.active_seconds
    assert moved.level_db == pytest.approx(plain.level_db, abs=1e-3)
    assert (plain.dc_channels, moved.dc_channels, silent.dc_channels) == (0, 1, 1)
    assert (silent.active_seconds, silent.level_db, silent.clipped) == (0, -80, 0)


def test_only_channels_that_differ_from_others_count_as_silent(tmp_path):
    tone = sine()
    one = measure(write(tmp_path / "a.wav", np.concatenate([tone, 0 * tone, 0 * tone])), SILENT)
    none = measure(write(tmp_path / "b.wav", np.concatenate([0 * tone, 0 * tone])), SILENT)
    assert (one.silent_channels, none.silent_channels) == (2, 0)
    assert none.level_db == -80


@pytest.mark.parametrize(("audio", "count"), [
    (sine(50, 1, 44100, level=1.0), 0),  # full scale, but not clipped
    (np.clip(sine(441, 1, 44100, level=2.0), -1, 1), None), (np.full((1, 10), 0.5), 0), (np.full((1, 10), -1.0), 8),
    (np.array([[0, 1, 1, 0, 1, 0, 1, 1, 1, 0]]), 1), (np.array([[0.0, 1.02, -1.01, 0.5]]), 2)])
def test_only_clipped_samples_count(audio, count):
    found = clipped_samples(audio, np.abs(audio))
    if count is None:  # 2 sin x exceeds 1 for two thirds of the time
        assert found / audio.size == pytest.approx(2 / 3, abs=0.05)
    else:
        assert found == count


def test_unreadable_sounds_have_a_sentence_and_no_statistics(tmp_path):
    good = Sound("a", str(write(tmp_path / "good.wav", sine())))
    bad = Sound("a", str(write(tmp_path / "bad.wav", sine() * np.nan, subtype="FLOAT")))
    statistics, failed = measure_all([bad, good], -60, 1)
    assert list(statistics) == [good]
    assert failed == [f"{bad.path}: contains NaN or infinite samples; repair or remove it."]


def test_problems_are_compared_with_the_class(tmp_path):
    sounds = [Sound("a", str(write(tmp_path / f"{i}.wav", sine(seconds=seconds, level=level))))
              for i, (seconds, level) in enumerate([(1, 0.5), (1, 0.5), (0.03, 0.5), (1, 0), (1, 3)])]
    statistics, _ = measure_all(sounds, -60, 1)
    problems = find_problems(statistics, 0.05, 0.001)
    assert {problem: [sound.path.stem for sound in found] for problem, found in problems.items()} == {
        "silent": ["3"], "empty": ["2"], "clipped": ["4"], "silent channel": [], "DC offset": []}


@pytest.mark.parametrize(("offset", "level", "subtype", "found"), [
    (0.2, 0.02, "PCM_16", 1), (-0.2, 0.02, "FLOAT", 1), (0.2, 0, "PCM_24", 1),  # more than the sound, or without one
    (0.2, 0.5, "PCM_16", 0), (0.0005, 0, "FLOAT", 0), (0, 0.5, "PCM_16", 0)])  # less than the sound, or than silence
def test_a_dc_offset_above_the_sound_is_found_in_its_channel(tmp_path, offset, level, subtype, found):
    audio = np.concatenate([sine(level=0.5), offset + sine(level=level)])
    sound = Sound("a", str(write(tmp_path / "a.wav", audio, subtype=subtype)))
    statistics, _ = measure_all([sound], -60, 1)
    assert statistics[sound].dc_channels == found
    problems = find_problems(statistics, 0.05, 0.001)
    assert problems["DC offset"] == [sound] * found
    sentences = [text for text in describe_problems(problems, -60) if "DC" in text]
    text = (f"{sound.path}: a DC offset larger than the sound itself (preprocessing removes it); check the "
            "recorder, or keep it.")
    assert sentences == [text] * found
