"""See how good the trained network is: its scores, ROC curves and mistakes on sounds that it never saw.

Reads   weights.hdf5, Preproc/Test (or the Test part of Samples/ where nothing is preprocessed)
Writes  scores.json            accuracy, macro AUC, loss; AUC, files and mistakes of each class
        roc_curves.png         receiver operating characteristics
        confusion_matrix.png   what came out as what
        mistakes.csv           every mistake, the worst first
        report.html            all of it on one page, with the worst mistakes to see and hear

    python eval_network.py
"""

from audio_utils import command_line  # first of all: it answers ^C from here on

# isort: split
import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

import preprocess_data
from audio_utils import plots, report, safe_files, weights_file
from audio_utils.command_line import say, warn
from audio_utils.safe_files import UserError

BATCH_SIZE = 64    # clips at a time; changes the memory needed, not the scores
REPORT_CLIPS = 20  # mistakes to see and hear in report.html; each adds about 0.1 MB for 5 seconds of sound

_WEIGHTS = Path("weights.hdf5")
_SCORES, _MISTAKES, _REPORT = Path("scores.json"), Path("mistakes.csv"), Path("report.html")
_ROC_CURVES, _CONFUSION = Path("roc_curves.png"), Path("confusion_matrix.png")


class Evaluation(NamedTuple):
    """What the network made of the Test clips."""
    names: list  # "class/file.wav"
    class_names: list
    labels: np.ndarray  # int (clips,), the truth
    probabilities: np.ndarray  # float32 (clips, classes)
    loss: float

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


def main():
    options = command_line.parse(globals())
    command_line.check_number(options, "batch_size", int, 1)
    command_line.check_number(options, "report_clips", int, 0)
    command_line.on_stop("Stopped; run it again for the scores.")
    trained = weights_file.read(_WEIGHTS)
    clips = load_test(trained)
    evaluation = evaluate(trained, clips, options.batch_size)
    curves = roc_curves(evaluation)
    scores = score(evaluation, curves)
    safe_files.write_json(_SCORES, scores)
    write_mistakes(evaluation)
    plots.roc_curves(_ROC_CURVES, curves, scores["macro_auc"])
    plots.confusion_matrix(_CONFUSION, evaluation.confusion, evaluation.class_names)
    say_mistakes(evaluation)
    say_scores(scores)
    say(report.write(_REPORT, report.Findings(trained, clips, evaluation, curves, scores), options.report_clips,
                     preprocess_data.SAMPLES, preprocess_data.PREPROC))


def load_test(trained):
    """The Test clips, labelled by the network's own classes."""
    data = preprocess_data.open_data(trained.settings, trained.record)
    clips, remarks = data.load("Test", trained.class_names)
    for remark in remarks:
        warn(remark)
    if not len(clips):
        raise UserError("Preproc/Test: holds no clip of the network's classes; put more sounds into Samples/ "
                        "and run preprocess_data.py again.")
    return clips


def evaluate(trained, clips, batch_size):
    """Let the network listen."""
    import panotti_models
    model = panotti_models.load(_WEIGHTS, trained)
    probabilities = panotti_models.predict(model, clips.melgrams, batch_size)
    loss, _ = panotti_models.loss_and_accuracy(probabilities, clips.labels)
    return Evaluation(clips.names, clips.class_names, clips.labels, probabilities, loss)


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
    """What scores.json holds; the macro AUC is the mean over the classes that have a curve, None without any."""
    confusion = evaluation.confusion
    files, right = confusion.sum(axis=1), confusion.diagonal()
    aucs = [curve[2] for curve in curves.values()]
    return {"accuracy": float(right.sum() / files.sum()), "macro_auc": float(np.mean(aucs)) if aucs else None,
            "loss": evaluation.loss, "files": int(files.sum()),
            "classes": {name: {"auc": curves[name][2] if name in curves else None, "files": int(files[i]),
                               "mistakes": int(files[i] - right[i])}
                        for i, name in enumerate(evaluation.class_names)}}


def write_mistakes(evaluation):
    with safe_files.replacing(_MISTAKES) as unfinished, \
            open(unfinished, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(["file", "should_be", "came_out_as", "probability", "probability_of_truth"])
        for i in evaluation.mistakes:
            found, truth = evaluation.predicted[i], evaluation.labels[i]
            table.writerow([evaluation.names[i], evaluation.class_names[truth], evaluation.class_names[found],
                            f"{evaluation.probabilities[i, found]:.4f}", f"{evaluation.probabilities[i, truth]:.4f}"])


def say_mistakes(evaluation):
    """The mistakes by class, in the order of their names."""
    for i in sorted(evaluation.mistakes, key=lambda i: evaluation.names[i]):
        should, came = evaluation.class_names[evaluation.labels[i]], evaluation.class_names[evaluation.predicted[i]]
        say(f"{evaluation.names[i]}: should be {should} but came out as {came}")


def say_scores(scores):
    """A line for each class and one for all."""
    width = max(map(len, [*scores["classes"], "class"]))
    say(f"\n{'class':{width}}   files  mistakes     AUC")
    for name, each in scores["classes"].items():
        found = "      -" if each["auc"] is None else f"{each['auc']:7.4f}"
        remark = "" if each["files"] else "  no Test sounds"
        say(f"{name:{width}} {each['files']:7} {each['mistakes']:9} {found}{remark}")
    auc = "none" if scores["macro_auc"] is None else f"{scores['macro_auc']:.5f}"
    say(f"\nLoss {scores['loss']:.4f}, accuracy {scores['accuracy']:.2%} of {scores['files']} files, macro AUC {auc}.")
    say(f"Written: {_SCORES}, {_MISTAKES}, {_ROC_CURVES}, {_CONFUSION}.")


if __name__ == "__main__":
    command_line.run(main)
