"""panotti_models.py: every network takes every shape, and computes the features that its docstring names."""

import numpy as np
import pytest
import scipy.fft
import scipy.signal
from networks import small

import panotti_models
from audio_utils.data.standardization import Standardization
from audio_utils.inference import network as networks
from panotti_models import keras

NETWORKS = [pytest.param(name, marks=pytest.mark.long) if name in ("residual", "ensemble") else name
            for name in panotti_models.NETWORKS]  # hybrid and modulation contain residual
SHAPES = [(96, 173, 1), (96, 1, 1), (1, 1, 1), (5, 7, 8), (20, 2000, 2), (96, 13, 2)]


def identity(mels, variance=1):
    """A standardization with mean 0."""
    return Standardization(np.zeros(mels, np.float32), np.full(mels, variance, np.float32))


def random_melgrams(*shape):
    return np.random.default_rng(0).normal(-40, 15, shape).astype(np.float32)


def below_maximum(melgrams):
    return melgrams - melgrams.max(axis=(1, 2, 3), keepdims=True)


def convolutions(model):
    """All Conv2D layers, also of an ensemble."""
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def output_of(model, layer_name, melgrams):
    """The output of the first layer whose name begins so."""
    layer = next(layer for layer in model.layers if layer.name.startswith(layer_name))
    return keras.Model(model.inputs, layer.output).predict(melgrams, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("network", NETWORKS)
def test_networks_take_every_shape(network, shape):
    model = panotti_models.build(network, shape, 3, identity(shape[0]))
    probabilities = networks.predict(model, random_melgrams(5, *shape), 5)
    assert probabilities.shape == (5, 3)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("network", [pytest.param(name, marks=() if name == "residual" else pytest.mark.long)
                                     for name in panotti_models.NETWORKS])
def test_no_strided_convolution_has_an_output_of_size_1(network, request):
    """On processors with AMX, its result in bfloat16 is garbage."""
    shapes = [(mels, frames, channels) for frames in range(1, 41) for channels in (1, 2, 3) for mels in (1, 4, 96)]
    if not request.config.getoption("--long"):
        shapes = [(1 + 7 * frames % 40, frames, 1 + frames % 3) for frames in range(1, 41, 2)]
    for shape in shapes:
        with keras.StatelessScope(initialize_variables=False):
            model = panotti_models.build(network, shape, 2, identity(shape[0]))
        assert convolutions(model)
        for layer in convolutions(model):
            for stride, size in zip(layer.strides, layer.output.shape[1:3], strict=True):
                assert stride == 1 or size > 1, (shape, layer.name)


def test_standardization_is_part_of_the_network():
    melgrams = random_melgrams(20, 8, 9, 2)
    standardization = Standardization.of(melgrams)
    assert np.allclose(standardization.mean, below_maximum(melgrams).mean(axis=(0, 2, 3)), atol=1e-4)
    assert np.allclose(standardization.variance, below_maximum(melgrams).var(axis=(0, 2, 3)), rtol=1e-4)
    model = panotti_models.build("vgg", (8, 9, 2), 2, standardization)
    standardized = output_of(model, "normalization", melgrams)
    assert np.abs(standardized.mean(axis=(0, 2, 3))).max() < 1e-4
    assert np.abs(standardized.std(axis=(0, 2, 3)) - 1).max() < 1e-3


def test_the_residual_network_computes_channel_differences():
    melgrams = random_melgrams(5, 8, 9, 3)
    model = panotti_models.build("residual", (8, 9, 3), 2, identity(8, variance=4))
    found = output_of(model, "concatenate", melgrams)
    assert np.allclose(found[..., :3], below_maximum(melgrams) / 2, atol=1e-5)
    assert np.allclose(found[..., 3:], (melgrams[..., 1:] - melgrams[..., :1]) / 2, atol=1e-4)


def test_the_residual_network_subtracts_the_time_mean_and_adds_a_frequency_coordinate():
    melgrams = random_melgrams(5, 8, 9, 1)
    model = panotti_models.build("residual", (8, 9, 1), 2, identity(8, variance=4))
    inputs = [layer.input for layer in convolutions(model) if layer.kernel_size == (5, 5)]
    together, coordinate = keras.Model(model.inputs, inputs).predict(melgrams, verbose=0)
    level, change = np.moveaxis(together, -1, 0)
    assert np.allclose(level, below_maximum(melgrams)[..., 0] / 2, atol=1e-5)
    assert np.allclose(change, level - level.mean(axis=2, keepdims=True), atol=1e-4)
    assert np.allclose(coordinate, np.sqrt(3) * np.linspace(-1, 1, 8)[:, None, None], atol=1e-6)


def test_added_convolutions_are_the_convolution_of_the_concatenated_inputs():
    keras.utils.set_random_seed(1)
    x, y = (keras.Input((9, 8, channels)) for channels in (32, 1))
    model = keras.Model([x, y], panotti_models._convolution([x, y], 64, 3, (2, 1), activation=None))
    kernels = [layer.kernel.numpy() for layer in convolutions(model)]
    assert [kernel.std() for kernel in kernels] == pytest.approx([np.sqrt(2 / (9 * 33))] * 2, rel=0.1)  # he_normal
    batch = np.random.default_rng(1).normal(size=(2, 9, 8, 33)).astype(np.float32)
    expected = keras.ops.conv(batch, np.concatenate(kernels, axis=2), (2, 1), "same")
    found = model.predict([batch[..., :32], batch[..., 32:]], verbose=0)
    assert found == pytest.approx(np.asarray(expected) / np.sqrt(1 + 1e-3), abs=1e-5)  # the epsilon of normalization


def test_the_modulation_network_computes_the_modulation_spectrum_of_each_band():
    model = panotti_models.build("modulation", (24, 256, 2), 2, identity(24))
    melgrams = np.full((1, 24, 256, 2), -20, np.float32)
    melgrams[0, 8:16, :, 1] += 5 * np.sin(2 * np.pi * 9 * np.arange(256) / 64)[None]
    found = output_of(model, "stft_spectrogram", melgrams)[0, 2:-2]
    found = found.reshape(-1, 3, 2, 33)  # (times, groups of bands, channels, rates)
    assert (found[:, 1, 1].argmax(axis=1) == 9).all()
    assert np.allclose(found[:, 1, 1, 9], np.log(5 * 32 / 2), atol=0.1)  # half the sum of the window
    assert found[:, [0, 0, 1, 2, 2], [0, 1, 0, 0, 1]].max() < -5  # the others are constant


def test_the_statistics_are_the_mean_and_maximum_of_bands_and_modulation_spectra():
    rng = np.random.default_rng(3)
    melgrams = rng.normal(-40, 10, (2, 32, 256, 1)).astype(np.float32)
    melgrams[1, :, :, 0] += 20 * np.sin(2 * np.pi * 20 * np.arange(256) / 64)
    x = keras.Input(melgrams.shape[1:])
    found = keras.Model(x, panotti_models._statistics(x)).predict(melgrams, verbose=0)
    bands = melgrams[..., 0]
    assert found[:, :32] == pytest.approx(bands.mean(axis=2), abs=1e-3)
    assert found[:, 32:64] == pytest.approx(bands.max(axis=2), abs=1e-3)
    cepstra = scipy.fft.dct(bands, axis=1, norm="ortho")[:, 1:20]
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(cepstra - cepstra.mean(axis=2, keepdims=True), ((0, 0), (0, 0), (24, 24))), 64, axis=2)[:, :, ::16]
    power = np.square(np.abs(np.fft.rfft(windows * scipy.signal.get_window("hann", 64), axis=-1))).sum(axis=2)
    edges = np.unique(np.geomspace(1, 33, 11).round()).astype(int)
    expected = -np.add.reduceat(np.log(1 + 100 * power), edges[:-1], axis=-1)[..., :] / np.diff(edges)
    spectra = found[:, 64:].reshape(2, 36, len(edges) - 1)
    assert spectra[:, 1:20] == pytest.approx(expected, abs=0.05)
    assert (spectra[0] - spectra[1])[20:].argmax(axis=1).tolist() == [np.searchsorted(edges, 20, "right") - 1] * 16


