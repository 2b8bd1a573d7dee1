"""Next steps after an evaluation, in at most three sentences that are drawn from its numbers."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from audio_utils.data.look_alikes import suggest_group_by
from audio_utils.data.sounds import Sound, class_of
from audio_utils.data.split import MIN_GROUPS
from audio_utils.evaluation import intervals
from audio_utils.evaluation.metrics import Evaluation

MAX_SENTENCES = 3
FEW_FILES = 20  # of a class in Train
FEW_VALIDATION = 30  # clips
IMBALANCE = 5  # times the training files of the smallest class
WIDE_INTERVAL = 0.15  # of the accuracy
CONFIDENT = 0.9  # probability of a wrong class
_PAIR = 1 / 3  # fraction of the mistakes that are between two classes


class Shared(NamedTuple):
    """Why the score may be too optimistic, and the remedy; both are "" if nothing indicates it."""
    warning: str = ""
    remedy: str = ""


# --- clips of one recording -----------------------------------------------------------------------------------------

def shared_recordings(test: dict[str, str], train: dict[str, str], own_split: bool) -> Shared:
    """Whether clips of the recordings in Test are also in Train; test, train: name → recording, or "" if unknown."""
    trained = set(train.values()) - {""}
    shared = [name for name, recording in test.items() if recording in trained]
    if not shared:
        return Shared()
    warning = (f"The score is too optimistic: {len(shared)} of {len(test)} test files are from recordings of which "
               "other clips are in Train.")
    classes = sorted({class_of(name) for name in shared})
    few = [each for each in classes if len({recording for names in (test, train) for name, recording in names.items()
                                            if recording and class_of(name) == each}) < MIN_GROUPS]
    if own_split:
        return Shared(warning, "Move all clips of a recording into one split, then preprocess and train again.")
    if few:
        return Shared(warning, f"Add sounds from other recordings to {_named(few)}: the test files should be from "
                               "recordings that the network was not trained on.")
    return Shared(warning, "Run preprocess_data.py --split-anew and train_network.py --fresh: then all clips of a "
                           "recording are in one split.")


def shared_takes(sounds: list[Sound], grouped: set[Sound], group_by: str) -> Shared:
    """Whether files are named like takes of one recording but not grouped; grouped: sounds of known recordings."""
    for sentence in suggest_group_by(sounds, grouped) if not group_by else ():
        return Shared("The score may be too optimistic: files are named like takes of one recording, which may be in "
                      "both Train and Test.", sentence)
    return Shared()


# --- next steps -----------------------------------------------------------------------------------------------------

def choose(evaluation: Evaluation, training: dict[str, int], validation: int, remedy: str) -> list[str]:
    """The sentences, the most important first.

    training: class → files. validation: clips, 0 if unknown. remedy: of shared recordings, or "".
    """
    first = _about_mistakes(evaluation, training) if len(evaluation.mistakes) else _about_success(evaluation)
    steps = [remedy, *first, *_about_precision(evaluation, validation), *_about_confident(evaluation)]
    return [step for step in steps if step][:MAX_SENTENCES]


def _about_success(evaluation: Evaluation) -> Iterator[str]:
    yield (f"Test the network on recordings from another day, place or microphone (predict_class.py): all "
           f"{len(evaluation.labels)} test files are correct.")


def _about_mistakes(evaluation: Evaluation, training: dict[str, int]) -> Iterator[str]:
    counts = evaluation.confusion
    largest = counts.sum(axis=1).max()
    if intervals.wilson(counts.trace(), counts.sum())[0] <= largest / counts.sum():
        yield ("Check the sounds and their labels (audio_utils/inspect_samples.py): the accuracy is not clearly "
               "better than that of always predicting the largest class.")
    yield _about_pair(counts, evaluation.class_names)
    yield _about_counts({name: training.get(name, 0) for name in evaluation.class_names})


def _about_pair(counts: np.ndarray, names: list[str]) -> str:
    """A sentence if many mistakes, and far more than by chance, are between two of several classes.

    counts: int (classes, classes), the confusion matrix.
    """
    pairs = np.triu(counts + counts.T, 1)
    first, second = np.unravel_index(pairs.argmax(), pairs.shape)
    total, count = pairs.sum(), pairs.max()
    by_chance = total / max(1, len(names) * (len(names) - 1) / 2)
    if len(names) < 3 or count < max(3, _PAIR * total, 2 * by_chance):
        return ""
    return (f"Compare {names[first]} and {names[second]}, which {count} of {total} mistakes confuse: check their "
            "labels, add sounds of both, or merge them if you can't tell them apart.")


def _about_counts(training: dict[str, int]) -> str:
    """A sentence if classes have few training files, or far fewer than others; training: class → files."""
    smallest, largest = min(training, key=training.get), max(training, key=training.get)
    few = [name for name, count in training.items() if count < FEW_FILES]
    if not training[largest]:
        return ""  # unknown
    if training[largest] >= IMBALANCE * max(1, training[smallest]):
        return (f"Add sounds to {smallest}, which has {training[smallest]} training "
                f"file{'s' * (training[smallest] != 1)}, while {largest} has {training[largest]:,}.")
    if len(few) > 3 or len(few) == len(training):
        which = "all" if len(few) == len(training) else f"{len(few)} of {len(training)}"
        return f"Add sounds: {which} classes have fewer than {FEW_FILES} training files."
    return f"Add sounds to {_named(few)}: fewer than {FEW_FILES} training files." if few else ""


def _about_precision(evaluation: Evaluation, validation: int) -> Iterator[str]:
    if 0 < validation < FEW_VALIDATION:
        yield (f"Raise VALIDATION_FRACTION, or add sounds: {validation} validation clip{'s' * (validation > 1)} can "
               "hardly show which epoch is the best.")
    low, high = intervals.wilson((evaluation.predicted == evaluation.labels).sum(), len(evaluation.labels))
    if high - low > WIDE_INTERVAL:
        yield (f"Run train_network.py --folds 5 to test every sound once: {len(evaluation.labels)} test files only "
               f"show that the accuracy is between {low:.0%} and {high:.0%}.")


def _about_confident(evaluation: Evaluation) -> Iterator[str]:
    confident = (evaluation.probabilities[evaluation.mistakes].max(axis=1, initial=0) > CONFIDENT).sum()
    if confident:
        yield (f"Check the labels of the first {confident} mistakes: a wrong class with a probability above "
               f"{CONFIDENT:.0%} often is a wrong label." if confident > 1 else
               f"Check the label of the first mistake: its wrong class has a probability above {CONFIDENT:.0%}.")
    elif len(evaluation.mistakes):
        yield "Play the mistakes below, and add training files like them."


def _named(names: list[str]) -> str:
    """Up to three names, and the number of the others."""
    if len(names) > 3:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
