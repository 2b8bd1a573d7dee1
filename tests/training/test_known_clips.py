"""known_clips.py: sounds that are new, gone or replaced, and sounds of other data that were in Train."""

import h5py
import numpy as np
import pytest

from audio_utils.data.clips import Clips
from audio_utils.training import known_clips


def clips(letters, replaced=""):
    """A clip for each letter; those that are replaced have another melgram."""
    melgrams = np.array([np.full((2, 3, 1), -ord(each) - (each in replaced) / 2) for each in letters], np.float32)
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


@pytest.mark.parametrize(("ended", "says"), [
    (True, "2 sounds have another class since training ended: --fresh starts anew, --continue trains on.\n"),
    (False, "2 sounds have another class since epoch 3; the new one is used from now on.\n")])
def test_relabeled_sounds_are_neither_new_nor_gone(save, capsys, ended, says):
    def named(letters, *names):
        return Clips(clips(letters).melgrams, None, list(names), ["a", "b"])

    path = save(clips("abc"))
    known_clips.report_changes(path, named("abc", "b/a.wav", "b/b.wav", "a/c.wav"), 3, ended)
    assert capsys.readouterr().out == says
    known_clips.report_changes(path, named("abb", "a/a.wav", "a/b.wav", "b/b.wav"), 3, ended)
    said = capsys.readouterr().out  # a copy in another class is new
    assert "1 sound is new" in said
    assert "another class" not in said


def test_other_labels_of_a_sound_are_reported_and_differ_between_processes(save, capsys):
    def labeled(targets):
        return Clips(clips("abc").melgrams, np.array(targets, np.float32), clips("abc").names, ["x", "y"], True)

    path = save(labeled([[1, 1], [0, 1], [0, 0]]))
    known_clips.report_changes(path, labeled([[1, 1], [0, 1], [0, 0]]), 3, False)
    assert capsys.readouterr().out == ""
    other = labeled([[1, 1], [1, 1], [1, 0]])
    known_clips.report_changes(path, other, 3, False)
    assert capsys.readouterr().out == (
        "2 sounds have a different set of labels since epoch 3; the new one is used from now on.\n")
    now, before = known_clips.hashes(path, other), known_clips.hashes(path, labeled([[1, 1], [0, 1], [0, 0]]))
    assert [np.array_equal(*pair) for pair in zip(now, before, strict=True)] == [True, True, True, False]


def test_an_older_file_says_nothing(tmp_path, capsys):
    with h5py.File(tmp_path / "weights.hdf5", "w") as file:
        file.create_group("panotti")
    known_clips.report_changes(tmp_path / "weights.hdf5", clips("abc"), 3, True)
    assert capsys.readouterr().out == ""
    assert known_clips.trained_on(tmp_path / "weights.hdf5", clips("abc")) is None


def test_melgrams_that_another_computer_rounds_differently_are_the_same_sound(save, capsys):
    rng = np.random.default_rng(1)
    melgrams, names = rng.normal(-40, 15, (500, 4, 5, 1)).astype(np.float32), list(map(str, range(500)))
    path = save(Clips(melgrams, None, names, []))
    melgrams = melgrams + rng.uniform(-1e-3, 1e-3, (500, 1, 1, 1))
    known_clips.report_changes(path, Clips(melgrams, None, names, []), 3, True)
    assert capsys.readouterr().out == ""


def test_clips_that_were_in_train_at_the_last_epoch_are_known_by_name_and_melgram(save, tmp_path):
    path = save(clips("abc"))
    save(clips("ab"))
    assert known_clips.names_before(path, clips("abcd", replaced="b")) == {"a/a.wav"}
    with h5py.File(tmp_path / "old.hdf5", "w") as file:
        file.create_group("panotti")
    assert known_clips.names_before(tmp_path / "old.hdf5", clips("ab")) == {"a/a.wav", "a/b.wav"}


# --- content --------------------------------------------------------------------------------------------------------

def renamed(found):
    return Clips(found.melgrams, None, [f"b/{i}.flac" for i in range(len(found))], ["b"])


