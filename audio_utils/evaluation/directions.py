"""Classes that are directions: angular errors and front-back confusions.

A class is a direction if its name is e<elevation>a<azimuth>, both in degrees, as those of binauralify.py. The error of
a prediction is the great-circle angle between the true and the predicted direction; on the horizontal plane, this is
the difference of the azimuths, at most 180°.

A front-back confusion is a prediction on the wrong side of the plane through both ears. As by Wightman and Kistler
("Headphone simulation of free-field listening. II", J. Acoust. Soc. Am. 85, 1989), the predicted direction is mirrored
at this plane. Here, a prediction counts if it is more than TOLERANCE_DEG off, and at most TOLERANCE_DEG when mirrored.
So a small error near an ear, such as 80° predicted as 100°, is not a confusion.
"""

import re
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from audio_utils.audio.hrtf import unit_vectors
from audio_utils.evaluation import intervals
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.runtime.console import say

TOLERANCE_DEG = 20
MAX_ROWS = 8  # directions listed in the report
_NAME = re.compile(r"e(-?[0-9.]+(?:e-[0-9]+)?)a([0-9.]+)")


class Direction(NamedTuple):
    """A direction in degrees, as in SOFA (AES69): counterclockwise seen from above, 0° ahead."""
    azimuth: float
    elevation: float


def parse(name: str) -> Direction | None:
    """The direction that a class name states, None if it states none."""
    found = _NAME.fullmatch(name)
    try:
        elevation, azimuth = map(float, found.groups()) if found else (np.nan, np.nan)
    except ValueError:  # such as 1.2.3
        return None
    return Direction(azimuth, elevation) if 0 <= azimuth < 360 and -90 <= elevation <= 90 else None


class Directions(NamedTuple):
    """The predictions for clips of classes that are directions."""
    classes: dict[str, Direction]
    counts: np.ndarray  # int (directions, directions): clips by true direction (rows) and predicted direction (columns)
    without: np.ndarray  # int (directions,): clips that are predicted as background

    @property
    def errors_deg(self) -> np.ndarray:
        """float (directions, directions): the angular error of each prediction."""
        return self._angles_deg(np.ones(3))

    @property
    def confused(self) -> np.ndarray:
        """bool (directions, directions): whether each prediction is a front-back confusion."""
        return (self.errors_deg > TOLERANCE_DEG) & (self._angles_deg(np.array([-1, 1, 1])) <= TOLERANCE_DEG)

    def _angles_deg(self, signs: np.ndarray) -> np.ndarray:
        """The angles to the predicted directions, mirrored by the signs of their components (3,)."""
        vectors = unit_vectors(*np.transpose(list(self.classes.values())))
        halves = np.stack([np.arctan2(*(np.linalg.norm(signs * vectors + side * vector, axis=1) for side in (-1, 1)))
                           for vector in vectors])  # accurate near 0° and 180°, too
        return np.round(2 * np.degrees(halves), 6)  # equal despite rounding errors


def of(evaluation: Evaluation, background: Collection[str] = ()) -> Directions | None:
    """The predictions, None unless all classes that are not background are directions, and there are at least two."""
    found = {name: parse(name) for name in evaluation.class_names if name not in background}
    if len(found) < 2 or None in found.values():
        return None
    is_direction = np.array([name in found for name in evaluation.class_names])
    counts = evaluation.confusion[is_direction]
    return Directions(found, counts[:, is_direction], counts[:, ~is_direction].sum(axis=1))


# --- scores ---------------------------------------------------------------------------------------------------------

def add_angular_errors(scores: dict[str, Any], evaluation: Evaluation,
                       background: Collection[str] = ()) -> dict[str, Any]:
    """The content of scores.json, with angular errors and front-back confusions if the classes are directions.

    They are those of the clips that are predicted as a direction; without any, means and fractions are None. Chance: a
    random direction is predicted for each clip, all with equal probability.
    """
    found = of(evaluation, background)
    if not found:
        return scores
    files, errors_deg, confused = found.counts.sum(axis=1), found.errors_deg, found.confused
    wrong_deg, confusions = (found.counts * errors_deg).sum(axis=1), (found.counts * confused).sum(axis=1)
    total = int(files.sum())
    return scores | {"directions": {
        "files": total, "files_as_background": int(found.without.sum()),
        "mean_angular_error_deg": _mean(wrong_deg.sum(), total),
        "chance_angular_error_deg": _mean(files @ errors_deg.mean(axis=1), total),
        "errors": total - int(found.counts.trace()), "front_back_confusions": int(confusions.sum()),
        "front_back_fraction": _mean(confusions.sum(), total),
        "front_back_interval": intervals.wilson(confusions.sum(), total) if total else None,
        "tolerance_deg": TOLERANCE_DEG,
        "classes": {name: {"azimuth_deg": at.azimuth, "elevation_deg": at.elevation, "files": int(files[i]),
                           "mean_angular_error_deg": _mean(wrong_deg[i], files[i]),
                           "front_back_confusions": int(confusions[i])}
                    for i, (name, at) in enumerate(found.classes.items())}}}


def _mean(total: float, count: int) -> float | None:
    return float(total / count) if count else None


# --- text -----------------------------------------------------------------------------------------------------------

def finding(scores: dict[str, Any]) -> str:
    """The mean angular error and the front-back confusions, as a sentence without its period."""
    found = scores["directions"]
    count = found["files_as_background"]
    lost = f"{count:,} file{'s are' if count > 1 else ' is'} predicted as background"
    if not found["files"]:
        return f"No angular error: {lost if count else 'there are no files'}"
    return (f"Mean angular error {found['mean_angular_error_deg']:.1f}° (chance: "
            f"{found['chance_angular_error_deg']:.1f}°); front-back confusions: {found['front_back_confusions']:,} of "
            f"{found['errors']:,} errors, {found['front_back_fraction']:.1%} of {found['files']:,} files"
            + f"; {lost}" * bool(count))


def say_angular_errors(scores: dict[str, Any]) -> None:
    """Print the finding; nothing if the classes are not directions."""
    if "directions" in scores:
        say(f"\n{finding(scores)}.")


def worst(scores: dict[str, Any]) -> list[tuple[str, int, float, int]]:
    """(class, files, mean angular error in degrees, front-back confusions) of those with the largest errors."""
    rows = [(name, each["files"], each["mean_angular_error_deg"], each["front_back_confusions"])
            for name, each in scores["directions"]["classes"].items() if each["mean_angular_error_deg"]]
    return sorted(rows, key=lambda row: -row[2])[:MAX_ROWS]
