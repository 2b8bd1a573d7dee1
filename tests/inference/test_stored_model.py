"""stored_model.py: a description becomes the same network again, and a hostile one is refused."""

import copy
import json
import random

import numpy as np
import pytest

import panotti_models
from audio_utils.data.standardization import Standardization
from audio_utils.inference import network, stored_model
from panotti_models import keras, layers

SHAPE = (6, 9, 2)
MELGRAMS = np.random.default_rng(5).normal(-40, 15, (3, *SHAPE)).astype(np.float32)


def small(x, classes, strides=2, activation="relu"):
    x = layers.Conv2D(4, 3, strides=strides, padding="same", activation=activation)(x)
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    return layers.Dense(classes, activation="softmax", dtype="float32")(layers.Dropout(0.5)(x))


def model_of(function=small, precision="float32"):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(panotti_models.NETWORKS, "small", function)
        return panotti_models.build("small", SHAPE, 2, Standardization.of(MELGRAMS), precision)


def description(model):
    """As Keras writes it into weights.hdf5."""
    return json.loads(json.dumps(keras.saving.serialize_keras_object(model)))["config"]


@pytest.fixture
def config():
    return description(model_of())


def rebuilt(config, precision="float32"):
    return stored_model.build(config, SHAPE, 2, precision)


@pytest.mark.parametrize("name", ["small", *(pytest.param(name, marks=pytest.mark.slow if name == "hybrid" else
                                                          pytest.mark.long) for name in panotti_models.NETWORKS)])
def test_a_described_network_is_built_again(name):
    model = model_of(panotti_models.NETWORKS.get(name, small))
    again = rebuilt(description(model))
    assert network.weight_paths(again) == network.weight_paths(model)
    assert stored_model.describes(description(again), model)
    network.assign(again.weights, network.arrays(model.weights))
    np.testing.assert_array_equal(network.predict(again, MELGRAMS), network.predict(model, MELGRAMS))


def test_names_initial_weights_and_number_types_do_not_matter(config):
    assert stored_model.describes(config, model_of())  # its layers have other names
    assert stored_model.describes(config, model_of(precision="mixed_bfloat16"))
    config["layers"][-1]["config"]["kernel_initializer"]["class_name"] = "Zeros"
    config["layers"][-1]["config"]["of_another_version_of_keras"] = 1
    assert stored_model.describes(config, model_of())


@pytest.mark.parametrize("change", [{"strides": 1}, {"activation": "elu"}])
def test_another_network_is_not_described(config, change):
    assert not stored_model.describes(config, model_of(lambda x, classes: small(x, classes, **change)))
    assert not stored_model.describes(config, model_of(panotti_models.vgg))


def test_layers_keep_the_number_type_that_they_were_trained_in(config):
    trained = model_of(precision="mixed_bfloat16")
    assert stored_model.uses_bfloat16(description(trained))
    assert not stored_model.uses_bfloat16(config)
    types = [layer.dtype_policy.name for layer in trained.layers[1:]]
    assert [layer.dtype_policy.name for layer in rebuilt(description(trained), "mixed_bfloat16").layers[1:]] == types
    assert {layer.dtype_policy.name for layer in rebuilt(description(trained)).layers[1:]} == {"float32"}


# --- hostile descriptions --------------------------------------------------------------------------------------------

def change(key, value, of="config"):
    """A function that changes the convolution's entry."""
    def apply(config):
        entry = next(each for each in config["layers"] if each["class_name"] == "Conv2D")
        (entry[of] if of else entry)[key] = value
    return apply


CODE = {"class_name": "function", "module": "os", "config": "system", "registered_name": "system"}
LAMBDA = {"name": "lambda", "function": {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}}


@pytest.mark.parametrize("damage", [
    change("class_name", "Lambda", of=None), change("class_name", "TFSMLayer", of=None),
    change("class_name", "__class__", of=None), change("config", LAMBDA, of=None), change("activation", CODE),
    change("activation", "os.system"), change("activation", "x" * 100), change("kernel_regularizer", CODE),
    change("filters", 2 ** 40), change("filters", 10 ** 400), change("filters", float("nan")), change("filters", [[1]]),
    change("filters", 1 << 20), change("strides", [0, 0]), change("dilation_rate", [5000, 5000]),
    change("filters", {"class_name": "Lambda"}), change("inbound_nodes", [], of=None),
    lambda config: config["layers"].append(config["layers"][-1]), lambda config: config["layers"].pop(),
    lambda config: config["layers"].reverse(), lambda config: config.update(layers=[]),
    lambda config: config.update(layers=config["layers"] * 1000), lambda config: config.update(output_layers=[]),
    lambda config: config.update(output_layers=[config["layers"][3]["name"], 0, 0])], ids=range(24))
def test_a_hostile_description_builds_nothing(config, damage):
    damage(config)
    assert outline(config) is None


def outline(config):
    """The described network without arrays, or None if it can't be built."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            return rebuilt(config)
    except Exception:  # of any kind, as network.stored_form expects
        return None


def parts(value):
    """(container, key) of each value in nested dictionaries and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield value, key
        yield from parts(each)


@pytest.mark.slow
def test_mutated_descriptions_are_computed_or_refused(config, request):
    count = 2000 if request.config.getoption("--long") else 60
    values = [None, True, -1, 0, 1, 3, 1 << 16, 2 ** 63, 0.5, 1e308, "", "valid", "channels_first", [], {}, CODE]
    built = []
    for number in range(count):
        mutated, rng = copy.deepcopy(config), random.Random(number)
        for _ in range(rng.randint(1, 3)):
            container, key = rng.choice(list(parts(mutated)))
            container[key] = rng.choice(values)
        built.append(outline(mutated) is not None)
    assert 0 < sum(built) < count
