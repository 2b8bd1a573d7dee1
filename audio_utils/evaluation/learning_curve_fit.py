"""The learning curve: the accuracy by the number of training clips, and how much more clips would raise it.

train_network.py --learning-curve measures it. The fit is error = asymptote + amplitude * clips ** -exponent (Cortes et
al. 1994; Hestness et al. 2017), weighted by the precision of each point (Figueroa et al. 2012). Without the asymptote,
it would predict too large a gain for a curve that has flattened.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from audio_utils.evaluation import intervals
from audio_utils.evaluation.drawing import COLORS, new_figure, percent_formatter, save, set_log_scale, styled
from audio_utils.runtime import safe_files
from audio_utils.runtime.console import warn
from audio_utils.runtime.errors import UserError, sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORES = Path("learning_curve/scores.json")
DRAWS = 1000
TRAINING_SPREAD = 0.1  # assumed relative standard deviation of the error between trainings on as many, but other clips
FACTOR = 2  # of the training clips, for the prediction; a larger one would rely more on the shape of the curve
MIN_SIZES = 3
MIN_GAIN, SMALL_GAIN, NARROW_INTERVAL = 0.001, 0.01, 0.1  # of the accuracy
_UNCLEAR = "can't show whether more training clips would help"
_MAX_COUNT = 10 ** 9  # clips; a larger number is not one of ours
_REMEDY = "run train_network.py --learning-curve --fresh"
_EXPONENTS = np.linspace(0.1, 1, 10)  # Hestness et al. found 0.07 to 0.35, Cortes et al. 0.5 to 1


# --- fit ------------------------------------------------------------------------------------------------------------

class Fit(NamedTuple):
    """Curves that agree with the numbers of mistakes: error = asymptote + amplitude * size ** -exponent."""
    asymptote: np.ndarray  # (draws,)
    amplitude: np.ndarray
    exponent: np.ndarray
    last: np.ndarray  # the drawn error rates with all clips

    def error(self, sizes: np.ndarray | float) -> np.ndarray:
        """The error rates (draws, sizes); sizes: numbers of training clips, as a fraction of all."""
        return self.asymptote[:, None] + self.amplitude[:, None] * np.atleast_1d(sizes) ** -self.exponent[:, None]

    def gain(self, factor: float = FACTOR) -> tuple[float, float, float]:
        """The increase of the accuracy with `factor` times all clips: the median, and the 95% range of the draws.

        The curve gives the relative decrease of the error with all clips. In simulations, the range contains the true
        increase in 97% of the cases if the curve flattens; if it is a power law, in 70% to 90%, and is too low in the
        others.
        """
        now, then = self.error(np.array([1, factor])).T
        return tuple(np.percentile(self.last * (1 - then / now), (50, 2.5, 97.5)))


def fit(clips: list[int], mistakes: list[int], validation: int, seed: int = 1) -> Fit:
    """Fit curves to draws of the error rates, a parametric bootstrap.

    The draws are from the posterior with Jeffreys' prior (Brown, Cai and DasGupta 2001), which is valid for 0 mistakes
    too, times the spread between trainings. Asymptote and amplitude are at least 0: no curve rises.
    clips: of each training. mistakes: of each, of `validation` clips.
    """
    rng, mistakes = np.random.default_rng(seed), np.array(mistakes)
    shape = DRAWS, len(mistakes)
    drawn = rng.beta(mistakes + 0.5, validation - mistakes + 0.5, shape) * np.exp(rng.normal(0, TRAINING_SPREAD, shape))
    rate = (mistakes + 0.5) / (validation + 1)
    weights = 1 / (rate * (1 - rate) / validation + (TRAINING_SPREAD * rate) ** 2)
    candidates = [_fit_lines((np.array(clips) / max(clips)) ** -exponent, drawn, weights) for exponent in _EXPONENTS]
    best = np.argmin([squares for *_, squares in candidates], axis=0), np.arange(DRAWS)
    asymptote, amplitude = (np.array(values)[best] for values in list(zip(*candidates, strict=True))[:2])
    return Fit(asymptote, amplitude, _EXPONENTS[best[0]], drawn[:, -1])


def _fit_lines(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted least squares, none of the results negative: intercepts, slopes and sums of squares, (draws,) each.

    x, weights: (sizes,). y: (draws, sizes).
    """
    weights = weights / weights.sum()
    mean = weights @ x
    slope = (y @ (weights * (x - mean)) / (weights @ (x - mean) ** 2)).clip(0)
    slope = np.where(y @ weights < slope * mean, y @ (weights * x) / (weights @ x ** 2), slope)  # through 0
    intercept = (y @ weights - slope * mean).clip(0)
    return intercept, slope, (y - intercept[:, None] - slope[:, None] * x) ** 2 @ weights


def fit_scores(scores: dict[str, Any]) -> Fit | None:
    """The fit to the content of scores.json, or None if there are too few sizes."""
    sizes = scores["sizes"]
    return fit([each["clips"] for each in sizes], [each["mistakes"] for each in sizes],
               scores["validation_clips"]) if len(sizes) >= MIN_SIZES else None


# --- finding --------------------------------------------------------------------------------------------------------

