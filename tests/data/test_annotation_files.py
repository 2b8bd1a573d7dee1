"""annotation_files.py: the file of labels that belongs to a recording is found, and nothing is guessed."""

import os
from pathlib import Path

import pytest

from audio_utils.data import annotation_files
from audio_utils.data.annotation_files import Annotated

TABLE = "Begin Time (s)\tEnd Time (s)\tAnnotation\tBegin File\tFile Offset (s)\n"


@pytest.fixture
def found(tmp_path, monkeypatch):
    """A function: {file: content}, recordings → {recording: (file, labels) or the message}."""
    def find(files, *recordings):
        monkeypatch.chdir(tmp_path)
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
        paths = [Path(name) for name in recordings]
        return {str(path): (result.file.name, [(label.start, label.text) for label in result.labels])
                if isinstance(result, Annotated) else str(result)
                for path, result in annotation_files.find(paths).items()}
    return find


@pytest.mark.parametrize("name", [
    "a.b.txt", "a.b.labels.txt", "a.b.wav.txt", "a.b.wav.labels.txt", "A.B.TXT", "a.b.Table.1.selections.txt",
    "a.b.wav.selections.txt", "a.b.csv", "a.b.wav.csv", "a.b.tsv", "a.b.BirdNET.selection.table.txt"])
def test_common_names_are_found(found, name):
    others = {"a.txt": "2\t3\tno", "b.txt": "2\t3\tno", "a.b.c.txt": "2\t3\tno", ".a.b.txt": "2\t3\tno",
              "a.b.notes": "no"}
    content = "0,1,yes\n" if name.endswith("csv") else "0\t1\tyes\n"
    assert found(others | {name: content}, "a.b.wav") == {"a.b.wav": (name, [(0, "yes")])}


def test_each_recording_of_a_folder_has_its_own(found):
    files = {f"{folder}/{stem}.txt": f"0\t1\t{folder}{stem}\n" for folder in "xy" for stem in "ab"}
    assert found(files, "x/a.wav", "x/b.flac", "y/a.wav", "y/b.ogg") == {
        "x/a.wav": ("a.txt", [(0, "xa")]), "x/b.flac": ("b.txt", [(0, "xb")]),
        "y/a.wav": ("a.txt", [(0, "ya")]), "y/b.ogg": ("b.txt", [(0, "yb")])}


def test_several_files_of_one_recording_are_refused(found):
    files = {"a.txt": "0\t1\tcorrected\n", "a.wav.labels.txt": "0\t1\tpredicted\n"}
    assert found(files, "a.wav") == {
        "a.wav": "a.wav: has several files of labels (a.txt, a.wav.labels.txt); keep one of them."}


@pytest.mark.parametrize("name", ["a.Table.1.selections.txt", "night.selections.txt", "Labels of May.txt",
                                  "annotations.csv"])
def test_a_table_of_several_recordings_gives_each_its_rows(found, name):
    rows = "0\t1\tone\ta.wav\t0\n2\t3\ttwo\tB.WAV\t2\n63\t64\tthree\tb.wav\t3\n5\t6\tfour\tother.wav\t5\n"
    assert found({name: TABLE + rows}, "a.wav", "b.flac", "c.wav") == {
        "a.wav": (name, [(0, "one")]), "b.flac": (name, [(2, "two"), (3, "three")]),
        "c.wav": "c.wav: has no labels; save them beside it as c.txt."}


def test_names_may_be_in_another_unicode_normalization_form(found):
    composed, decomposed = "for\u00eat", "fore\u0302t"  # Windows and Linux; macOS
    files = {f"{composed}1.txt": "0\t1\town\n",
             "labels.csv": f"file,start,end,label\n{composed}2.wav,0,1,of table\n"}
    assert found(files, f"{decomposed}1.wav", f"{decomposed}2.wav") == {
        f"{decomposed}1.wav": (f"{composed}1.txt", [(0, "own")]),
        f"{decomposed}2.wav": ("labels.csv", [(0, "of table")])}


def test_a_table_that_names_other_recordings_is_not_used(found):
    assert found({"a.selections.txt": TABLE + "0\t1\tone\told.wav\t0\n"}, "a.wav") == {
        "a.wav": "a.wav: a.selections.txt has only labels of old.wav; rename the recording, or correct the table."}


def test_the_error_of_a_table_is_that_of_the_recordings_without_another(found):
    result = found({"labels.csv": "file,start,end,label\na.wav,2,1,x\n", "b.txt": "0\t1\tb\n"}, "a.wav", "b.wav")
    assert result["a.wav"] == "labels.csv: line 2: the start 2 is after the end 1; correct it."
    assert result["b.wav"] == ("b.txt", [(0, "b")])


def test_a_damaged_file_is_the_error_of_its_recording_only(found):
    result = found({"a.labels.txt": "notes", "b.txt": ""}, "a.wav", "b.wav", "c.wav")
    assert "a.labels.txt: its first line is neither" in result["a.wav"]
    assert result["b.wav"] == ("b.txt", [])
    assert "c.wav: has no labels" in result["c.wav"]


def test_a_folder_that_does_not_exist_is_an_error_of_its_recordings(found):
    assert "No such file" in found({}, "gone/a.wav")["gone/a.wav"]


def test_only_files_hold_labels_and_a_link_to_nothing_is_reported(found, tmp_path):
    (tmp_path / "a.txt").mkdir()
    os.mkfifo(tmp_path / "b.txt")  # reading it would wait for ever
    (tmp_path / "c.txt").symlink_to("gone")
    result = found({}, "a.wav", "b.wav", "c.wav")
    assert result["a.wav"] == "a.wav: has no labels; save them beside it as a.txt."
    assert result["b.wav"] == "b.wav: has no labels; save them beside it as b.txt."
    assert "No such file" in result["c.wav"]
