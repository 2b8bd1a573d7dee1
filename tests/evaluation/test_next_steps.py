"""The next steps name the problem that the numbers show, in at most three sentences."""

from pathlib import Path

import numpy as np
import pytest

from audio_utils.data.sounds import Sound
from audio_utils.evaluation import next_steps
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.evaluation.next_steps import Data

ENOUGH = {"a": 100, "b": 100, "c": 100}


def evaluation(counts, confidence=0.6):
    """An evaluation with this confusion matrix; every predicted class has this probability."""
    counts = np.array(counts)
    labels, predicted = np.repeat(np.argwhere(counts >= 0), counts.ravel(), axis=0).T
    probabilities = np.full((len(labels), len(counts)), (1 - confidence) / (len(counts) - 1), np.float32)
    probabilities[np.arange(len(labels)), predicted] = confidence
    return Evaluation([f"x/{i}.wav" for i in range(len(labels))], list("abc")[:len(counts)], labels, probabilities)


def steps(counts, training=ENOUGH, validation=100, remedy="", confidence=0.6, **data):
    return next_steps.choose(evaluation(counts, confidence), Data(training, validation, **data), remedy)


GOOD = [[300, 2, 2], [2, 300, 2], [2, 2, 300]]


@pytest.mark.parametrize(("counts", "options", "sentence"), [
    (GOOD, {}, "Play the mistakes below, and add training files like them."),
    (GOOD, {"remedy": "Do this."}, "Do this."),
    (GOOD, {"validation": 9}, "Run train_network.py --validation-fraction 0.2 --fresh, or add sounds: 9 validation "
                              "clips can hardly show"),
    (GOOD, {"validation": 12, "training": dict.fromkeys("abc", 20)}, "Add sounds: 12 validation clips can"),
    (GOOD, {"validation": 9, "own_validation": True}, "Add sounds to Val: 9 validation clips can"),
    (GOOD, {"training": {"a": 100, "b": 100, "c": 12}}, "Add sounds to c, which has 12 training files, while a"),
    (GOOD, {"training": {"a": 30, "b": 12, "c": 13}}, "Add sounds to b and c: fewer than 20 training files."),
    (GOOD, {"training": {"a": 9, "b": 9, "c": 9}}, "Add sounds: all classes have fewer than 20 training files."),
    (GOOD, {"confidence": 0.95}, "Check the labels of the first 12 mistakes: a wrong class with a"),
    (GOOD, {"confidence": 0.9999}, "Play the mistakes below"),  # overconfident
    ([[20, 1, 1], [1, 20, 1], [1, 1, 20]], {"confidence": 0.91}, "Play the mistakes below"),  # 9% confident mistakes
    ([[300, 9, 0], [4, 300, 0], [1, 1, 300]], {}, "Compare a and b, which 13 of 15 mistakes confuse: check"),
    ([[5, 5, 5]] * 3, {}, "Check the sounds and their labels (audio_utils/inspect_samples.py): the accuracy is not"),
    ([[5, 5, 5]] * 3, {"folder": Path("birds")}, "Check the sounds in birds/ and their labels: the accuracy is not"),
    ([[5, 0, 0], [0, 5, 0], [0, 0, 5]], {}, "Test the network on recordings from another day, place or microphone "
                                            "(eval_network.py --samples FOLDER): all 15 test files are correct."),
    ([[9, 1], [1, 9]], {}, "Run train_network.py --folds 5 to test each sound of Train once: 20 test files only "
                           "show that the accuracy is between 70% and 97%."),
])
def test_first_step_is_about_the_problem(counts, options, sentence):
    assert steps(counts, **options)[0].startswith(sentence)


def test_at_most_three_steps():
    many = steps([[9, 4, 0], [1, 9, 1], [0, 0, 9]], {"a": 100, "b": 10, "c": 10}, 9, "Do this.", 0.99)
    assert len(many) == 3
    assert many[0] == "Do this."


