"""The networks. To add one, write a function (input, number of classes) → probabilities and add it to NETWORKS.

NETWORK in train_network.py selects it. A network uses Keras's own layers only, so that
`keras.saving.load_model("weights.hdf5")` opens the file anywhere.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import absl.logging
import numpy as np

from audio_utils.data.standardization import Standardization
from audio_utils.runtime import environment
from audio_utils.runtime.errors import UserError

with environment.import_of_keras():
    import keras
    from keras import KerasTensor, initializers, layers

keras.config.set_image_data_format("channels_last")  # also if the user's keras.json has other values
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)

absl.logging.set_verbosity(absl.logging.ERROR)  # Keras warns about HDF5, which is used on purpose
logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns about retracing for each fold


def vgg(x: KerasTensor, classes: int) -> KerasTensor:
    """The network of the original Panotti (2017): four blocks of 3×3 convolution with 32 filters and 2×2 max-pooling.

    x: (clips, mels, frames, channels), standardized. Pooling precedes the activation: with a monotonic activation the
    result is the same in half the time.
    """
    for block in range(4):
        x = layers.Conv2D(32, 3, padding="valid" if min(x.shape[1:3]) > 4 else "same")(x)
        x = layers.MaxPooling2D([2 if size > 1 else 1 for size in x.shape[1:3]])(x)
        x = layers.Activation("elu" if block else "relu")(x)
        x = layers.Dropout(0.5)(x) if block else layers.BatchNormalization(momentum=0.9)(x)
    x = layers.Dense(128, activation="elu")(layers.Flatten()(x))
    x = layers.Dropout(0.5)(x)
    return layers.Dense(classes, activation="softmax", dtype="float32")(x)


def residual(x: KerasTensor, classes: int, *clip_features: KerasTensor) -> KerasTensor:
    """A small residual network (He et al., CVPR 2016) with global pooling: its size does not depend on the clip length.

    x: (clips, mels, frames, channels), standardized. Global average and maximum pooling are both used: the average
    captures steady sounds, the maximum single events. Features of the spectrum of the whole clip are added because
    convolutions represent relations between distant bands poorly, such as those that an equalizer changes.
    clip_features: further features of the whole clip, each (clips, features).
    """
    x = _with_channel_differences(x)
    spectrum, coordinate = _spectrum_features(x), _frequency_coordinate(x)
    x = layers.Concatenate()([x, _subtract_time_mean(x)])
    x = layers.MaxPooling2D(2, padding="same")(_convolution([x, coordinate], 32, 5, _halving(x)))
    coordinate = layers.AveragePooling2D(4, padding="same")(coordinate)
    for filters, halves in ((32, False), (64, True), (128, True)):
        strides = _halving(x) if halves else 1
        branch = _convolution([x, coordinate], filters, 3, strides)
        branch = _convolution([branch], filters, 3, activation=None)
        if halves:
            x, coordinate = (layers.AveragePooling2D(strides, padding="same")(each) for each in (x, coordinate))
        x = _convolution([x, coordinate], filters, 1, activation=None)
        x = layers.Activation("relu")(layers.Add()([x, branch]))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x), spectrum,
                              *clip_features])
    x = layers.Dropout(0.3)(x)
    return layers.Dense(classes, activation="softmax", dtype="float32")(x)


def modulation(x: KerasTensor, classes: int) -> KerasTensor:
    """`residual` with modulation spectrum features."""
    return residual(x, classes, _modulation_features(x))


def ensemble(x: KerasTensor, classes: int) -> KerasTensor:
    """The average of three independently trained `residual` networks that differ in their initial weights.

    Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", NeurIPS 2017,
    section 2.4. Training takes two to three times as long.
    """
    return layers.Average(dtype="float32")([residual(x, classes) for _ in range(3)])


def hybrid(x: KerasTensor, classes: int) -> KerasTensor:
    """The average of `residual` and a logistic regression on statistics of the melgram; for few clips.

    The regression is frozen: audio_utils/training/regression.py fits it.
    """
    regression = layers.Dense(classes, activation="softmax", kernel_initializer="zeros", trainable=False,
                              dtype="float32")
    return layers.Average(dtype="float32")([residual(x, classes), regression(_statistics(x))])


def _spectrum_features(x: KerasTensor) -> KerasTensor:
    """128 features of the mean and the maximum over time of each band and channel.

    Half of them are from convolutions along frequency, which represent a spectral envelope that moves with the pitch.
    """
    size = 1, x.shape[2]
    pooled = [pooling(size, dtype="float32")(x)  # float32, because the mean is over many frames
              for pooling in (layers.AveragePooling2D, layers.MaxPooling2D)]
    spectrum = envelope = layers.Concatenate()(pooled)
    for filters in (32, 64, 64):
        envelope = layers.MaxPooling2D((2, 1), padding="same")(_convolution([envelope], filters, (7, 1)))
    return layers.Concatenate()([_dense_features(layers.Flatten()(each)) for each in (spectrum, envelope)])


def _modulation_features(x: KerasTensor) -> KerasTensor:
    """64 features of the modulation spectrum: the strength of level changes at each rate, in groups of eight bands.

    The log magnitudes of windows of 64 frames are averaged over the clip, after the modulation spectrogram of
    Greenberg and Kingsbury, ICASSP 1997, p. 1647.
    """
    x = layers.AveragePooling2D((8, 1), padding="same", dtype="float32")(_subtract_time_mean(x))
    x = layers.Reshape((x.shape[2], -1), dtype="float32")(layers.Permute((2, 1, 3), dtype="float32")(x))
    x = layers.STFTSpectrogram("log", 64, 16, scaling=None, padding="same", trainable=False, dtype="float32")(x)
    x = layers.GlobalAveragePooling1D(dtype="float32")(x)
    return _dense_features(layers.BatchNormalization(momentum=0.9, dtype="float32")(x))


def _statistics(x: KerasTensor) -> KerasTensor:
    """The mean and the maximum of each band, and modulation spectra: (clips, mels, frames, channels) → (clips, n).

    The modulation spectra are those of 20 cepstral coefficients and of 16 groups of bands, in ten groups of modulation
    frequencies. Such statistics are those of Stein, Abeßer, Dittmar and Schuller, "Automatic Detection of
    Audio Effects in Guitar and Bass Recordings", AES Convention 128, 2010.
    """
    x = _with_channel_differences(x)
    mels, frames, _ = x.shape[1:]
    bands = layers.Permute((2, 3, 1), dtype="float32")(x)
    cosines = np.cos(np.pi * np.outer(np.arange(mels) + 0.5, np.arange(20)) / mels) * np.sqrt(2 / mels)
    groups = _group_means(np.arange(mels) * min(16, mels) // mels)
    series = layers.Reshape((frames, -1), dtype="float32")(_frozen_dense(bands, np.hstack([cosines, groups])))
    mean = layers.AveragePooling1D(frames, dtype="float32")(series)
    spectra = _modulation_spectra(layers.Subtract(dtype="float32")([series, mean]))
    pooled = [pooling((frames, 1), dtype="float32")(bands)
              for pooling in (layers.AveragePooling2D, layers.MaxPooling2D)]
    return layers.Concatenate(dtype="float32")([layers.Flatten(dtype="float32")(each) for each in (*pooled, spectra)])


def _modulation_spectra(x: KerasTensor) -> KerasTensor:
    """(clips, frames, series) → (clips, series, groups): log power in windows of 64 frames, by groups of frequencies.

    log(1 + 100 · the power summed over the windows) is computed as minus the first output of a log_softmax whose first
    input is 0, because `load_model` can read layers from HDF5, but not operations.
    """
    x = layers.STFTSpectrogram("log", 64, 16, scaling=None, padding="same", expand_dims=True, trainable=False,
                               dtype="float32")(x)
    _, windows, rates, series = x.shape
    x = layers.Rescaling(2.0, math.log(100), dtype="float32")(x)
    zero = layers.Rescaling(0.0, dtype="float32")(layers.AveragePooling2D((windows, 1), dtype="float32")(x))
    x = layers.Permute((3, 2, 1), dtype="float32")(layers.Concatenate(axis=1, dtype="float32")([zero, x]))
    x = _frozen_dense(layers.Activation("log_softmax", dtype="float32")(x), np.eye(windows + 1, 1))
    edges = np.unique(np.geomspace(1, rates, 11).round())  # in periods per window
    return _frozen_dense(layers.Reshape((series, rates), dtype="float32")(x),
                         _group_means(np.searchsorted(edges, np.arange(rates), side="right") - 1))


def _group_means(group: np.ndarray) -> np.ndarray:
    """The kernel (n, groups) that averages n inputs by group; group: (n,), the index of each input's group, or -1."""
    members = group[:, None] == np.arange(group.max() + 1)
    return members / members.sum(axis=0)


