"""transfer.py: all layers but the last are copied, and the last one is fitted to their features."""

import dataclasses
from pathlib import Path

import networks
import numpy as np
import pytest

import panotti_models
from audio_utils.data.clips import Clips, one_hot
from audio_utils.data.standardization import Standardization
from audio_utils.inference import network
from audio_utils.runtime.errors import UserError
from audio_utils.training import start_from, transfer
from audio_utils.training.state import TrainingState
from panotti_models import layers

CLASSES = ["one", "two", "three"]
LONGER = dataclasses.replace(networks.SETTINGS, clip_samples=8000)
STANDARDIZATION = Standardization(np.full(32, -40, np.float32), np.full(32, 400, np.float32))


FORM = network.Form(lambda _precision: build("small"), None)


@pytest.fixture(autouse=True)
def _quick(small_network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transfer, "_NORMALIZATION_STEPS", 2)


def build(name, settings=LONGER):
    """A network with more classes and longer clips than that in weights.hdf5."""
    return panotti_models.build(name, settings.shape, len(CLASSES), STANDARDIZATION)


def test_all_layers_but_the_last_are_copied_of_each_member_of_an_ensemble(tmp_path, monkeypatch):
    def member(x, classes):
        x = layers.Dense(classes)(networks.small(x, 5))
        return layers.Activation("softmax", dtype="float32")(x)

    monkeypatch.setitem(panotti_models.NETWORKS, "small", lambda x, classes: layers.Average()(
        [member(x, classes) for _ in range(2)]))
    other, model = networks.write_random_network(tmp_path, "small"), build("small")
    heads = transfer.last_layers(model)
    assert len(heads) == 2
    before = [head.get_weights() for head in heads]
    transfer.copy_layers(model, heads, "weights.hdf5")
    copied = 0
    for layer, source in zip(model.layers, other.layers, strict=True):
        if layer not in heads:
            copied += len(layer.weights)
            assert all(map(np.array_equal, layer.get_weights(), source.get_weights()))
    assert copied == len(model.weights) - 4 > 8
    for head, weights in zip(heads, before, strict=True):
        assert head.kernel.shape[1] == len(CLASSES)
        assert np.array_equal(head.get_weights()[0], weights[0])


def test_the_regression_of_hybrid_and_constants_of_another_shape_are_not_taken_over(tmp_path, monkeypatch):
    """The regression depends on the classes, and some constants on the clip length; other frozen layers are copied."""
    def small_hybrid(x, classes):
        fitted = layers.Dense(classes, "softmax", trainable=False)(panotti_models._statistics(x))
        return layers.Average()([networks.small(x, classes), fitted])

    monkeypatch.setitem(panotti_models.NETWORKS, "small", small_hybrid)
    other, model = networks.write_random_network(tmp_path, "small"), build("small")
    heads = transfer.last_layers(model)
    assert [head.trainable for head in heads] == [True]
    before = model.get_weights()
    transfer.copy_layers(model, heads, "weights.hdf5")
    new = {id(weight) for layer in (*heads, panotti_models.last_layers(model)[1]) for weight in layer.weights}
    kept = 0
    for weight, old, source in zip(model.weights, before, other.get_weights(), strict=True):
        keeps = id(weight) in new or tuple(weight.shape) != source.shape
        kept += keeps
        assert np.array_equal(weight.numpy(), old if keeps else source)
    assert kept == 5  # two layers, and the constant that depends on the clip length


def test_a_network_that_depends_on_the_clip_length_is_refused_for_another_length(tmp_path):
    networks.write_random_network(tmp_path)
    transfer.copy_layers(same := build("vgg", networks.SETTINGS), transfer.last_layers(same), "weights.hdf5")
    with pytest.raises(UserError, match="trained on clips of 0.25 s, and the layers of 'vgg' depend on the length; run "
                                        "preprocess_data.py --clip-seconds 0.25 --overwrite, or use another network"):
        transfer.copy_layers(longer := build("vgg"), transfer.last_layers(longer), "weights.hdf5")


def test_other_layers_of_the_same_name_are_refused(tmp_path, monkeypatch):
    networks.write_random_network(tmp_path, "small")
    monkeypatch.setitem(panotti_models.NETWORKS, "small", lambda x, classes: networks.small(x, classes, filters=6))
    with pytest.raises(UserError, match="was trained with other layers than panotti_models.py now defines for 'small'"):
        transfer.copy_layers(model := build("small"), transfer.last_layers(model), "weights.hdf5")


