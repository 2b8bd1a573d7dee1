"""The sounds of Samples/: by class, in the user's own split, and a sentence on everything that is ignored."""

import pytest

from audio_utils.data import sounds
from audio_utils.runtime.errors import UserError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_sounds_are_found_by_class(tmp_path):
    touch(tmp_path, "b/2.wav", "b/1.mp3", "a ä/it's “x”.wav", ".hidden/x.wav", "b/.DS_Store", "README.md")
    found, ignored = sounds.find_sounds(tmp_path)
    assert [sound.name for sound in found] == ["a ä/it's “x”.wav", "b/1.mp3", "b/2.wav"]
    assert [sounds.class_of(sound.name) for sound in found] == ["a ä", "b", "b"]
    assert not ignored


def test_ignored_files_and_folders_are_named(tmp_path):
    touch(tmp_path, "a/1.wav", "b/1.wav", "notes.csv", "a/inner/2.wav")
    (tmp_path / "empty").mkdir()
    found, ignored = sounds.find_sounds(tmp_path)
    assert len(found) == 2
    assert [sentence.partition(": ")[0] for sentence in ignored] == [
        f"{tmp_path}/a/inner/", f"{tmp_path}/empty/", f"{tmp_path}/notes.csv"]


@pytest.mark.parametrize(("folders", "problem"), [(None, "does not exist; create it"),
                                                  ([], "holds no folder with sounds")])
def test_a_folder_without_sounds_is_refused(tmp_path, folders, problem):
    samples = tmp_path / "Samples"
    if folders is not None:
        samples.mkdir()
    with pytest.raises(UserError, match=problem):
        sounds.find_sounds(samples)


def test_train_and_test_are_the_users_split_if_they_hold_class_folders(tmp_path):
    touch(tmp_path / "own", "Train/a/1.wav", "Train/b/1.wav", "Test/a/2.wav")
    assert [(sound.name, sound.split) for sound in sounds.find_sounds(tmp_path / "own")[0]] == [
        ("a/1.wav", "Train"), ("b/1.wav", "Train"), ("a/2.wav", "Test")]
    touch(tmp_path / "classes", "Train/choochoo.wav", "Test/beep.wav")  # classes with these names
    assert {(sound.name, sound.split) for sound in sounds.find_sounds(tmp_path / "classes")[0]} == {
        ("Train/choochoo.wav", None), ("Test/beep.wav", None)}


@pytest.mark.parametrize(("names", "problem"), [
    ([], "Samples/: holds no class with sounds"), (["a"], r"Samples/: holds only one class \(a\); at least two"),
    (["a", "b"], None)])
def test_fewer_than_two_classes_are_refused(names, problem):
    if problem:
        with pytest.raises(UserError, match=problem):
            sounds.require_classes(names, "Samples")
    else:
        sounds.require_classes(names, "Samples")
