"""epoch_table.py: the lines of epochs fit 80 columns and are aligned; the final figures say what was validated."""

import pytest

from audio_utils.training import epoch_table
from audio_utils.training.state import TrainingState


def state_of(epochs=1, loss=0.5, val_loss=0.25, accuracy=1.0, **values):
    logs = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_loss and accuracy,
            "learning_rate": 0.002}
    history = [{"epoch": epoch, **logs} for epoch in range(1, epochs + 1)]
    return TrainingState({}, epoch=epochs, history=history, best_loss=val_loss or 0.25,
                         **{"best_epoch": epochs} | values)


def test_a_line_is_below_the_header():
    line = epoch_table.line(state_of(12), 2000, True, 1234.4, 0.81, 1)
    assert line == "epoch   12  0.5000  100.00%  0.2500  100.00%  0.2500*     1234    0.8 s"
    for end in ("loss accuracy    loss accuracy", "best", "clips/s", "time"):
        title = epoch_table.HEADER.splitlines()[1]
        assert title.index(end) + len(end) <= len(line)
        assert line[title.index(end) + len(end) - 1] != " "


@pytest.mark.parametrize("values", [
    {}, {"val_loss": None}, {"val_loss": None, "accuracy": 0.0}, {"loss": 16.118, "val_loss": 16.1181}])
def test_lines_of_many_epochs_fit_80_columns(values):
    for state in (state_of(9999, decay_end=10500, **values), state_of(99999, decay_end=200000, **values)):
        line = epoch_table.line(state, 10 ** 6, True, 123456, 9999.94, 10)
        assert len(line) <= 79, line
    assert max(map(len, epoch_table.HEADER.splitlines())) <= 79


@pytest.mark.parametrize(("values", "left"), [
    ({}, "s"), ({"decay_end": 5}, "0:08"), ({"decay_end": 40}, "1:18"), ({"decay_end": 4001}, "2h13m"),
    ({"decay_end": 19000}, "10h"), ({"decay_end": 1}, "s"), ({"decay_end": 12, "first_epoch": 1}, "0:22")])
def test_the_time_left_is_shown_if_the_last_epoch_is_near_or_during_the_annealing(values, left):
    assert epoch_table.line(state_of(**values), 20000, False, 100, 1, 2).split()[-1] == left


def test_small_losses_keep_the_columns():
    line = epoch_table.line(state_of(12, loss=1.14e-6, val_loss=2.5e-5), 2000, True, 1234.4, 0.81, 1)
    assert line == "epoch   12  1.1e-6  100.00%  2.5e-5  100.00%  2.5e-5*     1234    0.8 s"
    assert epoch_table.final_validation(state_of(val_loss=2.5e-5), "9 clips", 9).startswith(
        "Validation: loss 2.5e-5, ")


def test_the_time_left_ends_with_the_last_epoch():
    assert epoch_table.line(state_of(), 100, False, 100, 1, 2).split()[-1] == "3:18"
    assert epoch_table.line(state_of(), 101, False, 100, 1, 2).split()[-1] == "s"
    assert epoch_table.line(state_of(decay_end=99, first_epoch=1), 10, False, 100, 1, 2).split()[-1] == "0:20"


def test_an_epoch_on_all_clips_has_no_validation_and_no_star():
    line = epoch_table.line(state_of(3, val_loss=None), 2000, True, 100, 1, 1)
    assert line == "epoch    3  0.5000  100.00%     on all clips               100    1.0 s"


def test_the_beginning_says_when_training_ends():
    end = "Training ends when the validation loss no longer improves"
    stop = "; ^C stops it, and the same command continues."
    assert list(epoch_table.beginning(state_of(0, val_loss=None), 2000, False)) == [end + stop]
    assert list(epoch_table.beginning(state_of(4, first_epoch=1), 9, False)) == [
        "Continuing after epoch 4; epoch 4 is kept so far, the best validation loss is 0.2500.",
        f"{end}, or after epoch 10 (EPOCHS){stop}"]
    assert len(list(epoch_table.beginning(state_of(4, decay_end=9), 2000, False))) == 1  # the annealing is announced
    fixed = state_of(0, val_loss=None, fixed_epochs=32, decay_end=32, validation=["a"] * 9)
    assert list(epoch_table.beginning(fixed, 2000, False)) == [
        f"Training ends after epoch 32: 9 validation clips are too few to show when it should (FIXED_EPOCHS){stop}"]
    assert "after epoch 5:" in next(epoch_table.beginning(fixed, 5, False))
    assert list(epoch_table.beginning(state_of(4), 3, True)) == [
        "Training had ended after epoch 4; --continue trains on."]
    assert list(epoch_table.beginning(state_of(4, held_out=["a"]), 3, True)) == ["Training had ended after epoch 4."]


def test_the_annealing_is_announced():
    state = state_of(4, decay_end=20)
    assert epoch_table.annealing(state, False) == "The learning rate decays from here on, to 0 in epoch 20."
    assert " decays after epoch 9, to 0 in " in epoch_table.annealing(state_of(4, decay_start=9, decay_end=20), False)
    assert epoch_table.annealing(state, True).endswith("trained on too, so there is no validation loss.")


def test_the_final_figures_are_those_of_the_kept_network():
    state = state_of(4, best_epoch=2)
    state.history[1] |= {"val_loss": 0.125, "val_accuracy": 0.75}
    assert epoch_table.final_validation(state, "8 clips", 8) == (
        "Validation: loss 0.1250, accuracy 75.00% (95% interval 40.9% to 92.9%) of 8 clips.")


def test_a_network_that_was_trained_on_all_clips_has_no_figures_of_its_own():
    state = state_of(5)
    for logs in state.history[2:]:
        logs |= {"val_loss": None, "val_accuracy": None}
    assert epoch_table.final_validation(state, "9 clips", 9) == (
        "Validation: no result, because the kept network was trained on the validation clips too; before that, in "
        "epoch 2: loss 0.2500, accuracy 100.00% (95% interval 70.1% to 100.0%) of 9 clips.")
    state = state_of(2, val_loss=None)
    assert epoch_table.final_validation(state, "9 clips", 9).endswith("trained on the validation clips too.")
