"""export_clips.py: the sounds of an export's check, with the melgrams that predict_class.py computes of them."""

import dataclasses

import numpy as np
import pytest
from conftest import sine, write
from networks import NAMES, SETTINGS

from audio_utils.audio import melgram
from audio_utils.inference import export_clips
from audio_utils.inference.windows import read_clip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "Samples"


def test_the_melgrams_are_those_of_predict_class(folder):
    """For a mono sound that is resampled, a short one with a DC offset, and a long one, which is cut."""
    sounds = [write(folder / "low/0.wav", sine(seconds=0.2, rate=11025), 11025),
              write(folder / "low/1.wav", sine(seconds=0.1, level=0.01, channels=2) + np.float32(0.5)),
              write(folder / f"{NAMES[1]}/2.wav", sine(seconds=0.25, channels=2))]
    write(folder / "other/3.wav", sine(seconds=0.25))
    clips = export_clips.of_samples(SETTINGS, NAMES)
    assert clips.description == "3 sounds of Samples/"
    assert clips.inputs.shape == (3, SETTINGS.channels, SETTINGS.clip_samples)
    np.testing.assert_array_equal(clips.melgrams, [read_clip(path, SETTINGS).melgram for path in sounds])
    assert clips.inputs == pytest.approx(clips.inputs - clips.inputs.mean(axis=2, keepdims=True), abs=1e-4)
    again = [melgram.melgram(audio, SETTINGS) for audio in clips.inputs]
    assert clips.melgrams == pytest.approx(np.stack(again), abs=1e-2)


def test_a_long_sound_is_cut(folder):
    audio = sine(seconds=0.6, channels=2) * np.linspace(1, 0, 4800, dtype=np.float32)
    write(folder / "low/0.wav", audio, subtype="FLOAT")
    [found], _, _ = export_clips.of_samples(SETTINGS, NAMES)
    np.testing.assert_array_equal(found, audio[:, :SETTINGS.clip_samples])


def test_files_that_cannot_be_read_are_named_and_left_out(folder, capsys):
    write(folder / "low/0.wav", sine(seconds=0.1))
    (folder / "low/1.wav").write_bytes(b"RIFF")
    assert export_clips.of_samples(SETTINGS, NAMES).description == "1 sound of Samples/"
    assert capsys.readouterr().err.startswith("Samples/low/1.wav: ")


@pytest.mark.parametrize("content", ["nothing", "no file that can be read", "other classes"])
def test_without_sounds_there_are_tones_in_noise(folder, capsys, content):
    if content != "nothing":
        path = folder / ("low" if content.startswith("no") else "other") / "0.wav"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"RIFF")
    clips = export_clips.of_samples(SETTINGS, NAMES)
    assert clips.description == "32 tones in noise"
    assert capsys.readouterr().err.endswith("The check uses tones in noise instead.\n")
    assert np.ptp(clips.melgrams.max(axis=(1, 2, 3))) > 20  # levels differ


def test_sounds_are_spread_over_all_and_fit_into_the_memory(tmp_path):
    paths = [*range(1000)]
    assert export_clips._spread(paths, SETTINGS) == [*range(0, 1000, 10)]
    assert export_clips._spread(paths[:3], SETTINGS) == [0, 1, 2]
    assert len(export_clips._spread(paths, dataclasses.replace(SETTINGS, clip_samples=1 << 22))) == 5
    assert export_clips._spread([], SETTINGS) == []
