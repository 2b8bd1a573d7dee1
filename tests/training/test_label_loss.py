"""The loss of MULTI_LABEL, and a network with sigmoids."""

import numpy as np
import pytest

import panotti_models
from audio_utils.data.standardization import Standardization
from audio_utils.runtime.errors import UserError
from audio_utils.training import label_loss


def test_loss_and_accuracy_are_those_of_the_evaluation():
    targets, found = np.array([[1, 0], [1, 1]], np.float32), np.array([[0.9, 0.2], [0.6, 0.3]], np.float32)
    assert np.allclose(label_loss.binary_crossentropy(targets, found), [-np.log(0.9 * 0.8), -np.log(0.6 * 0.3)], 1e-5)
    assert np.array_equal(label_loss.exact_match(targets, found), [1, 0])


def test_the_last_layer_becomes_sigmoids_and_a_network_without_softmax_is_refused(monkeypatch):
    import networks
    monkeypatch.setitem(panotti_models.NETWORKS, "small", networks.small)
    monkeypatch.setitem(panotti_models.NETWORKS, "other", lambda x, classes: panotti_models.layers.Flatten()(x))
    scaling = Standardization(np.zeros(8, np.float32), np.ones(8, np.float32))
    model = panotti_models.build("small", (8, 9, 1), 3, scaling, multi_label=True)
    found = np.array(model(np.random.default_rng(0).standard_normal((4, 8, 9, 1), np.float32)))
    assert not np.allclose(found.sum(axis=1), 1)
    assert model.get_config()["layers"][-1]["config"]["activation"] == "sigmoid"
    with pytest.raises(UserError, match="softmax"):
        panotti_models.build("other", (8, 9, 1), 3, scaling, multi_label=True)