@pytest.mark.parametrize(("training", "first"), [
    (dict.fromkeys("abc", 9), ["Add sounds: to 97%."]), (dict.fromkeys("abc", 100), ["Add sounds: to 97%."]),
    ({"a": 100, "b": 100, "c": 12}, ["Add sounds to c, which has 12 training files, while a has 100.",
                                     "Add sounds: to 97%."])])
def test_the_learning_curve_says_how_much_more_sounds_would_help(training, first):
    found = next_steps.choose(evaluation(GOOD), Data(training, 100), "", "Add sounds: to 97%.")
    assert found == [*first, "Play the mistakes below, and add training files like them."]


def test_unknown_numbers_are_not_mentioned():
    assert steps(GOOD, training={}, validation=0) == ["Play the mistakes below, and add training files like them."]


def test_cross_validation_is_not_advised_after_cross_validation():
    found = steps([[9, 1], [1, 9]], validation=0, folds=True)
    assert found[0] == "Add sounds: 20 files only show that the accuracy is between 70% and 97%."
    assert not any("--folds" in step for step in found)


# --- clips of one recording -----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("recordings", "own_split", "remedy"), [
    (6, False, "Run preprocess_data.py --split-anew"), (6, True, "Move all clips of a recording into one split"),
    (2, False, "Add sounds from other recordings to a")])
def test_recordings_in_both_splits_are_counted(recordings, own_split, remedy):
    test = {"a/0.wav": "0", "a/1.wav": "1", "b/0.wav": ""}
    train = {f"a/{i}.wav": f"{i % recordings}" for i in range(2, 12) if i % recordings != 1} | {"b/1.wav": ""}
    shared = next_steps.shared_recordings([(test, train)], test, train, own_split)
    cause = ", because a has fewer than 5 recordings" if recordings == 2 else ""
    assert shared.warning == ("The score is too optimistic: 1 of 3 test files are from recordings of which other clips "
                              f"are in Train{cause}.")
    assert shared.remedy.startswith(remedy)


def test_separate_recordings_give_no_warning():
    test, train = {"a/0.wav": "x", "a/1.wav": ""}, {"a/0.wav": "y", "a/2.wav": ""}
    assert next_steps.shared_recordings([(test, train)], test, train, True) == next_steps.Shared()


def test_recordings_in_several_folds_are_counted():
    recordings = {f"a/{i}.wav": str(i // 2) for i in range(6)}
    folds = [["a/0.wav", "a/1.wav"], ["a/2.wav", "a/4.wav"], ["a/3.wav", "a/5.wav"]]
    pairs = [(fold, recordings.keys() - set(fold)) for fold in folds]
    shared = next_steps.shared_recordings(pairs, recordings, recordings, False, r"^\d")
    assert shared.warning == ("The score is too optimistic: 4 of 6 files are from recordings of which other clips are "
                              "in another fold.")
    assert shared.remedy.startswith("Change FOLDS")


def test_takes_of_one_recording_are_counted_if_they_are_in_both_splits():
    sounds = [Sound("a", f"Samples/a/1-{i}-{take}.wav") for i in range(30) for take in "AB"]
    names = [sound.name for sound in sounds]
    divided, together = [(names[:11], names[11:])], [(names[:10], names[10:])]
    shared = next_steps.shared_takes(divided, sounds, set())
    assert shared.warning == ("The score may be too optimistic: 1 of 11 test files are named like takes of recordings "
                              "of which other takes are in Train.")
    assert shared.remedy.startswith('Run preprocess_data.py --split-anew "--group-by=-[A-Z]$", which')
    assert "in another fold." in next_steps.shared_takes(divided, sounds, set(), r"^\d").warning
    for pairs, grouped in ((together, set()), (divided, set(sounds))):
        assert next_steps.shared_takes(pairs, sounds, grouped) == next_steps.Shared()


def test_one_file_of_one_class_gives_no_advice_about_the_largest_class():
    found = steps([[0, 1], [0, 0]], {}, 0, folder=Path("birds"))
    assert found[0] == "Add sounds: 1 file only shows that the accuracy is between 0% and 79%."
    assert not any("largest class" in each for each in found)
