"""Plots of MULTI_LABEL: every class has a curve, and the titles name the worst one."""

import numpy as np
from PIL import Image
from test_label_scores import FOUND, random, scores_of

from audio_utils.evaluation import drawing, label_plots

LOWEST = np.array([0.5, 0.5])


def test_both_plots_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "DPI", 30)
    found = FOUND._replace(class_names=["$x_2$ {", "日本"], lowest=LOWEST)
    label_plots.precision_recall_curves(tmp_path / "p.png", found, scores_of(found, LOWEST))
    label_plots.label_errors(tmp_path / "e.png", found)
    for name in ("p.png", "e.png"):
        with Image.open(tmp_path / name) as image:
            assert len(image.convert("RGB").resize((100, 60)).getcolors(10000)) > 10


def test_the_hard_classes_have_the_lowest_average_precisions_and_all_have_a_curve():
    from matplotlib.figure import Figure
    found = random(classes=7)
    scores = scores_of(found, np.full(7, 0.5))
    axes = Figure().subplots()
    label_plots.draw_precision_recall(axes, found, scores)
    hard = label_plots.hard_classes(scores)
    assert len(hard) == 5
    assert max(scores["classes"][name]["average_precision"] for name in hard) <= min(
        scores["classes"][name]["average_precision"] for name in set(scores["classes"]) - set(hard))
    assert len(axes.lines) == 2 * 7 + 1
    assert f"; lowest: {hard[0]}, " in label_plots.precision_recall_finding(scores)


def test_titles_count_missed_and_extra_classes_and_need_clips_of_both_kinds():
    assert label_plots.label_errors_title(FOUND, ["a is missed: 1 of 2"]) == (
        "1 of 4 labels missed, 1 extra\nMost frequent error: a is missed: 1 of 2")
    empty = FOUND._replace(positives=np.zeros((4, 2), bool))
    assert label_plots.precision_recall_finding(scores_of(empty, LOWEST)).startswith("No precision-recall curves")
