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


def pair(x, classes):
    """An ensemble with all kinds of layers: hybrid contains residual."""
    return keras.layers.Average(dtype="float32")([panotti_models.NETWORKS[name](x, classes)
                                                  for name in ("hybrid", "vgg")])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pair", *(pytest.param(name, marks=pytest.mark.long)
                                            for name in panotti_models.NETWORKS)])
def test_keras_opens_the_file(tmp_path, monkeypatch, name):
    monkeypatch.setitem(panotti_models.NETWORKS, "pair", pair)
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


def test_a_network_whose_definition_has_changed_predicts_as_it_was_trained(tmp_path, monkeypatch):
    expected = network.predict(write_random_network(tmp_path), MELGRAMS)
    monkeypatch.setitem(panotti_models.NETWORKS, "vgg", lambda x, classes: panotti_models.vgg(-x, classes))
    path = tmp_path / "weights.hdf5"
    found = checkpoints.read(path)
    assert not network.stored_form(path, found).is_current
    np.testing.assert_array_equal(network.predict(network.load(path, found), MELGRAMS), expected)


@pytest.mark.parametrize(("text", "replacement", "message"), [
    (b'"class_name": "Dropout"', b'"class_name": "Lambda" ', r"can't be read \(a layer Lambda\); restore"),
    (b'"activation": "softmax"', b'"activation": "sigmoi_"', r"can't be read \(Could not interpret activation"),
    (b'"strides": [2, 2]', b'"strides": [0, 2]', "can't be read"),
    (b'{"class_name": "Functional"', b'{"class_name": "Sequential"', "is damaged or not a weights file"),
    (b'"trainable": true', b'"trainable": t"ue', "is damaged or not a weights file")])
def test_a_damaged_description_of_the_layers_is_one_sentence(tmp_path, text, replacement, message):
    write_random_network(tmp_path)
    path = tmp_path / "weights.hdf5"
    found, content = checkpoints.read(path), path.read_bytes()
    assert text in content
    path.write_bytes(content.replace(text, replacement))
    with pytest.raises(UserError, match=f"weights.hdf5: .*{message}.*train_network.py --fresh; the old file is kept"):
        network.load(path, found)


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