def _frozen_dense(x: KerasTensor, kernel: np.ndarray) -> KerasTensor:
    """x @ kernel over the last axis, with a constant kernel."""
    dense = layers.Dense(kernel.shape[1], use_bias=False, trainable=False, dtype="float32")
    x = dense(x)
    dense.set_weights([kernel])
    return x


def _dense_features(x: KerasTensor) -> KerasTensor:
    """(clips, features) → (clips, 64)."""
    x = layers.Dense(64, use_bias=False, kernel_initializer="he_normal")(layers.Dropout(0.3)(x))
    return layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))


def _frequency_coordinate(x: KerasTensor) -> KerasTensor:
    """(clips, mels, frames, channels) → (clips, mels, frames, 1): a coordinate channel from -√3 to √3, variance 1.

    Convolutions are translation-equivariant; this channel lets them distinguish low bands from high ones: Liu et al.,
    "An Intriguing Failing of Convolutional Neural Networks and the CoordConv Solution", NeurIPS 2018, section 3.
    """
    coordinates = np.sqrt(3) * np.linspace(-1, 1, x.shape[1])
    zeros = layers.Conv2D(1, 1, use_bias=False, kernel_initializer="zeros", trainable=False, dtype="float32")(x)
    return layers.Normalization(axis=1, mean=-coordinates, variance=np.ones_like(coordinates), dtype="float32")(zeros)


