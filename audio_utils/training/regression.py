"""Logistic regression: for the last layers of START_FROM, and as the fitted member of `hybrid`."""

import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

import panotti_models
from audio_utils.data.clips import Clips
from audio_utils.data.dataset import Dataset
from audio_utils.data.standardization import Standardization
from audio_utils.inference import distribution, network
from audio_utils.training.balance import NONE
from panotti_models import keras, last_layers

MAX_COMPONENTS = 40  # principal components of the statistics; with fewer than 160 clips, a quarter of their number
STRENGTH = 3.0  # the inverse of the regularization
FOLDS = 5  # of its cross-validation
_ITERATIONS = 200  # of L-BFGS, at most
_MIN_VARIANCE = 1e-3  # added to that of each principal component in whitening, relative to the first one's
_ABSENT = -10.0  # the bias of a class without clips, in a layer that is not trained


def logistic_regression(features: np.ndarray, labels: np.ndarray, classes: int, components: int | None = None,
                        strength: float = 1.0, balanced: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (features, classes) and bias (classes,) of a softmax, float32; features: (clips, features).

    components: fit it to this number of principal components, whitened; None: to the standardized features. balanced:
    give all classes the same weight. A class without clips, or the only class, has zeros.
    """
    if len(np.unique(labels)) < 2:
        return np.zeros((features.shape[1], classes), np.float32), np.zeros(classes, np.float32)
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-3
    standardized = (features - mean) / scale
    whitening = np.eye(features.shape[1]) if components is None else _whitening(standardized, components)
    inputs = standardized if components is None else standardized @ whitening
    fitted = LogisticRegression(C=strength, class_weight="balanced" if balanced else None, max_iter=_ITERATIONS)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # the result is good enough then
        fitted.fit(inputs, labels)
    coefficients, intercepts = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:  # those of the second class relative to the first
        coefficients, intercepts = (np.concatenate([-each, each]) / 2 for each in (coefficients, intercepts))
    kernel, bias = np.zeros((features.shape[1], classes)), np.zeros(classes)
    kernel[:, fitted.classes_] = whitening @ coefficients.T / scale[:, None]
    bias[fitted.classes_] = intercepts - mean @ kernel[:, fitted.classes_]
    return kernel.astype(np.float32), bias.astype(np.float32)


def _whitening(features: np.ndarray, components: int) -> np.ndarray:
    """(features, components): the matrix from features of mean 0 to their whitened principal components."""
    with np.errstate(invalid="ignore"):  # of equal clips, the variance is 0
        found = PCA(min(components, *features.shape), random_state=0).fit(features)
    variance = found.explained_variance_ + _MIN_VARIANCE * found.explained_variance_[0]
    return found.components_.T / np.sqrt(variance + 1e-6)


# --- the member of `hybrid` -----------------------------------------------------------------------------------------

def member(model: keras.Model) -> keras.layers.Layer | None:
    """The last layer of the member that is a regression; None if the network has none."""
    return next((layer for layer in last_layers(model) if not layer.trainable), None)


def fit_member(model: keras.Model, clips: Clips, indices: np.ndarray, balance: str) -> None:
    """Fit the regression of a network to these clips; does nothing if it has none.

    All processes use the result of the first one.
    """
    if member(model):
        fitted = _fit(statistics(model, clips, indices), clips.labels[indices], len(clips.class_names), balance)
        network.assign(member(model).weights, distribution.of_first(fitted))


def statistics(model: keras.Model, clips: Clips, indices: np.ndarray) -> np.ndarray:
    """The inputs of the regression for these clips, float32 (clips, features)."""
    return network.predict(keras.Model(model.input, member(model).input), clips.melgrams, indices=indices)


def _fit(features: np.ndarray, labels: np.ndarray, classes: int, balance: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of the regression; a class without clips is improbable."""
    components = min(MAX_COMPONENTS, max(len(features) // 4, 1))
    kernel, bias = logistic_regression(features, labels, classes, components, STRENGTH, balance != NONE)
    bias[np.setdiff1d(np.arange(classes), labels)] = _ABSENT
    return kernel, bias


def refit_member(model: keras.Model, average: list[np.ndarray], clips: Clips, indices: np.ndarray,
                 balance: str) -> list[np.ndarray]:
    """Fit the regression to these clips; returns the average of the weights with the new weights of the regression.

    average: in the order of model.weights.
    """
    fit_member(model, clips, indices, balance)
    fitted = {id(weight) for weight in member(model).weights} if member(model) else ()
    return [network.arrays([weight])[0] if id(weight) in fitted else array
            for weight, array in zip(model.weights, average, strict=True)]


def cross_validate(dataset: Dataset, clips: Clips, balance: str) -> float:
    """The accuracy of the regression of `hybrid` alone, in cross-validation by groups; 0 if a class has one group."""
    groups = np.unique([dataset.grouping.of(name) for name in clips.names], return_inverse=True)[1]
    classes = len(clips.class_names)
    fewest = min(len(np.unique(groups[clips.labels == label])) for label in range(classes))
    if fewest < 2:
        return 0.0
    with distribution.suspended():
        model = panotti_models.build("hybrid", dataset.settings.shape, classes, Standardization.of(clips.melgrams))
        features = statistics(model, clips, np.arange(len(clips)))
    correct = np.zeros(len(clips), bool)
    for training, test in StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=1).split(
            features, clips.labels, groups):
        kernel, bias = _fit(features[training], clips.labels[training], classes, balance)
        correct[test] = (features[test] @ kernel + bias).argmax(axis=1) == clips.labels[test]
    return float(correct.mean())
