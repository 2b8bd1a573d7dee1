"""The plots that are written as PNG files."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audio_utils.evaluation import drawing, panels
from audio_utils.evaluation.drawing import COLORS, new_figure, save, short_labels, styled
from audio_utils.evaluation.metrics import RocCurve
from audio_utils.runtime.tables import in_natural_order, natural_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def training_curves(path: str | Path, history: list[dict]) -> None:
    """Loss and accuracy of training and validation over the epochs; history: a dictionary for each epoch."""
    if not history:
        return
    figure = new_figure(11, 4.8)
    left, right = figure.subplots(1, 2)
    panels.draw_history(left, history, "loss")
    panels.draw_history(right, history, "accuracy")
    figure.suptitle(panels.history_finding(history), wrap=True)
    save(figure, path)


@styled
def roc_curves(path: str | Path, curves: dict[str, RocCurve], macro_auc: float | None) -> None:
    """ROC curves, those of the hard classes in color; if all are good, the corner is also enlarged."""
    corner = panels.corner_size(curves)
    figure = new_figure(14 if corner else 8.6, 5.4)
    axes_of_panels = figure.subplots(1, 2 if corner else 1, squeeze=False)[0]
    for axes, size in zip(axes_of_panels, (1, corner), strict=False):
        panels.draw_roc_curves(axes, curves, size)
    title = "lowest AUCs" if panels.roc_key(curves) else None
    axes_of_panels[-1].legend(title=title, loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.suptitle(panels.roc_finding(curves, macro_auc), wrap=True)
    save(figure, path)


# --- confusion ------------------------------------------------------------------------------------------------------

@styled
def confusion_matrix(path: str | Path, counts: np.ndarray, class_names: list[str]) -> None:
    """The number of clips by true class (rows) and predicted class (columns); counts: int (classes, classes)."""
    order = natural_order(class_names)
    counts, names = counts[np.ix_(order, order)], short_labels(class_names[i] for i in order)
    total, correct = counts.sum(), np.trace(counts)
    title = f"{correct} of {total} correct ({correct / max(1, total):.1%})"
    figure = matrix(counts, counts.sum(axis=1), (names, names), ("true class", "predicted class"),
                    title + ("\n" + confusion_finding(counts, names) if correct < total else ""))
    save(figure, path)


def matrix(counts: np.ndarray, files: np.ndarray, names: tuple[list[str], list[str]], labels: tuple[str, str],
           title: str) -> "Figure":
    """A matrix of colored counts, correct on the diagonal; files: of each row. names, labels: of rows and columns."""
    size = min(24, max(4.8, 2.2 + 0.42 * len(names[1])))
    figure = new_figure(size + 0.8, size + 0.3)
    axes = figure.subplots()
    fractions = counts / np.maximum(1, files[:, None])
    axes.imshow(cell_colors(counts, fractions))
    axes.set_xticks(range(len(names[1])), names[1], rotation=90)
    axes.set_yticks(range(len(names[0])), names[0])
    axes.set(xlabel=labels[1], ylabel=labels[0])
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8,
                  color="white" if fractions[row, column] > 0.65 else "black")
    figure.supxlabel("blue: correct, orange: errors; deeper: a larger fraction of the true class", fontsize=8,
                     color="0.4")
    figure.suptitle(title, fontsize="large", wrap=True)
    return figure


def cell_colors(counts: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """The colors of a matrix, float (rows, columns, 3), blue on the diagonal: the same as in report.html."""
    from matplotlib.colors import to_rgb
    opacity = np.where(counts, 0.15 + 0.85 * fractions, 0)[..., None]
    colors = np.where(np.eye(*counts.shape)[..., None], to_rgb(COLORS[0]), to_rgb(COLORS[1]))
    return 1 - opacity * (1 - colors)


def confusion_finding(counts: np.ndarray, names: list[str]) -> str:
    """The most frequent error, as a title."""
    errors = counts - np.diag(counts.diagonal())
    if not errors.any():
        return "No errors"
    label, predicted = np.unravel_index(errors.argmax(), errors.shape)
    return (f"Most frequent error: {names[label]} predicted as {names[predicted]}, "
            f"{errors.max()} of {counts[label].sum()}")


# --- samples --------------------------------------------------------------------------------------------------------

_PROBLEM_STYLES = tuple(zip("xs^DP", (*COLORS[1:5], COLORS[1]), strict=True))  # marker, color


class ClassSummary(NamedTuple):
    """The sounds of one class."""
    files: dict[str | None, int]  # split → number of files; {None: n} without the user's own split
    seconds: np.ndarray  # (n,), durations
    level_db: np.ndarray  # (n,), dBFS
    problems: dict[str, np.ndarray]  # problem → bool (n,), whether the sound has it


@styled
def samples(path: str | Path, classes: dict[str, ClassSummary], title: str) -> None:
    """The number, durations and levels of the sounds of each class."""
    row = 0.34 if len(classes) <= 40 else 0.22  # inches
    classes = {name: classes[name] for name in in_natural_order(classes)}
    figure = new_figure(13, 2 + row * max(3, len(classes)))
    counts, durations, levels = figure.subplots(1, 3, sharey=True, width_ratios=(2, 3, 3))
    _draw_counts(counts, [each.files for each in classes.values()])
    _draw_dots(durations, [(each.seconds, each.problems) for each in classes.values()])
    _draw_dots(levels, [(each.level_db, each.problems) for each in classes.values()])
    counts.set_xlabel("files")
    durations.set_xlabel("duration (s)")
    levels.set_xlabel("RMS level (dBFS)")
    figure.legend(*durations.get_legend_handles_labels(), loc="outside lower center", ncols=7)
    seconds = np.concatenate([each.seconds for each in classes.values()])
    if seconds.max() > 8 * seconds.min():
        drawing.set_log_scale(durations.xaxis)
    else:
        durations.set_xlim(0, 1.05 * seconds.max())
    counts.set_yticks(range(len(classes)), short_labels(classes), fontsize=9 if row > 0.3 else 7)
    counts.set_ylim(len(classes) - 0.4, -0.6)  # the first class on top
    figure.suptitle(title)
    save(figure, path)


def _draw_counts(axes: "Axes", files: list[dict[str | None, int]]) -> None:
    """A bar for each class; in the user's own split, divided by split."""
    left = np.zeros(len(files))
    colors = {"Train": COLORS[5], None: COLORS[5], "Val": COLORS[2], "Test": COLORS[0]}
    splits = [split for split in colors if any(split in counts for counts in files)]
    for split in splits:
        width = np.array([counts.get(split, 0) for counts in files])
        axes.barh(range(len(files)), width, 0.7, left, color=colors[split], label=split)
        left += width
    for row, total in enumerate(left):
        axes.annotate(f"{total:.0f}", (total, row), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.margins(x=0.12)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=5)
    if None not in files[0]:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)


