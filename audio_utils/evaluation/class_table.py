"""The scores of each class, as rows of a table and of a dot plot."""

import math
from typing import Any

import numpy as np

from audio_utils.data.checks import IMBALANCE
from audio_utils.evaluation import intervals
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.evaluation.thresholds import KINDS

SCORES = ("precision", "recall", "f1", "auc")  # of a class; their means are the macro scores


def class_table(evaluation: Evaluation, scores: dict[str, Any], training: dict[str, int]) -> dict[str, Any]:
    """A row for each class and one for all; a score is None if it is undefined.

    scores: as in scores.json. training: class → files.
    """
    rows = [{"name": name, "train": training[name], "test": scores["classes"][name]["files"],
             **{each: scores["classes"][name][each] for each in SCORES}} for name in evaluation.class_names]
    return {"rows": rows, "lowest": min((row for row in rows if row["test"]), key=lambda row: row["recall"]),
            "all": {"train": sum(row["train"] for row in rows), "test": scores["files"],
                    **{each: scores[f"macro_{each}"] for each in SCORES}}}


def about_balance(scores: dict[str, Any]) -> str:
    """The balanced accuracy, as a sentence, if the classes differ much in their numbers of files; otherwise "".

    scores: as in scores.json.
    """
    files = [each["files"] for each in scores["classes"].values() if each["files"]]
    if max(files, default=0) <= IMBALANCE * min(files, default=0):
        return ""
    return (f"Balanced accuracy, the mean recall of the classes: {scores['balanced_accuracy']:.2%} (95% interval "
            "{:.1%} to {:.1%}).".format(*scores["balanced_accuracy_interval"]))


def threshold_rows(class_names: list[str], scores: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each class: its name, the clips of it that its thresholds were chosen from, and the results at each.

    A result is None if there is no such threshold. It also contains whether the threshold "rejects" any prediction: the
    probability of the most probable of n classes is at least 1 / n.
    scores: as in scores.json; without thresholds, there are no rows.
    """
    lowest = 1 / len(scores["classes"])
    return [{"name": name, "positives": scores["thresholds"]["classes"][name]["positives"], **at,
             **{kind: at[kind] and at[kind] | {"rejects": at[kind]["threshold"] > lowest} for kind in KINDS.values()}}
            for name in class_names for at in [scores["classes"][name].get("thresholds")] if at]


def auc_dots(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The dot plot of the AUC by class: its rows and ticks, with positions in percent of the axis, from low to 1.

    rows: of `class_table`. A class is hard if its interval ends below the median AUC.
    """
    total = sum(row["test"] for row in rows)
    shown = [(row["name"], row["auc"], intervals.auc_interval(row["auc"], row["test"], total - row["test"]))
             for row in rows if row["auc"] is not None]
    if not shown:
        return {"rows": [], "ticks": []}
    median = np.median([auc for _, auc, _ in shown])
    start = min(0.9, math.floor(10 * min(low for _, _, (low, _) in shown)) / 10)
    steps = round(10 * (1 - start))
    step = next(each for each in (1, 2, 5, 10) if steps / each <= 5)

    def position(auc: float) -> float:
        return 100 * (auc - start) / (1 - start)

    return {"rows": [{"name": name, "auc": auc, "interval": interval, "dot": position(auc),
                      "start": position(interval[0]), "width": position(interval[1]) - position(interval[0]),
                      "hard": round(interval[1], 2) < round(median, 2)} for name, auc, interval in shown],
            "ticks": [(position(1 - tick / 10), f"{1 - tick / 10:.1f}") for tick in range(0, steps + 1, step)],
            "grid": 100 * step / steps}
