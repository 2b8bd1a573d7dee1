"""BALANCE: the weights, the validation loss, and messages; the order of the clips is that of the sampler."""

import numpy as np
import pytest

from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data.clips import Clips, one_hot
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime.errors import UserError
from audio_utils.training import balance
from audio_utils.training.balance import Balance

LABELS = np.repeat([0, 1, 2], [200, 20, 2])
CLIPS = Clips(np.zeros((222, 1, 1, 1)), one_hot(LABELS, 4), ["a/b.wav"] * 222, ["dog", "cat, big", "owl é", "none"])


def of(mode, training=range(222), validation=(0, 0, 0, 1)):
    return Balance(mode, CLIPS, np.array(training), one_hot(list(validation), 4))


def trained_with(**state):
    settings = MelgramSettings.of(8000, 2000, 1, 8, 46.44, 11.61)
    return Checkpoint("vgg", ["a", "b"], settings, {}, None, state, [])


@pytest.mark.parametrize("mode", ["", "None", "Sample", None, True, 1])
def test_another_value_is_one_sentence(mode):
    with pytest.raises(UserError, match=r"^BALANCE is .*; choose none, sample or loss\.$"):
        balance.check(mode)


def test_another_balance_than_before_is_refused_and_older_files_have_none():
    balance.require_same("w", trained_with(constants={"BALANCE": "loss"}), "loss")
    for state in ({}, {"constants": {}}, {"constants": 3}):
        balance.require_same("w", trained_with(**state), "none")
        with pytest.raises(UserError, match="^w: was trained with BALANCE = 'none', and now it is 'loss'; set it back"):
            balance.require_same("w", trained_with(**state), "loss")


def test_weights_are_inverse_to_the_counts_and_do_not_change_the_size_of_the_loss():
    found = of("loss").class_weights
    assert found[:3] == pytest.approx([0.37, 3.7, 37])
    assert found[3] == 1  # without clips
    assert found[LABELS].mean() == pytest.approx(1)
    assert of("loss", [0, 1, 200]).class_weights.tolist() == [0.75, 1.5, 1, 1]


def test_without_balance_loss_and_validation_are_as_before():
    found = Evaluation(["a"] * 4, ["x", "y"], np.array([0, 0, 0, 1]), np.float32([[1, 0]] * 3 + [[0.5, 0.5]]))
    assert of("none").loss() == of("sample").loss() == "categorical_crossentropy"
    assert of("none").validation_logs(found) == {"val_loss": pytest.approx(np.log(2) / 4), "val_accuracy": 0.75}
    assert of("loss").validation_logs(found) == {"val_loss": pytest.approx(np.log(2) / 2), "val_accuracy": 0.75}
    assert of("sample").validation_logs(None) == {"val_loss": None, "val_accuracy": None}
    assert (of("none").drawn_labels, of("loss").drawn_labels) == (None, None)


def test_the_effective_number_of_validation_clips_is_theirs_if_the_classes_are_equal():
    assert balance.effective_clips(np.array([20, 0, 20])) == 40
    assert balance.effective_clips(np.array([1000, 1])) == pytest.approx(4, rel=0.01)
    assert [of(mode).validation_clips for mode in balance.MODES] == [4, 3, 3]
    assert of("loss", validation=()).validation_clips == 0


def test_weighted_loss_and_gradient_are_right_for_mixed_targets_also_from_logits():
    """TensorFlow takes the logits from the graph, where it assumes that the targets of a clip add up to 1."""
    import tensorflow
    weights, targets = np.float32([0.1, 1, 10]), np.float32([[1, 0, 0], [0, 0, 1], [0.7, 0, 0.3]])
    logits = tensorflow.Variable(np.float32([[1, 2, 3], [0, 0, 1], [-1, 1, 0]]))
    loss = balance.weighted_crossentropy(weights)

    @tensorflow.function
    def step():
        with tensorflow.GradientTape() as tape:
            losses = loss(tensorflow.constant(targets), tensorflow.nn.softmax(logits))
        return losses, tape.gradient(losses, logits)

    losses, gradient = step()
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    weighted = weights * targets
    assert losses.numpy() == pytest.approx(-(weighted * np.log(probabilities)).sum(axis=1), rel=1e-5)
    assert gradient.numpy() == pytest.approx(probabilities * weighted.sum(axis=1, keepdims=True) - weighted, abs=1e-5)


def test_messages_name_the_classes():
    assert of("loss").describe(True) == (
        "BALANCE: loss weights from 0.37 (dog) to 37 (owl é); the validation loss is the mean over the classes (3 "
        "effective validation clips).")
    assert of("sample").describe(False).startswith("BALANCE: all classes are drawn equally often; the validation loss")
    assert of("none").describe(True) == ("dog has 200 training clips and owl é only 2: --balance sample draws all "
                                         "classes equally often.")
    assert of("none").describe(False) == ""
    assert of("none", range(220)).describe(True) == ""  # 10 times
    assert of("none", range(219)).describe(True) != ""
