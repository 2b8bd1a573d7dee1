"""class_folders.py: renamed classes are named, missing and new ones are not; labels have folders that are found."""

import pytest

from audio_utils.data.class_folders import LabelFolders, folder_name, renamed_classes
from audio_utils.data.sounds import visible
from audio_utils.runtime.errors import UserError


@pytest.mark.parametrize("split", ["", "Train/", "train/", "VAL/"])
@pytest.mark.parametrize(("folders", "classes", "says"), [
    ("ab", "ab", ""), ("a", "ab", ""), ("abc", "ab", ""), ("", "ab", ""),
    ("ac", "ab", "has c instead of b; run preprocess_data.py, then train_network.py --fresh."),
    ("vwxyz", "abcde", "has v, w, x and 2 more instead of a, b, c and 2 more; run preprocess_data.py")])
def test_renamed_class_folders_are_named(tmp_path, split, folders, classes, says):
    for name in folders:
        (tmp_path / f"{split}{name}/sounds").mkdir(parents=True)
    (tmp_path / f"{split}empty").mkdir(parents=True)
    found = renamed_classes(classes, tmp_path)
    assert found.startswith(f"{tmp_path}/: {says}") if says else found == ""


def test_without_samples_nothing_is_said(tmp_path):
    assert renamed_classes("ab", tmp_path / "Samples") == ""


def test_renamed_classes_that_are_preprocessed_already_are_not_named(tmp_path):
    for name in ("Samples/a/0.wav", "Samples/c/0.wav", "Test/c/0.wav.npy"):
        (tmp_path / name).mkdir(parents=True)
    assert renamed_classes("ab", tmp_path / "Samples", tmp_path / "none")
    assert renamed_classes("ab", tmp_path / "Samples", tmp_path / "Test") == ""


# --- folders for labels ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("label", "name"), [
    ("red fox", "red fox"), ("a/b", "a_b"), ("C:\\x", "C:_x"), ("..", "_"), ("../up", "__up"), (".hidden", "_hidden"),
    ("a.b.", "a.b."), ("tab\there", "tab here"), ("bell\a", "bell_"), ("Thumbs.db", "_Thumbs.db"),
    ("鳥, 'x'", "鳥, 'x'"),
    ("Ba\u0308r", "B\u00e4r"), ("  a  b ", "a b"), ("/", "_")])
def test_the_folder_of_a_label_is_visible_and_inside_samples(tmp_path, label, name):
    assert folder_name(label) == LabelFolders(tmp_path / "Samples").name(label, tmp_path) == name
    (tmp_path / "Samples" / name).mkdir(parents=True)
    assert [path.name for path in visible(tmp_path / "Samples")] == [name]
    assert LabelFolders(tmp_path / "Samples").name(label, tmp_path) == name


def test_an_existing_folder_is_used_in_its_own_spelling(tmp_path):
    for name in ("Ba\u0308r", "red  fox", "C", "c"):
        (tmp_path / name).mkdir()
    folders = LabelFolders(tmp_path)
    found = [folders.name(label, "x.txt") for label in ("B\u00e4r", "red fox", "C", "c")]
    assert found == ["Ba\u0308r", "red  fox", "C", "c"]
    assert folders.exists("B\u00e4r")
    assert not folders.exists("wren")


def test_names_that_differ_only_in_case_are_refused(tmp_path):
    (tmp_path / "Robin").mkdir()
    folders = LabelFolders(tmp_path)
    assert folders.name("wren", "a.txt") == "wren"
    for label, other, where in (("robin", "Robin", f"{tmp_path}/"), ("Wren", "wren", "a.txt")):
        with pytest.raises(UserError, match=f'^b.txt: the label "{label}" differs only in case from "{other}" in '
                                            f'{where}; use one spelling'):
            folders.name(label, "b.txt")


def test_clips_are_not_added_to_an_own_split(tmp_path):
    (tmp_path / "train").mkdir()
    assert LabelFolders(tmp_path).name("x", "a.txt") == "x"  # a class of trains
    (tmp_path / "train/fox").mkdir()
    with pytest.raises(UserError, match=r"contains your own split \(train/\); cut the clips in another folder"):
        LabelFolders(tmp_path)
