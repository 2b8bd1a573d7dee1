"""START_FROM: the layers of another network are taken over, and new last layers are fitted to their features.

First the last layer alone, then all layers: Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution", ICLR 2022, section 4.
"""

import numpy as np

from audio_utils.data.clips import Clips
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference import distribution, network
from audio_utils.inference.network import Form
from audio_utils.runtime.console import say
from audio_utils.runtime.errors import UserError
from audio_utils.training import start_from
from audio_utils.training.balance import NONE
from audio_utils.training.regression import fit_member, logistic_regression, member
from audio_utils.training.state import TrainingState
from panotti_models import keras

MAX_CLIPS = 20_000  # of more clips, a random sample is enough for the last layer
_NORMALIZATION_STEPS = 40  # after these, 1.5% of the moving averages of batch normalization are from the other sounds
_NORMALIZATION_CLIPS = 32  # in a step
_SEED = 1


def initialize_layers(model: keras.Model, form: Form, state: TrainingState, clips: Clips, indices: np.ndarray,
                      balance: str = NONE) -> None:
    """Set the initial weights of a network that are not random: those of START_FROM, and of a regression.

    form: of the network. indices: of the training clips, to which the last layers and the regression are fitted.
    balance: BALANCE. All processes use the result of the first one. It depends on nothing else, so that a run that was
    killed here repeats it.
    """
    if state.epoch:
        return
    if state.start_from:
        take_over_layers(model, form, state, clips, indices)
    fit_member(model, clips, indices, balance)


def take_over_layers(model: keras.Model, form: Form, state: TrainingState, clips: Clips, indices: np.ndarray) -> None:
    """Set the weights to those of START_FROM, and fit the last layers."""
    path = state.start_from["path"]
    rng = np.random.default_rng(_SEED)
    if len(indices) > MAX_CLIPS:
        indices = np.sort(rng.choice(indices, MAX_CLIPS, replace=False))
    with distribution.suspended():
        started = form.build("float32")
        heads = last_layers(started)
        copy_layers(started, heads, path)
        if start_from.digest(path) != state.start_from["digest"]:
            raise UserError(f"START_FROM: {path} has just changed; run the same command again.")
        adapt_normalization(started, clips, indices, rng)
        accuracy = np.mean([fit(started, head, clips, indices) for head in heads])
    network.assign(model.weights, distribution.of_first(network.arrays(started.weights)))
    say(f"START_FROM: all layers but the last are those of {path}; the last one was fitted: accuracy "
        f"{accuracy:.2%} on {len(indices)} training clips. Now all layers are trained.")


def last_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The last layer with trainable weights; of an ensemble, that of each member."""
    by_output = {id(layer.output): layer for layer in model.layers}
    found, waiting = [], [model.layers[-1]]
    while waiting:
        layer = waiting.pop()
        if layer.trainable_weights:
            found.append(layer)
        elif layer.trainable:  # not the regression of `hybrid`
            inputs = layer.input if isinstance(layer.input, list) else [layer.input]
            waiting += [by_output[id(each)] for each in reversed(inputs)]
    return found


def copy_layers(model: keras.Model, heads: list[keras.layers.Layer], path: str) -> None:
    """Copy the weights of the network in a file, except for those of the heads. Raises UserError if they do not fit."""
    other = checkpoints.read(path)
    form = network.stored_form(path, other)
    if not form.is_current:
        raise UserError(f"START_FROM: {path} was trained with other layers than panotti_models.py now defines for "
                        f"{other.network!r}; train that network again.")
    new = {id(weight) for layer in (*heads, member(model)) if layer for weight in layer.weights}
    frozen = {id(weight) for layer in model.layers if not layer.trainable for weight in layer.weights}
    values = checkpoints.read_best(path, other, form.outline.weights)
    pairs = [(weight, value) for weight, value in zip(model.weights, values, strict=True) if id(weight) not in new
             and (id(weight) not in frozen or tuple(weight.shape) == value.shape)]  # constants may depend on the length
    if any(tuple(weight.shape) != value.shape for weight, value in pairs):
        raise UserError(f"START_FROM: {path} was trained on clips of {other.settings.clip_seconds:.4g} s, and the "
                        f"layers of {other.network!r} depend on the length; run preprocess_data.py --clip-seconds "
                        f"{other.settings.clip_seconds:.6g} --overwrite, or use another network.")
    network.assign([weight for weight, _ in pairs], [value for _, value in pairs])


def adapt_normalization(model: keras.Model, clips: Clips, indices: np.ndarray, rng: np.random.Generator) -> None:
    """Replace the moving averages of batch normalization by those of these clips.

    Li et al., "Revisiting Batch Normalization For Practical Domain Adaptation", ICLR workshop 2017. The last layer is
    fitted to features with these averages, as in training, which normalizes by each batch: without this, the training
    loss was 8.6 at first with layers that were trained on other kinds of sounds, and 1.0 with it.
    """
    for _ in range(_NORMALIZATION_STEPS):
        batch = rng.permutation(indices)[:_NORMALIZATION_CLIPS]
        model(np.asarray(clips.melgrams[np.sort(batch)]), training=True)


# --- the last layer -------------------------------------------------------------------------------------------------

def fit(model: keras.Model, head: keras.layers.Layer, clips: Clips, indices: np.ndarray) -> float:
    """Fit the kernel and bias of a last layer to its inputs for these clips; returns the accuracy.

    With MULTI_LABEL, it is the fraction of clips with all classes right.
    """
    features = network.predict(keras.Model(model.input, head.input), clips.melgrams, indices=indices)
    if clips.multi_label:
        positives = clips.targets[indices] > 0
        kernel, bias = binary_regressions(features, positives)
        right = ((features @ kernel + bias > 0) == positives).all(axis=1)
    else:
        kernel, bias = logistic_regression(features, clips.labels[indices], len(clips.class_names))
        right = (features @ kernel + bias).argmax(axis=1) == clips.labels[indices]
    network.assign(head.weights, [kernel, bias])
    return float(right.mean())


def binary_regressions(features: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (features, classes) and bias (classes,) of sigmoids, float32, fitted class by class.

    features: (clips, features). positives: bool (clips, classes). A class with no clips, or with all, has zeros.
    """
    kernel, bias = np.zeros((features.shape[1], positives.shape[1]), np.float32), np.zeros(positives.shape[1])
    for i, positive in enumerate(positives.T):
        if positive.any() and not positive.all():  # a softmax of two classes is a sigmoid of the difference
            both, biases = logistic_regression(features, positive.astype(int), 2)
            kernel[:, i], bias[i] = both[:, 1] - both[:, 0], biases[1] - biases[0]
    return kernel, bias.astype(np.float32)
