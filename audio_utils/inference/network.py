"""Keras models of trained networks: from the checkpoint, and their predictions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import panotti_models
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime.errors import UserError
from panotti_models import keras


def load(path: str | Path, checkpoint: Checkpoint) -> keras.Model:
    """The best network, in float32, for prediction; checkpoint: the result of `checkpoint.read(path)`."""
    require_network(path, checkpoint.network)
    arguments = (checkpoint.network, checkpoint.settings.shape, len(checkpoint.class_names),
                 checkpoint.standardization)
    with keras.StatelessScope(initialize_variables=False):  # only its shapes: a damaged file may specify any size
        outline = panotti_models.build(*arguments)
    best = checkpoints.read_best(path, checkpoint, outline.weights)
    model = panotti_models.build(*arguments)
    assign(model.weights, best)
    return model


def require_network(path: str | Path, name: str) -> None:
    """Reject a network that is not in NETWORKS."""
    if name not in panotti_models.NETWORKS:
        raise UserError(f"{path}: contains the network {name!r}, which panotti_models.py does not define "
                        f"({', '.join(panotti_models.NETWORKS)}); restore it or train again.")


def predict(model: keras.Model, melgrams: np.ndarray, batch_size: int = 64,
            indices: np.ndarray | None = None) -> np.ndarray:
    """Probabilities float32 (clips, classes) for melgrams (clips, mels, frames, channels), or those at `indices`."""
    indices = np.arange(len(melgrams)) if indices is None else indices
    parts = [np.asarray(model.predict_on_batch(melgrams[indices[start:start + batch_size]]))
             for start in range(0, len(indices), batch_size)]
    return np.concatenate(parts) if parts else np.zeros((0, model.output_shape[-1]), np.float32)


def arrays(variables: list[Any]) -> list[np.ndarray]:
    """The current values of variables, as copies: on torch, NumPy's own view would change with the variable."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: list[Any], values: list[np.ndarray]) -> None:
    """Set variables to arrays."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


@contextmanager
def with_weights(model: keras.Model, weights: list[np.ndarray]) -> Iterator[None]:
    """Within the block the model has other weights: arrays in the order of model.weights."""
    own = arrays(model.weights)
    assign(model.weights, weights)
    try:
        yield
    finally:
        assign(model.weights, own)
