"""The polar plot of true and predicted directions, seen from above."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audio_utils.evaluation import directions
from audio_utils.evaluation.directions import Directions
from audio_utils.evaluation.drawing import COLORS, new_figure, save, styled, svg
from audio_utils.evaluation.metrics import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ARROWS = 200  # the most frequent errors
_CORRECT, _CONFUSION, _OTHER = COLORS[0], COLORS[1], "0.5"
_SIDES = {0: "front", 90: "left", 180: "back", 270: "right"}
_RADIUS_POINTS = 100  # of the plot in the page
_LABEL_POINTS = 20  # from the circle to the middle of a label


@styled
def write_directions(path: str | Path, evaluation: Evaluation, scores: dict[str, Any]) -> None:
    """Write a PNG file; nothing if the classes are not directions. scores: as in scores.json."""
    if "directions" not in scores:
        return
    figure = new_figure(6.4, 6.4)
    draw(figure.subplots(), directions.of(evaluation, _background(scores)))
    figure.suptitle(directions.finding(scores).replace("; front", ";\nfront"), fontsize="medium", wrap=True)
    save(figure, path)


def page_content(evaluation: Evaluation, scores: dict[str, Any]) -> dict[str, Any] | None:
    """The content for report.html, None if the classes are not directions; scores: as in scores.json."""
    if "directions" not in scores:
        return None
    found = directions.of(evaluation, _background(scores))
    return {"finding": directions.finding(scores), "plot": svg(draw, found), "worst": directions.worst(scores),
            "tolerance": directions.TOLERANCE_DEG, "arrows": MAX_ARROWS,
            "elevations": len({each.elevation for each in found.classes.values()}),
            "errors": np.count_nonzero(found.counts - np.diag(found.counts.diagonal()))}


def _background(scores: dict[str, Any]) -> list[str]:
    """The background classes: all others are directions."""
    return [name for name in scores["classes"] if name not in scores["directions"]["classes"]]


# --- drawing --------------------------------------------------------------------------------------------------------

def draw(axes: "Axes", found: Directions) -> None:
    """A dot for each direction, and an arrow from the true to the predicted direction of each kind of error.

    The opacity of a dot is the fraction of correct files; the width of an arrow is the fraction of the true direction's
    files. With several elevations, the distance from the center is that from the zenith.
    """
    points, rings = positions(found)
    _draw_grid(axes, rings)
    totals = np.maximum(1, found.counts.sum(axis=1) + found.without)
    recalls = found.counts.diagonal() / totals
    size = float(np.clip(_RADIUS_POINTS * _smallest_distance(points) / 4, 2, 5))  # points
    axes.scatter(*points.T, (2 * size) ** 2, color=[(_CORRECT, recall) for recall in recalls], ec=_CORRECT, lw=1,
                 zorder=3, clip_on=False)
    _draw_arrows(axes, points, found, found.counts / totals[:, None], size)
    for label, color, style in (("correct", _CORRECT, "o"), ("front-back confusion", _CONFUSION, "-"),
                                ("other error", _OTHER, "-")):
        axes.plot([], [], style, color=color, label=label)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.16), ncols=3, fontsize="small")
    axes.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), aspect="equal")
    axes.set_axis_off()


def positions(found: Directions) -> tuple[np.ndarray, dict[float, float]]:
    """float (directions, 2): x and y in a unit circle, seen from above with the front on top; and elevation → radius.

    With several elevations, this is an azimuthal equidistant projection.
    """
    azimuths, elevations = np.transpose(list(found.classes.values()))
    zenith = 90 - elevations
    radii = zenith / zenith.max() if np.ptp(zenith) else np.ones(len(zenith))
    angles = np.radians(azimuths)
    return (radii * [-np.sin(angles), np.cos(angles)]).T, dict(zip(elevations.tolist(), radii.tolist(), strict=True))


def _smallest_distance(points: np.ndarray) -> float:
    """Between two different points (n, 2)."""
    from scipy.spatial.distance import pdist
    distances = pdist(points)
    return distances[distances > 1e-9].min(initial=2)


def _draw_grid(axes: "Axes", rings: dict[float, float]) -> None:
    """A circle for each elevation, labeled if there are several, and azimuths at 30°."""
    from matplotlib.patches import Circle
    for elevation, radius in rings.items():
        axes.add_patch(Circle((0, 0), radius, fill=False, ec="0.5", lw=0.6, zorder=1))
        if len(rings) > 1:
            axes.text(0.2 * radius, 0.98 * radius, f"{elevation:g}°", fontsize="x-small", color="0.5", va="bottom")
    for azimuth in range(0, 360, 30):
        x, y = -np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))
        axes.plot([0, x], [0, y], color="0.5", lw=0.3, zorder=1)
        axes.annotate(f"{azimuth}°" + (f"\n{_SIDES[azimuth]}" if azimuth in _SIDES else ""), (x, y),
                      (_LABEL_POINTS * x, _LABEL_POINTS * y), textcoords="offset points", fontsize="small",
                      ha="center", va="center")


def _draw_arrows(axes: "Axes", points: np.ndarray, found: Directions, fractions: np.ndarray, size: float) -> None:
    """Arrows of errors, the rarest below; those of opposite errors bend apart. size: of the dots, points."""
    from matplotlib.patches import FancyArrowPatch
    confused = found.confused
    for true, predicted in most_frequent(found.counts):
        axes.add_patch(FancyArrowPatch(
            points[true], points[predicted], connectionstyle="arc3,rad=0.15", arrowstyle="-|>", zorder=2,
            mutation_scale=4 + size, shrinkA=size, shrinkB=size, lw=0.6 + 3 * fractions[true, predicted],
            color=_CONFUSION if confused[true, predicted] else _OTHER))


def most_frequent(counts: np.ndarray) -> np.ndarray:
    """int (errors, 2): true and predicted class of the most frequent errors, at most MAX_ARROWS, the rarest first.

    Equally frequent ones are in random order, so that not only the first classes have arrows.
    """
    pairs = np.random.default_rng(1).permutation(np.argwhere(counts * (1 - np.eye(len(counts), dtype=int))))
    return pairs[np.argsort(-counts[tuple(pairs.T)], kind="stable")[:MAX_ARROWS][::-1]]
