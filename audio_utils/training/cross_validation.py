"""Cross-validation: a network per fold, tested on clips that it was not trained on, and their pooled scores."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audio_utils.data import split
from audio_utils.data.clips import Clips
from audio_utils.data.dataset import Dataset, require_same
from audio_utils.data.preproc import PREPROC, SETTINGS
from audio_utils.data.sounds import SAMPLES
from audio_utils.evaluation import (
    background,
    direction_plot,
    directions,
    label_mistakes,
    label_plots,
    label_report,
    label_scores,
    metrics,
    mislabeled,
    plots,
    report,
    thresholds,
)
from audio_utils.evaluation.class_table import about_balance
from audio_utils.evaluation.findings import Findings
from audio_utils.evaluation.label_scores import MultiLabelEvaluation
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference.checkpoint import WEIGHTS
from audio_utils.runtime import safe_files
from audio_utils.runtime.console import say, warn
from audio_utils.training import fold_thresholds, network_choice, resume, start_from

FOLDS = Path("folds")
SCORES = FOLDS / "scores.json"


def cross_validate(options: Namespace, dataset: Dataset, constants: dict[str, Any], report_clips: int) -> None:
    """Train and test all folds in folds/, then write and print their scores; a second call continues.

    options: the constants of train_network.py; constants: those that the training state records. report_clips: the
    number of mistakes in the report.
    """
    clips = dataset.load("Train")
    if not clips.multi_label:
        background.announce(options.background_classes, clips.class_names)
    if options.fresh and FOLDS.exists():
        resume.put_away(FOLDS)
    folds, fold_of = split.assign_folds(clips.names, options.folds, options.seed, dataset.grouping)
    unassigned = [name for name in clips.names if name in fold_of and not fold_of[name]]
    if unassigned:
        say(f"{len(unassigned)} sounds are in no fold, such as {unassigned[0]}; they are always used for training.")
    network_choice.choose(options, dataset, clips, () if options.fresh else FOLDS.glob(f"*/{WEIGHTS}"))
    results = {}
    for number, fold in enumerate(folds, 1):
        say(f"Fold {fold}, {number} of {len(folds)}:")
        held_out = [name for name in clips.names if fold_of.get(name) == fold]
        result = results[fold] = train_fold(options, FOLDS / f"fold_{fold}", dataset, clips, held_out, constants)
        say(f"Fold {fold}: loss {result.loss:.4f}, accuracy {result.accuracy:.2%} of {len(held_out)} clips.\n")
    weights = {fold: FOLDS / f"fold_{fold}" / WEIGHTS for fold in folds}
    started, trained_on = start_from.of_folds(weights, results, clips)
    fingerprint = fold_thresholds.of_clips(options.network, dataset.settings, clips, options.balance, started)
    scores = write_label_scores(results, fingerprint) if clips.multi_label else write_scores(
        results, fingerprint, background.parse(options.background_classes, clips.class_names),
        dataset.settings.clip_seconds, trained_on)
    if safe_files.writes():
        write_report(options, dataset, clips, results, scores, report_clips)


def train_fold(options: Namespace, folder: Path, dataset: Dataset, clips: Clips, held_out: list[str],
               constants: dict[str, Any]) -> Evaluation | MultiLabelEvaluation:
    """Train one fold, continuing from its folder, and evaluate it on the clips held out."""
    safe_files.make_folder(folder)
    checkpoint = resume.read_checkpoint(folder / WEIGHTS, options.fresh)
    if checkpoint:
        require_same(checkpoint.settings, dataset.settings, PREPROC / SETTINGS, folder / WEIGHTS)
    state = resume.initial_state(folder / WEIGHTS, checkpoint, options, clips, held_out, constants)
    from audio_utils.inference import network  # imports Keras
    from audio_utils.training.trainer import Trainer
    trainer = Trainer(options, folder, dataset, clips, state, checkpoint)
    trainer.train()
    index = {name: i for i, name in enumerate(clips.names)}
    return network.evaluate(trainer.best_network(), clips, np.array([index[name] for name in held_out]))


def write_scores(results: dict[str, Evaluation], fingerprint: dict[str, Any], background_classes: Sequence[str] = (),
                 clip_seconds: float = 1, trained_on: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write and print the scores of all folds together, and give weights.hdf5 the thresholds chosen from them.

    results: fold → Evaluation. fingerprint: from fold_thresholds, of a network trained on all clips. trained_on:
    entries from start_from.of_folds.
    """
    pooled = Evaluation.pooled(list(results.values()))
    accuracies = [result.accuracy for result in results.values()]
    scores = background.add_false_alarms(metrics.score(pooled, metrics.roc_curves(pooled)), pooled, background_classes,
                                         clip_seconds)
    scores = directions.add_angular_errors(scores, pooled, background_classes) | {
        "folds": {fold: {"accuracy": result.accuracy, "loss": result.loss, "files": len(result.labels)}
                  for fold, result in results.items()},
        "thresholds": thresholds.of(pooled, f"cross-validation with {len(results)} folds"), "fingerprint": fingerprint
    } | (trained_on or {})
    safe_files.write_json(SCORES, scores)
    metrics.write_mistakes(FOLDS / "mistakes.csv", pooled)
    likely_mislabeled = mislabeled.write(FOLDS, pooled)
    plots.confusion_matrix(FOLDS / "confusion_matrix.png", pooled.confusion, pooled.class_names)
    direction_plot.write_directions(FOLDS / "directions.png", pooled, scores)
    say(f"{len(results)} folds: mean accuracy {np.mean(accuracies):.2%}, from {min(accuracies):.2%} to "
        f"{max(accuracies):.2%}; all {len(pooled.labels)} clips together {scores['accuracy']:.2%} (95% interval "
        "{:.2%} to {:.2%})".format(*scores["accuracy_interval"]) + _macro_auc(scores))
    if balanced := about_balance(scores):
        say(balanced)
    if too_high := start_from.warning(scores):
        warn(too_high)
    background.say_false_alarms(scores)
    directions.say_angular_errors(scores)
    say(f"Written to {SCORES.parent}/: {SCORES.name}, mistakes.csv, {mislabeled.FILE} ({likely_mislabeled}), "
        "confusion_matrix.png" + ", directions.png" * ("directions" in scores) + ".")
    fold_thresholds.store(WEIGHTS, scores["thresholds"], fingerprint)
    return scores


