"""The findings of panels are true sentences, and images of melgrams have the right orientation."""

import io

import numpy as np
import pytest
from conftest import sine
from matplotlib.figure import Figure
from PIL import Image

from audio_utils.audio import melgram
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.evaluation import panels
from audio_utils.evaluation.metrics import RocCurve

SETTINGS = MelgramSettings.of(8000, 8000, 1, 48, 46.44, 11.61)  # clips of one second


def epochs(validated, trained_on_all=0):
    """A history whose last validated epoch is the best."""
    scores = [(2.2 / n, 1 - 0.6 / n) for n in range(1, validated + 1)] + [(None, None)] * trained_on_all
    return [{"epoch": n, "val_loss": loss, "val_accuracy": accuracy} for n, (loss, accuracy) in enumerate(scores, 1)]


def curve(auc):
    return RocCurve(np.linspace(0, 1, 3), np.linspace(0, 1, 3), auc)


def with_rates(history, rates):
    return [{**epoch, "learning_rate": rate} for epoch, rate in zip(history, rates, strict=True)]


def test_history_finding_names_the_kept_epoch():
    assert panels.history_finding(epochs(1)) == "Epoch 1 of 1 is kept: validation loss 2.2000, accuracy 40.0%"
    assert panels.history_finding(epochs(3)) == (
        "Epoch 3 of 3 is kept: validation loss 0.7333, accuracy 80.0%; the loss was still falling")
    assert panels.history_finding([*epochs(3), {**epochs(1)[0], "epoch": 4}]) == (
        "Epoch 3 of 4 is kept: validation loss 0.7333, accuracy 80.0%; the loss has not improved since")
    assert panels.history_finding(epochs(3, 2)) == (
        "Epoch 5 is kept, trained on all clips since epoch 4; best before: epoch 3, validation loss 0.7333, accuracy "
        "80.0%")
    assert panels.history_finding(with_rates(epochs(4), [1, 1, 1, 0.5])) == (
        "Epoch 4 of 4 is kept: validation loss 0.5500, accuracy 85.0%; annealing lowered the loss from 1.1000")


def test_kept_epoch_is_the_best_or_the_last_one_trained_on_all():
    assert panels.kept_epoch([*epochs(3), {**epochs(1)[0], "epoch": 4}])["epoch"] == 3
    assert panels.kept_epoch(epochs(3, 2))["epoch"] == 5


@pytest.mark.parametrize(("rates", "phases"), [
    ([1, 1, 1], []), ([1, 1, 1, 0.5, 0.2, 0], [(2, 6)]), ([1, 0.5, 0.5, 0.5], []),
    ([1, 1, 0.5, 0.2, 1, 1, 0.4], [(1, 4), (5, 7)]), ([], [])])
def test_annealing_is_where_the_learning_rate_falls(rates, phases):
    """The rate of an epoch is that of its first step: the first epoch of a phase has the rate before it."""
    assert panels.annealing_phases(with_rates(epochs(len(rates)), rates)) == phases


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_every_line_of_the_history_has_a_legend(metric):
    history = [{**epoch, "loss": 1, "accuracy": 0.5} for epoch in with_rates(epochs(4, 2), [1, 1, 0.6, 0.4, 0.2, 0.1])]
    axes = Figure().subplots()
    panels.draw_history(axes, history, metric)
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {
        "training (augmentation, dropout)", "validation", "annealing", "kept: epoch 6"}
    assert len(axes.lines) == 3
    assert [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches] == [(1, 6)]


def test_roc_finding_names_the_lowest_class():
    assert panels.roc_finding({"a": curve(0.9), "b": curve(0.7)}, 0.8) == "Mean AUC 0.8000; lowest: b, 0.7000"
    assert panels.roc_finding({"a": curve(1.0)}, 1.0) == "The AUC of every class is 1.0000"
    assert panels.roc_finding({}, None) == "No ROC curves: they require test files of two classes"


def test_only_the_hard_classes_are_in_color():
    curves = {f"{i}": curve(1 - i / 100) for i in range(50)}
    assert [name for name, _ in panels.roc_key(curves)] == ["49", "48", "47", "46", "45"]
    assert len({color for _, color in panels.roc_key(curves)}) == 5
    assert [name for name, _ in panels.roc_key({"a": curve(1.0), "b": curve(0.9)})] == ["b"]
    hard = ["49  0.5100", "48  0.5200", "47  0.5300", "46  0.5400", "45  0.5500", "other classes", "chance"]
    for drawn, expected in ((curves, hard), ({"a": curve(1.0), "b": curve(1.0)}, ["all classes", "chance"])):
        axes = Figure().subplots()
        panels.draw_roc_curves(axes, drawn)
        assert [line.get_label() for line in axes.lines if not line.get_label().startswith("_")] == expected


def test_curves_of_auc_1_are_clearly_visible():
    axes = Figure().subplots()
    panels.draw_roc_curves(axes, {"a": curve(1.0)})
    assert (axes.lines[0].get_color(), axes.lines[0].get_linewidth() > 1) == (panels.COLORS[0], True)


@pytest.mark.parametrize(("auc", "text"), [(1.0, "1.0000"), (0.99996, "0.9999"), (0.75, "0.7500")])
def test_only_an_auc_of_1_is_printed_as_1(auc, text):
    assert panels.auc_text(auc) == text


def test_corner_is_the_smallest_that_all_curves_pass():
    steep = RocCurve(np.array([0, 0.05, 1]), np.array([0, 1, 1]), 0.97)
    flat = RocCurve(np.array([0, 0.2, 1]), np.array([0, 0.9, 1]), 0.85)
    assert panels.corner_size({"a": steep}) == 0.1
    assert panels.corner_size({"a": steep, "b": flat}) == 0.2
    assert panels.corner_size({"a": curve(0.5)}) is None
    assert panels.corner_size({}) is None


def test_melgram_image_has_low_bands_at_the_bottom_and_a_bright_maximum():
    tone = melgram.melgram(sine(500), SETTINGS)[:, :, 0]
    brightness = np.asarray(Image.open(io.BytesIO(panels.melgram_png(tone, tone.max()))).convert("L"))
    assert brightness.shape == SETTINGS.shape[:2]
    assert brightness[:, 40].argmax() == 47 - tone[:, 40].argmax()
    long = panels.melgram_png(np.zeros((96, 12345), np.float32), 0)
    assert Image.open(io.BytesIO(long)).size == (950, 96)


@pytest.mark.parametrize(("falls", "opacity"), [([[0.4, 0.1], [0, -1]], [[0, 0], [255, 64]]),
                                                ([[0.02, 0.01]], [[51, 26]])])
def test_small_falls_are_pale(falls, opacity):
    image = np.asarray(Image.open(io.BytesIO(panels.occlusion_png(np.array(falls)))))
    np.testing.assert_allclose(image[..., 3], opacity, atol=1)
