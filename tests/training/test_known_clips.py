"""known_clips.py: sounds that are new, gone, replaced, or were in Train before."""

import h5py
import numpy as np
import pytest

from audio_utils.data.clips import Clips
from audio_utils.training import known_clips


def clips(letters, replaced=""):
    """A clip for each letter; those that are replaced have another melgram."""
    melgrams = np.array([np.full((2, 3, 1), -ord(each) - (each in replaced)) for each in letters], np.float32)
    return Clips(melgrams.reshape(-1, 2, 3, 1), None, [f"a/{each}.wav" for each in letters], ["a", "b"])


@pytest.fixture
def save(tmp_path):
    """A function that saves the hashes of an epoch and returns the file."""
    path = tmp_path / "weights.hdf5"

    def save_hashes(found):
        hashes = known_clips.hashes(path if path.exists() else None, found)
        with h5py.File(path, "w") as file:
            for i, array in enumerate(hashes):
                file[f"panotti/clips/{i:05}"] = array
        return path
    return save_hashes


@pytest.mark.parametrize(("now", "replaced", "ended", "says"), [
    ("abc", "", True, ""), ("cab", "", False, ""),
    ("abcde", "", True, "2 sounds are new since training ended: --fresh starts anew, --continue trains on.\n"),
    ("abcd", "", False, "1 sound is new since epoch 3; it is trained on from now on, and the validation clips stay the "
                        "same.\n"),
    ("bc", "", True, "1 sound is gone since training ended; the network was trained on it: --fresh starts anew.\n"),
    ("a", "", False, "2 sounds are gone since epoch 3; the network was trained on them: --fresh starts anew.\n"),
    ("abc", "a", True, "1 sound is new since training ended: --fresh starts anew, --continue trains on.\n"
                       "1 sound is gone since training ended; the network was trained on it: --fresh starts anew.\n")])
def test_new_removed_and_replaced_sounds_are_counted(save, capsys, now, replaced, ended, says):
    known_clips.report_changes(save(clips("abc")), clips(now, replaced), 3, ended)
    assert capsys.readouterr().out == says


def test_an_older_file_says_nothing(tmp_path, capsys):
    with h5py.File(tmp_path / "weights.hdf5", "w") as file:
        file.create_group("panotti")
    known_clips.report_changes(tmp_path / "weights.hdf5", clips("abc"), 3, True)
    known_clips.report_test_sounds(tmp_path / "weights.hdf5", clips("abc"))
    assert capsys.readouterr().out == ""


def test_melgrams_that_another_computer_rounds_differently_are_the_same_sound(save, capsys):
    rng = np.random.default_rng(1)
    melgrams, names = rng.normal(-40, 15, (500, 4, 5, 1)).astype(np.float32), list(map(str, range(500)))
    path = save(Clips(melgrams, None, names, []))
    melgrams = melgrams + rng.uniform(-1e-3, 1e-3, (500, 1, 1, 1))
    known_clips.report_changes(path, Clips(melgrams, None, names, []), 3, True)
    assert capsys.readouterr().out == ""


def test_test_sounds_that_were_in_train_in_any_epoch_are_reported(save, capsys):
    for epoch in ("abc", "ab", "ad"):
        path = save(clips(epoch))
    known_clips.report_test_sounds(path, clips("ecb", replaced="b"))
    assert capsys.readouterr().out.startswith("1 sound is in Test and was in Train before, such as a/c")
    known_clips.report_test_sounds(path, clips("ecb"))
    assert capsys.readouterr().out.startswith("2 sounds are in Test and were in Train before, such as a/c")
    known_clips.report_test_sounds(path, clips("e"))
    assert capsys.readouterr().out == ""


def test_clips_that_were_in_train_at_the_last_epoch_are_known_by_name_and_melgram(save, tmp_path):
    path = save(clips("abc"))
    save(clips("ab"))
    assert known_clips.names_before(path, clips("abcd", replaced="b")) == {"a/a.wav"}
    with h5py.File(tmp_path / "old.hdf5", "w") as file:
        file.create_group("panotti")
    assert known_clips.names_before(tmp_path / "old.hdf5", clips("ab")) == {"a/a.wav", "a/b.wav"}
