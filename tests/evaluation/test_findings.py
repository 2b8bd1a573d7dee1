"""findings.py: training files and groups are those of the network that is evaluated."""


import numpy as np
import pytest
from conftest import sine, write
from test_report import SETTINGS, findings_of

from audio_utils.data import index, preproc
from audio_utils.data.sounds import Sound, find_sounds
from audio_utils.data.split import Grouping
from audio_utils.evaluation import findings as properties


def test_training_files_are_counted_in_preproc_or_by_the_split(tmp_path):
    for n in range(10):
        write(tmp_path / f"Samples/dog/{n}.wav", sine())
    sounds, findings = find_sounds(tmp_path / "Samples")[0], findings_of(["dog", "b"])
    assert len(properties.training_names(sounds, tmp_path / "Preproc", findings)) == 8
    path = preproc.melgram_path(tmp_path / "Preproc", "Train", "dog/0.wav")
    path.parent.mkdir(parents=True)
    preproc.write_melgram(path, np.zeros(SETTINGS.shape, np.float32))
    assert properties.training_names(sounds, tmp_path / "Preproc", findings) == ["dog/0.wav"]


def test_in_cross_validation_all_clips_are_training_files(tmp_path):
    findings = findings_of(["a", "b"])
    findings = findings._replace(folds={"1": findings.evaluation})
    assert properties.training_names([], tmp_path, findings) == findings.clips.names


def test_clips_of_too_few_recordings_are_found_although_some_were_trained_on(tmp_path):
    sounds = [Sound(name, f"Samples/{name}/{recording}_s{i}.wav", recording=f"{recording}")
              for name in "ab" for recording in range(4) for i in range(5)]
    findings = findings_of(["a", "b"])._replace(warning="2 sounds are in Test and were in Train before.")
    training = properties.training_names(sounds, tmp_path, findings)
    test = sorted({sound.name for sound in sounds} - set(training))
    findings = findings._replace(evaluation=findings.evaluation._replace(names=test))
    assert properties.find_shared(findings, sounds, training, tmp_path) == (
        "The score is too optimistic: 8 of 8 test files are from recordings of which other clips are in Train, because "
        "a and b have fewer than 5 recordings.", "Add sounds from other recordings to a and b: the test files should "
        "be from recordings that the network was not trained on.")


@pytest.mark.parametrize(("group_by", "recordings", "text"), [
    ("", {}, "20% of each class for testing, seed 1"),
    ("_x$", {}, "20% of each class for testing, seed 1, grouped by _x$"),
    ("", {"a/0.wav": "r", "a/1.wav": "r", "a/2.wav": "s"}, "20% of each class for testing, seed 1; 3 files are clips "
     "of 2 recordings, and those of one recording are grouped")])
def test_the_split_names_its_groups(group_by, recordings, text):
    findings = findings_of(["a", "b"])._replace(grouping=Grouping(group_by, {}, recordings))
    findings.preprocessing["constants"]["GROUP_BY"] = group_by
    assert dict(properties.about(findings, []))["Split"] == text


def test_folds_of_a_regular_expression_are_named():
    findings = findings_of(["a", "b"])
    findings = findings._replace(folds={"1": findings.evaluation, "2": findings.evaluation}, fold_rule=r"^\d")
    found = dict(properties.about(findings, []))
    assert found["Folds"] == r"2, by the text in the file names that matches ^\d"
    assert "Split" not in found


def test_clips_of_a_long_sound_in_two_folds_are_reported(tmp_path):
    index.write(tmp_path, [index.Entry("a/night.wav", "Train", index.USED, index.Stat(0, 0, 0, 0),
                                       index.UNKNOWN_CONTENT, "x", clips=4)])
    findings = findings_of(["a", "b"])
    parts = {str(k): findings.evaluation._replace(names=[f"a/night_s{k}.wav", f"a/night_s{k + 2}.wav"]) for k in (1, 2)}
    findings = findings._replace(folds=parts, fold_rule="2")
    training = [name for each in parts.values() for name in each.names]
    assert properties.find_shared(findings, [], training, tmp_path).warning == (
        "The score is too optimistic: 4 of 4 files are from recordings of which other clips are in another fold, "
        "because a has fewer than 5 recordings.")


def test_without_preproc_the_training_files_are_those_of_the_plan(tmp_path):
    sounds = [Sound("a", "Samples/a/night.wav")]
    findings = findings_of(["a", "b"])._replace(training=["a/night_s1.wav"])
    assert properties.training_names(sounds, tmp_path, findings) == ["a/night_s1.wav"]
