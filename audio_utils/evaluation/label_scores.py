"""MULTI_LABEL: decisions for each class, and their scores. Each class has its own threshold.

A decision is a mistake if a clip gets a class that it does not have, or lacks one that it has. In an exact match, all
decisions about a clip are right. The average precision (AP) of a class is the area under its precision-recall curve, as
in scikit-learn's `average_precision_score`; with random probabilities, it is the fraction of clips with the class.
"""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_utils.data.checks import named
from audio_utils.data.clips import Clips
from audio_utils.evaluation import intervals, thresholds
from audio_utils.evaluation.metrics import Evaluation, RocCurve, precision_recall_f1
from audio_utils.runtime import safe_files, tables

THRESHOLD = 0.5  # of a class without another, or with one that is uncertain
_MACRO = ("precision", "recall", "f1")
_COLUMNS = ("precision", "recall", "f1", "average_precision", "auc")
_HEADER = ("class", "clips", "mistakes", "threshold", "precision", "recall", "F1", "AP", "AUC")


class MultiLabelEvaluation(NamedTuple):
    """The predictions for clips with any number of labels."""
    names: list[str]  # "folder/file.wav"
    class_names: list[str]
    positives: np.ndarray  # bool (clips, classes), the true labels
    probabilities: np.ndarray  # float32 (clips, classes), independent of each other

    @property
    def loss(self) -> float:
        """Binary cross-entropy, nats: the sum over the classes, and the mean over the clips."""
        of_truth = np.where(self.positives, self.probabilities, 1 - self.probabilities.astype(np.float64))
        return float(-np.log(np.maximum(of_truth, 1e-7)).sum(axis=1).mean())

    @property
    def accuracy(self) -> float:
        """The fraction of exact matches with a threshold of 0.5."""
        return float(((self.probabilities >= THRESHOLD) == self.positives).all(axis=1).mean())


def evaluation(clips: Clips, probabilities: np.ndarray,
               indices: np.ndarray | None = None) -> Evaluation | MultiLabelEvaluation:
    """The evaluation of all clips, or of those at `indices`, with MULTI_LABEL or without."""
    if not clips.multi_label:
        return Evaluation.of(clips, probabilities, indices)
    indices = np.arange(len(clips)) if indices is None else indices
    return MultiLabelEvaluation([clips.names[i] for i in indices], clips.class_names, clips.targets[indices] > 0,
                                probabilities)


# --- thresholds -----------------------------------------------------------------------------------------------------

def decision_thresholds(min_probability: float | str, known: dict[str, Any], class_names: list[str],
                        path: str | Path) -> np.ndarray:
    """float (classes,): the lowest probability with which each class is predicted; infinity if it never is.

    min_probability: a number above 0 for all classes; 0 or "auto": the threshold with the highest F1, or 0.5 if it was
    chosen from fewer than thresholds.FEW_POSITIVES clips of the class; "precision": that with a precision of 90%.
    known: the thresholds in the weights. Raises UserError if there are none for "auto" or "precision".
    """
    lowest = thresholds.lowest_probabilities(min_probability, known, class_names, path)
    if min_probability == "precision" or (min_probability and not isinstance(min_probability, str)):
        return lowest
    usable = _usable(known)
    return np.array([usable.get(name, THRESHOLD) for name in class_names], float)


def _usable(known: dict[str, Any]) -> dict[str, float]:
    """Class → threshold with the highest F1, of the classes with enough clips."""
    classes = known.get("classes", {})
    uncertain = thresholds.uncertain_classes(known) if known else []
    return {name: each["max_f1"] for name, each in classes.items()
            if each["max_f1"] is not None and name not in uncertain}


def describe(min_probability: float | str, known: dict[str, Any], class_names: list[str]) -> list[str]:
    """Sentences about the thresholds that are used."""
    if min_probability == "precision":
        return thresholds.describe(min_probability, known)
    if min_probability not in (0, "auto"):
        return []
    other = [name for name in class_names if name not in _usable(known)]
    source = f"Thresholds from {known['source']}, {known['clips']:,} clips." if len(other) < len(class_names) else ""
    few = f"fewer than {thresholds.FEW_POSITIVES} validation clips"
    return list(filter(None, [source, f"Threshold {THRESHOLD} of classes with {few}: {named(other)}." * bool(other)]))


# --- scores ---------------------------------------------------------------------------------------------------------

