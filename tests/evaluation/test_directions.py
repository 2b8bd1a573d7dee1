"""directions.py: angular errors and front-back confusions are those of the geometry; other classes have none."""

import json

import numpy as np
import pytest

from audio_utils.evaluation import direction_plot, directions
from audio_utils.evaluation.directions import Direction, Directions
from audio_utils.evaluation.metrics import Evaluation, roc_curves, score


def evaluation_of(names, pairs):
    """Predictions for clips; pairs: (true class, predicted class) of each."""
    true, predicted = (np.array([names.index(pair[i]) for pair in pairs], int) for i in (0, 1))
    return Evaluation([f"{i}.wav" for i in range(len(pairs))], names, true,
                      np.eye(len(names), dtype=np.float32)[predicted])


def scores_of(names, pairs, background=()):
    found = evaluation_of(names, pairs)
    return directions.add_angular_errors(score(found, roc_curves(found)), found, background)


@pytest.mark.parametrize(("name", "direction"), [
    ("e0a0", (0, 0)), ("e0a51.43", (51.43, 0)), ("e-30a359.9", (359.9, -30)), ("e22.5a90", (90, 22.5)),
    ("e-0a180", (180, 0)), ("e1e-05a7.5", (7.5, 1e-5)), ("e90a0", (0, 90)),
    ("e0a360", None), ("e91a0", None), ("e-91a0", None), ("e0a", None), ("ea0", None), ("e0a-30", None),
    ("e0a1.2.3", None), ("e0a.", None), ("e0anan", None), ("e0ainf", None), ("E0A0", None), ("e0a0 ", None),
    ("xe0a0", None), ("e0a0\n", None), ("e٠a٠", None), ("e0a1e1", None), ("e1e5a0", None), ("", None), ("a0e0", None)])
def test_a_direction_is_read_from_a_name_of_binauralify_only(name, direction):
    assert directions.parse(name) == direction


@pytest.mark.parametrize(("true", "predicted", "error_deg", "confused"), [
    ("e0a350", "e0a10", 20, False), ("e0a10", "e0a350", 20, False),  # around 360°
    ("e0a0", "e0a180", 180, True), ("e0a30", "e0a150", 120, True), ("e0a330", "e0a210", 120, True),
    ("e0a30", "e0a210", 180, False), ("e0a90", "e0a270", 180, False),  # left-right
    ("e0a30", "e0a170", 140, True), ("e0a30", "e0a171", 141, False),  # mirrored, 20° and 21° off
    ("e0a80", "e0a100", 20, False), ("e0a79", "e0a100", 21, True),  # a small error near the left ear, a larger one
    ("e0a0", "e0a0.01", 0.01, False), ("e0a0", "e0a179.99", 179.99, True),
    ("e0a0", "e90a0", 90, False), ("e60a0", "e60a180", 60, True), ("e60a90", "e60a270", 60, False),
    ("e45a0", "e-45a0", 90, False), ("e80a0", "e80a180", 20, False)])
def test_the_error_is_the_great_circle_angle_and_a_confusion_is_mirrored(true, predicted, error_deg, confused):
    found = directions.of(evaluation_of([true, predicted], [(true, predicted)]))
    assert found.errors_deg.tolist() == [[0, error_deg], [error_deg, 0]]
    assert found.confused.tolist() == [[False, confused], [confused, False]]


def test_the_error_of_one_azimuth_is_the_difference_around_the_circle():
    azimuths = np.arange(0, 360, 7.5)
    names = [f"e0a{each:g}" for each in azimuths]
    difference = np.abs(azimuths[:, None] - azimuths)
    assert directions.of(evaluation_of(names, [(names[0], names[0])])).errors_deg.tolist() == np.minimum(
        difference, 360 - difference).tolist()


