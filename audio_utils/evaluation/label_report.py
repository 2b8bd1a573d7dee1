"""report.html of a network with MULTI_LABEL; the parts that do not depend on labels are those of report.py."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audio_utils.data import multi_label
from audio_utils.evaluation import (
    intervals,
    label_plots,
    label_scores,
    learning_curve_fit,
    mislabeled,
    next_steps,
    panels,
    report,
)
from audio_utils.evaluation.findings import Findings, about, find_shared, training_names
from audio_utils.evaluation.label_mistakes import errors_by_label, frequent_errors
from audio_utils.evaluation.label_scores import MultiLabelEvaluation
from audio_utils.evaluation.mistake_cards import label_card, worst_class

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOWEST_PROBABILITY = 0.1  # for the calibration; most probabilities are lower, and these would fill most of the bins


def write(path: Path, findings: Findings, max_mistakes: int, samples: Path, preproc: Path) -> str:
    """Write the page as `report.write` does; findings.evaluation: a MultiLabelEvaluation. Returns a sentence about it.
    """
    found = findings.evaluation.in_natural_order()
    findings = findings._replace(evaluation=found)
    output_of = {name: k for k, name in enumerate(findings.clips.class_names)}  # of the network, in its own order
    sounds, own_folder = report.sounds_of(samples, multi_label=True), samples if findings.source else None
    shown = found.mistakes[:max_mistakes]
    explained = np.array([output_of[found.class_names[worst_class(found, i)]] for i in shown], int)
    cards, frames = report.clip_cards(findings, shown, sounds, label_card, explained)
    training = training_names(sounds, preproc, findings)
    shared = find_shared(findings, sounds, training, preproc)
    counts = _training_counts(findings, training, preproc)
    return report.write_page(path, "label_report.html.jinja", found.class_names, {
        "folder": (own_folder or Path()).resolve().name, "written": datetime.now(), "scores": findings.scores,
        "mistakes": cards, "mistake_count": len(found.mistakes), "about": _about(findings, about(findings, sounds)),
        "classes": _rows(findings, counts), "has_training": bool(counts), "wrong": _wrong(found),
        "thresholds": label_scores.describe("auto", findings.scores.get("thresholds", {}), found.class_names),
        "warnings": [each for each in (findings.warning, shared.warning) if each],
        "steps": _steps(findings, counts, own_folder, shared.remedy), "folds": report.folds_table(findings.folds or {}),
        "mislabeled": mislabeled.rows(found) if findings.folds else [], "resamples": intervals.RESAMPLES,
        "curves": _curves(findings), **_calibration(found),
        **report.axes_of_melgrams(findings, frames), **report.training_plots(findings)}, shared.warning)


def _training_counts(findings: Findings, training: list[str], preproc: Path) -> dict[str, int]:
    """Class → number of training clips with it; {} if unknown."""
    names = findings.evaluation.class_names
    if findings.folds:
        return dict(zip(findings.clips.class_names, map(int, findings.clips.targets.sum(axis=0)), strict=True))
    if not training:
        return {}
    labels = multi_label.read(preproc)
    counts = Counter(label for name in training for label in labels.get(f"Train/{name}", ()))
    return {name: counts[name] for name in names}


def _about(findings: Findings, properties: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The properties of the network and its data; clips without labels replace the background classes."""
    scores, mean = findings.scores, findings.evaluation.positives.sum(axis=1).mean()
    return [*((name, text) for name, text in properties if name != "Background"),
            ("Labels", f"several for each file (MULTI_LABEL), {mean:.1f} on average; "
                       f"{scores['files_without_labels']:,} of {scores['files']:,} files have none")]


def _rows(findings: Findings, counts: dict[str, int]) -> list[dict[str, Any]]:
    """A row of the table for each class, and one for all; counts: of training clips."""
    scores, names = findings.scores, findings.evaluation.class_names
    rows = [scores["classes"][name] | {"name": name, "train": counts.get(name)} for name in names]
    total = {kind: sum(row[kind] for row in rows) for kind in ("missed", "extra")}
    return [*rows, total | {"name": "total, mean", "train": None, "files": scores["files"], "threshold": None,
                            **{kind: scores[f"macro_{kind}"] for kind in label_scores.SCORES}}]