def _draw_dots(axes: "Axes", values: list[tuple[np.ndarray, dict[str, np.ndarray]]]) -> None:
    """A dot for each sound in the row of its class, a marker for each problem, and a line at the median.

    values: (numbers, problem → bool (n,)) of each class. A sound with several problems has several markers.
    """
    rng = np.random.default_rng(1)
    numbers = np.concatenate([each for each, _ in values])
    rows = np.repeat(range(len(values)), [len(each) for each, _ in values])
    heights = rows + rng.uniform(-0.3, 0.3, len(rows))
    marked = {problem: np.concatenate([problems[problem] for _, problems in values]) for problem in values[0][1]}
    good = ~np.any(list(marked.values()), axis=0) if marked else np.ones(len(numbers), bool)
    size, opacity = (12, 0.7) if len(numbers) < 100 * len(values) else (6, 0.4)
    axes.scatter(numbers[good], heights[good], size, COLORS[0], alpha=opacity, lw=0, label="sound without problems")
    for (problem, has_it), (marker, color) in zip(marked.items(), _PROBLEM_STYLES, strict=False):
        if has_it.any():
            axes.scatter(numbers[has_it], heights[has_it], 34, color, marker=marker, lw=1.5, zorder=3,
                         label=f"{problem} ({has_it.sum()})")
    medians = [np.median(each) for each, _ in values]
    axes.scatter(medians, range(len(values)), 260 if len(values) <= 40 else 110, "black", marker="|", zorder=4,
                 label="median")
