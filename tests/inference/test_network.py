"""network.py: a checkpoint becomes the same Keras model again, with Keras alone too."""

import numpy as np
import pytest
from networks import NAMES, SETTINGS, save, write_random_network

import panotti_models
from audio_utils.data.standardization import Standardization
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference import network
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime.errors import UserError
from panotti_models import keras

MELGRAMS = np.random.default_rng(5).normal(-40, 15, (5, *SETTINGS.shape)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", panotti_models.NETWORKS)
def test_keras_opens_the_file(tmp_path, name):
    expected = network.predict(write_random_network(tmp_path, name), MELGRAMS)
    path = tmp_path / "weights.hdf5"
    with_keras = keras.saving.load_model(path, compile=False).predict(MELGRAMS, verbose=0)
    assert with_keras == pytest.approx(expected, abs=1e-6)
    with_panotti = network.predict(network.load(path, checkpoints.read(path)), MELGRAMS)
    np.testing.assert_array_equal(with_panotti, expected)


def test_keras_opens_a_network_trained_in_bfloat16(tmp_path):
    standardization = Standardization.of(MELGRAMS)
    model = panotti_models.build("vgg", SETTINGS.shape, 2, standardization, "mixed_bfloat16")
    save(tmp_path, Checkpoint("vgg", NAMES, SETTINGS, {"constants": {}}, standardization, {}, []), model)
    path = tmp_path / "weights.hdf5"
    in_bfloat16 = keras.saving.load_model(path, compile=False).predict(MELGRAMS, verbose=0)
    in_float32 = network.predict(network.load(path, checkpoints.read(path)), MELGRAMS)
    assert in_bfloat16 == pytest.approx(in_float32, abs=0.02)
    assert keras.config.dtype_policy().name == "float32"


def test_an_unknown_network_is_refused(tmp_path):
    write_random_network(tmp_path)
    path = tmp_path / "weights.hdf5"
    with pytest.raises(UserError, match="contains the network 'lstm', which panotti_models.py does not define"):
        network.load(path, checkpoints.read(path)._replace(network="lstm"))


def test_predictions_do_not_depend_on_batches_or_other_clips(tmp_path):
    model = write_random_network(tmp_path)
    expected = network.predict(model, MELGRAMS)
    assert network.predict(model, MELGRAMS, batch_size=2) == pytest.approx(expected, abs=1e-6)
    assert network.predict(model, MELGRAMS, indices=np.array([3, 0])) == pytest.approx(expected[[3, 0]], abs=1e-6)
    assert network.predict(model, MELGRAMS, indices=np.array([], int)).shape == (0, 2)


def test_other_weights_are_used_only_within_the_block(tmp_path):
    model = write_random_network(tmp_path)
    own = network.arrays(model.weights)
    with network.with_weights(model, [np.zeros_like(each) for each in own]):
        assert not any(each.any() for each in network.arrays(model.weights))
    for before, after in zip(own, network.arrays(model.weights), strict=True):
        np.testing.assert_array_equal(before, after)
