"""Panels of the PNG files and of report.html, each with its finding in one sentence; images of melgrams."""

import io
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from audio_utils.evaluation.drawing import COLORS, percent_formatter, set_log_scale, short_label
from audio_utils.evaluation.metrics import RocCurve
from audio_utils.runtime import tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MELGRAM_DB = 80  # the range of the color scale, one color for each dB
FULL_COLOR_FALL = 0.1  # of the probability; if no part of an occlusion map has such a fall, none has the full color
_HARD_CLASSES = 5  # ROC curves with a color and an entry in the legend


# --- training curves ------------------------------------------------------------------------------------------------

def draw_history(axes: "Axes", history: list[dict], metric: str) -> None:
    """The "loss" or "accuracy" of training and validation over the epochs; history: a dictionary for each epoch."""
    epochs = [epoch["epoch"] for epoch in history]
    for i, (start, end) in enumerate(annealing_phases(history)):
        axes.axvspan(start, end, color=COLORS[4], alpha=0.2, lw=0, label="_" * (i > 0) + "annealing")
    for key, color, label in ((metric, COLORS[0], "training (augmentation, dropout)"),
                              ("val_" + metric, COLORS[1], "validation")):
        axes.plot(epochs, np.array([epoch[key] for epoch in history], float), color=color, label=label,
                  marker="o" if len(history) == 1 else None)
    kept = kept_epoch(history)
    axes.axvline(kept["epoch"], color="0.5", lw=1, ls="--", label=f"kept: epoch {kept['epoch']}")
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if metric == "accuracy":
        axes.set_ylabel(metric)
        axes.yaxis.set_major_formatter(percent_formatter())
    else:
        axes.set_ylabel("loss (cross-entropy, nats)")
        set_log_scale(axes.yaxis)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize="small")


def history_finding(history: list[dict]) -> str:
    """The kept epoch and the course of the validation loss, as a title."""
    best, validated = best_epoch(history), validated_epochs(history)
    scores = f"validation loss {tables.number(best['val_loss']).strip()}, accuracy {best['val_accuracy']:.1%}"
    if validated < len(history):
        return (f"Epoch {len(history)} is kept, trained on all clips since epoch {validated + 1}; best before: epoch "
                f"{best['epoch']}, {scores}")
    kept = f"Epoch {best['epoch']} of {validated} is kept: {scores}"
    phases = annealing_phases(history)
    before = min((epoch["val_loss"] for epoch in history[:phases[-1][0]]), default=0) if phases else 0
    if best["val_loss"] < before:
        return f"{kept}; annealing lowered the loss from {tables.number(before).strip()}"
    if best["epoch"] < validated:
        return f"{kept}; the loss has not improved since"
    return f"{kept}; the loss was still falling" if validated > 1 else kept


def annealing_phases(history: list[dict]) -> list[tuple[int, int]]:
    """(last epoch before, last epoch) of each phase in which the learning rate falls in every epoch.

    An epoch's rate is that of its first step, so the first one of a phase still has the rate before.
    A single lower rate that then stays was set by hand.
    """
    rates = [epoch.get("learning_rate", 0) for epoch in history]
    falls = [False, *(rate < before for before, rate in pairwise(rates)), False]
    starts = [i for i in range(1, len(falls)) if falls[i] and not falls[i - 1]]
    ends = [i for i in range(1, len(falls)) if falls[i - 1] and not falls[i]]
    return [(max(1, start - 1), end) for start, end in zip(starts, ends, strict=True)
            if end - start > 1 or end == len(rates) or rates[end] != rates[end - 1]]


def validated_epochs(history: list[dict]) -> int:
    """The number of epochs with validation; the final ones have none if the validation clips are used for training."""
    return sum(epoch["val_loss"] is not None for epoch in history)


def best_epoch(history: list[dict]) -> dict:
    """The epoch with the lowest validation loss."""
    return min(history[:validated_epochs(history)], key=lambda epoch: epoch["val_loss"])


def kept_epoch(history: list[dict]) -> dict:
    """The epoch whose network is saved: the best one, or the last one if that was trained on all clips."""
    return best_epoch(history) if history[-1]["val_loss"] is not None else history[-1]


# --- receiver operating characteristics -----------------------------------------------------------------------------