NAMES = ["e0a0", "e0a30", "e0a180", "noise"]
PAIRS = [("e0a0", "e0a0"), ("e0a0", "e0a180"), ("e0a0", "e0a180"), ("e0a0", "e0a30"), ("e0a30", "e0a30"),
         ("e0a180", "noise"), ("noise", "e0a0")]


def test_scores_are_those_of_the_clips_with_a_true_and_a_predicted_direction():
    found = scores_of(NAMES, PAIRS, ["noise"])["directions"]
    classes = found.pop("classes")
    low, high = found.pop("front_back_interval")
    assert found == pytest.approx({
        "files": 5, "files_as_background": 1, "mean_angular_error_deg": (180 + 180 + 30) / 5,
        "chance_angular_error_deg": (4 * (0 + 30 + 180) / 3 + (30 + 0 + 150) / 3) / 5, "errors": 3,
        "front_back_confusions": 2, "front_back_fraction": 0.4, "tolerance_deg": 20})
    assert (low, high) == pytest.approx((0.118, 0.769), abs=0.001)  # Wilson, 2 of 5
    assert classes["e0a0"] == {"azimuth_deg": 0, "elevation_deg": 0, "files": 4, "mean_angular_error_deg": 97.5,
                               "front_back_confusions": 2}
    assert [each["mean_angular_error_deg"] for each in classes.values()] == [97.5, 0, None]
    assert json.loads(json.dumps(found)) == found


def test_the_chance_level_of_evenly_spaced_azimuths_is_90_degrees():
    names = [f"e0a{each}" for each in range(0, 360, 30)]
    assert scores_of(names, [(name, name) for name in names])["directions"]["chance_angular_error_deg"] == 90


def test_the_finding_says_it_in_a_sentence(capsys):
    scores = scores_of(NAMES, PAIRS, ["noise"])
    directions.say_angular_errors(scores)
    assert capsys.readouterr().out == (
        "\nMean angular error 78.0° (chance: 68.0°); front-back confusions: 2 of 3 errors, 40.0% of 5 files; 1 file is "
        "predicted as background.\n")
    assert directions.worst(scores) == [("e0a0", 4, 97.5, 2)]


@pytest.mark.parametrize(("pairs", "finding"), [
    ([("noise", "noise")], "No angular error: there are no files"),
    ([("e0a0", "noise"), ("e0a30", "noise")], "No angular error: 2 files are predicted as background")])
def test_without_a_predicted_direction_there_is_no_error(pairs, finding):
    scores = scores_of(NAMES, pairs, ["noise"])
    assert directions.finding(scores) == finding
    assert [scores["directions"][name] for name in ("mean_angular_error_deg", "chance_angular_error_deg",
                                                    "front_back_fraction", "front_back_interval")] == [None] * 4
    assert directions.worst(scores) == []


@pytest.mark.parametrize(("names", "background"), [
    (["e0a0", "e0a30", "noise"], []), (["e0a0", "e0a360"], []), (["e0a0", "noise"], ["noise"]), (["dog", "cat"], []),
    (["e0a0"], [])])
def test_with_any_other_class_nothing_changes(names, background, capsys, tmp_path):
    found = evaluation_of(names, [(name, name) for name in names])
    before = score(found, roc_curves(found))
    scores = directions.add_angular_errors(before, found, background)
    assert scores is before
    directions.say_angular_errors(scores)
    direction_plot.write_directions(tmp_path / "directions.png", found, scores)
    assert capsys.readouterr().out == ""
    assert direction_plot.page_content(found, scores) is None
    assert not list(tmp_path.iterdir())


def test_many_directions_have_the_largest_errors_first():
    names = [f"e0a{each}" for each in range(20)]
    rows = directions.worst(scores_of(names, [(name, names[0]) for name in names]))
    assert [row[0] for row in rows] == [f"e0a{each}" for each in range(19, 11, -1)]
    assert Directions({"e0a0": Direction(0, 0)}, np.ones((1, 1), int), np.zeros(1, int)).errors_deg.tolist() == [[0]]
