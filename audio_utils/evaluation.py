"""What a network made of sounds whose class is known, and its scores."""

import csv
from typing import NamedTuple

import numpy as np

from audio_utils import intervals, safe_files


class Evaluation(NamedTuple):
    """What a network made of clips that it had not learnt from."""
    names: list  # "class/file.wav"
    class_names: list
    labels: np.ndarray  # int (clips,), the truth
    probabilities: np.ndarray  # float32 (clips, classes)

    @classmethod
    def of(cls, clips, probabilities, places=None):
        """For the probabilities of dataset.Clips, or of those at some places."""
        places = np.arange(len(clips)) if places is None else places
        return cls([clips.names[i] for i in places], clips.class_names, clips.labels[places], probabilities)

    @classmethod
    def pooled(cls, parts):
        """Several of the same classes as one."""
        return cls([name for part in parts for name in part.names], parts[0].class_names,
                   *(np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "probabilities")))

    @property
    def loss(self):
        """Mean cross-entropy, nats."""
        of_truth = self.probabilities[np.arange(len(self.labels)), self.labels].astype(np.float64)
        return float(-np.log(np.maximum(of_truth, 1e-7)).mean())

    @property
    def accuracy(self):
        return float((self.predicted == self.labels).mean())

    @property
    def predicted(self):
        return self.probabilities.argmax(axis=1)

    @property
    def confusion(self):
        """int (classes, classes): clips of each class (rows) by what they came out as (columns)."""
        counts = np.zeros((len(self.class_names),) * 2, np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts

    @property
    def mistakes(self):
        """Places of the clips that came out wrong, the one surest of its mistake first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")]


def roc_curves(evaluation):
    """class name → (false positive rates, true positive rates, area under the curve), each class against the rest.

    A class without Test clips, or with all of them, has no curve.
    """
    from sklearn.metrics import auc, roc_curve
    curves = {}
    for i, name in enumerate(evaluation.class_names):
        truth = evaluation.labels == i
        if truth.any() and not truth.all():
            false, true, _ = roc_curve(truth, evaluation.probabilities[:, i])
            curves[name] = false, true, float(auc(false, true))
    return curves


def score(evaluation, curves):
    """What scores.json holds, with 95% intervals.

    The macro AUC is the mean over the classes that have a curve; without any it is None, and so is its interval.
    """
    confusion = evaluation.confusion
    files, right = confusion.sum(axis=1), confusion.diagonal()
    aucs = [curve[2] for curve in curves.values()]
    return {"accuracy": evaluation.accuracy, "accuracy_interval": intervals.wilson(right.sum(), files.sum()),
            "macro_auc": float(np.mean(aucs)) if aucs else None,
            "macro_auc_interval": intervals.bootstrap(evaluation.labels, evaluation.probabilities) if aucs else None,
            "loss": evaluation.loss, "files": int(files.sum()),
            "classes": {name: {"auc": curves[name][2] if name in curves else None, "files": int(files[i]),
                               "mistakes": int(files[i] - right[i])}
                        for i, name in enumerate(evaluation.class_names)}}


def write_mistakes(path, evaluation):
    """Every mistake as a line of a csv file, the one surest of itself first."""
    with safe_files.replacing(path) as unfinished, \
            open(unfinished, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(["file", "should_be", "came_out_as", "probability", "probability_of_truth"])
        for i in evaluation.mistakes:
            found, truth = evaluation.predicted[i], evaluation.labels[i]
            table.writerow([evaluation.names[i], evaluation.class_names[truth], evaluation.class_names[found],
                            f"{evaluation.probabilities[i, found]:.4f}", f"{evaluation.probabilities[i, truth]:.4f}"])