def _with_channel_differences(x: KerasTensor) -> KerasTensor:
    """Append each channel's level difference from the first, which depends on the direction of a source.

    It is a frozen convolution, not a subtraction: `load_model` can read a layer from HDF5, but not an operation.
    """
    channels = x.shape[-1]
    if channels == 1:
        return x
    subtract = layers.Conv2D(channels - 1, 1, use_bias=False, trainable=False, dtype="float32")
    differences = subtract(x)
    subtract.set_weights([np.concatenate([-np.ones((1, channels - 1)), np.eye(channels - 1)])[None, None]])
    return layers.Concatenate()([x, differences])


def _subtract_time_mean(x: KerasTensor) -> KerasTensor:
    """Subtract each band's mean over time, which removes the constant coloration of a microphone or a room.

    Cepstral mean normalization (Atal, J. Acoust. Soc. Am. 55, 1974, p. 1304), applied to the bands themselves.
    """
    mean = layers.AveragePooling2D((1, x.shape[2]), dtype="float32")(x)
    return layers.Subtract(dtype="float32")([x, mean])


def _convolution(inputs: list[KerasTensor], filters: int, size: int | tuple[int, int],
                 strides: int | tuple[int, int] = 1, activation: str | None = "relu") -> KerasTensor:
    """Convolution, batch normalization (with moving averages over about 10 steps, for small data sets), activation.

    Each input has its own kernel, and the results are added. This equals the convolution of the concatenated inputs,
    with initial weights of the same distribution (`he_normal`). With concatenated inputs, the bfloat16 gradient was NaN
    in 4 of 3,510 steps on a processor with AMX (oneDNN, TensorFlow 2.21); with added results, in none of 16,835.
    """
    channels = sum(x.shape[-1] for x in inputs)
    outputs = [layers.Conv2D(filters, size, strides, padding="same", use_bias=False,
                             kernel_initializer=initializers.VarianceScaling(2 * x.shape[-1] / channels))(x)
               for x in inputs]
    x = layers.Add()(outputs) if len(outputs) > 1 else outputs[0]
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.Activation(activation)(x) if activation else x


