"""Thresholds on the probability of each class, chosen from predictions for clips that were not trained on.

weights.hdf5 contains them as a dictionary:

    {"source": "cross-validation with 5 folds", "clips": 240,
     "classes": {class: {"positives": 24, "max_f1": 0.41, "precision_90": None}, ...}}

positives: clips of the class. max_f1: the threshold with the highest F1. precision_90: the lowest one with a precision
of at least 90%. None: there is no such threshold.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audio_utils.data.checks import named
from audio_utils.evaluation.metrics import Evaluation, precision_recall_f1
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.errors import UserError

KINDS = {"auto": "max_f1", "precision": "precision_90"}  # values of MIN_PROBABILITY, and the thresholds that they mean
MIN_PROBABILITY = Limits(float, 0, 1, words=tuple(KINDS))
PRECISION = 0.9
FEW_POSITIVES = 10  # fewer clips of a class make its thresholds uncertain


# --- choosing -------------------------------------------------------------------------------------------------------

def of(evaluation: Evaluation, source: str) -> dict[str, Any]:
    """The dictionary with the thresholds chosen from these predictions; source: of the predictions, for messages."""
    return {"source": source, "clips": len(evaluation.names), "classes": choose(evaluation)}


def choose(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Class → positives and thresholds, for the class against the rest.

    The precision, recall and F1 of a threshold are those of van Rijsbergen (Information Retrieval, 1979).
    """
    return {name: {"positives": int(positive.sum()), **_of_class(positive, scores)}
            for name, positive, scores in _one_against_rest(evaluation)}


