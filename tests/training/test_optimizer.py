"""The optimizers: Muon orthogonalizes the updates of hidden kernels and leaves the rest to AdamW."""

import numpy as np
import pytest

import panotti_models
from audio_utils.data.standardization import Standardization
from audio_utils.training import optimizer
from panotti_models import keras

LEARNING_RATE = 0.01


@pytest.mark.parametrize("shape", [(5, 5), (3, 40), (72, 8), (1, 6), (6, 1)])
def test_singular_values_are_replaced_by_about_1(shape):
    matrix = np.random.default_rng(0).normal(0, 1e-3, shape).astype(np.float32)
    found = np.array(optimizer.orthogonalized(keras.ops.convert_to_tensor(matrix)))
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    values = np.diag(left.T @ found @ right.T)
    assert ((values > 0.6) & (values < 1.3)).all()
    assert np.allclose(found, left * values @ right, atol=0.02)


def test_of_zeros_nothing_is_nan():
    assert not np.array(optimizer.orthogonalized(keras.ops.zeros((4, 8)))).any()


def first_updates(network, name):
    """path → update of each trainable variable in the first step of a small model."""
    keras.utils.clear_session()  # layers are numbered from one
    keras.utils.set_random_seed(1)
    model = panotti_models.build(network, (16, 20, 2), 3, Standardization(*np.ones((2, 16), np.float32)))
    before = values(model)
    model.compile(optimizer.create(name, model, LEARNING_RATE, 0.0), "categorical_crossentropy", run_eagerly=True)
    melgrams = np.random.default_rng(0).normal(-40, 9, (4, 16, 20, 2)).astype(np.float32)
    model.train_on_batch(melgrams, np.eye(3)[[0, 1, 2, 0]])
    return {path: after - before[path] for path, after in values(model).items()}


def values(model):
    return {each.path: keras.ops.convert_to_numpy(each) for each in model.trainable_variables}


@pytest.fixture(scope="module")
def updates():
    return {name: first_updates("vgg", name) for name in ("muon", "adamw")}


def test_hidden_kernels_have_orthogonal_updates_of_the_size_of_adamws(updates):
    kernels = [path for path in updates["muon"] if path.endswith("/kernel")]
    for path in kernels[:-1]:
        update = updates["muon"][path].reshape(-1, updates["muon"][path].shape[-1])
        values = np.linalg.svd(update, compute_uv=False) / (LEARNING_RATE * 0.2 * max(update.shape) ** 0.5)
        assert 0.6 < values.max() < 1.3
        rms = np.sqrt(np.mean(update ** 2)) / LEARNING_RATE
        assert 0.05 < rms < 0.3


def test_biases_batch_normalization_and_the_output_layer_are_updated_as_by_adamw(updates):
    *hidden, output = (path for path in updates["muon"] if path.endswith("/kernel"))
    for path, update in updates["muon"].items():
        assert (path in hidden) != np.allclose(update, updates["adamw"][path], atol=1e-6)
    assert np.abs(updates["muon"][output]).max() > 0


def test_each_output_layer_of_an_ensemble_is_left_to_adamw():
    model = panotti_models.build("ensemble", (16, 20, 1), 3, Standardization(*np.ones((2, 16), np.float32)))
    muon = optimizer.create("muon", model, LEARNING_RATE, 0.0)
    kernels = [each for each in model.trainable_variables if each.name == "kernel"]
    assert [each.shape[-1] for each in kernels if not muon._is_hidden_kernel(each)] == [3, 3, 3]
