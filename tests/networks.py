"""A small network, trained networks without a training (random weights in a weights.hdf5), and their exports."""

import numpy as np
import pytest

import panotti_models
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data.standardization import Standardization
from audio_utils.inference import network
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.training import checkpointing
from panotti_models import layers

SETTINGS = MelgramSettings.of(8000, 2000, 2, 32, 46.44, 11.61)
NAMES = ["low", "zwölf <3>"]


def small(x, classes, filters=4):
    """A network with the kinds of layers and of state that the others have, which is soon traced."""
    x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dropout(0.5)(layers.BatchNormalization()(layers.GlobalAveragePooling2D()(x)))
    return layers.Dense(classes, activation="softmax", dtype="float32")(x)


def write_random_network(folder, name="vgg", seed=1, settings=SETTINGS, class_names=NAMES):
    """Write weights.hdf5 with a network of random weights and standardization in a folder; returns the model."""
    panotti_models.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    standardization = Standardization(*(rng.uniform(low, high, settings.mels).astype(np.float32)
                                        for low, high in ((-60, -20), (300, 600))))
    model = panotti_models.build(name, settings.shape, len(class_names), standardization)
    for variable in model.weights:  # also the moving averages of batch normalization
        variable.assign_add(rng.normal(0, 0.02, variable.shape))
    model.weights[-2].assign(model.weights[-2] / 4)  # so that probabilities are not close to 0 or 1
    save(folder, Checkpoint(name, class_names, settings, {"constants": {}}, standardization, {}, []), model)
    return model


def melgrams(count):
    """Noise whose level rises from clip to clip."""
    noise = np.random.default_rng(5).normal(-40, 15, (count, *SETTINGS.shape))
    return (noise + np.linspace(-20, 20, count)[:, None, None, None]).astype(np.float32)


def require_same(model, opened):
    """Compare the predictions of an export with those of the model, which depend on the clip, for 1 and 3 clips."""
    assert np.ptp(network.predict(model, melgrams(9))[:, 0]) > 0.005
    for count in (1, 3):
        assert opened(melgrams(count)) == pytest.approx(network.predict(model, melgrams(count)), abs=1e-5)


def save(folder, checkpoint, model):
    """Write weights.hdf5 with a model's current weights as the best, the last and the average."""
    weights = model.get_weights()
    checkpointing.save(folder / "weights.hdf5", checkpoint, model, weights, weights,
                       panotti_models.keras.optimizers.Adam())
