"""PNG files for few and for many classes, with any names."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from audio_utils.evaluation import drawing, plots
from audio_utils.evaluation.metrics import RocCurve

UNUSUAL = ["<script>alert(1)", "\"'><img src=x onerror=alert(2)>", "日本 $x_2$ {{ 7 * 7 }}", "a\udcff\x01b"]
HISTORY = [{"epoch": n, "loss": 2 / n, "accuracy": 1 - 0.5 / n, "val_loss": 2.2 / n, "val_accuracy": 1 - 0.6 / n}
           for n in range(1, 51)]


@pytest.mark.parametrize("count", [1, 2, pytest.param(50, marks=pytest.mark.slow)])
def test_plots_take_any_names_and_counts(tmp_path, count, recwarn):
    rng = np.random.default_rng(0)
    names = (UNUSUAL + [f"class {i} with a long name" if i % 7 == 0 else f"{i}" for i in range(46)])[:count]
    false = np.linspace(0, 1, 50)
    curves = {name: RocCurve(false, false ** rng.uniform(0.01, 0.5), rng.uniform(0.9, 1)) for name in names}
    plots.roc_curves(tmp_path / "roc.png", curves, 0.95)
    plots.roc_curves(tmp_path / "none.png", {}, None)
    plots.confusion_matrix(tmp_path / "confusion.png", rng.binomial(2, min(1, 3 / count), (count, count)), names)
    plots.training_curves(tmp_path / "history.png", HISTORY[:count])
    for name in ("roc", "none", "confusion", "history"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert len(image.convert("L").getcolors()) > 20
    assert len(list(tmp_path.iterdir())) == 4
    assert not recwarn.list


def test_training_without_an_epoch_has_no_curves(tmp_path):
    plots.training_curves(tmp_path / "history.png", [])
    assert not list(tmp_path.iterdir())


def test_confusion_finding_is_the_most_frequent_error():
    counts = np.array([[5, 2, 0], [0, 4, 3], [1, 0, 9]])
    assert plots.confusion_finding(counts, ["a", "b", "c"]) == "Most frequent error: b predicted as c, 3 of 7"
    assert plots.confusion_finding(np.diag([1, 2]), ["a", "b"]) == "No errors"


@pytest.mark.parametrize(("classes", "own_split"), [(1, False), (2, True), (50, False)])
def test_samples_plot_grows_with_the_number_of_classes(tmp_path, classes, own_split):
    rng = np.random.default_rng(1)
    files = {"Train": 3, "Test": 1} if own_split else {None: 4}
    data = {f"class {i} " + "long " * (i % 3) * 9: plots.ClassSummary(
        files, rng.uniform(0.1, 9, 4), rng.uniform(-60, 0, 4),
        {"silent": np.arange(4) == i, "clipped": np.arange(4) > i}) for i in range(classes)}
    plots.samples(tmp_path / "samples.png", data, "a title")
    with Image.open(tmp_path / "samples.png") as image:
        assert image.size[1] > 120 * (1 + 0.2 * classes)


def figure_of(monkeypatch, draw, *arguments):
    """The figure that a function would save."""
    saved = []
    monkeypatch.setattr(plots, "save", lambda figure, path: saved.append(figure))
    draw("a.png", *arguments)
    return saved[0]


def test_samples_plot_names_the_problem_of_each_dot(monkeypatch):
    problems = {"silent": np.array([0, 0, 0, 1], bool), "clipped": np.array([1, 1, 0, 0], bool),
                "empty": np.zeros(4, bool)}
    data = {name: plots.ClassSummary({None: 4}, np.arange(1, 5), np.arange(-4, 0), problems) for name in ("a10", "a9")}
    figure = figure_of(monkeypatch, plots.samples, data, "a title")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "sound without problems", "silent (2)", "clipped (4)", "median"]
    counts, durations, _ = figure.axes
    assert [label.get_text() for label in counts.get_yticklabels()] == ["a9", "a10"]
    by_label = {dots.get_label(): dots.get_offsets()[:, 0].tolist() for dots in durations.collections}
    assert by_label["silent (2)"] == [4, 4]
    assert by_label["sound without problems"] == [3, 3]


def test_confusion_matrix_is_in_natural_order(monkeypatch):
    figure = figure_of(monkeypatch, plots.confusion_matrix, np.array([[1, 2], [3, 4]]), ["a10", "a9"])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a9", "a10"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["4", "3", "2", "1"]


def test_correct_cells_are_blue_and_errors_orange():
    colors = plots.cell_colors(np.array([[3, 3], [0, 4]]), np.array([[0.5, 0.5], [0, 1]]))
    (correct, error), (empty, all_correct) = colors
    assert [to_hex(each).upper() for each in (all_correct, empty)] == [drawing.COLORS[0], "#FFFFFF"]
    assert correct[2] > correct[1] > correct[0]
    assert error[0] > error[1] > error[2]


def test_long_names_keep_their_end():
    assert drawing.short_label("a rather long class name, number 17") == "a rather lon…, number 17"
    assert drawing.short_label("short $x$") == r"short \$x\$"