def score(found: MultiLabelEvaluation, curves: dict[str, RocCurve], lowest: np.ndarray) -> dict[str, Any]:
    """The content of scores.json; lowest: the threshold of each class.

    `exact_match` replaces `accuracy`, as it is much lower with many classes. A macro score is the mean over the classes
    that have clips, `macro_auc` and `mean_average_precision` that over the classes with some, but not all, clips.
    """
    predicted = found.probabilities >= lowest
    classes = {name: _of_class(found, predicted, i, lowest[i], curves.get(name))
               for i, name in enumerate(found.class_names)}
    exact = (predicted == found.positives).all(axis=1)
    with_clips = [each for each in classes.values() if each["files"]]
    return {"multi_label": True, "exact_match": float(exact.mean()),
            "exact_match_interval": intervals.wilson(exact.sum(), len(exact)),
            "macro_auc": _mean([each["auc"] for each in classes.values() if each["auc"] is not None]),
            "mean_average_precision": _mean([each["average_precision"] for each in classes.values()
                                             if each["average_precision"] is not None]),
            **{f"macro_{kind}": _mean([each[kind] or 0 for each in with_clips]) for kind in _MACRO},
            "loss": found.loss, "files": len(found.names), "classes": classes}


def _of_class(found: MultiLabelEvaluation, predicted: np.ndarray, i: int, threshold: float,
              curve: RocCurve | None) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score
    positive, accepted = found.positives[:, i], predicted[:, i]
    precision = float(average_precision_score(positive, found.probabilities[:, i])) if curve else None
    return {"auc": curve.auc if curve else None, "average_precision": precision, "files": int(positive.sum()),
            "mistakes": int((positive != accepted).sum()), "threshold": float(threshold),
            **precision_recall_f1((positive & accepted).sum(), accepted.sum(), positive.sum())}


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def lines(scores: dict[str, Any]) -> list[str]:
    """The scores as they are printed."""
    classes = {name: scores["classes"][name] for name in tables.in_natural_order(scores["classes"])}
    rows = [[name, str(each["files"]), str(each["mistakes"]), f"{each['threshold']:.4f}",
             *map(_cell, map(each.get, _COLUMNS))] for name, each in classes.items()]
    mean = [scores["macro_precision"], scores["macro_recall"], scores["macro_f1"], scores["mean_average_precision"],
            scores["macro_auc"]]
    mistakes = sum(each["mistakes"] for each in classes.values())
    rows.append(["all", str(scores["files"]), str(mistakes), "", *map(_cell, mean)])
    low, high = scores["exact_match_interval"]
    return ["", *tables.table([list(_HEADER), *rows]),
            f"\nLoss {tables.number(scores['loss']).strip()}, {mistakes} of {scores['files'] * len(classes)} decisions "
            "are mistakes.",
            f"All classes of a clip are right in {scores['exact_match']:.2%} of {scores['files']} clips (exact match; "
            f"95% interval {low:.1%} to {high:.1%})."]


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def write_mistakes(path: str | Path, found: MultiLabelEvaluation, lowest: np.ndarray) -> int:
    """Write a CSV file with a row for each wrong decision, the farthest from its threshold first; their number."""
    margins = np.abs(found.probabilities - np.minimum(lowest, 1))
    rows, columns = np.nonzero((found.probabilities >= lowest) != found.positives)
    order = np.argsort(-margins[rows, columns], kind="stable")
    with safe_files.replacing(path) as unfinished, \
            open(unfinished, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(["file", "class", "should_be", "came_out_as", "probability", "threshold"])
        for i, j in zip(rows[order], columns[order], strict=True):
            answers = ("yes", "no") if found.positives[i, j] else ("no", "yes")
            table.writerow([found.names[i], found.class_names[j], *answers, f"{found.probabilities[i, j]:.4f}",
                            f"{lowest[j]:.4f}"])
    return len(order)


def mistake_lines(found: MultiLabelEvaluation, lowest: np.ndarray) -> list[str]:
    """A line for each clip with a mistake, sorted by name."""
    predicted = found.probabilities >= lowest
    wrong = np.flatnonzero((predicted != found.positives).any(axis=1))
    return [f"{found.names[i]}: should be {text_of(found.class_names, found.positives[i])} but came out as "
            f"{text_of(found.class_names, predicted[i])}" for i in sorted(wrong, key=lambda i: found.names[i])]


def text_of(class_names: list[str], chosen: np.ndarray, none: str = "none of these") -> str:
    """The chosen classes as one text, "dog,rain", or that for none; chosen: bool (classes,)."""
    return ",".join(name for name, is_chosen in zip(class_names, chosen, strict=True) if is_chosen) or none
