"""PNG files for few and for many classes, with any names."""

import numpy as np
import pytest
from PIL import Image

from audio_utils.evaluation import plots
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
    plots.confusion_matrix(tmp_path / "confusion.png", rng.integers(0, 3, (count, count)), names)
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
        files, rng.uniform(0.1, 9, 4), rng.uniform(-60, 0, 4), np.arange(4) == i) for i in range(classes)}
    plots.samples(tmp_path / "samples.png", data, "a title")
    with Image.open(tmp_path / "samples.png") as image:
        assert image.size[1] > 120 * (1 + 0.2 * classes)
