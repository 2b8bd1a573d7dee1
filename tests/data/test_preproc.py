"""Preproc/: settings and melgrams are written and read back; damaged ones are named and left out."""

import io

import numpy as np
import pytest

from audio_utils.audio import melgram
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import index, preproc
from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UserError

SETTINGS = MelgramSettings(sample_rate=8000, clip_samples=100, channels=1, mels=3, window=20, fft=20, hop=50)


@pytest.fixture
def folder(tmp_path):
    """Three classes, the last without Test clips; each melgram holds its number."""
    safe_files.write_json(tmp_path / "settings.json", SETTINGS.to_dict())
    for i, (split, name) in enumerate([("Train", "a/1"), ("Train", "b/1"), ("Train", "c/1"), ("Train", "c/2"),
                                       ("Test", "a/3"), ("Test", "b/4")]):
        path = preproc.melgram_path(tmp_path, split, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        preproc.write_melgram(path, np.full(SETTINGS.shape, i, np.float32))
    return tmp_path


# --- settings --------------------------------------------------------------------------------------------------------

def test_settings_are_read_back_with_all_other_values(tmp_path):
    values = SETTINGS.to_dict() | {"constants": {"MONO": True, "GROUP_BY": r"_s\d+$"}, "complete": False}
    preproc.write_settings(tmp_path, values)
    assert preproc.read_settings(tmp_path) == (SETTINGS, values)


def test_equal_settings_are_not_written_again(tmp_path):
    preproc.write_settings(tmp_path, SETTINGS.to_dict())
    before = (tmp_path / "settings.json").stat()
    preproc.write_settings(tmp_path, SETTINGS.to_dict())
    assert (tmp_path / "settings.json").stat() == before


def test_settings_of_an_older_version_have_the_new_names(tmp_path):
    constants = {"KEEP_TOGETHER": "x", "A": 1}
    safe_files.write_json(tmp_path / "settings.json", SETTINGS.to_dict() | {"constants": constants})
    assert preproc.read_settings(tmp_path)[1]["constants"] == {"GROUP_BY": "x", "A": 1}


def test_missing_settings_are_named(tmp_path):
    with pytest.raises(UserError, match=r"settings.json: does not exist; run preprocess_data.py first."):
        preproc.read_settings(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"constants": 3}', '{"constants": {"GROUP_BY": "("}}',
                                     '{"constants": {"KEEP_TOGETHER": "("}}', "[" * 100_000, '{"mels": 1e999}'])
def test_damaged_settings_are_named(folder, content):
    (folder / "settings.json").write_text(content)
    with pytest.raises(UserError, match=r"settings.json: .*; run preprocess_data.py --overwrite to compute the"):
        preproc.read_settings(folder)
    assert preproc.usable_settings(folder) is None
    assert preproc.current_settings_id(folder) == ""
    preproc.mark_incomplete(folder)
    assert (folder / "settings.json").read_text() == content
    preproc.write_settings(folder, SETTINGS.to_dict())
    assert preproc.usable_settings(folder)[0] == SETTINGS


def test_settings_of_a_newer_version_are_named_whatever_they_contain(folder):
    newer = {"format_version": melgram.FORMAT_VERSION + 1, "constants": 3}
    safe_files.write_json(folder / "settings.json", newer)
    with pytest.raises(UserError, match="settings.json: was written by a newer version of Panotti; update Panotti"):
        preproc.read_settings(folder)
    preproc.mark_incomplete(folder)
    assert safe_files.read_json(folder / "settings.json", "") == newer


def test_settings_are_marked_incomplete(folder):
    preproc.mark_incomplete(folder)
    assert preproc.read_settings(folder)[1]["complete"] is False
    preproc.mark_incomplete(folder / "Train")  # there are none
    assert not (folder / "Train/settings.json").exists()


# --- melgrams --------------------------------------------------------------------------------------------------------

