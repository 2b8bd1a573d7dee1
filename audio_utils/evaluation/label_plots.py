"""Plots of MULTI_LABEL: precision-recall curves, and missed and extra classes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audio_utils.data.multi_label import NO_LABEL
from audio_utils.evaluation import drawing, plots
from audio_utils.evaluation.drawing import COLORS, percent_formatter, short_label, short_labels
from audio_utils.evaluation.label_mistakes import errors_by_label, frequent_errors
from audio_utils.evaluation.label_scores import MultiLabelEvaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HARD_CLASSES = 5  # curves with a color and an entry in the legend


@drawing.styled
def precision_recall_curves(path: str | Path, found: MultiLabelEvaluation, scores: dict[str, Any]) -> None:
    """The curves of all classes, those with the lowest average precision in color; scores: as in scores.json."""
    figure = drawing.new_figure(8.6, 5.4)
    axes = figure.subplots()
    draw_precision_recall(axes, found, scores)
    axes.legend(title="lowest average precisions", loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.suptitle(precision_recall_finding(scores), wrap=True)
    drawing.save(figure, path)


def draw_precision_recall(axes: "Axes", found: MultiLabelEvaluation, scores: dict[str, Any]) -> None:
    """Precision against recall at each threshold, with a dot at the threshold in use."""
    from sklearn.metrics import precision_recall_curve
    hard = hard_classes(scores)
    others = [name for name, each in scores["classes"].items()
              if each["average_precision"] is not None and name not in hard]
    for name in [*hard, *others]:
        i, each = found.class_names.index(name), scores["classes"][name]
        precision, recall, _ = precision_recall_curve(found.positives[:, i], found.probabilities[:, i])
        color, width, size, order = (COLORS[hard.index(name)], 1.7, 6, 3) if name in hard else ("0.75", 0.8, 3, 2)
        label = f"{short_label(name)}  {each['average_precision']:.4f}" if name in hard else \
            "_" * (name != others[0]) + "other classes"
        axes.plot(recall, precision, color=color, lw=width, zorder=order, drawstyle="steps-post", label=label)
        if each["precision"] is not None:
            axes.plot(each["recall"], each["precision"], "o", color=color, ms=size, zorder=order + 0.5)
    axes.plot([], [], "o", color="0.4", label="at the threshold")
    axes.set(xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(percent_formatter())


def hard_classes(scores: dict[str, Any]) -> list[str]:
    """The classes with the lowest average precisions, the lowest first."""
    known = {name: each["average_precision"] for name, each in scores["classes"].items()
             if each["average_precision"] is not None}
    return sorted(known, key=known.get)[:_HARD_CLASSES]


def precision_recall_finding(scores: dict[str, Any]) -> str:
    """The mean average precision and the lowest one, as a title."""
    hard = hard_classes(scores)
    if not hard:
        return "No precision-recall curves: they require files with and without a class"
    return (f"Mean average precision {scores['macro_average_precision']:.4f}; lowest: {short_label(hard[0])}, "
            f"{scores['classes'][hard[0]]['average_precision']:.4f}")


@drawing.styled
def label_errors(path: str | Path, found: MultiLabelEvaluation) -> None:
    """The clips of each class (rows) in which it is found (diagonal), or another one is extra (columns)."""
    found = found.in_natural_order()
    counts, files = errors_by_label(found)
    names = short_labels(found.class_names)
    title = label_errors_title(found, frequent_errors(counts, files, names, 1))
    rows = [*names, NO_LABEL] if files[-1] else names
    drawing.save(plots.matrix(counts[:len(rows)], files[:len(rows)], (rows, names),
                              ("true class of a clip", "found (diagonal) or extra class"), title), path)


def label_errors_title(found: MultiLabelEvaluation, errors: list[str]) -> str:
    """The numbers of missed and extra classes, and the most frequent error; errors: from `frequent_errors`."""
    positives = int(found.positives.sum())
    return "\n".join([f"{found.missed.sum()} of {positives} labels missed, {found.extra.sum()} extra",
                      *(f"Most frequent error: {error}" for error in errors)])


def draw_calibration(axes: "Axes", bins: np.ndarray) -> None:
    """The fraction of clips that have a class against its probability; bins: from `intervals.reliability`."""
    probability, fraction, low, high, pairs = np.transpose(bins)
    axes.plot([0, 1], [0, 1], color="0.5", lw=1, ls=":", label="perfect calibration")
    count = f"{pairs.min():.0f}" if pairs.min() == pairs.max() else f"{pairs.min():.0f} to {pairs.max():.0f}"
    axes.errorbar(probability, fraction, [fraction - low, high - fraction], fmt="o", color=COLORS[0], ms=5, lw=1.2,
                  label=f"{count} probabilities (95% interval)")
    axes.set(xlabel="probability of a class", ylabel="fraction of clips with the class", xlim=(0, 1.02), ylim=(0, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(percent_formatter())
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize="small")