def _wrong(found: MultiLabelEvaluation) -> dict[str, Any]:
    """The matrix of found and extra classes, as rows of (files, fraction of the row's files), and its largest errors.
    """
    counts, files = errors_by_label(found)
    fractions = counts / np.maximum(1, files[:, None])
    errors = frequent_errors(counts, files, found.class_names, report.MAX_ERRORS)
    names = [*found.class_names, *["without labels"] * bool(files[-1])]
    return {"errors": errors, "names": names, "title": label_plots.label_errors_title(found, []),
            "rows": [list(zip(*pair, strict=True)) for pair in zip(counts.tolist(), fractions.tolist(), strict=True)]
            [:len(names)] if len(counts) <= report.MAX_MATRIX else []}


def _curves(findings: Findings) -> list[tuple[str, str]]:
    """(title, SVG) of the precision-recall and the ROC curves."""
    found, scores = findings.evaluation, findings.scores
    if not findings.curves:
        return []
    return [(label_plots.precision_recall_finding(scores), report.svg(_draw_precision_recall, found, scores)),
            (panels.roc_finding(findings.curves, scores["macro_auc"]), report.svg(_draw_roc, findings.curves))]


def _draw_precision_recall(axes: "Axes", found: MultiLabelEvaluation, scores: dict[str, Any]) -> None:
    label_plots.draw_precision_recall(axes, found, scores)
    axes.legend(loc="lower left", fontsize="small")


def _draw_roc(axes: "Axes", curves: dict[str, Any]) -> None:
    panels.draw_roc_curves(axes, curves)
    axes.legend(loc="lower right", fontsize="small")


def _calibration(found: MultiLabelEvaluation) -> dict[str, Any]:
    """The reliability diagram of all probabilities that are not very low."""
    chosen = found.probabilities >= LOWEST_PROBABILITY
    if not chosen.any():
        return {"calibration": None}
    probabilities, correct = found.probabilities[chosen], found.positives[chosen]
    bins, error = intervals.reliability(probabilities, correct)
    finding = (f"{intervals.calibration(probabilities, correct)}: mean probability {probabilities.mean():.1%}, "
               f"fraction of true classes {correct.mean():.1%}")
    return {"calibration": {"finding": finding, "error": error, "bins": len(bins), "lowest": LOWEST_PROBABILITY,
                            "diagram": report.svg(label_plots.draw_calibration, bins)}}


# --- next steps -----------------------------------------------------------------------------------------------------

def _steps(findings: Findings, counts: dict[str, int], folder: Path | None, remedy: str) -> list[str]:
    """Sentences about the next steps, the most important first."""
    data = next_steps.Data(counts, findings.validation_clips, folder=folder, folds=bool(findings.folds))
    found = findings.evaluation
    first = _about_mistakes(findings, counts) if len(found.mistakes) else \
        next_steps.about_success(len(found.names), data)
    return [each for each in [remedy, *first] if each][:next_steps.MAX_SENTENCES]


def _about_mistakes(findings: Findings, counts: dict[str, int]) -> Iterator[str]:
    few = next_steps.about_counts(counts) if counts else ""
    more = learning_curve_fit.advice(findings.learning_curve)
    yield "" if more and few.startswith("Add sounds: ") else few
    yield more
    known = findings.scores.get("thresholds", {})
    uncertain = label_scores.uncertain_classes(known, findings.evaluation.class_names)
    if uncertain and not known.get("source", "").startswith("cross-validation"):
        yield (f"Run train_network.py --folds 5: the thresholds of {len(uncertain)} "
               f"class{'es are' if len(uncertain) > 1 else ' is'} 0.5, because there are few validation clips.")
    low, high = findings.evaluation.accuracy_interval
    if high - low > next_steps.WIDE_INTERVAL:
        yield (f"Add sounds: {len(findings.evaluation.names)} files only show that the exact match is between "
               f"{low:.0%} and {high:.0%}.")
    yield "Play the mistakes below: correct their labels, or add training files like them."