def _one_against_rest(evaluation: Evaluation) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The name of each class, bool (clips,): whether a clip is of the class, and float64 (clips,): its probability."""
    positives = evaluation.positives
    for i, name in enumerate(evaluation.class_names):
        yield name, positives[:, i], evaluation.probabilities[:, i].astype(np.float64)


def _of_class(positive: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    if not positive.any() or positive.all():  # without clips of other classes, the precision is always 1
        return dict.fromkeys(KINDS.values())
    from sklearn.metrics import precision_recall_curve
    precision, recall, lowest = precision_recall_curve(positive, scores)  # lowest: accepted score, ascending
    precision, recall = precision[:-1], recall[:-1]  # the last pair is no threshold's
    f1 = np.round(2 * precision * recall / np.maximum(precision + recall, 1e-12), 12)  # equal despite rounding errors
    precise = np.flatnonzero(precision >= PRECISION)
    return {"max_f1": _midway(lowest, np.flatnonzero(f1 == f1.max())[-1]),  # of equal ones, the most precise
            "precision_90": _midway(lowest, precise[0]) if len(precise) else None}


def _midway(scores: np.ndarray, i: int) -> float:
    """The middle between a score and the next lower one, so that the threshold does not depend on one clip alone."""
    return float((scores[i] + (scores[i - 1] if i else 0)) / 2)


# --- applying -------------------------------------------------------------------------------------------------------

def apply(evaluation: Evaluation, classes: dict[str, dict[str, Any]]) -> dict[str, dict[str, dict | None]]:
    """Class → kind → threshold, precision, recall and F1 for these predictions; classes: from `choose`.

    The kind is None if there is no such threshold, and a score if it is undefined.
    """
    return {name: {kind: _at(classes[name][kind], positive, scores) for kind in KINDS.values()}
            for name, positive, scores in _one_against_rest(evaluation)}


def _at(threshold: float | None, positive: np.ndarray, scores: np.ndarray) -> dict[str, float | None] | None:
    if threshold is None:
        return None
    accepted = scores >= threshold
    return {"threshold": threshold, **precision_recall_f1((accepted & positive).sum(), accepted.sum(), positive.sum())}


def add_to(scores: dict[str, Any], evaluation: Evaluation, thresholds: dict[str, Any],
           background: Collection[str] = ()) -> dict[str, Any]:
    """The scores of `metrics.score` with the thresholds, and the results of applying them to the same evaluation.

    background: the classes that are never predicted; they get no results.
    """
    if not thresholds:
        return scores
    results, uncertain = apply(evaluation, thresholds["classes"]), uncertain_classes(thresholds)
    classes = {name: each if name in background else
               each | {"thresholds": results[name] | {"uncertain": name in uncertain}}
               for name, each in scores["classes"].items()}
    return scores | {"classes": classes, "thresholds": thresholds}


def lowest_probabilities(min_probability: float | str, thresholds: dict[str, Any], class_names: list[str],
                         path: str | Path, background: Collection[str] = ()) -> np.ndarray:
    """float (classes,): the lowest probability with which each class is predicted; infinity if it never is.

    min_probability: a number for all classes, "auto" or "precision". With "auto", a class without a threshold is
    predicted with any probability. path: of the weights. background: the classes that are never predicted. Raises
    UserError if there are no thresholds.
    """
    MIN_PROBABILITY.check("MIN_PROBABILITY", getattr(min_probability, "item", lambda: min_probability)())
    lowest = _lowest(min_probability, thresholds, class_names, path)
    lowest[[i for i, name in enumerate(class_names) if name in background]] = np.inf
    return lowest


def _lowest(min_probability: float | str, thresholds: dict[str, Any], class_names: list[str],
            path: str | Path) -> np.ndarray:
    if not isinstance(min_probability, str):
        return np.full(len(class_names), min_probability, np.float32)
    if not thresholds:
        raise UserError(f"{path}: contains no thresholds for MIN_PROBABILITY = {min_probability!r}; run "
                        "train_network.py --folds 5, which chooses them.")
    kind, without = KINDS[min_probability], 0 if min_probability == "auto" else np.inf
    chosen = [thresholds["classes"][name][kind] for name in class_names]
    return np.array([without if each is None else each for each in chosen], float)


# --- messages and checks --------------------------------------------------------------------------------------------

def uncertain_classes(thresholds: dict[str, Any]) -> list[str]:
    """The classes whose thresholds were chosen from too few of their clips."""
    return [name for name, each in thresholds["classes"].items() if each["positives"] < FEW_POSITIVES]


def remedy(thresholds: dict[str, Any]) -> str:
    """How to get thresholds from more clips, as the end of a sentence."""
    return "add sounds and run train_network.py --folds 5 again" \
        if thresholds["source"].startswith("cross-validation") else "train_network.py --folds 5 gives better thresholds"


def describe(min_probability: float | str, thresholds: dict[str, Any], background: Collection[str] = ()) -> list[str]:
    """Sentences about the thresholds that are used: their source, those that are uncertain, classes without one.

    background: the classes that are never predicted; they are not mentioned.
    """
    if not isinstance(min_probability, str):
        return []
    classes, kind = thresholds["classes"], KINDS[min_probability]
    without = [name for name, each in classes.items() if each[kind] is None and name not in background]
    few = [name for name in uncertain_classes(thresholds) if name not in (*without, *background)]
    sentences = [f"Thresholds from {thresholds['source']}, {thresholds['clips']:,} clips."]
    if few:
        sentences.append(f"Uncertain, with fewer than {FEW_POSITIVES} clips: {named(few)}; {remedy(thresholds)}.")
    if without:
        reason = "Predicted with any probability, without a threshold" if min_probability == "auto" else \
            f"Never predicted, because no threshold has a precision of {PRECISION:.0%}"
        sentences.append(f"{reason}: {named(without)}.")
    return sentences


def check(thresholds: dict[str, Any], class_names: list[str]) -> None:
    """Raise ValueError, TypeError or the like unless this is {} or a dictionary of thresholds of these classes."""
    if thresholds == {}:
        return
    classes = thresholds["classes"]
    if set(thresholds) != {"source", "clips", "classes"} or not isinstance(thresholds["source"], str):
        raise ValueError("thresholds")
    if set(classes) != set(class_names) or any(set(each) != {"positives", *KINDS.values()}
                                               for each in classes.values()):
        raise ValueError("classes of the thresholds")
    if not all(type(count) is int and count >= 0
               for count in (thresholds["clips"], *(each["positives"] for each in classes.values()))):
        raise ValueError("clips of the thresholds")
    values = [each[kind] for each in classes.values() for kind in KINDS.values()]
    if not all(value is None or (isinstance(value, float) and 0 <= value <= 1) for value in values):
        raise ValueError("thresholds")
