"""The pictures of the suite, in one style: colour-blind safe, legible with 2 and with 50 classes.

Matplotlib is imported when a picture is drawn, and draws into files, or into a page, without a screen.
"""

import functools
import io
import warnings

import numpy as np

from audio_utils import safe_files

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito 2008
DPI = 120
MELGRAM_DB = 80  # from black to white in the pictures of melgrams, one shade for each
_NAMED_CURVES = 2 * len(COLOURS)
_STYLE = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "lines.linewidth": 1.7,
          "svg.fonttype": "none", "svg.hashsalt": "panotti"}
_FONTS = ("Noto Sans CJK JP", "Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic",
          "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS")  # for names that DejaVu Sans can't write


def _styled(draw):
    """Let a function draw in the style of the house, which is nobody else's."""
    @functools.wraps(draw)
    def in_style(*arguments, **keywords):
        import matplotlib
        from matplotlib import font_manager
        installed = set(font_manager.get_font_names())
        fonts = ["DejaVu Sans", *(name for name in _FONTS if name in installed)]
        with matplotlib.rc_context(_STYLE | {"font.family": fonts}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph .* missing")  # is shown as a box
            return draw(*arguments, **keywords)
    return in_style


# --- training curves ------------------------------------------------------------------------------------------------

@_styled
def training_curves(path, history):
    """Losses and accuracies of training and validation over the epochs; history: a list of dictionaries."""
    if not history:
        return
    figure = _figure(11, 4.4)
    left, right = figure.subplots(1, 2)
    draw_history(left, history, "loss")
    draw_history(right, history, "accuracy")
    figure.suptitle(history_finding(history))
    _save(figure, path)


def history_finding(history):
    """What the curves say, as a title."""
    best, validated = best_epoch(history), validated_epochs(history)
    figures = f"loss {best['val_loss']:.4f}, accuracy {best['val_accuracy']:.1%}"
    if validated == len(history):
        return f"Best after epoch {best['epoch']} of {validated}: validation {figures}"
    return (f"Best validation after epoch {best['epoch']}: {figures}; from epoch {validated + 1} to {len(history)}, "
            "which is kept, all clips are trained on")


def validated_epochs(history):
    """How many they are: all, or those before the clips of validation were trained on too."""
    return sum(epoch["val_loss"] is not None for epoch in history)


def best_epoch(history):
    return min(history[:validated_epochs(history)], key=lambda epoch: epoch["val_loss"])


def draw_history(axes, history, name):
    """One panel, name: "loss" or "accuracy"."""
    epochs = [epoch["epoch"] for epoch in history]
    for key, colour, label in ((name, COLOURS[0], "training (altered clips, dropout)"),
                               ("val_" + name, COLOURS[1], "validation")):
        axes.plot(epochs, np.array([epoch[key] for epoch in history], float), color=colour, label=label,
                  marker="o" if len(history) == 1 else None)
    axes.axvline(best_epoch(history)["epoch"], color="0.6", lw=1, ls="--")
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if name == "accuracy":
        axes.set_ylabel(name)
        axes.yaxis.set_major_formatter(_percent())
    else:
        axes.set_ylabel("loss (cross-entropy, nats)")
        _log_scale(axes.yaxis)
        axes.legend()


def _log_scale(axis):
    """A logarithmic scale that says 0.2 and not 2 × 10⁻¹."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    steps = (1, 1.5, 2, 3, 4, 5, 7) if high < 10 * low else (1, 2, 5) if high < 3000 * low else (1,)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


# --- receiver operating characteristics -----------------------------------------------------------------------------

@_styled
def roc_curves(path, curves, macro_auc):
    """Receiver operating characteristics; curves: class name → (false positive rates, true positive rates, AUC).

    With many classes only the worst are named, the others are drawn thin; good curves are shown in their corner too.
    """
    edge = corner(curves)
    figure = _figure(14 if edge else 8.6, 5.4)
    panels = figure.subplots(1, 2 if edge else 1, squeeze=False)[0]
    for axes, shown in zip(panels, (1, edge), strict=False):
        draw_rocs(axes, curves, shown)
    key = roc_key(curves)
    if key:
        title = "AUC by class" if len(key) == len(curves) else f"AUC of the lowest {len(key)} of {len(curves)} classes"
        panels[-1].legend(title=title, loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.suptitle(roc_finding(curves, macro_auc))
    _save(figure, path)


def roc_finding(curves, macro_auc):
    """What the curves say, as a title."""
    if macro_auc is None:
        return "No class has Test clips to draw"
    lowest = min(curves, key=lambda name: curves[name][2])
    if curves[lowest][2] == 1:
        return "AUC 1.0000 of every class"
    return f"Mean AUC {auc_text(macro_auc)}; lowest: {_short(lowest)}, {auc_text(curves[lowest][2])}"


def auc_text(area):
    """Four digits; 1.0000 is only what is 1."""
    return f"{1 if area > 1 - 1e-9 else min(area, 0.9999):.4f}"


def corner(curves):
    """The smallest corner at the upper left, as a share of the axes, that every curve passes through, or None."""
    for edge in (0.1, 0.2, 0.4):
        if curves and all(np.interp(edge, false, true) >= 1 - edge for false, true, _ in curves.values()):
            return edge
    return None


def roc_key(curves):
    """The classes with a line of their own, the lowest AUC first: [(name, colour, line style)]."""
    worst = sorted(curves, key=lambda name: curves[name][2])[:_NAMED_CURVES]
    return [(name, COLOURS[i % len(COLOURS)], ("-", "--")[i // len(COLOURS)]) for i, name in enumerate(worst)]


def draw_rocs(axes, curves, edge=1):
    """One panel, of the upper left corner; edge: its size as a share of the whole."""
    key = roc_key(curves)
    for name in curves.keys() - {name for name, _, _ in key}:
        axes.plot(*curves[name][:2], color="0.75", lw=0.8, zorder=2)
    for i, (name, colour, style) in enumerate(key):
        false, true, auc = curves[name]
        axes.plot(false, true, color=colour, ls=style, zorder=4 - i / _NAMED_CURVES,
                  label=f"{_short(name)}  {auc_text(auc)}")
    axes.plot([0, 1], [0, 1], color="0.6", lw=1, ls=":")
    axes.set(xlabel="false positive rate", ylabel="true positive rate",
             xlim=(-0.01 * edge, 1.01 * edge), ylim=(1 - 1.01 * edge, 1 + 0.01 * edge), aspect="equal")
    axes.locator_params(nbins=6)


# --- confusion ------------------------------------------------------------------------------------------------------

@_styled
def confusion_matrix(path, counts, class_names):
    """How many clips of each class (rows) came out as which (columns); counts: int (classes, classes)."""
    from matplotlib.colors import LinearSegmentedColormap
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
                  color="white" if shares[row, column] > 0.7 else "black")
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, format=_percent())
    bar.set_label("of the class")
    total, right = counts.sum(), np.trace(counts)
    figure.suptitle(f"{right} of {total} right ({right / max(1, total):.1%})"
                    + ("\n" + confusion_finding(counts, names) if right < total else ""), fontsize="large")
    _save(figure, path)


def confusion_finding(counts, names):
    """The most frequent mistake, as a title."""
    wrong = counts - np.diag(counts.diagonal())
    if not wrong.any():
        return "Nothing was confused"
    truth, found = np.unravel_index(wrong.argmax(), wrong.shape)
    return f"Most often: {names[truth]} came out as {names[found]}, {wrong.max()} of {counts[truth].sum()}"


# --- samples --------------------------------------------------------------------------------------------------------

@_styled
def samples(path, classes, title):
    """How many, how long and how loud the sounds of each class are.

    classes: class name → (files on each side: {"Train": n, "Test": n} or {None: n}; lengths in seconds (n,), levels in
    dB (n,), and which of the sounds have a problem, bool (n,)).
    """
    row = 0.34 if len(classes) <= 40 else 0.22  # inches
    figure = _figure(13, 1.7 + row * max(3, len(classes)))
    counts, lengths, levels = figure.subplots(1, 3, sharey=True, width_ratios=(2, 3, 3))
    _draw_counts(counts, [sides for sides, _, _, _ in classes.values()])
    _draw_dots(lengths, [(seconds, marked) for _, seconds, _, marked in classes.values()])
    _draw_dots(levels, [(decibels, marked) for _, _, decibels, marked in classes.values()])
    counts.set_xlabel("files")
    lengths.set_xlabel("length (s)")
    levels.set_xlabel("level (dB of full scale, RMS)")
    lengths.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    every = np.concatenate([seconds for _, seconds, _, _ in classes.values()])
    if every.max() > 8 * every.min():
        _log_scale(lengths.xaxis)
    else:
        lengths.set_xlim(0, 1.05 * every.max())
    counts.set_yticks(range(len(classes)), map(_short, classes), fontsize=9 if row > 0.3 else 7)
    counts.set_ylim(len(classes) - 0.4, -0.6)  # the first class on top
    figure.suptitle(title)
    _save(figure, path)


def _draw_counts(axes, files):
    """A bar for each class, of Train and Test where they are given."""
    left = np.zeros(len(files))
    for i, side in enumerate(sorted({side for sides in files for side in sides}, key=("Train", "Test", None).index)):
        width = np.array([sides.get(side, 0) for sides in files])
        axes.barh(range(len(files)), width, 0.7, left, color=COLOURS[5 - 5 * i], label=side)
        left += width
    for place, total in enumerate(left):
        axes.annotate(f"{total:.0f}", (total, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.margins(x=0.12)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=5)
    if None not in files[0]:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def _draw_dots(axes, values):
    """A dot for each sound in the row of its class, and a line at the median.

    values: for each class (numbers, which of them are marked).
    """
    rng = np.random.default_rng(1)
    numbers, marked = (np.concatenate(each) for each in zip(*values, strict=True))
    places = np.repeat(range(len(values)), [len(each) for each, _ in values])
    heights = places + rng.uniform(-0.3, 0.3, len(places))
    size, opacity = (12, 0.7) if len(numbers) < 100 * len(values) else (6, 0.4)
    axes.scatter(numbers[~marked], heights[~marked], size, COLOURS[0], alpha=opacity, lw=0, label="a sound")
    if marked.any():
        axes.scatter(numbers[marked], heights[marked], 24, COLOURS[1], lw=0, zorder=3, label="one with a problem")
    medians = [np.median(each) for each, _ in values]
    axes.scatter(medians, range(len(values)), 260 if len(values) <= 40 else 110, "black", marker="|", zorder=4,
                 label="median")


# --- for the page ---------------------------------------------------------------------------------------------------

@_styled
def in_page(draw, *arguments):
    """What draw(axes, *arguments) draws, as the text of an <svg>; its black is the colour of the page's text."""
    figure = _figure(4.6, 3.5)
    draw(figure.subplots(), *arguments)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg"):].replace("#000000", "currentColor")


def draw_reliability(axes, bins):
    """How often the network is right, over how sure it is: a reliability diagram (Guo et al. 2017).

    bins: (mean confidence, share that is right, its interval's low and high, share of the files), NaN where empty.
    """
    confidence, right, low, high, share = np.transpose(bins)
    axes.bar((np.arange(len(bins)) + 0.5) / len(bins), share, 0.94 / len(bins), color="0.6", alpha=0.45, lw=0,
             label="share of the files")
    axes.plot([0, 1], [0, 1], color="0.6", lw=1, ls=":")
    axes.errorbar(confidence, right, [right - low, high - right], fmt="o-", color=COLOURS[0], ms=4, lw=1.2,
                  label="right (95% interval)")
    axes.set(xlabel="confidence: probability of what it came out as", xlim=(0, 1.01), ylim=(0, 1.02))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_percent())
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def melgram_png(decibels, loudest, most=1000):
    """A picture of one channel's melgram (mels, frames) as the bytes of a PNG, one shade for each dB below `loudest`.

    More than `most` rows or columns are made fewer; of neighbours the loudest is kept.
    """
    import matplotlib
    from PIL import Image
    for axis in (0, 1):
        starts = np.arange(0, decibels.shape[axis], -(-decibels.shape[axis] // most))
        decibels = np.maximum.reduceat(decibels, starts, axis=axis)
    shades = np.clip(np.rint(decibels - loudest) + MELGRAM_DB, 0, MELGRAM_DB).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(shades[::-1]))  # the lowest band below
    colours = matplotlib.colormaps["magma"](np.linspace(0, 1, MELGRAM_DB + 1))[:, :3]
    image.putpalette((255 * colours).astype(np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


# --- drawing --------------------------------------------------------------------------------------------------------

def _short(name, longest=24):
    """A class name as a label: never too long, never read as a formula, and with nothing that can't be drawn."""
    name = "".join(letter if letter.isprintable() else "�" for letter in name)
    return (name if len(name) <= longest else name[:longest - 1] + "…").replace("$", r"\$")


def _figure(width, height):
    """A figure in inches; drawn without pyplot, which would look for a screen."""
    from matplotlib.figure import Figure
    figure = Figure((width, height), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # inches
    return figure


def _percent():
    from matplotlib.ticker import FuncFormatter
    return FuncFormatter(lambda share, _: f"{100 * share:.4g}%")


def _save(figure, path):
    with safe_files.replacing(path) as unfinished:
        figure.savefig(unfinished)
