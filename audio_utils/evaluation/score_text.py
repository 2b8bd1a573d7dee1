"""The scores and the mistakes as text, in 80 columns, for eval_network.py."""

from typing import Any

from audio_utils.evaluation import class_table, panels, thresholds
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.runtime import tables
from audio_utils.runtime.console import say


def say_mistakes(evaluation: Evaluation) -> None:
    """One line for each mistake, sorted by file name."""
    predicted = evaluation.predicted
    for i in sorted(evaluation.mistakes, key=lambda i: evaluation.names[i]):
        should, came = evaluation.class_names[evaluation.labels[i]], evaluation.class_names[predicted[i]]
        say(f"{evaluation.names[i]}: should be {should} but came out as {came}")


def say_scores(scores: dict[str, Any]) -> None:
    """A line for each class and for the mean, the thresholds if there are any, and a line for all files."""
    classes = {name: scores["classes"][name] for name in tables.in_natural_order(scores["classes"])}
    mean = {name: scores[f"macro_{name}"] for name in class_table.SCORES} | {
        "files": scores["files"], "mistakes": sum(each["mistakes"] for each in classes.values())}
    rows = [[name, str(each["files"]), str(each["mistakes"]), *map(percent, map(each.get, class_table.SCORES[:-1])),
             "-" if each["auc"] is None else panels.auc_text(each["auc"])]
            for name, each in [*classes.items(), ("total, mean", mean)]]
    say("\n".join(["", *tables.table([["class", "files", "mistakes", "precision", "recall", "F1", "AUC"], *rows])]))
    say_thresholds(scores, list(classes))
    auc = ".\nNo macro AUC: it requires files of two classes" if scores["macro_auc"] is None else \
        f", macro AUC {scores['macro_auc']:.5f}"
    files = f"{scores['files']} file{'s' * (scores['files'] != 1)}"
    say(f"\nLoss {tables.number(scores['loss']).strip()}, accuracy {scores['accuracy']:.2%} on {files}{auc}.")
    say("The 95% interval of the accuracy is {:.1%} to {:.1%}.".format(*scores["accuracy_interval"]))
    if balanced := class_table.about_balance(scores):
        say(balanced)


def percent(value: float | None) -> str:
    """One decimal; a dash if undefined."""
    return "-" if value is None else f"{value:.1%}"


def say_thresholds(scores: dict[str, Any], class_names: list[str]) -> None:
    """The thresholds of each class, if there are any, with the precision and recall on the test files."""
    rows = class_table.threshold_rows(class_names, scores)
    if not rows:
        return
    used = scores["thresholds"]
    source = f"Thresholds from {used['source']} ({used['clips']:,} clip{'s' * (used['clips'] != 1)})"
    if all(row["uncertain"] for row in rows):
        say(f"\n{source} are too uncertain to show; {thresholds.remedy(used)}.")
        return
    cells = list(map(threshold_cells, rows))
    lines = tables.table([["class", *["threshold", "precision", "recall"] * 2], *cells])
    first, second = lines[0].index("threshold"), lines[0].rindex("threshold")
    say(f"\n{source}, applied here:\n")
    say("\n".join([f"{'':{first}}{'maximum F1':{second - first}}90% precision", *lines]))
    count = len(scores["classes"])
    for mark, meaning in (("?", f"uncertain, chosen from fewer than {thresholds.FEW_POSITIVES} clips of the class"),
                          ("*", f"rejects nothing: the most probable of {count} classes always reaches it")):
        if any(cell.endswith(mark) for row in cells for cell in row[1:]):
            say(f"{mark} {meaning}")


def threshold_cells(row: dict[str, Any]) -> list[str]:
    """The class, then the threshold, with its mark, and the precision and recall of each kind."""
    cells = [row["name"]]
    for at in map(row.get, thresholds.KINDS.values()):
        mark = "" if at is None else "*" if not at["rejects"] else "?" if row["uncertain"] else ""
        cells += ["-"] * 3 if at is None else [f"{at['threshold']:.4f}{mark}", percent(at["precision"]),
                                               percent(at["recall"])]
    return cells
