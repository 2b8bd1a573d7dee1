"""Sounds that are likely mislabeled: in cross-validation, the network is confident that they are of another class.

Confident learning (Northcutt, Jiang and Chuang, J. Artif. Intell. Res. 70, 2021): a clip is listed if the probability
of another class is at least the mean probability of that class among the clips labeled with it. So the limit depends on
how confident the network is in each class. With MULTI_LABEL, each class is compared with its absence.
"""

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from audio_utils.data.multi_label import NO_LABEL
from audio_utils.data.sound import sound_of_clip
from audio_utils.evaluation.label_scores import MultiLabelEvaluation, text_of
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UserError

FILE = "likely_mislabeled.csv"
_COLUMNS = ["file", "label", "likely_class", "probability", "probability_of_label"]
_REMEDY = "run train_network.py --folds again"


def find(evaluation: Evaluation) -> np.ndarray:
    """The indices of the clips that are likely mislabeled, the most likely first.

    They are sorted by the difference of the probabilities of the most probable class and of the label.
    """
    labels, predicted, probabilities = evaluation.labels, evaluation.predicted, evaluation.probabilities
    limits = np.array([probabilities[labels == i, i].mean() if (labels == i).any() else 1
                       for i in range(len(evaluation.class_names))])
    found = np.flatnonzero(~evaluation.correct & (evaluation.confidence >= limits[predicted]))
    margins = evaluation.confidence[found] - probabilities[found, labels[found]]
    return found[np.argsort(-margins, kind="stable")]


def find_labels(evaluation: MultiLabelEvaluation) -> list[tuple[int, int]]:
    """(clip, class) of each label that is likely missing or wrong, the most likely first, with MULTI_LABEL.

    A class whose mean probability is not higher in the clips that have it is left out.
    """
    probabilities, positives = evaluation.probabilities.astype(np.float64), evaluation.positives
    count = np.maximum(1, positives.sum(axis=0)), np.maximum(1, (~positives).sum(axis=0))
    with_it, without = (np.where(positives, probabilities, 0).sum(axis=0) / count[0],
                        np.where(positives, 0, probabilities).sum(axis=0) / count[1])
    usable = positives.any(axis=0) & ~positives.all(axis=0) & (with_it > without)
    missing = ~positives & (probabilities > 0.5) & (probabilities >= with_it)
    wrong = positives & (probabilities < 0.5) & (probabilities <= without)
    clips, classes = np.nonzero(usable & (missing | wrong))
    order = np.argsort(-np.abs(probabilities[clips, classes] - 0.5), kind="stable")
    return list(zip(clips[order].tolist(), classes[order].tolist(), strict=True))


def _label_row(evaluation: MultiLabelEvaluation, i: int, k: int) -> list[str]:
    """The labels of clip i, those with the label k added or removed, and the probabilities that it has k or not."""
    labels, probability = evaluation.positives[i], float(evaluation.probabilities[i, k])
    changed = np.where(np.arange(len(labels)) == k, ~labels, labels)
    if labels[k]:
        probability = 1 - probability
    return [evaluation.names[i], *(text_of(evaluation.class_names, each, NO_LABEL, ";") for each in (labels, changed)),
            f"{probability:.4f}", f"{1 - probability:.4f}"]


def rows(evaluation: Evaluation | MultiLabelEvaluation) -> list[list[str]]:
    """(file, label, likely class, its probability, that of the label) of each of these clips.

    With MULTI_LABEL: (file, labels, likely labels, the probability of the change, that of no change).
    """
    if isinstance(evaluation, MultiLabelEvaluation):
        return [_label_row(evaluation, *pair) for pair in find_labels(evaluation)]
    names, predicted = evaluation.class_names, evaluation.predicted
    return [[evaluation.names[i], names[evaluation.labels[i]], names[predicted[i]],
             f"{evaluation.confidence[i]:.4f}", f"{evaluation.probabilities[i, evaluation.labels[i]]:.4f}"]
            for i in find(evaluation)]


def write(folder: Path, evaluation: Evaluation | MultiLabelEvaluation) -> int:
    """Write the CSV file; returns the number of rows in it."""
    found = rows(evaluation)
    with safe_files.replacing(folder / FILE) as unfinished, \
            open(unfinished, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([_COLUMNS, *found])
    return len(found)


def read(folder: Path) -> list[list[str]]:
    """The rows of the CSV file. Raises UserError if it is damaged."""
    try:
        with open(folder / FILE, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            header, *found = [row for row in csv.reader(file) if row]
        if header != _COLUMNS or any(len(row) != len(_COLUMNS) for row in found):
            raise ValueError
        return [[*row[:3], f"{float(row[3]):.1%}", f"{float(row[4]):.1%}"] for row in found]
    except (ValueError, csv.Error):
        raise UserError(f"{folder / FILE}: is damaged; {_REMEDY}.") from None


def describe(folder: Path, samples: Path, sounds: Collection[str]) -> Iterator[str]:
    """Lines about the sounds that are likely mislabeled and still in their class; sounds: the names in `samples`."""
    if not (folder / FILE).exists():
        yield f"Likely mislabeled sounds: unknown; train_network.py --folds 5 writes {folder / FILE}."
        return
    current = [row for row in read(folder)
               if row[0] in sounds or ((clip := sound_of_clip(row[0])) and clip[0] in sounds)]
    yield f"Likely mislabeled: {len(current)} of {samples}/, by {folder / FILE}" + (":" if current else ".")
    for name, label, likely, probability, of_label in current:
        yield f"    {samples / name}: {likely} {probability}, {label} {of_label}"
