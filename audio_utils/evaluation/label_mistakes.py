"""MULTI_LABEL: the clips with missed or extra classes, and the classes that occur together with them."""

import csv
from pathlib import Path

import numpy as np

from audio_utils.evaluation.label_scores import MultiLabelEvaluation, text_of
from audio_utils.runtime import safe_files

_SEPARATOR = ";"  # as in labels.csv; no label contains it


def write_mistakes(path: str | Path, found: MultiLabelEvaluation) -> None:
    """Write a CSV file with a row for each clip that is not an exact match, those farthest from a threshold first.

    Several labels are separated by semicolons, and so are the probabilities, which are those of the missed and of the
    extra classes.
    """
    with safe_files.replacing(path) as unfinished, \
            open(unfinished, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerow(["file", "labels", "predicted", "missed", "extra", "probabilities_of_missed",
                        "probabilities_of_extra"])
        for i in found.mistakes:
            wrong = found.missed[i], found.extra[i]
            table.writerow([found.names[i], *(text_of(found.class_names, each, "", _SEPARATOR) for each in
                                              (found.positives[i], found.predicted[i], *wrong)),
                            *(_SEPARATOR.join(f"{value:.4f}" for value in found.probabilities[i, each])
                              for each in wrong)])


def mistake_lines(found: MultiLabelEvaluation) -> list[str]:
    """A line for each clip that is not an exact match, sorted by name."""
    return [f"{found.names[i]}: should be {text_of(found.class_names, found.positives[i])} but came out as "
            f"{text_of(found.class_names, found.predicted[i])}"
            for i in sorted(found.mistakes, key=lambda i: found.names[i])]


# --- errors by the labels of the clips ------------------------------------------------------------------------------

def errors_by_label(found: MultiLabelEvaluation) -> tuple[np.ndarray, np.ndarray]:
    """(int (classes + 1, classes), int (classes + 1,)): numbers of clips, and the clips of each row.

    Row i is of the clips with class i, the last row of those without labels. The diagonal has the numbers of clips in
    which the class is found, the other columns those of clips for which the column's class is extra.
    """
    rows = np.hstack([found.positives, ~found.positives.any(axis=1, keepdims=True)]).astype(np.int64)
    counts = rows.T @ found.extra
    counts[np.diag_indices(len(found.class_names))] = (found.positives & found.predicted).sum(axis=0)
    return counts, rows.sum(axis=0)


def frequent_errors(counts: np.ndarray, files: np.ndarray, names: list[str], most: int) -> list[str]:
    """The most frequent errors as sentences, from `errors_by_label`; names: of the classes."""
    errors = [(int(files[i] - counts[i, i]), i, None) for i in range(len(names))]
    errors += [(int(counts[i, j]), i, j) for i in range(len(files)) for j in range(len(names)) if i != j]
    return [_sentence(each, files, names) for each in sorted(errors, key=lambda each: -each[0])[:most] if each[0]]


def _sentence(error: tuple[int, int, int | None], files: np.ndarray, names: list[str]) -> str:
    count, row, column = error
    if column is None:
        return f"{names[row]} is missed: {count} of {files[row]}"
    clips = f"with {names[row]}" if row < len(names) else "without labels"
    return f"{names[column]} is extra in clips {clips}: {count} of {files[row]}"