def finding(scores: dict[str, Any]) -> str:
    """Whether more training clips would help, and about how much, as a title; scores: the content of scores.json."""
    last, count = scores["sizes"][-1], scores["validation_clips"]
    validation = f"{count:,} validation clip{'s' * (count != 1)}"
    fitted = fit_scores(scores)
    if not last["mistakes"]:
        return f"All {validation} are correct; they {_UNCLEAR}"
    if not fitted:
        return f"{len(scores['sizes'])} sizes of the training set {_UNCLEAR}"
    median, low, high = np.minimum(fitted.gain(), 1 - last["accuracy"])
    twice = f"{FACTOR * last['clips']:,} instead of {last['clips']:,}"
    raised = f"raise the validation accuracy of {last['accuracy']:.1%} by"
    if low >= MIN_GAIN and median * count >= 1:
        return f"More training clips would help: {twice} would {raised} about {_points(median)} ({_range(low, high)})"
    if high < SMALL_GAIN and np.ptp(intervals.wilson(last["mistakes"], count)) < NARROW_INTERVAL:
        return f"More training clips would hardly help: {twice} would {raised} at most {_points(max(MIN_GAIN, high))}"
    unclear = f"{validation} {_UNCLEAR}"
    return unclear if high < SMALL_GAIN else f"{unclear}: {twice} may {raised} {_range(low, high)} percentage points"


def advice(scores: dict[str, Any] | None) -> str:
    """A sentence for the next steps if more training clips would help; otherwise, or without scores, ""."""
    helps, _, prediction = finding(scores).partition("would help: ") if scores else ("", "", "")
    clips, _, gain = prediction.partition(" would raise ")
    return f"Add sounds: by the learning curve, {clips} training clips would raise {gain}." \
        if helps == "More training clips " else ""


def _points(gain: float) -> str:
    return f"{100 * gain:.1f} percentage points"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"


# --- plot -----------------------------------------------------------------------------------------------------------

@styled
def plot(path: str | Path, scores: dict[str, Any]) -> None:
    """Accuracy and loss by the number of training clips, with the finding as the title."""
    figure = new_figure(11, 4.8)
    left, right = figure.subplots(1, 2)
    draw_accuracy(left, scores)
    draw_loss(right, scores)
    figure.suptitle(finding(scores), wrap=True)
    save(figure, path)


def draw_accuracy(axes: "Axes", scores: dict[str, Any]) -> None:
    """The accuracy of each training with its 95% interval, and the fitted curves if they support a prediction."""
    sizes = scores["sizes"]
    clips, accuracy = (np.array([each[key] for each in sizes]) for key in ("clips", "accuracy"))
    low, high = np.transpose([each["accuracy_interval"] for each in sizes])
    fitted = fit_scores(scores) if _UNCLEAR not in finding(scores) else None
    if fitted:
        grid = np.geomspace(clips[0], FACTOR * clips[-1], 100)
        low_curve, median, high_curve = np.percentile(1 - fitted.error(grid / clips[-1]), (2.5, 50, 97.5), axis=0)
        axes.fill_between(grid, low_curve, high_curve, color=COLORS[5], alpha=0.3, lw=0, label="95% range")
        axes.plot(grid, median, color=COLORS[6], lw=1, ls="--", label="fit")
    axes.errorbar(clips, accuracy, [accuracy - low, high - accuracy], fmt="o", color=COLORS[1], ms=5, lw=1.2,
                  label="validation (95% interval)")
    axes.set_ylabel("accuracy")
    axes.set_ylim(top=min(1.02, axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter(percent_formatter())
    _draw_sizes(axes, [*clips, FACTOR * clips[-1]] if fitted else clips)


def draw_loss(axes: "Axes", scores: dict[str, Any]) -> None:
    """The validation loss of each training."""
    clips = np.array([each["clips"] for each in scores["sizes"]])
    axes.plot(clips, [each["loss"] for each in scores["sizes"]], "o-", color=COLORS[1], ms=5, label="validation")
    axes.set_ylabel("loss (cross-entropy, nats)")
    set_log_scale(axes.yaxis)
    _draw_sizes(axes, clips)


def _draw_sizes(axes: "Axes", clips: Sequence[int]) -> None:
    axes.set_xlabel("training clips")
    axes.set_xscale("log")
    axes.set_xticks(clips, [f"{count:,}" for count in clips])
    axes.set_xticks([], minor=True)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize="small")


# --- scores.json ----------------------------------------------------------------------------------------------------

def read(fingerprint: dict[str, Any]) -> dict[str, Any] | None:
    """The content of learning_curve/scores.json if it is of this network and these clips; otherwise says why not.

    fingerprint: of the network, as in cross-validation's scores.json.
    """
    if not SCORES.is_file():
        return None
    try:
        scores = safe_files.read_json(SCORES, _REMEDY)
        _check(scores)
    except (OSError, UserError) as error:
        warn(sentence(error))
    except (ValueError, TypeError, LookupError):
        warn(f"{SCORES}: is damaged; {_REMEDY}.")
    else:
        if scores.get("fingerprint") == fingerprint:
            return scores
        warn(f"{SCORES}: is of another network or of other sounds and is not in the report; {_REMEDY}.")
    return None


def _check(scores: dict[str, Any]) -> None:
    """Raise ValueError, TypeError or LookupError unless the learning curve can be fitted and drawn."""
    count, sizes = scores["validation_clips"], scores["sizes"]
    whole = [count, *(each[key] for each in sizes for key in ("clips", "mistakes", "epochs"))]
    fractions = [value for each in sizes for value in (each["accuracy"], *each["accuracy_interval"])]
    if not sizes or not count > 0 or not all(type(value) is int and value <= _MAX_COUNT for value in whole) or \
            not all(0 <= each["mistakes"] <= count for each in sizes):
        raise ValueError("numbers of clips")
    if not all(smaller < larger for smaller, larger in pairwise([0, *(each["clips"] for each in sizes)])):
        raise ValueError("numbers of training clips")
    if not all(0 <= value <= 1 for value in fractions) or \
            not all(len(each["accuracy_interval"]) == 2 and 0 <= each["loss"] <= _MAX_COUNT for each in sizes):
        raise ValueError("scores")
