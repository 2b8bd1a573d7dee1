"""background.py: BACKGROUND_CLASSES is read or refused, and false alarms and lost sounds are counted exactly."""

import numpy as np
import pytest

from audio_utils.evaluation import background
from audio_utils.evaluation.metrics import Evaluation, roc_curves, score
from audio_utils.evaluation.thresholds import add_to
from audio_utils.runtime.errors import UserError

FOUR = "dog,fox,noise,z\u00fcg"
CLASSES = ["Wind, rain", "dog", "fox", "noise", "zu\u0308g"]


# --- BACKGROUND_CLASSES ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "expected"), [
    ("", []), ("  ", []), ("noise", ["noise"]), (" noise , dog ", ["dog", "noise"]), ("noise,noise", ["noise"]),
    ("Wind, rain", ["Wind, rain"]), ("noise,Wind, rain", ["Wind, rain", "noise"]), ("z\u00fcg", ["zu\u0308g"]),
    (FOUR, ["dog", "fox", "noise", "zu\u0308g"])])  # one class is left: a detector
def test_names_are_separated_by_commas_and_may_contain_some(text, expected):
    assert background.parse(text, CLASSES) == expected


@pytest.mark.parametrize(("text", "sentence"), [
    ("nois", "BACKGROUND_CLASSES is 'nois', but 'nois' is not a class; the classes are Wind, rain, dog, fox and 2 "
             "more."),
    ("dog,Noise", "BACKGROUND_CLASSES is 'dog,Noise', but 'Noise' is not a class; the classes are Wind, rain, dog, fox "
                  "and 2 more."),
    ("dog,", "BACKGROUND_CLASSES is 'dog,', but '' is not a class; the classes are Wind, rain, dog, fox and 2 more."),
    (f"Wind, rain,{FOUR}", f"BACKGROUND_CLASSES is 'Wind, rain,{FOUR}': no class is left that is not background; add "
                           "sounds of others, or remove a name.")])
def test_names_that_do_not_fit_are_one_sentence(text, sentence):
    with pytest.raises(UserError) as error:
        background.parse(text, CLASSES)
    assert str(error.value) == sentence


@pytest.mark.parametrize("value", [None, 3, ["noise"], ("dog", "noise"), True])
def test_a_constant_that_is_no_text_is_one_sentence(value):
    with pytest.raises(UserError, match=r"BACKGROUND_CLASSES is .*; set it to the names of classes, separated by comm"):
        background.check(value)


@pytest.mark.parametrize(("text", "names", "says"), [
    ("", ["dog", "fox", "Noise"], "Class Noise is reported as any other; with --background-classes Noise, "
                                  'predict_class.py says "none of these" instead.\n'),
    ("", ["BACKGROUND", "dog", "fox", "noise"], "Classes BACKGROUND and noise are reported as any other; with "
                                                '--background-classes BACKGROUND,noise, predict_class.py says "none '
                                                'of these" instead.\n'),
    ("noise", ["background", "dog", "fox", "noise"], ""), ("", ["dog", "fox", "noises"], ""),
    ("", ["dog", "noise"], "Class noise is reported as any other; with --background-classes noise, predict_class.py "
                           'says "none of these" instead.\n'), ("", ["background", "noise"], "")])
def test_the_usual_names_of_background_are_pointed_out(capsys, text, names, says):
    background.announce(text, names)
    assert capsys.readouterr().out == says


@pytest.mark.parametrize("damaged", [None, "noise", ("noise",), ["cat"], ["noise", "dog"], ["dog", "dog"], [3],
                                     CLASSES, {"noise": 1}])
def test_damaged_names_in_a_file_are_refused(damaged):
    background.check_names(["dog", "noise"], CLASSES)
    with pytest.raises((TypeError, ValueError)):
        background.check_names(damaged, CLASSES)


# --- false alarms and lost sounds -----------------------------------------------------------------------------------

