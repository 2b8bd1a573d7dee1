"""Embeddings: the input of a network's last layer, a vector of features in which similar sounds are close."""

import numpy as np

from audio_utils.data.melgram_files import MelgramFiles
from audio_utils.inference import network
from panotti_models import keras, last_layers, layers


def with_embeddings(model: keras.Model) -> keras.Model:
    """The model with the features after the probabilities: melgrams → float32 (clips, classes + features).

    Of an ensemble, the features of its trained members are side by side. They are one output, for `network.predict`.
    """
    features = [_flat(layer.input) for layer in last_layers(model) if layer.trainable]
    return keras.Model(model.input, layers.Concatenate(dtype="float32")([model.output, *features]))


def _flat(features: keras.KerasTensor) -> keras.KerasTensor:
    return features if len(features.shape) == 2 else layers.Flatten(dtype="float32")(features)


def of_melgrams(model: keras.Model, melgrams: np.ndarray | MelgramFiles, batch_size: int = 64) -> np.ndarray:
    """The embeddings, float32 (clips, features), of melgrams (clips, mels, frames, channels)."""
    return network.predict(with_embeddings(model), melgrams, batch_size)[:, model.output_shape[-1]:]
