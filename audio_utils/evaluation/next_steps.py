"""Next steps after an evaluation, in at most three sentences that are drawn from its numbers."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from audio_utils.data.look_alikes import find_takes
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


Pair = tuple[Collection[str], Collection[str]]  # the files that a network is tested with, and those it was trained on


class Shared(NamedTuple):
    """Why the score may be too optimistic, and the remedy; both are "" if nothing indicates it."""
    warning: str = ""
    remedy: str = ""


# --- clips of one recording -----------------------------------------------------------------------------------------

def shared_recordings(pairs: list[Pair], test: dict[str, str], training: dict[str, str], own_split: bool,
                      fold_rule: str = "") -> Shared:
    """Whether the networks were trained on other clips of the recordings that they are tested with.

    pairs: of each network. test, training: file → recording, or "" if unknown. fold_rule: FOLDS, in cross-validation.
    """
    found = _trained_on(pairs, test, training)
    if not found:
        return Shared()
    warning = f"The score is too optimistic: {_counted(found, pairs, 'from recordings', 'clips', fold_rule)}"
    if fold_rule and not fold_rule.isdecimal():
        return Shared(warning, "Change FOLDS so that all clips of a recording are in one fold, then train again.")
    few = _few_recordings({class_of(name) for name in found}, test, training)
    if own_split and not fold_rule:
        return Shared(warning, "Move all clips of a recording into one split, then preprocess and train again.")
    if few:
        return Shared(warning, f"Add sounds from other recordings to {_named(few)}: the test files should be from "
                               "recordings that the network was not trained on.")
    return Shared(warning, "Run preprocess_data.py --split-anew and train_network.py --fresh: then all clips of a "
                           "recording are in one split.")


def _trained_on(pairs: list[Pair], test: dict[str, str], training: dict[str, str]) -> list[str]:
    """The test files with a recording that is also among the training files."""
    found = []
    for test_names, training_names in pairs:
        trained = {training.get(name) for name in training_names} - {None, ""}
        found += [name for name in test_names if test.get(name) in trained]
    return found


def _counted(found: list[str], pairs: list[Pair], source: str, parts: str, fold_rule: str) -> str:
    """The number of test files that share a recording with training files, as the end of a sentence."""
    total = sum(len(test_names) for test_names, _ in pairs)
    if fold_rule:
        return f"{len(found):,} of {total:,} files are {source} of which other {parts} are in another fold."
    return f"{len(found):,} of {total:,} test files are {source} of which other {parts} are in Train."


def _few_recordings(classes: set[str], test: dict[str, str], training: dict[str, str]) -> list[str]:
    """The classes that have too few recordings to keep each of them in one split."""
    return [each for each in sorted(classes)
            if len({recording for names in (test, training) for name, recording in names.items()
                    if recording and class_of(name) == each}) < MIN_GROUPS]


def shared_takes(pairs: list[Pair], sounds: list[Sound], grouped: set[Sound], fold_rule: str = "") -> Shared:
    """Whether files named like takes of one recording are among both the test and the training files.

    pairs, fold_rule: as above. grouped: sounds whose recordings are known.
    """
    rule, takes = find_takes(sounds, grouped)
    recordings = {sound.name: str(number) for number, group in enumerate(takes) for sound in group}
    found = _trained_on(pairs, recordings, recordings)
    if not found:
        return Shared()
    counted = _counted(found, pairs, "named like takes of recordings", "takes", fold_rule)
    warning = f"The score may be too optimistic: {counted}"
    if fold_rule and not fold_rule.isdecimal():
        return Shared(warning, "Change FOLDS so that all takes of a recording are in one fold, then train again.")
    return Shared(warning, f'Run preprocess_data.py --split-anew "--group-by={rule}", which keeps the takes of each '
                           "recording in one split, and train_network.py --fresh.")


# --- next steps -----------------------------------------------------------------------------------------------------

def choose(evaluation: Evaluation, training: dict[str, int], validation: int, remedy: str,
           tests_all_sounds: bool = False, more_sounds: str = "") -> list[str]:
    """The sentences, the most important first.

    training: class → files. validation: clips, 0 if unknown. remedy: of shared recordings, or "". tests_all_sounds: in
    cross-validation, or all sounds of a folder. more_sounds: how much these would help, by the learning curve, or "".
    """
    first = _about_mistakes(evaluation, training, more_sounds) if len(evaluation.mistakes) else \
        _about_success(evaluation)
    steps = [remedy, *first, *_about_precision(evaluation, validation, tests_all_sounds),
             *_about_confident(evaluation)]
    return [step for step in steps if step][:MAX_SENTENCES]


def _about_success(evaluation: Evaluation) -> Iterator[str]:
    yield (f"Test the network on recordings from another day, place or microphone (predict_class.py): all "
           f"{len(evaluation.labels)} test files are correct.")


def _about_mistakes(evaluation: Evaluation, training: dict[str, int], more_sounds: str) -> Iterator[str]:
    counts = evaluation.confusion
    largest = counts.sum(axis=1).max()
    if intervals.wilson(counts.trace(), counts.sum())[0] <= largest / counts.sum() < 1:  # 1: files of one class
        yield ("Check the sounds and their labels (audio_utils/inspect_samples.py): the accuracy is not clearly "
               "better than that of always predicting the largest class.")
    yield _about_pair(counts, evaluation.class_names)
    few = _about_counts({name: training.get(name, 0) for name in evaluation.class_names})
    yield "" if more_sounds and few.startswith("Add sounds: ") else few
    yield more_sounds


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


def _about_precision(evaluation: Evaluation, validation: int, tests_all_sounds: bool) -> Iterator[str]:
    if 0 < validation < FEW_VALIDATION:
        yield (f"Raise VALIDATION_FRACTION, or add sounds: {validation} validation clip{'s' * (validation > 1)} can "
               "hardly show which epoch is the best.")
    low, high = intervals.wilson((evaluation.predicted == evaluation.labels).sum(), len(evaluation.labels))
    between = f"between {low:.0%} and {high:.0%}"
    if high - low > WIDE_INTERVAL and tests_all_sounds:
        yield f"Add sounds: {_only_show(len(evaluation.labels), 'file')} that the accuracy is {between}."
    elif high - low > WIDE_INTERVAL:
        yield ("Run train_network.py --folds 5 to test every sound once: "
               f"{_only_show(len(evaluation.labels), 'test file')} that the accuracy is {between}.")


def _only_show(count: int, noun: str) -> str:
    return f"{count} {noun} only shows" if count == 1 else f"{count} {noun}s only show"


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