def _halving(x: KerasTensor) -> tuple[int, int]:
    """Strides of 2, but 1 along an axis where the output would have size 1.

    On processors with AMX, oneDNN's bfloat16 convolution returns wrong results if its strides are 2 and its output
    is one frame wide.
    """
    return tuple(2 if size > 2 else 1 for size in x.shape[1:3])


NETWORKS = {"residual": residual, "hybrid": hybrid, "modulation": modulation, "ensemble": ensemble, "vgg": vgg}


# --- a whole model --------------------------------------------------------------------------------------------------

def build(network: str, shape: tuple[int, int, int], classes: int, standardization: Standardization,
          precision: str = "float32", multi_label: bool = False) -> keras.Model:
    """A model for melgrams of `shape` (mels, frames, channels), in dB.

    Level normalization comes first: the melgram's maximum is subtracted, so the gain of a recording has no effect and
    the differences between its channels remain. Then each band is standardized.
    precision: a Keras dtype policy; with "mixed_bfloat16" the weights stay float32. multi_label: replace the softmax by
    a sigmoid for each class.
    """
    with _dtype_policy(precision):
        inputs = keras.Input(shape)
        normalized = layers.Subtract(dtype="float32")([inputs, _maximum(inputs)])
        standardized = layers.Normalization(axis=1, mean=standardization.mean, variance=standardization.variance,
                                            dtype="float32")(normalized)
        model = keras.Model(inputs, NETWORKS[network](standardized, classes), name=network)
    if multi_label:
        _use_sigmoids(model)
    return model


def _use_sigmoids(model: keras.Model) -> None:
    """Replace the softmax of the last layer, or of the last layer of each member of an ensemble, by sigmoids."""
    last, by_output = model.layers[-1], {id(layer.output): layer for layer in model.layers}
    for output in last.input if isinstance(last, layers.Average) else [last.output]:
        layer = by_output[id(output)]
        if getattr(layer, "activation", None) is not keras.activations.softmax:
            raise UserError(f"NETWORK is {model.name!r}, which does not end in a layer with the activation softmax, as "
                            "MULTI_LABEL needs; choose another.")
        layer.activation = keras.activations.sigmoid


def members(model: keras.Model) -> keras.Model | None:
    """The trained networks of an ensemble as one model, (clips, …) → (clips, members, classes), before their average.

    A model is an ensemble if it ends in a `layers.Average`; its members are trained independently. Else None.
    """
    if not isinstance(model.layers[-1], layers.Average):
        return None
    outputs = [layers.Reshape((1, model.output_shape[-1]), dtype="float32")(layer.output)
               for layer in last_layers(model) if layer.trainable]
    return keras.Model(model.input, layers.Concatenate(axis=1, dtype="float32")(outputs) if outputs[1:] else outputs[0])


def last_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The last layer of a model; of an ensemble, that of each member."""
    last = model.layers[-1]
    if not isinstance(last, layers.Average):
        return [last]
    return [layer for output in last.input for layer in model.layers if layer.output is output]


def _maximum(melgrams: KerasTensor) -> KerasTensor:
    """(clips, mels, frames, channels) → (clips, 1, 1, 1), with layers that `load_model` can read."""
    mels, frames, channels = melgrams.shape[1:]
    rows = layers.Reshape((mels, frames * channels, 1), dtype="float32")(melgrams)
    return layers.GlobalMaxPooling2D(keepdims=True, dtype="float32")(rows)


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
