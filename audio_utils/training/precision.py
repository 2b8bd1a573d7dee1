"""PRECISION "auto": bfloat16 only if a training step in bfloat16 agrees with one in float32 on this machine.

Some kernels return wrong results for some shapes on some processors, without an error, such as oneDNN's bfloat16
convolutions with AMX. So a step in bfloat16, compiled as in training, is compared with one in float32.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import numpy as np

import panotti_models
from audio_utils.data.standardization import Standardization
from audio_utils.inference import device
from audio_utils.inference.network import Form, arrays, assign
from audio_utils.runtime.console import say
from audio_utils.training.state import TrainingState
from panotti_models import keras

MAX_ERROR = 0.75  # of the update of one array of weights, relative to the norm of the update
MAX_TOTAL_ERROR = 0.5  # the same for all arrays together
NORM_FLOOR = 0.003  # relative to the norm of all updates; errors of smaller updates are relative to this norm
_SEED = 1
_found: dict[str, str] = {}  # conditions → problem, of the checks of this process


def choose(setting: str, form: Form, standardization: Standardization, batch_size: int, state: TrainingState) -> str:
    """The dtype policy for training; the result of the check is stored in the state and used again.

    setting: PRECISION. A network that was trained in float32, and is defined differently now, continues in float32.
    """
    precision = device.best_precision() if setting == "auto" else setting
    if precision == "float32" or form.only_float32:
        if setting == "mixed_bfloat16":
            say("PRECISION is mixed_bfloat16, but the network was trained in float32, so this continues in float32.")
        return "float32"
    if setting != "auto":
        return setting
    conditions = {"batch_size": batch_size, "layers": _digest(form.outline), **device.description()}
    known = dict(state.precision_check)
    problem = known.pop("problem", None)
    if known != conditions or not isinstance(problem, str):
        key = repr(conditions)
        problem = _found[key] = _found[key] if key in _found else check(form, standardization, batch_size)
        state.precision_check = conditions | {"problem": problem}
    if problem:
        say(f"PRECISION: a training step in bfloat16 {problem} on this machine; float32 is used instead.")
    return "float32" if problem else precision


def _digest(model: keras.Model) -> str:
    """Identifies the layers and the shapes of their arrays, which determine the kernels."""
    layers = [(type(layer).__name__, getattr(layer, "strides", None), [tuple(weight.shape) for weight in layer.weights])
              for layer in model.layers]
    text = repr((model.input_shape, layers))
    return blake2b(text.encode(), digest_size=8).hexdigest()


# --- the check ------------------------------------------------------------------------------------------------------

def check(form: Form, standardization: Standardization, batch_size: int) -> str:
    """The problem with a step of SGD in bfloat16, or "". The input is noise of a fixed seed; there is no dropout.

    Of an ensemble, one member of each kind is checked.
    """
    keras.utils.set_random_seed(_SEED)
    in_bfloat16, in_float32 = form.build("mixed_bfloat16"), form.build("float32")
    assign(in_float32.weights, arrays(in_bfloat16.weights))
    melgrams = noise(standardization, (batch_size, *in_float32.input_shape[1:]))
    targets = np.eye(in_float32.output_shape[-1], dtype=np.float32)[np.arange(batch_size) % in_float32.output_shape[-1]]
    for pair in zip(_members(in_bfloat16), _members(in_float32), strict=True):
        found, again = (_step(pair[0], melgrams, targets) for _ in range(2))
        expected = _step(pair[1], melgrams, targets, run_eagerly=True)
        problem = _problem(found, again, expected, [weight.path for weight in pair[1].trainable_weights])
        if problem:
            return problem
    return ""


def noise(standardization: Standardization, shape: tuple[int, ...]) -> np.ndarray:
    """Melgrams (clips, mels, frames, channels) with a maximum of 0 dB: noise with a different spectrum in each."""
    rng = np.random.default_rng(_SEED)
    values = rng.standard_normal(shape, np.float32) + rng.standard_normal((*shape[:2], 1, shape[3]), np.float32)
    mean, variance = (each[:, None, None] for each in standardization)
    melgrams = np.minimum(mean + np.sqrt(variance / 2) * values, 0)
    melgrams[:, 0, 0, 0] = 0
    return melgrams


def _members(model: keras.Model) -> Iterator[keras.Model]:
    """The model itself; for an ensemble, one network of each kind."""
    found = [keras.Model(model.input, layer.output) for layer in panotti_models.last_layers(model) if layer.trainable]
    return iter({_digest(each): each for each in reversed(found)}.values())


def _step(model: keras.Model, melgrams: np.ndarray, targets: np.ndarray, **compiling: Any) -> list[np.ndarray]:
    """The updates of the trainable weights in a step with a learning rate of 1; the weights are then restored."""
    if not model.compiled:
        device.fuse_batch_normalization(model)
        for layer in model.layers:
            if getattr(layer, "seed_generator", None):
                layer.rate = layer.stddev = 0  # of dropout, of noise
        model.compile(keras.optimizers.SGD(1.0), "categorical_crossentropy", **compiling)
    before, start = arrays(model.weights), arrays(model.trainable_weights)
    model.train_on_batch(melgrams, targets)
    updates = [after - each for after, each in zip(arrays(model.trainable_weights), start, strict=True)]
    assign(model.weights, before)
    return updates


def _problem(found: list[np.ndarray], again: list[np.ndarray], expected: list[np.ndarray], names: list[str]) -> str:
    """How a step differs from the expected one, or "" if they agree."""
    if not all(np.isfinite(each).all() for each in found):
        return "gives NaN or infinite weights"
    if not device.on_gpu() and not all(np.array_equal(*pair) for pair in zip(found, again, strict=True)):
        return "gives different weights each time"
    total, errors = relative_errors(found, expected)
    if not total <= MAX_TOTAL_ERROR:
        return f"differs from one in float32 by {total:.0%}"
    if not errors.max() <= MAX_ERROR:
        return f"differs from one in float32 by {errors.max():.0%} in {names[errors.argmax()]}"
    return ""


def relative_errors(found: list[np.ndarray], expected: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """The relative error of all updates together, and that of each update."""
    norms, errors = (np.array([np.linalg.norm(each.astype(np.float64)) for each in arrays])
                     for arrays in (expected, map(np.subtract, found, expected)))
    total = np.linalg.norm(norms) or 1.0
    return np.linalg.norm(errors) / total, errors / np.maximum(norms, NORM_FLOOR * total)
