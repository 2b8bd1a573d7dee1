"""Keras models of trained networks: from the checkpoint, and their predictions."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import panotti_models
from audio_utils.data.clips import Clips
from audio_utils.data.melgram_files import MelgramFiles
from audio_utils.evaluation import label_scores
from audio_utils.evaluation.label_scores import MultiLabelEvaluation
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference import distribution, stored_model
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime import prefetch
from audio_utils.runtime.errors import UserError
from panotti_models import keras


class Form(NamedTuple):
    """The layers of a network."""
    build: Callable[[str], keras.Model]  # precision → model
    outline: keras.Model  # the same without arrays: a damaged file may specify any size
    is_current: bool = True  # False: panotti_models.py now defines other layers
    only_float32: bool = False  # whether it can't be built in another precision


def load(path: str | Path, checkpoint: Checkpoint) -> keras.Model:
    """The best network, in float32, for prediction; checkpoint: the result of `checkpoint.read(path)`."""
    form = stored_form(path, checkpoint)
    best = checkpoints.read_best(path, checkpoint, form.outline.weights)
    model = form.build("float32")
    assign(model.weights, best)
    if not form.is_current:
        with _refusing(path, checkpoint.network):
            model(np.zeros((1, *checkpoint.settings.shape), np.float32))  # Keras may build what can't be computed
    return model


def current_form(checkpoint: Checkpoint) -> Form:
    """The form that panotti_models.py defines."""
    build = partial(panotti_models.build, checkpoint.network, checkpoint.settings.shape, len(checkpoint.class_names),
                    checkpoint.standardization, multi_label=checkpoint.multi_label)
    return Form(build, _outline(build))


def stored_form(path: str | Path, checkpoint: Checkpoint) -> Form:
    """The form that the network was trained in."""
    require_network(path, checkpoint.network)
    current = current_form(checkpoint)
    config = checkpoints.read_model_config(path, checkpoint)
    with _refusing(path, checkpoint.network):
        if stored_model.describes(config, current.outline):
            return current
        build = partial(stored_model.build, config, checkpoint.settings.shape, len(checkpoint.class_names))
        outline = _outline(build)
        if weight_paths(outline) != checkpoint.weights:
            raise ValueError("names of the weights")
        return Form(build, outline, False, not stored_model.uses_bfloat16(config))


def _outline(build: Callable[[str], keras.Model]) -> keras.Model:
    with keras.StatelessScope(initialize_variables=False):
        return build("float32")


@contextmanager
def _refusing(path: str | Path, name: str) -> Iterator[None]:
    """Turn any error about the description of the layers into a UserError of one sentence."""
    try:
        yield
    except Exception as error:  # a damaged description makes Keras and its backends raise almost any exception
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"{path}: panotti_models.py now defines other layers of the network {name!r}, and those that "
                        f"it was trained with can't be read ({reason}); restore panotti_models.py, or train again "
                        "(train_network.py --fresh; the old file is kept).") from error


def weight_paths(model: keras.Model) -> list[str]:
    """The paths in weights.hdf5 of the weights that Keras saves, in the order of model.weights."""
    return [f"model_weights/{layer.name}/{weight.path}" for layer in model.layers for weight in layer.weights]


def require_network(path: str | Path, name: str) -> None:
    """Reject a network that is not in NETWORKS."""
    if name not in panotti_models.NETWORKS:
        raise UserError(f"{path}: contains the network {name!r}, which panotti_models.py does not define "
                        f"({', '.join(panotti_models.NETWORKS)}); restore it or train again.")


def predict(model: keras.Model, melgrams: np.ndarray | MelgramFiles, batch_size: int = 64,
            indices: np.ndarray | None = None) -> np.ndarray:
    """Probabilities float32 (clips, classes) for melgrams (clips, mels, frames, channels), or those at `indices`."""
    indices = np.arange(len(melgrams)) if indices is None else indices
    batch_size *= distribution.devices()
    chunks = [indices[start:start + batch_size] for start in range(0, len(indices), batch_size)]
    if distribution.devices() > 1:
        parts = distribution.predict(model, melgrams.__getitem__, chunks)
    else:
        batch_bytes = batch_size * 4 * math.prod(model.input_shape[1:])
        parts = [np.asarray(model.predict_on_batch(batch))
                 for batch in prefetch.each(melgrams.__getitem__, chunks, batch_bytes)]
    return np.concatenate(parts) if parts else np.zeros((0, model.output_shape[-1]), np.float32)


def evaluate(model: keras.Model, clips: Clips, indices: np.ndarray | None = None,
             batch_size: int = 64) -> Evaluation | MultiLabelEvaluation:
    """The predictions for clips, or for those at `indices`."""
    return label_scores.evaluation(clips, predict(model, clips.melgrams, batch_size, indices), indices)


def arrays(variables: list[Any]) -> list[np.ndarray]:
    """The current values of variables, as copies: on torch, NumPy's own view would change with the variable."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: list[Any], values: list[np.ndarray]) -> None:
    """Set variables to arrays."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(distribution.replicated(value, variable))


@contextmanager
def with_weights(model: keras.Model, weights: list[np.ndarray]) -> Iterator[None]:
    """Within the block the model has other weights: arrays in the order of model.weights."""
    own = arrays(model.weights)
    assign(model.weights, weights)
    try:
        yield
    finally:
        assign(model.weights, own)