NAMES = ["bg", "dog", "fox"]
CLIPS = [  # the true class, and probabilities: [bg, dog, fox]
    ("bg", 0.9, 0.1, 0.0), ("bg", 0.5, 0.25, 0.25), ("bg", 0.25, 0.5, 0.25), ("bg", 0.125, 0.125, 0.75),
    ("dog", 0.0, 1.0, 0.0), ("dog", 0.75, 0.25, 0.0), ("dog", 0.25, 0.5, 0.25), ("fox", 0.0, 0.75, 0.25),
    ("fox", 0.0, 0.125, 0.875)]
THRESHOLDS = {"source": "x", "clips": 40, "classes": {
    "bg": {"positives": 20, "max_f1": 0.9, "precision_90": 0.9},
    "dog": {"positives": 10, "max_f1": 0.625, "precision_90": None},
    "fox": {"positives": 10, "max_f1": None, "precision_90": 0.875}}}


def scores_of(clips, thresholds=THRESHOLDS, names=("bg",), clip_seconds=5.0):
    found = Evaluation([f"{i}.wav" for i in range(len(clips))], NAMES, np.array([NAMES.index(row[0]) for row in clips]),
                       np.array([row[1:] for row in clips], np.float32))
    scores = add_to(score(found, roc_curves(found)), found, thresholds, names)
    return background.add_false_alarms(scores, found, names, clip_seconds)


def test_false_alarms_and_lost_sounds_are_those_of_predict_class():
    found = scores_of(CLIPS)["background"]
    at = found.pop("min_probability")
    assert found == {"classes": ["bg"], "clips": 4, "clip_seconds": 5.0, "other_clips": 5}
    assert {value: (each["false_alarms"], each["lost"]) for value, each in at.items()} == {
        "0": (2, 1), "auto": (1, 2), "precision": (0, 4)}  # auto: dog 0.5 is rejected; precision: only fox 0.875
    assert at["0"]["false_alarms_per_100_clips"] == 50
    assert at["0"]["false_alarms_per_100_clips_interval"] == pytest.approx((15.0, 85.0), abs=0.1)  # Wilson, 2 of 4
    assert at["0"]["false_alarms_per_hour"] == 2 / 4 * 3600 / 5
    assert at["0"]["lost_fraction"] == 1 / 5
    assert at["0"]["lost_interval"] == pytest.approx((0.036, 0.624), abs=0.001)


def test_background_classes_have_no_results_at_thresholds():
    classes = scores_of(CLIPS)["classes"]
    assert [name for name, each in classes.items() if "thresholds" in each] == ["dog", "fox"]


def test_without_background_classes_the_scores_stay_the_same(capsys):
    scores = scores_of(CLIPS, names=())
    assert "background" not in scores
    background.say_false_alarms(scores)
    assert capsys.readouterr().out == ""
    assert background.of_page(scores) is None


def test_the_table_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    background.say_false_alarms(scores_of(CLIPS))
    assert capsys.readouterr().out.splitlines() == [
        "", "Background: 4 clips of bg and 5 of other classes, 5 s each.",
        "min-probability  false alarms  per 100  95% interval  per hour  lost sounds",
        "0                           2     50.0  15.0 to 85.0       360    1 (20.0%)",
        "auto                        1     25.0   4.6 to 69.9       180    2 (40.0%)",
        "precision                   0      0.0   0.0 to 49.0         0    4 (80.0%)",
        'False alarms: background that gets a class. Lost sounds: those of other classes that are "none of these".']


@pytest.mark.parametrize(("part", "cells"), [(CLIPS[4:], ["-", "-", "-", "-", "1 (20.0%)"]),
                                             (CLIPS[:4], ["2", "50.0", "15.0 to 85.0", "360", "-"])])
def test_rates_without_clips_are_undefined(part, cells):
    scores = scores_of(part, {})
    assert background.rows(scores) == [["0", *cells]]
    assert background.of_page(scores)["finding"].startswith("There are no background clips" if len(part) == 5 else
                                                            "2 of 4 background clips get a class")
