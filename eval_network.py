"""Evaluate the trained network on the test files: scores, ROC curves, confusion matrix, mistakes.

Reads   weights.hdf5, Preproc/Test (or the test files of Samples/ if nothing is preprocessed); with SAMPLES, that folder
Writes  scores.json            accuracy, balanced accuracy, macro AUC, loss; AUC, precision, recall, F1 and mistakes of
                               each class; false alarms of background classes; angular errors of classes that are
                               directions
        roc_curves.png         receiver operating characteristics
        confusion_matrix.png   true and predicted classes
        directions.png         true and predicted directions, if the classes are directions, such as e0a30
        mistakes.csv           all mistakes, the most confident first
        report.html            everything on one page, with melgrams and audio of the worst mistakes
        precision_recall_curves.png, label_errors.png    with MULTI_LABEL (preprocess_data.py), instead of
                               confusion_matrix.png: precision and recall at each threshold, missed and extra classes;
                               scores.json then has average precisions too, and exact_match instead of accuracy
        eval_<folder>/         with SAMPLES, all of these, and skipped.csv: the sounds that are not scored, and why

    python eval_network.py
    python eval_network.py --open    # show report.html in the browser
    python eval_network.py --samples ~/other_birds                        # sounds in class folders, as in Samples/
    python eval_network.py --weights old.hdf5 --samples ~/other_birds     # another network

With SAMPLES, sounds that the network was trained on are recognized by their content and are not scored.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # needed with PYTHONSAFEPATH
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
import os
import webbrowser
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np

import preprocess_data
from audio_utils.data import preproc
from audio_utils.data.clips import Clips
from audio_utils.data.preproc import PREPROC
from audio_utils.data.sounds import Skipped
from audio_utils.evaluation import (
    label_mistakes,
    label_plots,
    label_report,
    label_scores,
    learning_curve_fit,
    metrics,
    plots,
    report,
    thresholds,
)
from audio_utils.evaluation.background import add_false_alarms, say_false_alarms
from audio_utils.evaluation.direction_plot import write_directions
from audio_utils.evaluation.directions import add_angular_errors, say_angular_errors
from audio_utils.evaluation.label_scores import MultiLabelEvaluation
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.evaluation.score_text import say_mistakes, say_scores
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime import command_line, parallel, safe_files, signals
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError
from audio_utils.training import balance, fold_thresholds, scored_clips, start_from
from audio_utils.training.scored_clips import ScoredClips

WEIGHTS = "weights.hdf5"  # the trained network
SAMPLES = ""       # a folder of sounds in class folders, all of which are scored; "": the Test sounds of Preproc/
BATCH_SIZE = 64    # clips; affects the memory needed, not the scores
REPORT_CLIPS = 20  # mistakes shown in report.html; each adds about 0.1 MB and half a second for 5 seconds of audio
OPEN = False       # True: show report.html in the browser

_LIMITS = {"BATCH_SIZE": Limits(int, 1), "REPORT_CLIPS": Limits(int, 0)}
_SCORES, _MISTAKES, _REPORT = Path("scores.json"), Path("mistakes.csv"), Path("report.html")
_ROC_CURVES, _CONFUSION = Path("roc_curves.png"), Path("confusion_matrix.png")
_DIRECTIONS = Path("directions.png")
_PRECISION_RECALL, _LABEL_ERRORS = Path("precision_recall_curves.png"), Path("label_errors.png")  # with MULTI_LABEL


def main() -> None:
    options = command_line.parse(globals(), _LIMITS)
    signals.on_stop("Stopped; run the same command again for the scores.")
    folder = output_folder(options.samples)
    checkpoint = checkpoints.read(options.weights)
    test = load(options, checkpoint)
    evaluation = evaluate(checkpoint, test.clips, options.batch_size, options.weights)
    if checkpoint.multi_label:
        score_labels(evaluation, checkpoint, test, options)
        return
    curves = metrics.roc_curves(evaluation)
    never_reported = checkpoint.background_classes
    scores = thresholds.add_to(metrics.score(evaluation, curves), evaluation, checkpoint.thresholds, never_reported)
    scores = add_false_alarms(scores, evaluation, never_reported, checkpoint.settings.clip_seconds)
    scores = add_angular_errors(scores, evaluation, never_reported)
    scores |= about(test, options)
    folder.mkdir(exist_ok=True)
    safe_files.write_json(folder / _SCORES, scores)
    metrics.write_mistakes(folder / _MISTAKES, evaluation)
    plots.roc_curves(folder / _ROC_CURVES, curves, scores["macro_auc"])
    plots.confusion_matrix(folder / _CONFUSION, evaluation.confusion, evaluation.class_names)
    write_directions(folder / _DIRECTIONS, evaluation, scores)
    say_mistakes(evaluation)
    say_scores(scores)
    say_false_alarms(scores)
    say_angular_errors(scores)
    say_written(folder, [_SCORES, _MISTAKES, _ROC_CURVES, _CONFUSION, *[_DIRECTIONS] * ("directions" in scores)],
                test.skipped)
    findings = findings_of(checkpoint, options, test)._replace(evaluation=evaluation, curves=curves, scores=scores)
    say(report.write(folder / _REPORT, findings, options.report_clips, test.samples, PREPROC))
    show_report(folder / _REPORT, options.open)


def output_folder(samples: str) -> Path:
    """The working directory for Test, otherwise a folder named after that of the sounds."""
    if not samples:
        return Path()
    folder = Path(f"eval_{Path(os.path.realpath(samples)).name or 'root'}")  # resolve() fails for a link to itself
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, but the results need a folder of this name; rename or remove the file.")
    return folder


def load(options: Namespace, checkpoint: Checkpoint) -> ScoredClips:
    """The clips of Test, or of SAMPLES."""
    if options.samples:
        return scored_clips.of_folder(Path(options.samples), checkpoint, options.weights,
                                       parallel.on_this_machine(preprocess_data.JOBS))
    return scored_clips.of_test(command_line.constants(preprocess_data, checkpoint.preprocessing_constants), checkpoint,
                                options.weights)


def evaluate(checkpoint: Checkpoint, clips: Clips, batch_size: int,
             weights: str = WEIGHTS) -> Evaluation | MultiLabelEvaluation:
    """The network's predictions for the clips."""
    from audio_utils.inference import distribution, network  # they import Keras
    distribution.begin()
    return network.evaluate(network.load(weights, checkpoint), clips, batch_size=batch_size)