def _macro_auc(scores: dict[str, Any]) -> str:
    """The end of a sentence about the scores."""
    if scores["macro_auc"] is None:
        return ".\nNo macro AUC: it requires clips of two classes in the folds."
    return ", macro AUC {:.4f} ({:.4f} to {:.4f}).".format(scores["macro_auc"], *scores["macro_auc_interval"])


def write_label_scores(results: dict[str, MultiLabelEvaluation], fingerprint: dict[str, Any]) -> dict[str, Any]:
    """The same with MULTI_LABEL; each fold is scored with the thresholds from the other folds."""
    pooled = label_scores.of_folds(list(results.values()))
    found = thresholds.of(pooled, f"cross-validation with {len(results)} folds")
    lowest = label_scores.decision_thresholds("auto", found, pooled.class_names, SCORES)
    scores = label_scores.score(pooled, metrics.roc_curves(pooled), lowest) | {
        "folds": {fold: {"exact_match": result.accuracy, "loss": result.loss, "files": len(result.names)}
                  for fold, result in results.items()}, "thresholds": found, "fingerprint": fingerprint}
    safe_files.write_json(SCORES, scores)
    label_mistakes.write_mistakes(FOLDS / "mistakes.csv", pooled)
    likely_mislabeled = mislabeled.write(FOLDS, pooled)
    label_plots.label_errors(FOLDS / "label_errors.png", pooled)
    for line in (*label_scores.lines(scores), "Each fold was scored with the thresholds from the other folds.",
                 *label_scores.describe("auto", found, pooled.class_names)):
        say(line)
    say(f"Written to {SCORES.parent}/: {SCORES.name}, mistakes.csv, {mislabeled.FILE} ({likely_mislabeled}), "
        "label_errors.png.")
    fold_thresholds.store(WEIGHTS, found, fingerprint)
    return scores


# --- report ---------------------------------------------------------------------------------------------------------

def write_report(options: Namespace, dataset: Dataset, clips: Clips,
                 results: dict[str, Evaluation | MultiLabelEvaluation], scores: dict[str, Any],
                 report_clips: int) -> None:
    """Write folds/report.html; results: fold → Evaluation. scores: those of all folds together."""
    pool, write = (label_scores.of_folds, label_report.write) if clips.multi_label else \
        (Evaluation.pooled, report.write)
    pooled, hidden = pool(list(results.values())), () if clips.multi_label else ("thresholds",)
    findings = Findings(options.network, dataset.settings, dataset.preprocessing, [], "", clips, pooled,
                        metrics.roc_curves(pooled), {name: scores[name] for name in scores if name not in hidden},
                        occlusion=occlusion_of(results, clips, options.batch_size), grouping=dataset.grouping,
                        folds=results, fold_rule=options.folds, long_files=dataset.long_files,
                        balance=options.balance, warning=start_from.warning(scores))
    say(write(FOLDS / "report.html", findings, report_clips, SAMPLES, PREPROC))


def occlusion_of(results: dict[str, Evaluation | MultiLabelEvaluation], clips: Clips,
                 batch_size: int) -> Callable[..., list[np.ndarray]]:
    """A function from indices of clips, shown frames, and perhaps indices of classes, to occlusion maps.

    Each is by the network of the clip's fold.
    """
    fold_of = {name: fold for fold, result in results.items() for name in result.names}

    def maps(indices: np.ndarray, frames: int, classes: np.ndarray | None = None) -> list[np.ndarray]:
        from audio_utils.inference import distribution, occlusion
        found, class_of = {}, dict(zip(indices, indices if classes is None else classes, strict=True))
        with distribution.suspended():  # only one process writes the report
            for fold in dict.fromkeys(fold_of[clips.names[i]] for i in indices):
                own = [i for i in indices if fold_of[clips.names[i]] == fold]
                explained = classes if classes is None else [class_of[i] for i in own]
                found |= zip(own, occlusion.maps(FOLDS / f"fold_{fold}" / WEIGHTS, clips, own, frames, batch_size,
                                                 explained), strict=True)
        return [found[i] for i in indices]
    return maps
