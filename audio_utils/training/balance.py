"""BALANCE: all classes have the same influence on training, whatever the number of their clips.

"sample" draws all classes equally often. "loss" weights the cross-entropy of each class by the inverse of its number of
clips (the "balanced" weights of scikit-learn; King and Zeng, "Logistic Regression in Rare Events Data", 2001).
Both estimate the same loss: that of data in which all classes are equally frequent. The loss of the validation clips is
then the mean over the classes too, because it must measure the loss that training minimizes: a mean over the clips
could improve while all clips of a rare class are misclassified.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from audio_utils.data.clips import Clips
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime.errors import UserError

NONE, SAMPLE, LOSS = MODES = "none", "sample", "loss"
UNEQUAL = 10  # times the clips of the smallest class; from here on, training advises BALANCE


def check(mode: object) -> None:
    """Raise UserError unless BALANCE is one of its values."""
    if mode not in MODES:
        raise UserError(f"BALANCE is {mode!r}; choose none, sample or loss.")


def of_training(checkpoint: Checkpoint) -> str:
    """The BALANCE that a network was trained with; older versions have no such constant."""
    constants = checkpoint.training_state.get("constants")
    return constants.get("BALANCE", NONE) if isinstance(constants, dict) else NONE


def require_same(path: Path, checkpoint: Checkpoint, mode: str) -> None:
    """Raise UserError if training began with another BALANCE: its losses can't be compared with those from here on.

    path: of the weights.
    """
    if (before := of_training(checkpoint)) != mode:
        raise UserError(f"{path}: was trained with BALANCE = {before!r}, and now it is {mode!r}; set it back, or use "
                        "--fresh to start over (the old file is kept).")


class Balance:
    """BALANCE for one training.

    training: indices of the clips that are trained on before the annealing. validation: (clips, classes), the targets
    of the validation clips. With MULTI_LABEL, the mode is "none".
    """

    def __init__(self, mode: str, clips: Clips, training: np.ndarray, validation: np.ndarray) -> None:
        self.mode, self.class_names = mode, clips.class_names
        self.counts = np.count_nonzero(clips.targets[training], axis=0)
        self.can_be_set = not clips.multi_label
        self.drawn_labels = clips.labels if mode == SAMPLE else None  # for the Sampler
        self.validation_clips = len(validation) if mode == NONE else effective_clips(
            np.count_nonzero(validation, axis=0))

    @property
    def class_weights(self) -> np.ndarray:
        """float32 (classes,): their mean over the training clips is 1; 1 for a class without clips."""
        counts = self.counts.astype(np.float64)
        fair = counts.sum() / np.count_nonzero(counts)
        return np.divide(fair, counts, out=np.ones_like(counts), where=counts > 0).astype(np.float32)

    def loss(self) -> str | Callable[[Any, Any], Any]:
        """The loss for Keras's `compile`. Its weights are the same from the first epoch to the last."""
        return weighted_crossentropy(self.class_weights) if self.mode == LOSS else "categorical_crossentropy"

    def validation_logs(self, found: Evaluation | None) -> dict[str, float | None]:
        """The validation loss, nats, and the accuracy; None if there is no validation.

        With BALANCE, the loss is the mean over the classes. The accuracy is always that of all clips.
        """
        loss = found and (found.loss if self.mode == NONE else found.balanced_loss)
        return {"val_loss": loss, "val_accuracy": found and found.accuracy}

    def describe(self, begins: bool) -> str:
        """A sentence about BALANCE, or advice to use it if classes are very unequal, or "".

        begins: whether training begins, so that BALANCE can still be set.
        """
        present = np.flatnonzero(self.counts)
        low, high = present[self.counts[present].argmin()], present[self.counts[present].argmax()]
        few, many = self.class_names[low], self.class_names[high]
        if self.mode != NONE:
            how = f"loss weights from {self.class_weights[high]:.3g} ({many}) to {self.class_weights[low]:.3g} ({few})"
            return (f"BALANCE: {how if self.mode == LOSS else 'all classes are drawn equally often'}; the validation "
                    f"loss is the mean over the classes ({self.validation_clips:.0f} effective validation clips).")
        if begins and self.can_be_set and self.counts[high] > UNEQUAL * self.counts[low]:
            return (f"{many} has {self.counts[high]:,} training clips and {few} only {self.counts[low]:,}: "
                    "--balance sample draws all classes equally often.")
        return ""


def effective_clips(counts: np.ndarray) -> float:
    """The effective sample size of a mean over classes with these numbers of clips (Kish, "Survey Sampling", 1965)."""
    counts = counts[counts > 0]
    return float(len(counts) ** 2 / (1 / counts).sum()) if len(counts) else 0.0


def weighted_crossentropy(class_weights: np.ndarray) -> Callable[[Any, Any], Any]:
    """The cross-entropy with a weight per class: (targets, probabilities), (…, classes) → (…). Targets may be mixed.

    The weighted targets are divided by their sum, by which the loss is then multiplied: TensorFlow computes the
    gradient from the logits, and that is only correct if the targets of a clip add up to 1.
    """
    from panotti_models import keras

    def loss(targets: Any, probabilities: Any) -> Any:
        weighted = keras.ops.multiply(targets, class_weights)
        total = keras.ops.sum(weighted, axis=-1, keepdims=True)
        return total[..., 0] * keras.losses.categorical_crossentropy(weighted / total, probabilities)
    return loss
