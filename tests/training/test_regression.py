"""regression.py: the softmax of a logistic regression, and the member of `hybrid` that is fitted to statistics."""

from argparse import Namespace

import networks
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

import panotti_models
from audio_utils.data.clips import Clips, one_hot
from audio_utils.data.split import Grouping
from audio_utils.data.standardization import Standardization
from audio_utils.inference import network
from audio_utils.training import regression
from panotti_models import layers

CLASSES = ["one", "two", "three"]


def clips_of(labels, difference_db=30.0, seed=1):
    """Noise with another spectrum in each class."""
    labels = np.array(labels)
    melgrams = np.random.default_rng(seed).normal(-40, 15, (len(labels), *networks.SETTINGS.shape)).astype(np.float32)
    melgrams[:, 10:] -= difference_db * labels[:, None, None, None]
    return Clips(melgrams, one_hot(list(labels), len(CLASSES)),
                 [f"{CLASSES[each]}/{i}.wav" for i, each in enumerate(labels)], CLASSES)


@pytest.fixture
def model(monkeypatch):
    """The average of a small network and of a regression."""
    def small_hybrid(x, classes):
        fitted = layers.Dense(classes, "softmax", kernel_initializer="zeros", trainable=False, dtype="float32")
        return layers.Average(dtype="float32")([networks.small(x, classes), fitted(panotti_models._statistics(x))])

    monkeypatch.setitem(panotti_models.NETWORKS, "hybrid", small_hybrid)
    mels = networks.SETTINGS.mels
    return panotti_models.build("hybrid", networks.SETTINGS.shape, len(CLASSES),
                                Standardization(np.full(mels, -40, np.float32), np.full(mels, 400, np.float32)))


# --- the regression -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("components", [None, 4])
@pytest.mark.parametrize("classes", [[0, 1], [1, 3], [0, 1, 2, 3]])
def test_logistic_regression_gives_the_kernel_and_bias_of_a_softmax(classes, components):
    rng = np.random.default_rng(2)
    labels = np.repeat(classes, 20)
    features = (rng.normal(0, 1, (len(labels), 6)) * [1, 1, 1, 100, 1, 0] + 5).astype(np.float32)
    features[:, 0] += 6 * labels
    kernel, bias = regression.logistic_regression(features, labels, 4, components)
    assert kernel.shape == (6, 4)
    assert kernel.dtype == bias.dtype == np.float32
    logits = features @ kernel + bias
    assert (np.array(classes)[logits[:, classes].argmax(axis=1)] == labels).mean() > (0.95 if not components else 0.6)
    absent = [each for each in range(4) if each not in classes]
    assert not kernel[:, absent].any()
    assert not bias[absent].any()


def test_principal_components_are_whitened_as_by_scikit_learn():
    rng = np.random.default_rng(3)
    labels = np.arange(60) % 3
    features = (rng.normal(0, 1, (60, 8)) @ rng.normal(0, 1, (8, 8)) + labels[:, None]).astype(np.float32)
    kernel, bias = regression.logistic_regression(features, labels, 3, components=4, strength=3.0)
    standardized = (features - features.mean(axis=0)) / features.std(axis=0)
    inputs = PCA(4, whiten=True).fit_transform(standardized)
    expected = LogisticRegression(C=3.0, max_iter=1000).fit(inputs, labels).decision_function(inputs)
    found = features @ kernel + bias
    assert found - found.mean(axis=1, keepdims=True) == pytest.approx(expected, abs=0.05)


def test_balanced_weights_favor_a_rare_class():
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], [90, 10])
    features = (rng.normal(0, 1, (100, 3)) + labels[:, None]).astype(np.float32)
    (kernel, bias), (other, other_bias) = (
        regression.logistic_regression(features, labels, 2, 2, balanced=each) for each in (True, False))
    recall, other_recall = ((features[labels == 1] @ k + b).argmax(axis=1).mean()
                            for k, b in ((kernel, bias), (other, other_bias)))
    assert recall > other_recall


@pytest.mark.parametrize(("features", "labels"), [(np.ones((16, 5)), np.arange(16) % 2), (np.eye(4), np.zeros(4, int))])
def test_equal_clips_and_clips_of_one_class_have_finite_weights(features, labels):
    kernel, bias = regression._fit(features, labels, 2, "none")
    assert np.isfinite(kernel).all()
    assert np.isfinite(bias).all()
    assert not kernel.any()


# --- the member of `hybrid` -----------------------------------------------------------------------------------------

def test_the_member_is_fitted_and_the_trained_one_stays_as_it_is(model):
    clips = clips_of(np.arange(24) % 2)
    before = model.get_weights()
    regression.fit_member(model, clips, np.arange(20), "none")
    fitted = {id(weight) for weight in regression.member(model).weights}
    for weight, old in zip(model.weights, before, strict=True):
        assert np.array_equal(weight.numpy(), old) == (id(weight) not in fitted)
    alone = panotti_models.keras.Model(model.input, regression.member(model).output)
    probabilities = network.predict(alone, clips.melgrams)
    assert (probabilities.argmax(axis=1) == clips.labels).all()
    assert probabilities[:, 2].max() < 0.01  # a class without clips


def test_with_clips_of_one_class_that_class_is_predicted(model):
    clips = clips_of([1] * 6)
    regression.fit_member(model, clips, np.arange(6), "none")
    alone = panotti_models.keras.Model(model.input, regression.member(model).output)
    assert network.predict(alone, clips.melgrams)[:, 1].min() > 0.99


def test_the_average_of_the_weights_gets_the_regression_that_is_fitted_again(model):
    average = [np.full(weight.shape, 7.0, np.float32) for weight in model.weights]
    clips = clips_of(np.arange(24) % 3)
    found = regression.refit_member(model, average, clips, np.arange(24), "none")
    kernel, bias = regression.member(model).get_weights()
    changed = [array for array in found if not (array == 7).all()]
    assert len(changed) == 2
    assert all(map(np.array_equal, changed, (kernel, bias)))
    assert all((array == 7).all() for array in average)


def test_a_network_without_a_regression_stays_as_it_is(small_network):
    model = panotti_models.build("small", networks.SETTINGS.shape, 3, Standardization(*np.ones((2, 32), np.float32)))
    before = model.get_weights()
    assert regression.refit_member(model, before, clips_of([0, 1, 2]), np.arange(3), "none") == before
    assert all(map(np.array_equal, model.get_weights(), before))


def test_cross_validation_keeps_groups_together(model):
    labels = np.arange(48) % 3
    dataset = Namespace(settings=networks.SETTINGS, grouping=Grouping(""))
    assert regression.cross_validate(dataset, clips_of(labels), "none") == 1
    clips = clips_of(np.repeat(labels, 2), 0)  # without differences between classes, but each clip has a copy
    clips.melgrams[1::2] = clips.melgrams[::2]
    clips.names[:] = [f"{CLASSES[label]}/take{i // 2}_{i % 2}.wav" for i, label in enumerate(clips.labels)]
    grouped = Namespace(settings=networks.SETTINGS, grouping=Grouping(r"_\d$"))
    assert regression.cross_validate(grouped, clips, "none") + 0.15 < regression.cross_validate(dataset, clips, "none")


def test_cross_validation_needs_two_groups_of_each_class(model):
    dataset = Namespace(settings=networks.SETTINGS, grouping=Grouping(""))
    assert regression.cross_validate(dataset, clips_of([0, 0, 1, 1, 2]), "none") == 0