def test_clips_are_loaded_in_the_order_of_their_names(folder):
    settings, _ = preproc.read_settings(folder)
    clips, warnings = preproc.load(folder, "Train", settings)
    assert not warnings
    assert clips.class_names == ["a", "b", "c"]
    assert clips.names == ["a/1", "b/1", "c/1", "c/2"]
    assert clips.labels.tolist() == [0, 1, 2, 2]
    assert clips.melgrams.shape == (4, 3, 3, 1)
    assert clips.melgrams[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_a_class_missing_from_test_shifts_no_label(folder):
    clips, warnings = preproc.load(folder, "Test", SETTINGS, ["a", "aa", "c"])
    assert clips.labels.tolist() == [0]
    assert ["Test/b/: is not a class of the network" in warning for warning in warnings] == [True]
    assert preproc.load(folder, "Test", SETTINGS, ["b", "c"])[0].labels.tolist() == [0]


def test_a_split_that_does_not_exist_has_no_clips(folder):
    assert len(preproc.load(folder / "Train", "Test", SETTINGS, ["a", "b"])[0]) == 0


def saved(array, **keywords):
    file = io.BytesIO()
    np.save(file, array, **keywords)
    return file.getvalue()


GOOD = np.zeros(SETTINGS.shape, np.float32)


@pytest.mark.parametrize("content", [
    b"", b"\x93NUMPY", b"rubbish" * 99, saved(GOOD)[:-1], saved(GOOD.astype(np.float64)), saved(GOOD[:2]),
    saved(np.asfortranarray(np.ones((3, 3, 1), np.float32).transpose(1, 0, 2))), saved(GOOD + np.nan),
    saved(np.array([print], object), allow_pickle=True), saved(GOOD + np.inf)])
def test_damaged_melgrams_are_named_and_left_out(folder, content):
    bad = preproc.melgram_path(folder, "Train", "b/1")
    bad.write_bytes(content)
    clips, warnings = preproc.load(folder, "Train", SETTINGS)
    assert clips.names == ["a/1", "c/1", "c/2"]
    assert clips.melgrams[:, 0, 0, 0].tolist() == [0, 2, 3]
    on_disk, same_warnings = preproc.load(folder, "Train", SETTINGS, max_bytes=0)
    assert (on_disk.names, same_warnings) == (clips.names, warnings)
    assert np.array_equal(list(on_disk.melgrams), clips.melgrams)
    assert [warning.partition(": ")[0] for warning in warnings] == [str(bad)]
    seen_by_preprocessing = len(content) != preproc.melgram_file_bytes(SETTINGS)
    assert warnings[0].endswith("; run preprocess_data.py again." if seen_by_preprocessing else
                                "; run preprocess_data.py --overwrite to compute the melgrams again (the split is "
                                "kept).")


def test_only_melgrams_of_the_index_are_used(folder):
    current = index.settings_id(SETTINGS)

    def entry(name, split="Train", status=index.USED, settings=current):
        return index.Entry(name, split, status, index.Stat(-1, -1, -1, -1), index.UNKNOWN_CONTENT, settings)

    index.write(folder, [entry("a/1"), entry("a/3", "Test"), entry("b/1", status=index.LEFT_OUT),
                         entry("c/1", settings="other"), entry("c/9")])
    assert preproc.used_melgrams(folder, "Train", SETTINGS) == (["a/1"], [
        "b/1: the sound is gone, so its melgram is not used; preprocess_data.py --prune deletes such melgrams.",
        f"c/1, c/2: melgrams that the index does not have in {folder}/Train/; left out; run preprocess_data.py again."])
    clips, warnings = preproc.load(folder, "Train", SETTINGS)
    assert clips.names == ["a/1"]
    assert len(warnings) == 2


def test_a_sound_that_is_gone_does_not_hide_one_of_its_name_in_the_users_own_split(folder):
    current = index.settings_id(SETTINGS)

    def entry(path, *fields):
        return index.Entry(path, "Train", fields[0], index.Stat(-1, -1, -1, -1), index.UNKNOWN_CONTENT, *fields[1:])

    index.write(folder, [entry("Train/a/1", index.USED, current),
                         entry("a/1", index.LEFT_OUT, "", "a/0", "a/recording")])  # is written after it
    assert preproc.used_melgrams(folder, "Train", SETTINGS)[0] == ["a/1"]
    grouping = preproc.grouping(folder, "")
    assert (grouping.is_copy("a/1"), grouping.of("a/1")) == (False, "a/1")


def test_only_melgrams_are_found(folder):
    for name in ("Train/a/.hidden.npy", "Train/a/notes.txt", "Train/x.npy"):
        (folder / name).touch()
    (folder / "Train/a/folder.npy").mkdir()
    assert list(preproc.find_melgrams(folder)) == [("Train", "a/1"), ("Train", "b/1"), ("Train", "c/1"),
                                                   ("Train", "c/2"), ("Test", "a/3"), ("Test", "b/4")]
