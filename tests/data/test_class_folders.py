"""class_folders.py: renamed classes are named, missing and new ones are not."""

import pytest

from audio_utils.data.class_folders import renamed_classes


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
