"""Next steps after an evaluation, in at most three sentences that are drawn from its numbers."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from audio_utils.data.look_alikes import find_takes
from audio_utils.data.sounds import Sound
from audio_utils.data.split import MIN_GROUPS, Grouping
from audio_utils.evaluation import intervals
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.runtime.tables import in_natural_order

MAX_SENTENCES = 3
FEW_FILES = 20  # of a class in Train
FEW_VALIDATION = 30  # clips
VALIDATION_FRACTION = 0.2  # advised if there are few validation clips
IMBALANCE = 5  # times the training files of the smallest class
WIDE_INTERVAL = 0.15  # of the accuracy
CONFIDENT = 0.9  # probability of a wrong class
FEW_CONFIDENT = 0.05  # of the files; more confident mistakes are due to the network rather than to wrong labels
_PAIR = 1 / 3  # fraction of the mistakes that are between two classes


Pair = tuple[Collection[str], Collection[str]]  # the files that a network is tested with, and those it was trained on


class Shared(NamedTuple):
    """Why the score may be too optimistic, and the remedy; both are "" if nothing indicates it."""
    warning: str = ""
    remedy: str = ""


# --- clips of one recording -----------------------------------------------------------------------------------------

def shared_recordings(pairs: list[Pair], test: dict[str, str], training: dict[str, str], own_split: bool,
                      fold_rule: str = "", labels: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> Shared:
    """Whether the networks were trained on other clips of the recordings that they are tested with.

    pairs: of each network. test, training: file → recording, or "" if unknown. fold_rule: FOLDS, in cross-validation.
    labels: of the files, with MULTI_LABEL.
    """
    found = _trained_on(pairs, test, training)
    if not found:
        return Shared()
    warning = f"The score is too optimistic: {_counted(found, pairs, 'from recordings', 'clips', fold_rule)}"
    if fold_rule and not fold_rule.isdecimal():
        return Shared(f"{warning}.", "Change FOLDS so that all clips of a recording are in one fold, then train again.")
    if own_split and not fold_rule:
        return Shared(f"{warning}.", "Move all clips of a recording into one split, then preprocess and train again.")
    few = _few_recordings(found, pairs, training | test, labels)
    if few:
        has = "has" if len(few) == 1 else "have"
        return Shared(f"{warning}, because {_named(few)} {has} fewer than {MIN_GROUPS} recordings.",
                      f"Add sounds from other recordings to {_named(few)}: the test files should be from recordings "
                      "that the network was not trained on.")
    return Shared(f"{warning}.", "Run preprocess_data.py --split-anew and train_network.py --fresh: then all clips of "
                                 "a recording are in one split.")


def _trained_on(pairs: list[Pair], test: dict[str, str], training: dict[str, str]) -> list[str]:
    """The test files with a recording that is also among the training files."""
    found = []
    for test_names, training_names in pairs:
        trained = {training.get(name) for name in training_names} - {None, ""}
        found += [name for name in test_names if test.get(name) in trained]
    return found


def _counted(found: list[str], pairs: list[Pair], source: str, parts: str, fold_rule: str) -> str:
    """The number of test files that share a recording with training files, as a clause."""
    total = sum(len(test_names) for test_names, _ in pairs)
    if fold_rule:
        return f"{len(found):,} of {total:,} files are {source} of which other {parts} are in another fold"
    return f"{len(found):,} of {total:,} test files are {source} of which other {parts} are in Train"


def _few_recordings(found: list[str], pairs: list[Pair], recordings: dict[str, str],
                    labels: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The classes of the files `found` that have too few recordings to keep each of them in one split."""
    names = {name for pair in pairs for part in pair for name in part}
    grouping = Grouping(recordings={name: recording for name, recording in recordings.items() if recording},
                        labels=labels)
    classes = {class_name for name in found for class_name in grouping.classes_of(name)}
    return in_natural_order(classes.intersection(grouping.relaxed(names)[1]))


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
    warning = f"The score may be too optimistic: {counted}."
    if fold_rule and not fold_rule.isdecimal():
        return Shared(warning, "Change FOLDS so that all takes of a recording are in one fold, then train again.")
    return Shared(warning, f'Run preprocess_data.py --split-anew "--group-by={rule}", which keeps the takes of each '
                           "recording in one split, and train_network.py --fresh.")