def test_the_last_layer_is_fitted_and_nothing_changes_without_start_from_or_after_a_resume(tmp_path, capsys):
    networks.write_random_network(tmp_path, "small")
    rng = np.random.default_rng(1)
    labels = np.arange(24) % 3
    melgrams = rng.normal(-40, 15, (24, *LONGER.shape)).astype(np.float32)
    melgrams[:, 10:] -= 30 * labels[:, None, None, None]  # another spectrum in each class
    clips = Clips(melgrams, one_hot(list(labels), 3), [f"{CLASSES[each]}/{i}.wav" for i, each in enumerate(labels)],
                  CLASSES)
    state = TrainingState({}, start_from={"path": "weights.hdf5", "digest": start_from.digest("weights.hdf5")})
    transfer.initialize_layers(model := build("small"), FORM, state, clips, np.arange(21))
    assert (network.predict(model, melgrams).argmax(axis=1) == labels).mean() > 0.8
    assert "START_FROM: all layers but the last are those of weights.hdf5" in capsys.readouterr().out
    for unchanged in (TrainingState({}), dataclasses.replace(state, epoch=1)):
        before = model.get_weights()
        transfer.initialize_layers(model, FORM, unchanged, clips, np.arange(4))
        assert all(map(np.array_equal, model.get_weights(), before))
    Path("weights.hdf5").write_bytes(Path("weights.hdf5").read_bytes() + b"\0")
    with pytest.raises(UserError, match="START_FROM: weights.hdf5 has just changed; run the same command again"):
        transfer.initialize_layers(model, FORM, state, clips, np.arange(21))


def test_batch_normalization_has_the_moving_averages_of_the_new_clips(tmp_path):
    networks.write_random_network(tmp_path, "small")
    model = build("small")
    transfer.copy_layers(model, transfer.last_layers(model), "weights.hdf5")
    normalization = next(layer for layer in model.layers if isinstance(layer, layers.BatchNormalization))
    normalization.momentum = 0.5
    before = network.arrays(model.trainable_weights)
    melgrams = np.random.default_rng(3).normal(-40, 15, (8, *LONGER.shape)).astype(np.float32)
    [old] = network.arrays([normalization.moving_mean])
    batch = network.predict(panotti_models.keras.Model(model.input, normalization.input), melgrams)
    transfer.adapt_normalization(model, Clips(melgrams, None, [], CLASSES), np.arange(8), np.random.default_rng(1))
    expected = old / 4 + 3 / 4 * np.mean(batch, axis=0)  # after two steps, each with all clips
    assert network.arrays([normalization.moving_mean])[0] == pytest.approx(expected, rel=1e-4)
    assert all(map(np.array_equal, network.arrays(model.trainable_weights), before))


def test_with_several_labels_each_class_has_its_own_regression():
    rng = np.random.default_rng(4)
    positives = rng.random((80, 4)) < [0.3, 0.6, 0, 1]  # without negative or positive clips, nothing can be fitted
    features = (rng.normal(0, 1, (80, 5)) * [1, 1, 1, 100, 0] + 5).astype(np.float32)
    features[:, :2] += 8 * positives[:, :2]
    kernel, bias = transfer.binary_regressions(features, positives)
    assert kernel.dtype == bias.dtype == np.float32
    assert np.mean((features @ kernel + bias > 0)[:, :2] == positives[:, :2]) > 0.98
    assert not kernel[:, 2:].any()
    assert not bias[2:].any()


def test_with_several_labels_the_last_layer_is_fitted_to_sigmoids():
    model = panotti_models.build("small", LONGER.shape, 3, STANDARDIZATION, multi_label=True)
    rng = np.random.default_rng(1)
    melgrams = rng.normal(-40, 15, (32, *LONGER.shape)).astype(np.float32)
    positives = rng.random((32, 3)) < 0.5
    melgrams -= 30 * np.repeat(positives, [10, 10, 12], axis=1)[:, :, None, None]
    clips = Clips(melgrams, positives.astype(np.float32), [f"a/{i}.wav" for i in range(32)], CLASSES, True)
    accuracy = transfer.fit(model, transfer.last_layers(model)[0], clips, np.arange(32))
    found = network.predict(model, melgrams)
    assert accuracy == pytest.approx(((found > 0.5) == positives).all(axis=1).mean())
    assert found.mean(axis=0) == pytest.approx(positives.mean(axis=0), abs=0.01)  # as of each logistic regression
    assert all(np.corrcoef(found[:, i], positives[:, i])[0, 1] > 0.1 for i in range(3))
