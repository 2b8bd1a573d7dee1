"""The findings of panels are true sentences, and images of melgrams have the right orientation."""

import io

import numpy as np
import pytest
from conftest import sine
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


def test_history_finding_names_the_best_epoch():
    assert panels.history_finding(epochs(3)) == "Best epoch: 3 of 3, validation loss 0.7333, accuracy 80.0%"
    assert panels.history_finding(epochs(3, 2)) == (
        "Best epoch: 3, validation loss 0.7333, accuracy 80.0%; the saved network is from epoch 5, trained on all "
        "clips")


def test_roc_finding_names_the_lowest_class():
    assert panels.roc_finding({"a": curve(0.9), "b": curve(0.7)}, 0.8) == "Mean AUC 0.8000; lowest: b, 0.7000"
    assert panels.roc_finding({"a": curve(1.0)}, 1.0) == "The AUC of every class is 1.0000"
    assert panels.roc_finding({}, None) == "No ROC curves: they require test files of two classes"


def test_key_has_the_lowest_classes_in_distinct_styles():
    key = panels.roc_key({f"{i}": curve(1 - i / 100) for i in range(50)})
    assert [name for name, _, _ in key] == [f"{i}" for i in range(49, 35, -1)]
    assert len({(color, style) for _, color, style in key}) == 14


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
