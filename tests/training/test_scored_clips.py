"""scored_clips.py: sounds that the network was trained on are found by content, and are left out or reported."""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import sine, tones, write

import preprocess_data
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import labelled_folder
from audio_utils.data.clips import Clips
from audio_utils.data.dataset import Dataset
from audio_utils.data.standardization import Standardization
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime import command_line
from audio_utils.runtime.errors import UserError
from audio_utils.training import known_clips, scored_clips

SETTINGS = MelgramSettings.of(8000, 2000, 1, 32, 46.44, 11.61)
CHECKPOINT = Checkpoint("vgg", ["high", "low"], SETTINGS, {"constants": {}},
                        Standardization(np.zeros(32, np.float32), np.ones(32, np.float32)), {}, [])


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tones(tmp_path, files=5)


def train_on(*names):
    """Write net.hdf5 of a network that was trained on these sounds of Samples/."""
    clips = labelled_folder.load(Path("Samples"), SETTINGS, CHECKPOINT.class_names, 1).clips
    indices = np.array([clips.names.index(name) for name in names], int)
    trained = Clips(clips.melgrams[indices], None, list(names), clips.class_names)
    with h5py.File("net.hdf5", "w") as file:
        checkpoints.write(file, CHECKPOINT, clips=known_clips.hashes(None, trained))


def score(folder="Samples"):
    return scored_clips.of_folder(Path(folder), CHECKPOINT, "net.hdf5", 1)


def test_sounds_that_were_trained_on_are_left_out_of_the_scores(capsys):
    train_on("low/0.wav", "high/0.wav", "low/1.wav")
    found = score()
    assert len(found.clips) == len(found.clips.melgrams) == len(found.clips.targets) == 7
    assert found.clips.class_names == ["high", "low"]
    assert not {"low/0.wav", "high/0.wav", "low/1.wav"} & set(found.clips.names)
    assert found.trained_on == (["high/0.wav", "low/0.wav", "low/1.wav"], False, "")
    assert found.source == "all sounds of Samples/, except 3 that the network was trained on"
    assert [str(each.path) for each in found.skipped] == [f"Samples/{name}" for name in found.trained_on.names]
    assert capsys.readouterr().out == ("3 of 10 sounds were in the network's Train set, such as high/0.wav; they are "
                                       "left out of the scores.\n")


def test_renamed_moved_and_relabeled_sounds_are_recognized(capsys):
    train_on("low/0.wav", "low/1.wav")
    Path("other/high").mkdir(parents=True)
    os.rename("Samples/low/0.wav", "other/high/x.wav")
    shutil.copytree("Samples/low", "other/low")
    write(Path("other/low/0.wav"), sine(300, 0.25, level=0.3))  # another sound with the name of one that was trained on
    assert score("other").trained_on.names == ["high/x.wav", "low/1.wav"]


def test_if_all_sounds_were_trained_on_they_are_scored_with_a_warning(capsys):
    train_on(*(f"{name}/{i}.wav" for name in ("low", "high") for i in range(5)))
    found = score()
    assert len(found.clips) == 10
    assert found.trained_on[1:] == (True, "All 10 sounds were in the network's Train set, so the scores are too high.")
    assert found.skipped == []
    assert capsys.readouterr().err == found.trained_on.warning + "\n"


def test_without_sounds_that_were_trained_on_nothing_is_said(capsys):
    train_on()
    assert score().trained_on == ([], False, "")
    assert tuple(capsys.readouterr()) == ("", "")


def test_for_a_network_of_an_older_version_it_is_said_that_they_are_unknown(capsys):
    with h5py.File("net.hdf5", "w") as file:
        checkpoints.write(file, CHECKPOINT)
    found = score()
    assert len(found.clips) == 10
    assert found.trained_on.names is None
    assert capsys.readouterr().err.startswith("net.hdf5: does not record the sounds that it was trained on")


# --- Test -----------------------------------------------------------------------------------------------------------

@pytest.fixture
def preprocess(call):
    return lambda *flags: call(preprocess_data, Path.cwd(), "--mels", 32, *flags)


def score_test():
    return scored_clips.of_test(command_line.constants(preprocess_data, {}), CHECKPOINT, "net.hdf5")


