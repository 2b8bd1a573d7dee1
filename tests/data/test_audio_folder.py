"""Folders of noise and impulse responses: which files are found, and bad ones among good ones."""

import pytest
from conftest import sine, write

from audio_utils.audio import audio_io
from audio_utils.data import audio_folder
from audio_utils.runtime.errors import UserError


@pytest.fixture
def noise(tmp_path):
    for name in ("b.wav", "a/ä, ✓.flac", "a/deep/c.ogg", "Z.wav", ".hidden.wav", ".git/d.wav"):
        write(tmp_path / "noise" / name, sine(seconds=0.1))
    for name in ("README", "list.csv", "a/cover.jpg"):
        (tmp_path / "noise" / name).write_text("x")
    return tmp_path / "noise"


def test_audio_is_found_in_all_folders_and_sorted(noise):
    expected = [noise / name for name in ("Z.wav", "a/deep/c.ogg", "a/ä, ✓.flac", "b.wav")]
    assert audio_folder.find(str(noise), "NOISE_FOLDER") == expected
    (noise / "a/loop").symlink_to(noise)
    assert audio_folder.find(str(noise), "NOISE_FOLDER") == expected
    assert audio_folder.find("", "NOISE_FOLDER") == []


@pytest.mark.parametrize(("name", "problem"), [
    ("none", "does not exist"), ("empty", "contains no audio files"), ("a.wav", "is not a folder")])
def test_a_folder_without_audio_is_one_sentence(tmp_path, name, problem):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.wav").touch()
    with pytest.raises(UserError) as error:
        audio_folder.find(str(tmp_path / name), "NOISE_FOLDER")
    assert str(error.value) == f"{tmp_path}/{name}: {problem}; set NOISE_FOLDER to a folder of audio files."


def test_bad_files_are_left_out_and_if_all_are_bad_the_folder_is_refused(noise):
    (noise / "Z.wav").write_text("Birds.")
    files = audio_folder.find(str(noise), "NOISE_FOLDER")
    found, refused = audio_folder.load(str(noise), files, audio_io.info, 1)
    assert [info.format for info in found] == ["OGG", "FLAC", "WAV"]
    assert refused == [(noise / "Z.wav", "is not a readable audio file; convert it to wav or remove it")]
    with pytest.raises(UserError) as error:
        audio_folder.load(str(noise), files[:1], audio_io.info, 1)
    assert str(error.value) == (f"{noise}: contains no usable file (Z.wav is not a readable audio file; convert it to "
                                "wav or remove it).")
