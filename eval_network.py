"""Evaluate the trained network on the test files: scores, ROC curves, confusion matrix, mistakes.

Reads   weights.hdf5, Preproc/Test (or the test files of Samples/ if nothing is preprocessed)
Writes  scores.json            accuracy, macro AUC, loss; AUC, files and mistakes of each class
        roc_curves.png         receiver operating characteristics
        confusion_matrix.png   true and predicted classes
        mistakes.csv           all mistakes, the most confident first
        report.html            everything on one page, with melgrams and audio of the worst mistakes

    python eval_network.py
    python eval_network.py --open    # show report.html in the browser
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # needed with PYTHONSAFEPATH
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
import webbrowser
from typing import Any

import preprocess_data
from audio_utils.data import dataset
from audio_utils.data.class_folders import renamed_classes
from audio_utils.data.clips import Clips
from audio_utils.data.preproc import PREPROC
from audio_utils.data.sounds import SAMPLES
from audio_utils.evaluation import metrics, panels, plots, report
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.checkpoint import WEIGHTS, Checkpoint
from audio_utils.runtime import command_line, safe_files, signals, tables
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError
from audio_utils.training import known_clips

BATCH_SIZE = 64    # clips; affects the memory needed, not the scores
REPORT_CLIPS = 20  # mistakes shown in report.html; each adds about 0.1 MB for 5 seconds of audio
OPEN = False       # True: show report.html in the browser

_LIMITS = {"BATCH_SIZE": Limits(int, 1), "REPORT_CLIPS": Limits(int, 0)}
_SCORES, _MISTAKES, _REPORT = Path("scores.json"), Path("mistakes.csv"), Path("report.html")
_ROC_CURVES, _CONFUSION = Path("roc_curves.png"), Path("confusion_matrix.png")


def main() -> None:
    options = command_line.parse(globals(), _LIMITS)
    signals.on_stop("Stopped; run the same command again for the scores.")
    checkpoint = checkpoints.read(WEIGHTS)
    clips = load_test(checkpoint)
    evaluation = evaluate(checkpoint, clips, options.batch_size)
    curves = metrics.roc_curves(evaluation)
    scores = metrics.score(evaluation, curves)
    safe_files.write_json(_SCORES, scores)
    metrics.write_mistakes(_MISTAKES, evaluation)
    plots.roc_curves(_ROC_CURVES, curves, scores["macro_auc"])
    plots.confusion_matrix(_CONFUSION, evaluation.confusion, evaluation.class_names)
    say_mistakes(evaluation)
    say_scores(scores)
    state = checkpoint.training_state
    source = "files of Val" if state.get("own_validation") else "of the training files"
    count = len(state.get("validation", []))
    findings = report.Findings(checkpoint.network, checkpoint.settings, checkpoint.preprocessing,
                               state.get("history") or [], f"{count:,} {source}", clips, evaluation, curves, scores,
                               count)
    say(report.write(_REPORT, findings, options.report_clips, SAMPLES, PREPROC))
    show_report(options.open)


def load_test(checkpoint: Checkpoint) -> Clips:
    """The test clips, with labels in the order of the network's classes."""
    constants = command_line.constants(preprocess_data, checkpoint.preprocessing_constants)
    clips = dataset.open_dataset(constants, checkpoint.settings).load("Test", checkpoint.class_names)
    renamed = renamed_classes(checkpoint.class_names)
    if not len(clips):
        raise UserError(renamed or f"{PREPROC}/Test: contains no clip of the network's classes; add sounds to "
                        f"{SAMPLES}/ and run preprocess_data.py again.")
    if renamed:
        warn(renamed)
    known_clips.report_test_sounds(WEIGHTS, clips)
    return clips


def evaluate(checkpoint: Checkpoint, clips: Clips, batch_size: int) -> Evaluation:
    """The network's predictions for the clips."""
    from audio_utils.inference import network  # imports Keras
    model = network.load(WEIGHTS, checkpoint)
    return Evaluation.of(clips, network.predict(model, clips.melgrams, batch_size))


def say_mistakes(evaluation: Evaluation) -> None:
    """One line for each mistake, sorted by file name."""
    predicted = evaluation.predicted
    for i in sorted(evaluation.mistakes, key=lambda i: evaluation.names[i]):
        should, came = evaluation.class_names[evaluation.labels[i]], evaluation.class_names[predicted[i]]
        say(f"{evaluation.names[i]}: should be {should} but came out as {came}")


def say_scores(scores: dict[str, Any]) -> None:
    """One line for each class and one for all."""
    rows = [[name, str(each["files"]), str(each["mistakes"]),
             "-" if each["auc"] is None else panels.auc_text(each["auc"]), "" if each["files"] else "no test files"]
            for name, each in scores["classes"].items()]
    say("\n".join(["", *tables.table([["class", "files", "mistakes", "AUC", ""], *rows])]))
    auc = "none" if scores["macro_auc"] is None else f"{scores['macro_auc']:.5f}"
    say(f"\nLoss {scores['loss']:.4f}, accuracy {scores['accuracy']:.2%} on {scores['files']} files, macro AUC {auc}.")
    say(f"Written: {_SCORES}, {_MISTAKES}, {_ROC_CURVES}, {_CONFUSION}.")


def show_report(in_browser: bool) -> None:
    """Open the report in the browser, or say how to."""
    if not in_browser:
        say(f"Open {_REPORT} in a browser, or add --open.")
    elif not webbrowser.open(_REPORT.resolve().as_uri()):
        warn(f"{_REPORT}: no browser was found; open it in one.")


if __name__ == "__main__":
    script.run(main)
