"""embeddings.py: the input of the last layer, and of an ensemble that of each member."""

import numpy as np
import pytest
from networks import NAMES, SETTINGS, melgrams, small

import panotti_models
from audio_utils.data.standardization import Standardization
from audio_utils.inference import embeddings, network
from panotti_models import layers


def build(monkeypatch, architecture):
    monkeypatch.setitem(panotti_models.NETWORKS, "test", architecture)
    standardization = Standardization(*np.full((2, SETTINGS.mels), 100, np.float32))
    return panotti_models.build("test", SETTINGS.shape, len(NAMES), standardization)


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def ensemble(x, classes):
    return layers.Average(dtype="float32")([small(x, classes, filters) for filters in (4, 5)])


@pytest.mark.parametrize(("architecture", "sizes"), [(small, [4]), (ensemble, [4, 5])])
def test_the_last_layers_compute_the_probabilities_from_the_embeddings(monkeypatch, architecture, sizes):
    model = build(monkeypatch, architecture)
    found = embeddings.of_melgrams(model, melgrams(5), batch_size=2)
    assert (found.shape, found.dtype) == ((5, sum(sizes)), np.float32)
    kernels = [each for each in model.get_weights() if each.ndim == 2 and each.shape[1] == len(NAMES)]
    parts = np.split(found, np.cumsum(sizes)[:-1], axis=1)
    expected = np.mean([softmax(part @ kernel) for part, kernel in zip(parts, kernels, strict=True)], axis=0)
    assert network.predict(model, melgrams(5)) == pytest.approx(expected, abs=1e-5)
    assert network.predict(embeddings.with_embeddings(model), melgrams(5))[:, :2] == pytest.approx(expected, abs=1e-5)


def test_an_input_of_several_axes_is_flattened(monkeypatch):
    model = build(monkeypatch, lambda x, classes: layers.GlobalAveragePooling2D()(layers.Conv2D(classes, 1)(x)))
    assert embeddings.of_melgrams(model, melgrams(2)).shape == (2, len(NAMES) * SETTINGS.mels * SETTINGS.shape[1])