def draw_roc_curves(axes: "Axes", curves: dict[str, RocCurve], size: float = 1) -> None:
    """The upper left corner of the ROC plot; size: its fraction of the full range."""
    key = roc_key(curves)
    for i, (name, color) in enumerate(key):
        false, true, auc = curves[name]
        axes.plot(false, true, color=color, zorder=4 - i / _HARD_CLASSES,
                  label=f"{short_label(name)}  {auc_text(auc)}")
    rest, style = ("other classes", {"color": "0.75", "lw": 0.8}) if key else ("all classes", {"color": COLORS[0]})
    for i, name in enumerate(sorted(curves.keys() - dict(key))):
        axes.plot(*curves[name][:2], **style, zorder=2, label="_" * (i > 0) + rest)
    axes.plot([0, 1], [0, 1], color="0.6", lw=1, ls=":", label="chance")
    axes.set(xlabel="false positive rate", ylabel="true positive rate",
             xlim=(-0.01 * size, 1.01 * size), ylim=(1 - 1.01 * size, 1 + 0.01 * size), aspect="equal")
    axes.locator_params(nbins=6)


def roc_key(curves: dict[str, RocCurve]) -> list[tuple[str, str]]:
    """The hard classes, which are shown in color, the lowest AUC first: [(name, color)]; without those of AUC 1."""
    hard = sorted((name for name in curves if curves[name].auc < 1), key=lambda name: curves[name].auc)
    return list(zip(hard[:_HARD_CLASSES], COLORS, strict=False))


def corner_size(curves: dict[str, RocCurve]) -> float | None:
    """The smallest upper left corner that all curves pass through, as a fraction of the full range, or None."""
    for size in (0.1, 0.2, 0.4):
        if curves and all(np.interp(size, false, true) >= 1 - size for false, true, _ in curves.values()):
            return size
    return None


def roc_finding(curves: dict[str, RocCurve], macro_auc: float | None) -> str:
    """The mean AUC and the lowest one, as a title."""
    if macro_auc is None:
        return "No ROC curves: they require test files of two classes"
    lowest = min(curves, key=lambda name: curves[name].auc)
    if curves[lowest].auc == 1:
        return "The AUC of every class is 1.0000"
    return f"Mean AUC {auc_text(macro_auc)}; lowest: {short_label(lowest)}, {auc_text(curves[lowest].auc)}"


def auc_text(auc: float) -> str:
    """Four digits, 1.0000 only for exactly 1."""
    return f"{1 if auc > 1 - 1e-9 else min(auc, 0.9999):.4f}"


# --- calibration ----------------------------------------------------------------------------------------------------

def draw_reliability(axes: "Axes", bins: np.ndarray) -> None:
    """Accuracy over confidence, a reliability diagram (Guo et al. 2017); bins: from `intervals.reliability`."""
    confidence, accuracy, low, high, files = np.transpose(bins)
    start = np.floor(10 * min(confidence.min(), low.min())) / 10
    axes.plot([start, 1], [start, 1], color="0.5", lw=1, ls=":", label="perfect calibration")
    per_point = f"{files.min():.0f}" if files.min() == files.max() else f"{files.min():.0f} to {files.max():.0f}"
    axes.errorbar(confidence, accuracy, [accuracy - low, high - accuracy], fmt="o", color=COLORS[0], ms=5, lw=1.2,
                  label=f"accuracy of {per_point} files (95% interval)")
    margin = 0.02 * (1 - start)
    axes.set(xlabel="confidence (probability of the predicted class)", ylabel="accuracy",
             xlim=(start, 1 + margin), ylim=(start, 1 + margin))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(percent_formatter())
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize="small")


# --- melgrams -------------------------------------------------------------------------------------------------------

def melgram_png(decibels: np.ndarray, maximum: float, max_pixels: int = 1000) -> bytes:
    """A PNG image of one channel's melgram (mels, frames); `maximum`, in dB, has the brightest color.

    More than `max_pixels` rows or columns are reduced by taking the maximum of neighbors.
    """
    import matplotlib
    from PIL import Image
    for axis in (0, 1):
        starts = np.arange(0, decibels.shape[axis], -(-decibels.shape[axis] // max_pixels))
        decibels = np.maximum.reduceat(decibels, starts, axis=axis)
    pixels = np.clip(np.rint(decibels - maximum) + MELGRAM_DB, 0, MELGRAM_DB).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels[::-1]))  # the lowest band is at the bottom
    colors = matplotlib.colormaps["magma"](np.linspace(0, 1, MELGRAM_DB + 1))[:, :3]
    image.putpalette((255 * colors).astype(np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def occlusion_png(falls: np.ndarray) -> bytes:
    """A PNG image with one pixel for each block of an occlusion map: orange, opaque at a large fall.

    falls: float (mel blocks, time blocks), of the probability. Opaque is the largest one, or FULL_COLOR_FALL.
    """
    from PIL import Image
    opacity = np.clip(falls / max(falls.max(), FULL_COLOR_FALL), 0, 1)
    orange = np.broadcast_to(np.array([213, 94, 0]), (*falls.shape, 3))
    pixels = np.concatenate([orange, np.rint(255 * opacity)[..., None]], axis=2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[::-1]), "RGBA").save(file, "PNG", optimize=True)
    return file.getvalue()