# --- next steps -----------------------------------------------------------------------------------------------------

class Data(NamedTuple):
    """The sounds that a network was trained on, and those that it is tested with."""
    training: dict[str, int]  # class → files; {} if unknown
    validation: int = 0  # clips, 0 if unknown
    own_validation: bool = False  # whether these are the user's, not some of Train
    folder: Path | None = None  # all sounds of which are tested, None: those of Test
    folds: bool = False  # whether all sounds of Train are tested, in cross-validation


def choose(evaluation: Evaluation, data: Data, remedy: str, more_sounds: str = "") -> list[str]:
    """The sentences, the most important first.

    remedy: of shared recordings, or "". more_sounds: how much these would help, by the learning curve, or "".
    """
    first = _about_mistakes(evaluation, data, more_sounds) if len(evaluation.mistakes) else \
        about_success(len(evaluation.labels), data)
    steps = [remedy, *first, *_about_precision(evaluation, data), *_about_confident(evaluation)]
    return [step for step in steps if step][:MAX_SENTENCES]


def about_success(count: int, data: Data) -> Iterator[str]:
    files = f"all {count} {_files(data)}s are" if count > 1 else f"the only {_files(data)} is"
    yield ("Test the network on recordings from another day, place or microphone (eval_network.py --samples FOLDER): "
           f"{files} correct.")


def _files(data: Data) -> str:
    return "file" if data.folder or data.folds else "test file"


def _about_mistakes(evaluation: Evaluation, data: Data, more_sounds: str) -> Iterator[str]:
    counts = evaluation.confusion
    largest = counts.sum(axis=1).max()
    if intervals.wilson(counts.trace(), counts.sum())[0] <= largest / counts.sum() < 1:  # 1: files of one class
        sounds = f"sounds in {data.folder}/ and their labels" if data.folder else \
            "sounds and their labels (audio_utils/inspect_samples.py)"
        yield (f"Check the {sounds}: the accuracy is not clearly better than that of always predicting the largest "
               "class.")
    yield _about_pair(counts, evaluation.class_names)
    few = about_counts({name: data.training.get(name, 0) for name in evaluation.class_names})
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


def about_counts(training: dict[str, int]) -> str:
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


def _about_precision(evaluation: Evaluation, data: Data) -> Iterator[str]:
    if 0 < data.validation < FEW_VALIDATION:
        yield (f"{_more_validation(data)}: {data.validation} validation clip{'s' * (data.validation > 1)} can hardly "
               "show how good the network is.")
    low, high = evaluation.accuracy_interval
    if high - low > WIDE_INTERVAL:
        count, files = len(evaluation.labels), _files(data)
        remedy = "Add sounds" if files == "file" else "Run train_network.py --folds 5 to test each sound of Train once"
        only = f"{count} {files} only shows" if count == 1 else f"{count} {files}s only show"
        yield f"{remedy}: {only} that the accuracy is between {low:.0%} and {high:.0%}."


def _more_validation(data: Data) -> str:
    """How to get more validation clips; a higher fraction is advised only if it is clearly higher than the present."""
    if data.own_validation:
        return "Add sounds to Val"
    if data.validation < 0.75 * VALIDATION_FRACTION * sum(data.training.values()):
        return f"Run train_network.py --validation-fraction {VALIDATION_FRACTION} --fresh, or add sounds"
    return "Add sounds"


def _about_confident(evaluation: Evaluation) -> Iterator[str]:
    confident = (evaluation.confidence[evaluation.mistakes] > CONFIDENT).sum()
    overconfident = intervals.calibration(evaluation.confidence, evaluation.correct) == intervals.OVERCONFIDENT
    if 0 < confident < FEW_CONFIDENT * len(evaluation.labels) and not overconfident:
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
