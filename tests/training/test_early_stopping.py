"""Plateaus, annealing, the epoch that is kept, and the end of training."""

import math

import pytest

from audio_utils.training.early_stopping import MIN_VALIDATION_CLIPS, EarlyStopping
from audio_utils.training.state import TrainingState

DEFAULTS = {"epochs": 100, "patience": 2, "min_delta": 0.1, "loss_target": 0.01, "anneal_epochs": 3}


def run(losses, clips=MIN_VALIDATION_CLIPS, **changes):
    """(state, kept: the epochs whose network was kept, reason) after epochs with these validation losses."""
    stopping, state, kept = EarlyStopping(**DEFAULTS | changes), TrainingState({}, validation=["a"] * clips), []
    stopping.plan(state, clips)
    for loss in losses:
        assert not stopping.stop_reason(state)
        if stopping.on_epoch_end(state, {"val_loss": loss}):
            kept.append(state.epoch)
    return state, kept, stopping.stop_reason(state)


def test_the_network_with_the_lowest_validation_loss_is_kept():
    state, kept, reason = run([1.0, 0.99, 1.5, 0.5])
    assert (kept, state.best_epoch, state.best_loss, reason) == ([1, 2, 4], 4, 0.5, "")


def test_a_plateau_starts_the_annealing_and_its_end_ends_training():
    state, _, reason = run([1.0, 0.95, 0.94, 0.93, 0.5, 0.9])
    assert (state.decay_start, state.decay_end) == (3, 6)
    assert reason == ("Done: no improvement of the validation loss until epoch 3 (PATIENCE); the learning rate has "
                      "decayed to 0 since then (ANNEAL_EPOCHS); epoch 5 is kept.")


def test_an_improvement_beyond_min_delta_restarts_the_patience():
    state, _, _ = run([1.0, 0.95, 0.85, 0.84, 0.7])
    assert (state.plateau_epoch, state.decay_end) == (5, 0)
    state, _, _ = run([1.0, 0.95, 0.85, 0.84, 0.83])
    assert (state.plateau_epoch, state.decay_start) == (3, 5)


def test_without_annealing_epochs_a_plateau_ends_training():
    assert "epoch 1 is kept" in run([1.0, 1.1, 1.2], anneal_epochs=0)[2]


def test_below_the_loss_target_a_plateau_ends_training_without_annealing():
    state, _, reason = run([0.005, 0.005, 0.005])
    assert not state.decay_end
    assert reason == "Done: the validation loss is below 0.01 (LOSS_TARGET) and no longer improves; epoch 1 is kept."


@pytest.mark.parametrize("losses", [[1.0] * 8, [0.5 ** epoch for epoch in range(8)], [1e-6] * 8])
def test_with_few_validation_clips_the_epochs_are_fixed(losses):
    state, _, reason = run(losses, clips=MIN_VALIDATION_CLIPS - 1, fixed_epochs=8)
    assert (state.decay_start, state.decay_end) == (5, 8)
    assert reason.startswith("Done: all 8 epochs are complete (FIXED_EPOCHS); epoch ")


def test_with_fixed_epochs_there_is_one_epoch_of_validation_at_least():
    assert run([], clips=3, fixed_epochs=2)[0].decay_start == 1


def test_fixed_epochs_do_not_apply_with_enough_clips_or_after_the_first_epoch():
    assert run([1.0], fixed_epochs=8)[0].fixed_epochs == 0
    state = TrainingState({}, epoch=1, validation=["a"])
    EarlyStopping(**DEFAULTS | {"fixed_epochs": 8}).plan(state, 1)
    assert state.fixed_epochs == 0


def test_a_continued_training_has_no_fixed_epochs():
    stopping, state = EarlyStopping(**DEFAULTS | {"fixed_epochs": 4}), run([1.0] * 4, clips=3, fixed_epochs=4)[0]
    assert stopping.stop_reason(state)
    state.continue_training(stopping.patience, stopping.anneal_epochs)
    assert not stopping.stop_reason(state)


def test_the_maximum_number_of_epochs_ends_training():
    assert run([1.0, 0.5], epochs=2)[2] == "Done: EPOCHS (2) reached; epoch 2 is kept."
    assert run([1.0], epochs=1)[2] == "Done: EPOCHS (1) reached; epoch 1 is kept."


def test_of_epochs_without_validation_the_last_is_kept():
    state, kept, _ = run([1.0, 1.0, 1.0, None, None])
    assert (kept, state.best_epoch, state.best_loss) == ([1, 4, 5], 5, 1.0)
    assert state.trained_on_validation


@pytest.mark.parametrize("first", [math.inf, 1e9])
def test_any_finite_loss_is_better_than_none(first):
    assert run([first, 5.0])[0].best_loss == 5.0


def test_epochs_count_from_the_start_of_a_continued_training():
    stopping, state = EarlyStopping(**DEFAULTS | {"epochs": 2}), run([1.0, 0.5], epochs=2)[0]
    state.continue_training(stopping.patience, stopping.anneal_epochs)
    for loss in (0.4, 0.3):
        assert not stopping.stop_reason(state)
        stopping.on_epoch_end(state, {"val_loss": loss})
    assert stopping.stop_reason(state) == "Done: EPOCHS (2) reached; epoch 4 is kept."


def test_without_validation_a_continued_training_ends_with_its_decay():
    stopping, state = EarlyStopping(**DEFAULTS), run([1.0, 1.0, 1.0, None, None, None])[0]
    state.continue_training(stopping.patience, stopping.anneal_epochs)
    for _ in range(5):
        assert not stopping.stop_reason(state)
        stopping.on_epoch_end(state, {"val_loss": None})
    assert stopping.stop_reason(state) == ("Done: constant learning rate until epoch 8 (PATIENCE); the learning rate "
                                           "has decayed to 0 since then (ANNEAL_EPOCHS); epoch 11 is kept.")
