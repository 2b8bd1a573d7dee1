"""The scores of each class, as rows of a table and of a dot plot."""

import math
from typing import Any

import numpy as np

from audio_utils.evaluation import intervals
from audio_utils.evaluation.metrics import Evaluation


def class_table(evaluation: Evaluation, scores: dict[str, Any], training: dict[str, int]) -> dict[str, Any]:
    """A row for each class and one for all; None or NaN if a score is undefined.

    scores: as in scores.json. training: class → files.
    """
    from sklearn.metrics import precision_recall_fscore_support
    names, count = evaluation.class_names, len(evaluation.class_names)
    values = np.array(precision_recall_fscore_support(evaluation.labels, evaluation.predicted, labels=range(count),
                                                      zero_division=np.nan)[:3])
    files = [scores["classes"][name]["files"] for name in names]
    values[1:, np.array(files) == 0] = np.nan  # without test files, recall and F1 are undefined
    rows = [{"name": name, "train": training[name], "test": files[i], "auc": scores["classes"][name]["auc"],
             "precision": values[0, i], "recall": values[1, i], "f1": values[2, i]} for i, name in enumerate(names)]
    means = [float(np.nanmean(each)) if not np.isnan(each).all() else None for each in values]
    return {"rows": rows, "lowest": min((row for row in rows if row["test"]), key=lambda row: row["recall"]),
            "all": {"train": sum(training[name] for name in names), "test": sum(files), "precision": means[0],
                    "recall": means[1], "f1": means[2], "auc": scores["macro_auc"]}}


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
                      "hard": interval[1] < median} for name, auc, interval in shown],
            "ticks": [(position(1 - tick / 10), f"{1 - tick / 10:.1f}") for tick in range(0, steps + 1, step)],
            "grid": 100 * step / steps}
