"""A folder of labelled sounds is read with the settings of a network, and all that is not used is named."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import sine, tones, write

from audio_utils.audio import melgram
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import labelled_folder
from audio_utils.runtime.errors import UserError

RATE = 8000
SETTINGS = MelgramSettings.of(RATE, RATE // 4, 1, 20, 46.44, 11.61)  # clips of 0.25 s


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tones(tmp_path, files=3, seconds=0.1)


def load(folder="Samples", settings=SETTINGS, class_names=("low", "high")):
    return labelled_folder.load(Path(folder), settings, list(class_names), 1)


def test_all_sounds_are_read_with_the_settings_and_classes_of_the_network(capsys):
    found = load(class_names=("x", "low", "high"))
    assert found.clips.names == [f"{name}/{i}.wav" for name in ("high", "low") for i in range(3)]
    assert found.clips.labels.tolist() == [2, 2, 2, 1, 1, 1]
    assert found.clips.targets.shape == (6, 3)
    for name, each in zip(found.clips.names, found.clips.melgrams, strict=True):
        assert np.array_equal(each, melgram.of_file(found.paths[name], SETTINGS)[0])
    assert found.skipped == []
    assert tuple(capsys.readouterr()) == ("", "")


@pytest.mark.parametrize("folder", ["Samples/", "Samples/.", "link", "Samples/low/.."])
def test_the_folder_can_be_given_in_any_way(folder):
    os.symlink("Samples", "link")
    assert len(load(folder).clips) == 6


@pytest.mark.parametrize(("folder", "sentence"), [
    ("a", "a/: does not exist; name a folder that contains a folder of sounds for each class."),
    ("file", "file: is a file; name a folder that"), ("loop", "loop/: does not exist"),
    ("empty", "empty/: contains no folder with sounds; create one for each class"),
    ("Samples/low", "Samples/low/: contains no folder with sounds .0.wav is not in a class folder"),
    ("Preproc", "Preproc/: contains melgrams; name the folder of their sounds."),
    ("other", "other/: has the classes a, b, c and 1 more, but the network has low, high; rename the folders, or name"),
    ("bad", "bad/: contains no sound that can be used; add sounds, or name another folder."),
    ("split", "split/: contains no sounds in Test/; add some")])
def test_a_folder_without_sounds_to_score_is_refused(folder, sentence):
    Path("file").touch()
    os.symlink("loop", "loop")
    for each in ("empty", "Preproc", "bad/low", "split/Test/low"):
        Path(each).mkdir(parents=True)
    Path("Preproc/settings.json").touch()
    Path("bad/low/a.wav").touch()
    write(Path("split/Train/low/a.wav"), sine(seconds=0.1))
    for name in "abcd":
        write(Path(f"other/{name}/0.wav"), sine(seconds=0.1))
    with pytest.raises(UserError, match=f"^{sentence}"):
        load(folder)


def test_files_that_are_not_used_are_named_and_left_out(capsys):
    write(Path("Samples/x/0.wav"), sine(seconds=0.1))
    write(Path("Samples/y/0.wav"), sine(seconds=0.1))
    Path("Samples/low/empty.wav").touch()
    write(Path("Samples/low/nan.wav"), sine(seconds=0.1) * np.nan, subtype="FLOAT")
    write(Path("Samples/low/silent.wav"), 0 * sine(seconds=0.1))
    write(Path("Samples/loose.wav"), sine(seconds=0.1))
    found = load()
    assert [str(each.path) for each in found.skipped] == [f"Samples/{name}" for name in (
        "loose.wav", "x/0.wav", "y/0.wav", "low/empty.wav", "low/nan.wav")]
    assert found.clips.names[-1] == "low/silent.wav"
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith("Samples/loose.wav: is not in a class folder")
    assert err[1] == "x, y: not classes of the network; 2 sounds are left out."
    assert err[2].startswith("Samples/low/empty.wav: ")
    assert [line.split(" ")[0] for line in err[3:]] == ["Samples/low/nan.wav:", "Samples/low/silent.wav:"]


def test_augmented_copies_are_left_out(capsys):
    path = write(Path("Samples/low/0_aug1.wav"), sine(seconds=0.1))
    found = load()
    assert len(found.clips) == 6
    assert [(str(each.path), each.reason) for each in found.skipped] == [(str(path), "is an augmented copy")]
    assert capsys.readouterr().out == "1 augmented copy is left out.\n"


def test_longer_sounds_are_cut_and_channels_mixed_which_is_said(capsys):
    write(Path("Samples/low/long.wav"), sine(seconds=0.3))
    write(Path("Samples/low/wide.wav"), sine(seconds=0.25, channels=2))
    assert load().clips.melgrams.shape == (8, *SETTINGS.shape)
    assert capsys.readouterr().err.splitlines() == [
        "Samples/low/long.wav: longer than the network's clips of 0.25 s; only the beginning is used; split long "
        "recordings with audio_utils/split_audio.py.",
        "Samples/low/wide.wav: more channels than the network's one; mixed to mono."]


def test_sounds_with_more_channels_than_the_network_are_left_out(capsys):
    write(Path("Samples/low/wide.wav"), sine(seconds=0.25, channels=3))
    found = load(settings=dataclasses.replace(SETTINGS, channels=2))
    assert len(found.clips) == 6
    assert [each.path.name for each in found.skipped] == ["wide.wav"]
    assert capsys.readouterr().err.startswith("Samples/low/wide.wav: has more channels than the network (2) and is "
                                              "left out.\n")


def test_of_the_users_own_split_only_test_is_used(capsys):
    for split in ("train", "valid", "test"):
        for name in ("low", "high"):
            write(Path(f"own/{split}/{name}/0.wav"), sine(seconds=0.1))
    found = load("own")
    assert (str(found.folder), found.clips.names) == ("own/test", ["high/0.wav", "low/0.wav"])
    assert found.paths["low/0.wav"] == Path("own/test/low/0.wav")
    assert capsys.readouterr().out == ("own/: contains train/, valid/ and test/; only the sounds of the latter are "
                                       "used.\n")


def test_a_class_in_another_unicode_normalization_form_is_that_of_the_network(tmp_path, capsys):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for each, other in ((composed, decomposed), (decomposed, composed)):
        write(tmp_path / each / each / "0.wav", sine(300, 0.1))
        found = load(each, class_names=(other, "high"))
        assert found.clips.names == [f"{other}/0.wav"]
        assert found.paths == {f"{other}/0.wav": Path(each, each, "0.wav")}
    assert tuple(capsys.readouterr()) == ("", "")


def test_sounds_with_fewer_channels_than_the_network_are_named(capsys):
    load(settings=dataclasses.replace(SETTINGS, channels=2))
    assert capsys.readouterr().err == (
        "Samples/high/0.wav, Samples/high/1.wav, Samples/high/2.wav and 3 more: fewer channels than the network's 2; "
        "mono is repeated in each channel, otherwise the missing channels are silent.\n")


def test_long_sounds_are_cut_as_those_that_the_network_was_trained_on(capsys):
    path = write("Samples/low/night.wav", np.concatenate([sine(300, 0.25), sine(500, 0.25), sine(700, 0.2)], axis=1))
    found = labelled_folder.load(Path("Samples"), SETTINGS, ["low", "high"], 1, "all")
    assert found.clips.names == [f"high/{i}.wav" for i in range(3)] + [f"low/{i}.wav" for i in range(3)] + [
        f"low/night_s{i}.wav" for i in (1, 2, 3)]
    assert found.clips.labels.tolist() == [1] * 3 + [0] * 6
    assert {name: each for name, each in found.paths.items() if "night" in name} == dict.fromkeys(
        found.clips.names[-3:], path)
    assert capsys.readouterr() == (f"{path}: longer than 0.25 s; cut into 3 clips.\n", "")
    whole = load()
    assert whole.clips.names[-1] == "low/night.wav"
    assert np.array_equal(whole.clips.melgrams[-1], found.clips.melgrams[-3])
    write("Samples/low/night_s2.wav", sine(seconds=0.1))
    with pytest.raises(UserError, match=r"night_s2.wav: has the same name as clip 2 of night.wav; rename or remove"):
        labelled_folder.load(Path("Samples"), SETTINGS, ["low", "high"], 1, "all")
