"""precision.py: "auto" uses bfloat16 only if a step in it agrees with one in float32, and is reproducible."""

import re
from functools import partial

import numpy as np
import pytest

import panotti_models
from audio_utils.data.standardization import Standardization
from audio_utils.inference import device
from audio_utils.inference.network import Form
from audio_utils.training import precision
from audio_utils.training.state import TrainingState
from panotti_models import layers

SHAPE, CLASSES, CLIPS = (12, 10, 1), 3, 8
STANDARDIZATION = Standardization(np.full(SHAPE[0], -45, np.float32), np.full(SHAPE[0], 250, np.float32))


def small(x, classes):
    for filters in (4, 8):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    return layers.Dense(classes, activation="softmax", dtype="float32")(x)


def pair(x, classes):
    return layers.Average(dtype="float32")([small(x, classes) for _ in range(2)])


@pytest.fixture
def form(monkeypatch):
    """A function: network function → its Form."""
    def form_of(function):
        monkeypatch.setitem(panotti_models.NETWORKS, "small", function)
        build = partial(panotti_models.build, "small", SHAPE, CLASSES, STANDARDIZATION)
        return Form(build, build())
    return form_of


@pytest.fixture
def fault(monkeypatch):
    """A function that gives the bfloat16 convolutions with 8 filters a wrong kernel: gradient → wrong gradient."""
    def wrong_kernel(gradient):
        import tensorflow as tf
        right = layers.Conv2D.call

        def call(layer, inputs):
            outputs = right(layer, inputs)
            if layer.compute_dtype != "bfloat16" or layer.filters != 8:
                return outputs
            return tf.custom_gradient(lambda x: (tf.identity(x), lambda upstream: gradient(tf, upstream)))(outputs)

        monkeypatch.setattr(layers.Conv2D, "call", call)
    return wrong_kernel


@pytest.mark.slow
@pytest.mark.parametrize("function", [small, pair, panotti_models.vgg])
def test_correct_kernels_agree(form, function):
    assert precision.check(form(function), STANDARDIZATION, CLIPS) == ""


@pytest.mark.slow
@pytest.mark.parametrize(("gradient", "problem"), [
    (lambda tf, x: tf.zeros_like(x), r"differs from one in float32 by \d+%"),
    (lambda tf, x: -x, r"differs from one in float32 by \d+%"),
    (lambda tf, x: x[::-1], r"differs from one in float32 by \d+%"),
    (lambda tf, x: 1e37 * x, "differs|gives NaN or infinite weights"),
    (lambda tf, x: x / 0, "gives NaN or infinite weights"),
    (lambda tf, x: x * (1 + tf.random.uniform([], 0, 0.1, x.dtype)), "gives different weights each time")],
                         ids=range(6))
def test_wrong_kernels_are_found(form, fault, gradient, problem):
    fault(gradient)
    assert re.match(problem, precision.check(form(small), STANDARDIZATION, CLIPS))


def test_one_wrong_array_is_found_in_a_large_network():
    rng = np.random.default_rng(1)
    expected = [rng.standard_normal(9) for _ in range(60)]
    names = [f"conv2d_{i}/kernel" for i in range(60)]
    noisy = [each + 0.1 * rng.standard_normal(9) for each in expected]
    assert precision._problem(noisy, noisy, expected, names) == ""
    wrong = [*noisy[:7], 0 * noisy[7], *noisy[8:]]
    assert precision._problem(wrong, wrong, expected, names) == (
        "differs from one in float32 by 100% in conv2d_7/kernel")


# --- the choice ------------------------------------------------------------------------------------------------------

@pytest.fixture
def checks(monkeypatch):
    """The checks that were done, and the problem that the next will find; the hardware has bfloat16."""
    class Checks(list):
        problem = ""

        def __call__(self, *arguments):
            self.append(arguments)
            return self.problem

    checks = Checks()
    monkeypatch.setattr(precision, "check", checks)
    monkeypatch.setattr(precision, "_found", {})
    monkeypatch.setattr(device, "best_precision", lambda: "mixed_bfloat16")
    return checks


def choose(form, state, setting="auto", batch_size=CLIPS):
    return precision.choose(setting, form, STANDARDIZATION, batch_size, state)


@pytest.mark.parametrize(("problem", "expected"), [("", "mixed_bfloat16"), ("gives NaN", "float32")])
def test_a_result_is_stored_and_used_again_under_the_same_conditions(form, checks, monkeypatch, capsys, problem,
                                                                    expected):
    checks.problem, state = problem, TrainingState({})
    sentence = "PRECISION: a training step in bfloat16 gives NaN on this machine; float32 is used instead.\n"
    for _ in range(2):
        assert choose(form(small), state) == expected
        assert capsys.readouterr().out == (sentence if problem else "")
        monkeypatch.setattr(precision, "_found", {})  # a new process
    assert len(checks) == 1
    choose(form(small), state, batch_size=5)
    choose(form(pair), state, batch_size=5)
    assert len(checks) == 3
    monkeypatch.setattr(device, "_processor", lambda: "another")
    choose(form(pair), state, batch_size=5)
    assert len(checks) == 4
    choose(form(pair), TrainingState({}), batch_size=5)  # another fold
    assert len(checks) == 4


def test_an_invalid_result_is_not_used(form, checks):
    state = TrainingState({})
    choose(form(small), state)
    for change in ({"problem": 3}, {"device": []}):
        choose(form(small), TrainingState({}, precision_check=state.precision_check | change))
    assert len(checks) == 1  # the others were of this process
    assert choose(form(small), TrainingState({}, precision_check={})) == "mixed_bfloat16"


def test_a_setting_is_not_checked(form, checks, capsys):
    for setting in ("float32", "mixed_bfloat16"):
        assert choose(form(small), TrainingState({}), setting) == setting
    only_float32 = form(small)._replace(only_float32=True)
    assert choose(only_float32, TrainingState({})) == "float32"
    assert not capsys.readouterr().out
    assert choose(only_float32, TrainingState({}), "mixed_bfloat16") == "float32"
    assert "was trained in float32, so this continues" in capsys.readouterr().out
    assert not checks


def test_noise_has_a_maximum_of_0_db_and_the_standard_deviation_of_the_clips():
    melgrams = precision.noise(STANDARDIZATION, (50, *SHAPE))
    assert melgrams.max(axis=(1, 2, 3)) == pytest.approx(0)
    assert melgrams.mean() == pytest.approx(-45, abs=1)
    assert melgrams.std() == pytest.approx(250 ** 0.5, rel=0.05)
