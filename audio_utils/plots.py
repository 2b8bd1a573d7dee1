"""The pictures of the suite, in one style: colour-blind safe, legible with 2 and with 50 classes.

Matplotlib is imported when a picture is drawn, and draws into files without a screen.
"""

import numpy as np

from audio_utils import safe_files

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito 2008
DPI = 120
_NAMED_CURVES = 2 * len(COLOURS)


def training_curves(path, history):
    """Losses and accuracies of training and validation over the epochs; history: a list of dictionaries."""
    if not history:
        return
    best = min(history, key=lambda epoch: epoch["val_loss"])
    figure = _figure(11, 4.4)
    left, right = figure.subplots(1, 2)
    epochs = [epoch["epoch"] for epoch in history]
    for axes, name, in ((left, "loss"), (right, "accuracy")):
        for key, colour, label in ((name, COLOURS[0], "training (altered clips, dropout)"), ("val_" + name, COLOURS[1], "validation")):
            axes.plot(epochs, [epoch[key] for epoch in history], color=colour, label=label, lw=1.6,
                      marker="o" if len(history) == 1 else None)
        axes.axvline(best["epoch"], color="0.6", lw=1, ls="--")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    left.set_yscale("log")
    left.set_ylabel("loss (cross-entropy, nats)")
    right.set_ylabel("accuracy")
    right.yaxis.set_major_formatter(_percent())
    left.legend(edgecolor="none")
    figure.suptitle(f"Best after epoch {best['epoch']} of {len(history)}: validation loss {best['val_loss']:.4f}, "
                    f"accuracy {best['val_accuracy']:.1%}")
    _save(figure, path)


def roc_curves(path, curves, macro_auc):
    """Receiver operating characteristics; curves: class name → (false positive rates, true positive rates, AUC).

    With many classes only the worst are named, the others are drawn thin; good curves are shown in their corner too.
    """
    worst = sorted(curves, key=lambda name: curves[name][2])
    corner = _corner(curves.values())
    figure = _figure(14 if corner else 8.6, 5.4)
    panels = figure.subplots(1, 2 if corner else 1, squeeze=False)[0]
    for axes, edge in zip(panels, (1, corner), strict=False):
        for name in reversed(worst):
            _draw_roc(axes, name, curves[name], worst.index(name))
        axes.plot([0, 1], [0, 1], color="0.6", lw=1, ls=":")
        axes.set(xlabel="false positive rate", ylabel="true positive rate",
                 xlim=(-0.01 * edge, 1.01 * edge), ylim=(1 - 1.01 * edge, 1 + 0.01 * edge), aspect="equal")
    handles, labels = panels[0].get_legend_handles_labels()
    title = "AUC by class" if len(labels) == len(worst) else f"AUC of the lowest {len(labels)} of {len(worst)} classes"
    panels[-1].legend(handles[::-1], labels[::-1], title=title, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    lowest = f"; lowest: {_short(worst[0])}, {curves[worst[0]][2]:.4f}" if worst else ""
    figure.suptitle("No class has Test clips to draw" if macro_auc is None else f"Mean AUC {macro_auc:.5f}{lowest}")
    _save(figure, path)


def _corner(curves):
    """The smallest corner at the upper left, as a share of the axes, that every curve passes through; None if none is."""
    for edge in (0.1, 0.2, 0.4):
        if curves and all(np.interp(edge, false, true) >= 1 - edge for false, true, _ in curves):
            return edge
    return None


def _draw_roc(axes, name, curve, rank):
    false, true, auc = curve
    if rank < _NAMED_CURVES:
        axes.plot(false, true, color=COLOURS[rank % len(COLOURS)], ls=("-", "--")[rank // len(COLOURS) % 2], lw=1.8,
                  zorder=3, label=f"{_short(name)}  {auc:.4f}")
    else:
        axes.plot(false, true, color="0.75", lw=0.8, zorder=2)


def confusion_matrix(path, counts, class_names):
    """How many clips of each class (rows) came out as which (columns); counts: int (classes, classes)."""
    from matplotlib.colors import LinearSegmentedColormap
    total, right = counts.sum(), np.trace(counts)
    size = min(24, max(4.8, 2.2 + 0.42 * len(class_names)))
    figure = _figure(size + 0.8, size)
    axes = figure.subplots()
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    ramp = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#9ecae1", "#08306b"])
    image = axes.imshow(shares, cmap=ramp, vmin=0, vmax=1)
    names = [_short(name) for name in class_names]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="came out as", ylabel="should be")
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8,
                  color="white" if shares[row, column] > 0.5 else "black")
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, format=_percent())
    bar.set_label("of the class")
    axes.set_title(f"{right} of {total} right ({right / max(1, total):.1%})")
    _save(figure, path)


def _short(name, longest=24):
    """A class name as a label: never too long, and never read as a formula."""
    return (name if len(name) <= longest else name[:longest - 1] + "…").replace("$", r"\$")


def _figure(width, height):
    """A figure in inches; drawn without pyplot, which would look for a screen."""
    from matplotlib.figure import Figure
    figure = Figure((width, height), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # inches
    return figure


def _percent():
    from matplotlib.ticker import PercentFormatter
    return PercentFormatter(1.0, decimals=None)


def _save(figure, path):
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with safe_files.replacing(path) as unfinished:
        figure.savefig(unfinished)
