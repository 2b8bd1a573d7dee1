"""The clips with missed or extra classes: mistakes.csv, the printed lines, and the errors by label."""

import csv

import numpy as np
from test_label_scores import FOUND

from audio_utils.evaluation import label_mistakes

AT = FOUND._replace(lowest=np.array([0.5, 0.75]))  # a of clip 2 and b of clip 4 are missed, a of clip 3 is extra


def test_mistakes_have_a_row_for_each_clip_the_farthest_from_a_threshold_first(tmp_path):
    label_mistakes.write_mistakes(tmp_path / "mistakes.csv", AT)
    with open(tmp_path / "mistakes.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "labels", "predicted", "missed", "extra", "probabilities_of_missed",
                      "probabilities_of_extra"]
    assert sorted(rows[:2]) == [["x/2.wav", "a", "", "a", "", "0.4000", ""],
                                ["x/3.wav", "", "a", "", "a", "", "0.6000"]]
    assert rows[2] == ["x/4.wav", "b", "", "b", "", "0.7000", ""]


def test_several_labels_of_a_clip_are_separated_by_semicolons(tmp_path):
    found = FOUND._replace(lowest=np.array([0.95, 0.95]))
    label_mistakes.write_mistakes(tmp_path / "mistakes.csv", found)
    assert "x/1.wav,a;b,,a;b,,0.9000;0.8000," in (tmp_path / "mistakes.csv").read_text().splitlines()


def test_mistakes_are_printed_in_the_order_of_their_names():
    assert label_mistakes.mistake_lines(AT) == [
        "x/2.wav: should be a but came out as none of these", "x/3.wav: should be none of these but came out as a",
        "x/4.wav: should be b but came out as none of these"]


def test_errors_are_counted_by_the_labels_of_the_clips():
    counts, files = label_mistakes.errors_by_label(AT)
    assert counts.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert files.tolist() == [2, 2, 1]
    assert label_mistakes.frequent_errors(counts, files, ["a", "b"], 8) == [
        "a is missed: 1 of 2", "b is missed: 1 of 2", "a is extra in clips without labels: 1 of 1"]