def noise(count, seed=1, channels=1):
    """Random clips with the same name; the levels of their bands differ."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(-40, 3, (count, 32, 1, channels))
    melgrams = (levels + rng.normal(0, 5, (count, 32, 20, channels))).astype(np.float32)
    return Clips(melgrams, None, ["a/1.wav"] * count, ["a"])


def test_clips_that_were_in_train_in_any_epoch_are_found_by_content(save):
    for epoch in ("abc", "ab", "ad"):
        path = save(clips(epoch))
    for found in (clips("ecb", replaced="b"), renamed(clips("ecb", replaced="b"))):
        assert known_clips.trained_on(path, found).tolist() == [False, True, False]
    assert known_clips.trained_on(path, clips("")).tolist() == []


def test_clips_of_the_network_that_training_starts_from_are_found_also_after_a_resume(save, tmp_path):
    start = save(clips("ab")).rename(tmp_path / "start.hdf5")
    hashes = known_clips.hashes(None, clips("c"), start_from=str(start))
    with h5py.File(tmp_path / "weights.hdf5", "w") as file:
        for i, array in enumerate(hashes):
            file[f"panotti/clips/{i:05}"] = array
    assert known_clips.names_before(tmp_path / "weights.hdf5", clips("abc")) == {"a/c.wav"}
    assert all(map(np.array_equal, hashes, known_clips.hashes(tmp_path / "weights.hdf5", clips("c"))))
    assert known_clips.trained_on(save(clips("c")), clips("abcd")).tolist() == [True, True, True, False]
    assert known_clips.records_content(start)


def test_another_clip_of_the_same_name_and_level_is_not_found(save):
    path = save(noise(1))
    other = noise(1, seed=2)
    other.melgrams[:] += noise(1).melgrams.mean() - other.melgrams.mean()
    assert known_clips.trained_on(path, noise(1)).all()
    assert not known_clips.trained_on(path, other).any()


def test_random_clips_are_not_found(save):
    assert not known_clips.trained_on(save(noise(1000)), noise(1000, seed=2)).any()


def test_content_that_another_computer_rounds_differently_is_found(save):
    path, again = save(noise(500)), renamed(noise(500))
    again.melgrams[:] += np.random.default_rng(3).uniform(-1e-3, 1e-3, (500, 32, 1, 1))
    assert known_clips.trained_on(path, again).all()


def test_clips_that_differ_only_in_the_order_of_time_or_channels_are_not_found(save):
    path, melgrams = save(noise(9, channels=2)), noise(9, channels=2).melgrams
    for other in (melgrams[..., ::-1], melgrams[:, :, ::-1]):
        assert not known_clips.trained_on(path, Clips(other, None, ["a/1.wav"] * 9, ["a"])).any()


def test_digital_silence_is_not_found(save):
    silent = Clips(np.full((2, 2, 3, 1), -100, np.float32), None, ["a/0.wav", "a/1.wav"], ["a", "b"])
    assert not known_clips.trained_on(save(silent), silent).any()


def test_a_file_without_contents_is_searched_by_name_until_they_are_complete(save):
    path = save(clips("abc"))
    with h5py.File(path, "a") as file:
        del file["panotti/clips/00002"]
    assert known_clips.trained_on(path, clips("ab")).tolist() == [True, True]
    assert not known_clips.trained_on(path, renamed(clips("ab"))).any()
    assert len(known_clips.hashes(path, clips("ab"))) == 2  # the content of c is unknown
    assert known_clips.trained_on(save(clips("cab")), renamed(clips("abc"))).all()


def test_the_hashes_of_a_run_that_continues_are_the_same(save):
    path = save(clips("bac"))
    before = known_clips.hashes(None, clips("bac"))
    for array, again in zip(before, known_clips.hashes(path, clips("bac")), strict=True):
        assert np.array_equal(array, again)


def test_clips_that_are_held_out_are_not_found_by_content():
    _, by_name, content = known_clips.hashes(None, clips("abc"), np.array([2, 0]))
    assert (len(by_name), len(content)) == (3, 2)
