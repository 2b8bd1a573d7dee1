"""The layers of a trained network, from Keras's description of them in weights.hdf5 (model_config).

If panotti_models.py now defines the network differently, the network is built from this description. Nothing in the
description is executed: only layers of the classes listed here are built, with numbers and short texts as parameters.
"""

import math
from typing import Any

import numpy as np

from panotti_models import keras

MAX_LAYERS = 1000
MAX_GROWTH = 1024  # of the size of a layer's output, relative to the melgram's
_MAX_NUMBER, _MAX_TEXT = 1 << 24, 64  # of a layer's parameters
_NOT_COMPARED = {"name", "dtype", "seed"}
_LAYERS = frozenset("""
    Conv1D Conv2D DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D Dense STFTSpectrogram
    AveragePooling1D AveragePooling2D MaxPooling1D MaxPooling2D
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D
    BatchNormalization GroupNormalization LayerNormalization Normalization Rescaling UnitNormalization
    Activation ELU LeakyReLU PReLU ReLU Softmax Dropout GaussianDropout GaussianNoise SpatialDropout1D SpatialDropout2D
    Add Average Concatenate Maximum Minimum Multiply Subtract Flatten Permute Reshape
    """.split())  # none that runs code (Lambda), contains other layers, or enlarges its input


# --- comparison -----------------------------------------------------------------------------------------------------

def describes(config: dict[str, Any], model: keras.Model) -> bool:
    """Whether the description matches this model; names, initializers and number types may differ."""
    now = keras.saving.serialize_keras_object(model)["config"]
    return _equal(config, now, _numbers(config), _numbers(now))


def _numbers(config: Any) -> dict[str, int]:
    """Name → number, for all layers in the description."""
    names, waiting = {}, [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict) and "inbound_nodes" in value:
            names.setdefault(value.get("name"), len(names))
        waiting += reversed(value.values() if isinstance(value, dict) else value if isinstance(value, list) else [])
    return names


def _equal(one: Any, other: Any, numbers: dict[str, int], others: dict[str, int]) -> bool:
    """Whether two values agree. In dictionaries, only common keys are compared: Keras versions add some."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_equal(one[key], other[key], numbers, others) for key in one.keys() & other.keys() - _NOT_COMPARED
                   if not key.endswith("_initializer"))
    if isinstance(one, list) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_equal(*pair, numbers, others) for pair in zip(one, other, strict=True))
    if isinstance(one, str) and one in numbers:
        return numbers[one] == others.get(other)
    return one == other


# --- construction ---------------------------------------------------------------------------------------------------

def build(config: dict[str, Any], shape: tuple[int, int, int], classes: int, precision: str) -> keras.Model:
    """The described model for melgrams of `shape` (mels, frames, channels).

    precision: "float32" for all layers, or "mixed_bfloat16" for those trained in it. Raises an exception, of any
    kind, if the description is not of such a model or contains other layers.
    """
    first, *others = config["layers"]
    if len(others) >= MAX_LAYERS or first["class_name"] != "InputLayer":
        raise ValueError("layers")
    inputs = keras.Input(shape, name=_text(first["name"]))
    tensors = {inputs.name: inputs}
    for entry in others:
        if entry["name"] in tensors:
            raise ValueError("names")
        [call] = entry["inbound_nodes"]
        output = tensors[entry["name"]] = _layer(entry, shape, precision)(_inputs(call, tensors))
        if math.prod(output.shape[1:]) > MAX_GROWTH * math.prod(shape):
            raise ValueError("size of a layer")
    model = keras.Model(inputs, tensors[_output_name(config)], name=_text(config["name"]))
    if model.output_shape != (None, classes):
        raise ValueError("output")
    return model


def uses_bfloat16(config: dict[str, Any]) -> bool:
    """Whether some layers were trained in mixed precision."""
    return any(_precision(entry) != "float32" for entry in config["layers"][1:])


def _precision(entry: dict[str, Any]) -> str:
    name = entry["config"]["dtype"]["config"]["name"]
    if name not in ("float32", "mixed_bfloat16"):
        raise ValueError("number type")
    return name


def _layer(entry: dict[str, Any], shape: tuple[int, int, int], precision: str) -> keras.layers.Layer:
    """A new layer with the parameters of its entry."""
    if entry["class_name"] not in _LAYERS:
        raise ValueError(f"a layer {entry['class_name']}")
    parameters = {key: _parameter(value) for key, value in entry["config"].items()
                  if key != "dtype" and not key.endswith("_initializer")}
    if np.max(parameters.get("dilation_rate", 1)) > max(shape):  # its input is padded by this
        raise ValueError("dilation_rate")
    return getattr(keras.layers, entry["class_name"])(
        **parameters, dtype="float32" if precision == "float32" else _precision(entry))


def _parameter(value: Any) -> Any:
    """None, a number of limited size, a short text, or a list of numbers; never an object of a class."""
    if value is None or isinstance(value, str):
        return value and _text(value)
    numbers = np.array(value)
    if numbers.dtype.kind not in "biuf" or not (np.abs(numbers) <= _MAX_NUMBER).all():
        raise ValueError("a layer's parameters")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ValueError("a text")
    return value


def _inputs(call: dict[str, Any], tensors: dict[str, Any]) -> Any:
    """The tensor, or the list of tensors, that a layer is called with: outputs of earlier layers."""
    if any(call["kwargs"].values()):
        raise ValueError("arguments of a layer")
    [argument] = call["args"]
    found = [tensors[each["config"]["keras_history"][0]] for each in np.atleast_1d(argument)]
    return found if isinstance(argument, list) else found[0]


def _output_name(config: dict[str, Any]) -> str:
    [*_, name, _, _] = config["output_layers"] if isinstance(config["output_layers"][0], str) else \
        config["output_layers"][0]
    return name