def test_test_sounds_that_were_in_train_are_reported(preprocess, capsys):
    preprocess()
    train_on("low/0.wav", "low/1.wav", "low/2.wav", "low/3.wav", "low/4.wav")
    capsys.readouterr()
    found = score_test()
    assert len(found.clips) == 2
    assert len(found.trained_on.names) == 1
    assert found.trained_on.are_scored
    assert found.grouping is not None
    assert capsys.readouterr().out == found.trained_on.warning + "\n"
    assert found.trained_on.warning == (f"1 sound is in Test and was in Train before, such as "
                                        f"{found.trained_on.names[0]}, so the score is too high; use --fresh.")


def test_test_sounds_that_sound_like_train_sounds_were_not_in_train_before(capsys):
    def clips(*levels):
        melgrams = [np.random.default_rng(level).normal(-40, 15, (32, 4, 1)) for level in levels]
        return Clips(np.array(melgrams, np.float32), None, [f"low/{level}.wav" for level in levels], ["low"])

    train, test = clips(1, 2), clips(3, 2, 4)
    with h5py.File("net.hdf5", "w") as file:
        checkpoints.write(file, CHECKPOINT, clips=known_clips.hashes(None, clips(1, 2, 4)))
    data = Dataset(SETTINGS, {}, lambda _split, _class_names: (train, []), None)
    found = scored_clips._report_trained("net.hdf5", test, data)
    assert found == (["low/2.wav", "low/4.wav"], True, capsys.readouterr().out.strip().replace("\n", " "))
    assert found.warning == (
        "1 of 3 Test sounds is the same as a Train sound, such as low/2.wav, so the score is too high. "
        "1 sound is in Test and was in Train before, such as low/4.wav, so the score is too high; use --fresh.")
    assert ("was in Train before or in that of other.hdf5, such as low/4.wav, so the score is too high; use --fresh "
            "without START_FROM.") in scored_clips._report_trained("net.hdf5", test, data, "other.hdf5").warning


def test_a_renamed_class_is_named_once(preprocess, capsys):
    preprocess()
    train_on()
    capsys.readouterr()
    os.rename("Samples/low", "Samples/deep")
    assert len(score_test().clips) == 2
    assert capsys.readouterr().err == ("Samples/: has deep instead of low; run preprocess_data.py, then "
                                       "train_network.py --fresh.\n")
    preprocess()
    capsys.readouterr()
    assert len(score_test().clips) == 1
    assert capsys.readouterr().err == ("Preproc/Test/deep/: is not a class of the network and is left out; to add it, "
                                       "run train_network.py --fresh.\n")


def test_melgrams_of_other_settings_are_refused_with_the_name_of_the_network(preprocess):
    preprocess("--clip-seconds", 0.2)
    with pytest.raises(UserError, match="the network in net.hdf5 was trained with"):
        score_test()


def test_no_clip_of_a_recording_that_was_trained_on_is_scored(monkeypatch, capsys):
    """Silent clips have no content, by which they could be recognized."""
    write(Path("Samples/low/night.wav"), np.concatenate([sine(200, 0.25), 0 * sine(200, 0.25)], axis=1))
    checkpoint = CHECKPOINT._replace(preprocessing={"constants": {"LONG_FILES": "all"}})
    clips = labelled_folder.load(Path("Samples"), SETTINGS, CHECKPOINT.class_names, 1, "all").clips
    trained = clips.subset(np.array([clips.names.index("low/night_s1.wav")]))
    with h5py.File("net.hdf5", "w") as file:
        checkpoints.write(file, CHECKPOINT, clips=known_clips.hashes(None, trained))
    found = scored_clips.of_folder(Path("Samples"), checkpoint, "net.hdf5", 1)
    assert len(found.clips) == 10
    assert found.long_files == "all"
    assert found.trained_on.names == ["low/night_s1.wav", "low/night_s2.wav"]
    assert [(str(each.path), each.reason) for each in found.skipped if "Train" in each.reason] == [
        ("Samples/low/night.wav", "was in the network's Train set")]
    assert "2 of 12 clips were in the network's Train set, such as low/night_s1.wav" in capsys.readouterr().out