def test_only_the_trained_networks_of_hybrid_are_its_members():
    model = panotti_models.build("hybrid", (20, 30, 1), 3, identity(20))
    assert panotti_models.members(model).output_shape == (None, 1, 3)
    assert [layer.trainable for layer in panotti_models.last_layers(model)] == [True, False]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_gain_of_a_recording_has_no_effect(network):
    melgrams = random_melgrams(6, 20, 30, 2)
    model = panotti_models.build(network, melgrams.shape[1:], 3, Standardization.of(melgrams))
    louder = melgrams + np.array([-30, -5, 0, 1, 10, 25], np.float32)[:, None, None, None]
    assert np.allclose(networks.predict(model, louder), networks.predict(model, melgrams), atol=1e-5)


@pytest.mark.slow
def test_an_ensemble_is_the_average_of_networks_that_differ():
    keras.utils.set_random_seed(2)
    melgrams = random_melgrams(6, 20, 30, 1)
    model = panotti_models.build("ensemble", melgrams.shape[1:], 3, Standardization.of(melgrams))
    predictions = np.asarray(panotti_models.members(model)(melgrams))
    assert predictions.shape == (6, 3, 3)
    assert np.allclose(predictions.mean(axis=1), networks.predict(model, melgrams), atol=1e-6)
    assert all(np.abs(predictions[:, i] - predictions[:, j]).max() > 0.05 for i, j in ((0, 1), (0, 2), (1, 2)))
    for network in ("residual", "vgg"):
        assert panotti_models.members(panotti_models.build(network, (20, 30, 1), 3, identity(20))) is None


@pytest.mark.slow
def test_each_network_of_an_ensemble_is_trained_independently(monkeypatch):
    monkeypatch.setitem(panotti_models.NETWORKS, "ensemble", lambda x, classes: keras.layers.Average(
        dtype="float32")([small(x, classes) for _ in range(3)]))
    melgrams, targets = random_melgrams(6, 20, 30, 1), np.eye(3)[[0, 1, 2, 0, 1, 2]]
    found = []
    for sign in (1, -1):
        keras.utils.set_random_seed(1)
        model = panotti_models.build("ensemble", melgrams.shape[1:], 3, identity(20))
        members = panotti_models.members(model)
        first, _, last = (each for each in model.layers if getattr(each, "units", 0) == 3)
        last.kernel.assign(sign * last.kernel.numpy())
        before = first.kernel.numpy()
        members.compile("adamw", "categorical_crossentropy", run_eagerly=True)
        members.train_on_batch(melgrams, np.repeat(targets[:, None], 3, axis=1))
        assert np.abs(first.kernel.numpy() - before).max() > 0.0005
        found.append((first.kernel.numpy(), last.kernel.numpy()))
    assert np.allclose(found[0][0], found[1][0], atol=1e-6)
    assert not np.allclose(np.abs(found[0][1]), np.abs(found[1][1]), atol=1e-4)
