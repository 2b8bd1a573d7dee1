"""The predictions for clips whose class is known, and the scores computed from them."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_utils.data.clips import Clips
from audio_utils.evaluation import intervals
from audio_utils.runtime import safe_files
from audio_utils.runtime.tables import natural_order

_FROM_CONFUSION = ("precision", "recall", "f1")


class RocCurve(NamedTuple):
    """The receiver operating characteristic of one class against the rest."""
    false_positive_rate: np.ndarray  # (thresholds,)
    true_positive_rate: np.ndarray  # (thresholds,)
    auc: float  # area under the curve


class Evaluation(NamedTuple):
    """The predictions for clips that were not trained on."""
    names: list[str]  # "class/file.wav"
    class_names: list[str]
    labels: np.ndarray  # int (clips,), the true classes
    probabilities: np.ndarray  # float32 (clips, classes)

    @classmethod
    def of(cls, clips: Clips, probabilities: np.ndarray, indices: np.ndarray | None = None) -> "Evaluation":
        """From the probabilities of all clips, or of those at `indices`."""
        indices = np.arange(len(clips)) if indices is None else indices
        return cls([clips.names[i] for i in indices], clips.class_names, clips.labels[indices], probabilities)

    @classmethod
    def pooled(cls, parts: list["Evaluation"]) -> "Evaluation":
        """Several evaluations of the same classes as one."""
        return cls([name for part in parts for name in part.names], parts[0].class_names,
                   *(np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "probabilities")))

    def in_natural_order(self) -> "Evaluation":
        """The same with the classes in natural order, for display."""
        order = natural_order(self.class_names)
        return Evaluation(self.names, [self.class_names[i] for i in order], np.argsort(order)[self.labels],
                          self.probabilities[:, order])

    @property
    def positives(self) -> np.ndarray:
        """bool (clips, classes): whether a clip is of a class."""
        return self.labels[:, None] == np.arange(len(self.class_names))

    @property
    def loss(self) -> float:
        """Mean cross-entropy, nats."""
        return float(-self._log_likelihoods.mean())

    @property
    def balanced_loss(self) -> float:
        """Mean cross-entropy of the clips of each class, nats; the mean over the classes that have clips."""
        counts, sums = np.bincount(self.labels), np.bincount(self.labels, -self._log_likelihoods)
        return float((sums[counts > 0] / counts[counts > 0]).mean())

    @property
    def _log_likelihoods(self) -> np.ndarray:
        """float64 (clips,): the logarithm of the probability of the true class of each clip."""
        of_true_class = self.probabilities[np.arange(len(self.labels)), self.labels].astype(np.float64)
        return np.log(np.maximum(of_true_class, 1e-7))

    @property
    def accuracy(self) -> float:
        """The fraction of clips whose most probable class is the true one."""
        return float(self.correct.mean())

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """The 95% interval of the accuracy."""
        return intervals.wilson(self.correct.sum(), len(self.labels))

    @property
    def correct(self) -> np.ndarray:
        """bool (clips,): whether the most probable class of each clip is the true one."""
        return self.predicted == self.labels

    @property
    def confidence(self) -> np.ndarray:
        """float32 (clips,): the probability of the most probable class of each clip."""
        return self.probabilities.max(axis=1)

    @property
    def predicted(self) -> np.ndarray:
        """int (clips,): the most probable class of each clip."""
        return self.probabilities.argmax(axis=1)

    @property
    def confusion(self) -> np.ndarray:
        """int (classes, classes): the number of clips by true class (rows) and predicted class (columns)."""
        counts = np.zeros((len(self.class_names),) * 2, np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts

    @property
    def mistakes(self) -> np.ndarray:
        """The indices of the clips with a wrong prediction, the most confident first."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]


def roc_curves(evaluation: Evaluation) -> dict[str, RocCurve]:
    """The ROC curve of each class; a class with none or with all of the clips has no curve."""
    from sklearn.metrics import auc, roc_curve
    curves, positives = {}, evaluation.positives
    for i, name in enumerate(evaluation.class_names):
        positive = positives[:, i]
        if positive.any() and not positive.all():
            false, true, _ = roc_curve(positive, evaluation.probabilities[:, i])
            curves[name] = RocCurve(false, true, float(auc(false, true)))
    return curves


def precision_recall_f1(correct: int, predicted: int, positives: int) -> dict[str, float | None]:
    """Precision, recall and F1 (van Rijsbergen 1979), from numbers of clips; None if one is undefined.

    correct: clips of the class that are predicted as it; predicted: all that are; positives: all clips of the class.
    """
    return {"precision": float(correct / predicted) if predicted else None,
            "recall": float(correct / positives) if positives else None,
            "f1": float(2 * correct / (predicted + positives)) if positives else None}


def score(evaluation: Evaluation, curves: dict[str, RocCurve]) -> dict[str, Any]:
    """The content of scores.json, with 95% intervals.

    Precision, recall and F1 are those of the most probable class. A macro score is the mean over the classes that have
    clips, None without any; as in scikit-learn, the precision of a class that is never predicted counts as 0, and the
    balanced accuracy is the macro recall. The macro AUC, and its interval, is None if there are clips of one class
    only.
    """
    confusion = evaluation.confusion
    files, correct = confusion.sum(axis=1), confusion.diagonal()
    aucs = [curve.auc for curve in curves.values()]
    classes = {name: {"auc": curves[name].auc if name in curves else None, "files": int(files[i]),
                      "mistakes": int(files[i] - correct[i]),
                      **precision_recall_f1(correct[i], confusion[:, i].sum(), files[i])}
               for i, name in enumerate(evaluation.class_names)}
    return {"accuracy": evaluation.accuracy, "accuracy_interval": evaluation.accuracy_interval,
            "macro_auc": _mean(aucs),
            "macro_auc_interval":
                intervals.macro_auc_interval(evaluation.labels, evaluation.probabilities) if aucs else None,
            **{f"macro_{kind}": _mean([each[kind] or 0 for each in classes.values() if each["files"]])
               for kind in _FROM_CONFUSION},
            "balanced_accuracy": _mean([each["recall"] for each in classes.values() if each["files"]]),
            "balanced_accuracy_interval": intervals.mean_of_proportions(correct[files > 0], files[files > 0]),
            "loss": evaluation.loss, "files": int(files.sum()), "classes": classes}


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def write_mistakes(path: str | Path, evaluation: Evaluation) -> None:
    """Write a CSV file with one row for each mistake, the most confident first."""
    with safe_files.replacing(path) as unfinished, \
            open(unfinished, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(["file", "should_be", "came_out_as", "probability", "probability_of_truth"])
        predictions = evaluation.predicted
        for i in evaluation.mistakes:
            label, predicted, probabilities = evaluation.labels[i], predictions[i], evaluation.probabilities[i]
            table.writerow([evaluation.names[i], evaluation.class_names[label], evaluation.class_names[predicted],
                            f"{probabilities[predicted]:.4f}", f"{probabilities[label]:.4f}"])