def score_labels(found: MultiLabelEvaluation, checkpoint: Checkpoint, test: ScoredClips, options: Namespace) -> None:
    """Write and print the scores of a network with MULTI_LABEL, and the report."""
    lowest = label_scores.decision_thresholds("auto" if checkpoint.thresholds else 0, checkpoint.thresholds,
                                             checkpoint.class_names, options.weights)
    folder, found, curves = output_folder(options.samples), found._replace(lowest=lowest), metrics.roc_curves(found)
    scores = label_scores.score(found, curves, lowest) | about(test, options)
    scores |= {"thresholds": checkpoint.thresholds} if checkpoint.thresholds else {}
    folder.mkdir(exist_ok=True)
    safe_files.write_json(folder / _SCORES, scores)
    label_mistakes.write_mistakes(folder / _MISTAKES, found)
    plots.roc_curves(folder / _ROC_CURVES, curves, scores["macro_auc"])
    label_plots.precision_recall_curves(folder / _PRECISION_RECALL, found, scores)
    label_plots.label_errors(folder / _LABEL_ERRORS, found)
    for line in (*label_mistakes.mistake_lines(found), *label_scores.lines(scores),
                 *label_scores.describe("auto", checkpoint.thresholds, checkpoint.class_names)):
        say(line)
    say_written(folder, [_SCORES, _MISTAKES, _ROC_CURVES, _PRECISION_RECALL, _LABEL_ERRORS], test.skipped)
    findings = findings_of(checkpoint, options, test)._replace(evaluation=found, curves=curves, scores=scores)
    say(label_report.write(folder / _REPORT, findings, options.report_clips, test.samples, PREPROC))
    show_report(folder / _REPORT, options.open)


def occlusion_of(clips: Clips, options: Namespace) -> Callable[..., list[np.ndarray]]:
    """A function from indices of clips, shown frames, and perhaps indices of classes, to occlusion maps."""
    def maps(indices: np.ndarray, frames: int, classes: np.ndarray | None = None) -> list[np.ndarray]:
        from audio_utils.inference import occlusion  # imports Keras
        return occlusion.maps(options.weights, clips, indices, frames, options.batch_size, classes)
    return maps


def learning_curve_of(checkpoint: Checkpoint, weights: str) -> dict[str, Any] | None:
    """The content of learning_curve/scores.json, if it belongs to this network."""
    return learning_curve_fit.read(fold_thresholds.of_checkpoint(weights, checkpoint)) if weights == WEIGHTS else None


def findings_of(checkpoint: Checkpoint, options: Namespace, test: ScoredClips) -> report.Findings:
    """The content of the report, except for the scores."""
    state = checkpoint.training_state
    origin = "files of Val" if state.get("own_validation") else "of the training files"
    count = len(state.get("validation", []))
    return report.Findings(network_name(checkpoint, options.weights), checkpoint.settings, checkpoint.preprocessing,
                           state.get("history") or [], f"{count:,} {origin}", test.clips, None, {}, {}, count,
                           occlusion_of(test.clips, options), test.grouping, source=test.source,
                           warning=test.trained_on.warning,
                           learning_curve=learning_curve_of(checkpoint, options.weights),
                           long_files=test.long_files, training=test.training,
                           balance=balance.of_training(checkpoint))


def network_name(checkpoint: Checkpoint, weights: str) -> str:
    """The network's name, its file if this is not the usual one, and that of START_FROM."""
    start = start_from.of_checkpoint(checkpoint).get("path")
    return checkpoint.network + (f" ({weights})" if weights != WEIGHTS else "") + (f", from {start}" if start else "")


def about(test: ScoredClips, options: Namespace) -> dict[str, Any]:
    """The values in scores.json that say which sounds were scored, with which network."""
    names = test.trained_on.names
    return {"weights": options.weights, "samples": options.samples or "Test",
            "trained_on": None if names is None else len(names), "trained_on_are_scored": test.trained_on.are_scored}


def say_written(folder: Path, names: list[Path], skipped: list[Skipped] | None) -> None:
    """Write skipped.csv for a folder of sounds, and name the files that were written: these and skipped.csv."""
    if skipped is not None:
        preproc.write_skipped(folder, skipped)
        names = [*names, preproc.SKIPPED]
    say(f"Written{'' if folder == Path() else f' to {folder}/'}: {', '.join(map(str, names))}.")


def show_report(path: Path, in_browser: bool) -> None:
    """Open the report in the browser, or say how to."""
    if not in_browser:
        say(f"Open {path} in a browser, or add --open.")
    elif not webbrowser.open(path.resolve().as_uri()):
        warn(f"{path}: no browser was found; open it in one.")


if __name__ == "__main__":
    script.run(main)
