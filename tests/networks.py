"""Trained networks without a training: random weights in a weights.hdf5."""

import numpy as np

import panotti_models
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data.standardization import Standardization
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.training import checkpointing

SETTINGS = MelgramSettings.of(8000, 2000, 2, 32, 46.44, 11.61)
NAMES = ["low", "zwölf <3>"]


def write_random_network(folder, network="vgg", seed=1, settings=SETTINGS, class_names=NAMES):
    """Write weights.hdf5 with a network of random weights and standardization in a folder; returns the model."""
    panotti_models.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    standardization = Standardization(*(rng.uniform(low, high, settings.mels).astype(np.float32)
                                        for low, high in ((-60, -20), (300, 600))))
    model = panotti_models.build(network, settings.shape, len(class_names), standardization)
    for variable in model.weights:  # also the moving averages of batch normalization
        variable.assign_add(rng.normal(0, 0.02, variable.shape))
    model.weights[-2].assign(model.weights[-2] / 4)  # so that probabilities are not close to 0 or 1
    save(folder, Checkpoint(network, class_names, settings, {"constants": {}}, standardization, {}, []), model)
    return model


def save(folder, checkpoint, model):
    """Write weights.hdf5 with a model's current weights as the best, the last and the average."""
    weights = model.get_weights()
    checkpointing.save(folder / "weights.hdf5", checkpoint, model, weights, weights,
                       panotti_models.keras.optimizers.Adam())
