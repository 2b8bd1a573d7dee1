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
from pathlib import Path

import preprocess_data
from audio_utils import evaluation, plots, report, safe_files, weights_file
from audio_utils.command_line import say, warn
from audio_utils.evaluation import Evaluation
from audio_utils.safe_files import UserError

BATCH_SIZE = 64    # clips at a time; changes the memory needed, not the scores
REPORT_CLIPS = 20  # mistakes to see and hear in report.html; each adds about 0.1 MB for 5 seconds of sound

_WEIGHTS = Path("weights.hdf5")
_SCORES, _MISTAKES, _REPORT = Path("scores.json"), Path("mistakes.csv"), Path("report.html")
_ROC_CURVES, _CONFUSION = Path("roc_curves.png"), Path("confusion_matrix.png")


def main():
    options = command_line.parse(globals())
    command_line.check_number(options, "batch_size", int, 1)
    command_line.check_number(options, "report_clips", int, 0)
    command_line.on_stop("Stopped; run it again for the scores.")
    trained = weights_file.read(_WEIGHTS)
    clips = load_test(trained)
    found = evaluate(trained, clips, options.batch_size)
    curves = evaluation.roc_curves(found)
    scores = evaluation.score(found, curves)
    safe_files.write_json(_SCORES, scores)
    evaluation.write_mistakes(_MISTAKES, found)
    plots.roc_curves(_ROC_CURVES, curves, scores["macro_auc"])
    plots.confusion_matrix(_CONFUSION, found.confusion, found.class_names)
    say_mistakes(found)
    say_scores(scores)
    say(report.write(_REPORT, report.Findings(trained, clips, found, curves, scores), options.report_clips,
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
    return Evaluation.of(clips, panotti_models.predict(model, clips.melgrams, batch_size))


def say_mistakes(found):
    """The mistakes by class, in the order of their names."""
    for i in sorted(found.mistakes, key=lambda i: found.names[i]):
        should, came = found.class_names[found.labels[i]], found.class_names[found.predicted[i]]
        say(f"{found.names[i]}: should be {should} but came out as {came}")


def say_scores(scores):
    """A line for each class and one for all."""
    width = max(map(len, [*scores["classes"], "class"]))
    say(f"\n{'class':{width}}   files  mistakes     AUC")
    for name, each in scores["classes"].items():
        found = "-" if each["auc"] is None else plots.auc_text(each["auc"])
        remark = "" if each["files"] else "  no Test sounds"
        say(f"{name:{width}} {each['files']:7} {each['mistakes']:9} {found:>7}{remark}")
    auc = "none" if scores["macro_auc"] is None else f"{scores['macro_auc']:.5f}"
    say(f"\nLoss {scores['loss']:.4f}, accuracy {scores['accuracy']:.2%} of {scores['files']} files, macro AUC {auc}.")
    say(f"Written: {_SCORES}, {_MISTAKES}, {_ROC_CURVES}, {_CONFUSION}.")


if __name__ == "__main__":
    command_line.run(main)
