"""MULTI_LABEL: the loss and the accuracy of a network with independent probabilities."""

from collections.abc import Callable
from typing import Any

from panotti_models import keras


def compiling(multi_label: bool, loss: str | Callable[[Any, Any], Any]) -> dict[str, Any]:
    """The loss and the metrics for `keras.Model.compile`; loss: without MULTI_LABEL."""
    if not multi_label:
        return {"loss": loss, "metrics": ["accuracy"]}
    return {"loss": binary_crossentropy, "metrics": [keras.metrics.MeanMetricWrapper(exact_match, "accuracy")]}


def about_accuracy(multi_label: bool) -> str:
    """A sentence about the accuracy during training, "" without MULTI_LABEL."""
    return "MULTI_LABEL: accuracy is the fraction of clips with all classes right, at a threshold of 0.5." \
        if multi_label else ""


def binary_crossentropy(targets: Any, probabilities: Any) -> Any:
    """Nats per clip, (…,): the sum over the classes; arguments (…, classes).

    With the mean instead, LOSS_TARGET and MIN_DELTA would mean something else for each number of classes.
    """
    return keras.losses.binary_crossentropy(targets, probabilities) * probabilities.shape[-1]


def exact_match(targets: Any, probabilities: Any) -> Any:
    """1 if all classes of a clip are right with a threshold of 0.5, (…,); mixed targets are rounded."""
    right = keras.ops.equal(targets >= 0.5, probabilities >= 0.5)
    return keras.ops.cast(keras.ops.all(right, axis=-1), "float32")
