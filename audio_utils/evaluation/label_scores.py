"""MULTI_LABEL: decisions for each class, and their scores. Each class has its own threshold.

A class of a clip is missed if the clip has it and its probability is below the threshold. It is extra if the clip does
not have it and its probability is at least the threshold. In an exact match, no class is missed or extra. The average
precision (AP) of a class is the area under its precision-recall curve, as in scikit-learn's `average_precision_score`;
with random probabilities, it is about the fraction of clips with the class.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_utils.data.checks import named
from audio_utils.data.clips import Clips
from audio_utils.evaluation import intervals, thresholds
from audio_utils.evaluation.metrics import Evaluation, RocCurve, precision_recall_f1
from audio_utils.runtime import tables

THRESHOLD = 0.5  # of a class whose own threshold is unknown or uncertain
SCORES = ("precision", "recall", "f1", "average_precision", "auc")  # of a class; their means are the macro scores
_HEADER = ("class", "clips", "missed", "extra", "threshold", "precision", "recall", "AP", "AUC")


class MultiLabelEvaluation(NamedTuple):
    """The predictions for clips with any number of labels."""
    names: list[str]  # "folder/file.wav"
    class_names: list[str]
    positives: np.ndarray  # bool (clips, classes), the true labels
    probabilities: np.ndarray  # float32 (clips, classes), independent of each other
    lowest: np.ndarray | float = THRESHOLD  # the thresholds, (classes,) or (clips, classes)

    def in_natural_order(self) -> "MultiLabelEvaluation":
        """The same with the classes in natural order, for display."""
        order = tables.natural_order(self.class_names)
        return MultiLabelEvaluation(self.names, [self.class_names[i] for i in order], self.positives[:, order],
                                    self.probabilities[:, order], self._thresholds[:, order])

    @property
    def _thresholds(self) -> np.ndarray:
        return np.broadcast_to(self.lowest, self.probabilities.shape)

    @property
    def predicted(self) -> np.ndarray:
        """bool (clips, classes): whether the probability is at least the threshold."""
        return self.probabilities >= self.lowest

    @property
    def missed(self) -> np.ndarray:
        """bool (clips, classes): whether a clip has a class that is not predicted."""
        return self.positives & ~self.predicted

    @property
    def extra(self) -> np.ndarray:
        """bool (clips, classes): whether a class is predicted that a clip does not have."""
        return self.predicted & ~self.positives

    @property
    def margins(self) -> np.ndarray:
        """(clips, classes): the distance of the probability from the threshold if missed or extra, otherwise -1."""
        return np.where(self.predicted == self.positives, -1, np.abs(self.probabilities - self.lowest))

    @property
    def exact(self) -> np.ndarray:
        """bool (clips,): whether all classes of a clip are right."""
        return (self.predicted == self.positives).all(axis=1)

    @property
    def mistakes(self) -> np.ndarray:
        """The indices of the clips that are not an exact match, those farthest from a threshold first."""
        wrong = np.flatnonzero(~self.exact)
        return wrong[np.argsort(-self.margins[wrong].max(axis=1, initial=0), kind="stable")]

    @property
    def accuracy(self) -> float:
        """The fraction of exact matches."""
        return float(self.exact.mean())

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """The 95% interval of this fraction."""
        return intervals.wilson(self.exact.sum(), len(self.names))

    @property
    def loss(self) -> float:
        """Binary cross-entropy, nats: the sum over the classes, and the mean over the clips."""
        of_truth = np.where(self.positives, self.probabilities, 1 - self.probabilities.astype(np.float64))
        return float(-np.log(np.maximum(of_truth, 1e-7)).sum(axis=1).mean())


def evaluation(clips: Clips, probabilities: np.ndarray,
               indices: np.ndarray | None = None) -> Evaluation | MultiLabelEvaluation:
    """The evaluation of all clips, or of those at `indices`, with MULTI_LABEL or without."""
    if not clips.multi_label:
        return Evaluation.of(clips, probabilities, indices)
    indices = np.arange(len(clips)) if indices is None else indices
    return MultiLabelEvaluation([clips.names[i] for i in indices], clips.class_names, clips.targets[indices] > 0,
                                probabilities)


def of_folds(parts: list[MultiLabelEvaluation]) -> MultiLabelEvaluation:
    """The evaluations of all folds as one; the thresholds of each fold are chosen from the other folds."""
    joined = _joined(parts)
    lowest = [np.broadcast_to(_from_others(parts, i), part.positives.shape) for i, part in enumerate(parts)]
    return joined._replace(lowest=np.concatenate(lowest))


def _joined(parts: list[MultiLabelEvaluation]) -> MultiLabelEvaluation:
    return MultiLabelEvaluation([name for part in parts for name in part.names], parts[0].class_names,
                                *(np.concatenate([getattr(part, name) for part in parts])
                                  for name in ("positives", "probabilities")))


def _from_others(parts: list[MultiLabelEvaluation], i: int) -> np.ndarray:
    """float (classes,): the thresholds from all folds but one."""
    others = thresholds.of(_joined(parts[:i] + parts[i + 1:]), "other folds")
    return decision_thresholds("auto", others, parts[0].class_names, "")


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
    other = uncertain_classes(known, class_names)
    source = f"Thresholds from {known['source']}, {known['clips']:,} clips." if len(other) < len(class_names) else ""
    few = f"fewer than {thresholds.FEW_POSITIVES} validation clips"
    return list(filter(None, [source, f"Threshold {THRESHOLD} for classes with {few}: {named(other)}." * bool(other)]))


def uncertain_classes(known: dict[str, Any], class_names: list[str]) -> list[str]:
    """The classes with the threshold THRESHOLD, as they have too few clips to choose one."""
    usable = _usable(known)
    return [name for name in class_names if name not in usable]


# --- scores ---------------------------------------------------------------------------------------------------------

def score(found: MultiLabelEvaluation, curves: dict[str, RocCurve], lowest: np.ndarray) -> dict[str, Any]:
    """The content of scores.json, with 95% intervals; lowest: the threshold of each class that predictions use.

    `exact_match` replaces `accuracy`, as it is much lower with many classes. A macro score is the mean over the classes
    that have clips; that of AUC and average precision, over the classes with some, but not all, clips. A micro score is
    that of all decisions together. The Hamming loss is the fraction of decisions that are mistakes.
    """
    ap_interval, auc_interval = intervals.multi_label_intervals(found.positives, found.probabilities)
    classes = {name: _of_class(found, i, lowest[i], curves.get(name)) for i, name in enumerate(found.class_names)}
    pooled = precision_recall_f1((found.positives & found.predicted).sum(), found.predicted.sum(),
                                 found.positives.sum())
    return {"multi_label": True, "exact_match": found.accuracy, "exact_match_interval": found.accuracy_interval,
            **{f"macro_{kind}": _macro(classes, kind) for kind in SCORES},
            "macro_average_precision_interval": ap_interval, "macro_auc_interval": auc_interval,
            **{f"micro_{kind}": value for kind, value in pooled.items()},
            "micro_average_precision": _average_precision(found.positives.ravel(), found.probabilities.ravel()),
            "hamming_loss": float((found.missed | found.extra).mean()), "loss": found.loss, "files": len(found.names),
            "files_without_labels": int((~found.positives.any(axis=1)).sum()), "classes": classes}


def _of_class(found: MultiLabelEvaluation, i: int, threshold: float, curve: RocCurve | None) -> dict[str, Any]:
    positive, predicted = found.positives[:, i], found.predicted[:, i]
    return {"auc": curve.auc if curve else None,
            "average_precision": _average_precision(positive, found.probabilities[:, i]), "files": int(positive.sum()),
            "missed": int(found.missed[:, i].sum()), "extra": int(found.extra[:, i].sum()),
            "threshold": float(threshold),
            **precision_recall_f1((positive & predicted).sum(), predicted.sum(), positive.sum())}


def _average_precision(positive: np.ndarray, probabilities: np.ndarray) -> float | None:
    """None if no clip, or each one, is of the class."""
    from sklearn.metrics import average_precision_score
    return float(average_precision_score(positive, probabilities)) if positive.any() and not positive.all() else None


def _macro(classes: dict[str, dict[str, Any]], kind: str) -> float | None:
    """The mean of a score; an undefined precision counts as 0; an undefined AP or AUC is left out."""
    values = [each[kind] or 0 for each in classes.values()
              if each["files"] and (each[kind] is not None or kind not in ("average_precision", "auc"))]
    return float(np.mean(values)) if values else None


def lines(scores: dict[str, Any]) -> list[str]:
    """The scores as they are printed."""
    classes = {name: scores["classes"][name] for name in tables.in_natural_order(scores["classes"])}
    missed, extra = (sum(each[kind] for each in classes.values()) for kind in ("missed", "extra"))
    mean = {"files": scores["files"], "missed": missed, "extra": extra, "threshold": None,
            **{kind: scores[f"macro_{kind}"] for kind in SCORES}}
    rows = [_row(name, each) for name, each in [*classes.items(), ("total, mean", mean)]]
    return ["", *tables.table([list(_HEADER), *rows]),
            f"\nMean average precision {_with_interval(scores, 'average_precision')}, macro AUC "
            f"{_with_interval(scores, 'auc')}.",
            f"Micro average: AP {_cell(scores['micro_average_precision'])}, precision "
            f"{percent(scores['micro_precision'])}, recall {percent(scores['micro_recall'])}, F1 "
            f"{percent(scores['micro_f1'])}.",
            f"Loss {tables.number(scores['loss']).strip()}; {missed + extra} of {scores['files'] * len(classes)} "
            f"decisions are wrong (Hamming loss {scores['hamming_loss']:.4f}).",
            "All classes are right in {:.2%} of {} clip{} (exact match; 95% interval {:.1%} to {:.1%}).".format(
                scores["exact_match"], scores["files"], "s" * (scores["files"] != 1), *scores["exact_match_interval"])]


def _row(name: str, each: dict[str, Any]) -> list[str]:
    return [name, *(str(each[kind]) for kind in ("files", "missed", "extra")),
            "" if each["threshold"] is None else f"{each['threshold']:.4f}", percent(each["precision"]),
            percent(each["recall"]), _cell(each["average_precision"]), _cell(each["auc"])]


def _with_interval(scores: dict[str, Any], kind: str) -> str:
    """The macro score, with its interval if there is one."""
    text = _cell(scores[f"macro_{kind}"])
    interval = scores[f"macro_{kind}_interval"]
    return f"{text} ({interval[0]:.4f} to {interval[1]:.4f})" if interval else text


def percent(value: float | None) -> str:
    """One decimal; a dash if undefined."""
    return "-" if value is None else f"{value:.1%}"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def text_of(class_names: list[str], chosen: np.ndarray, none: str = "none of these", separator: str = ",") -> str:
    """The chosen classes as one text, "dog,rain", or that for none; chosen: bool (classes,)."""
    return separator.join(name for name, is_chosen in zip(class_names, chosen, strict=True) if is_chosen) or none
