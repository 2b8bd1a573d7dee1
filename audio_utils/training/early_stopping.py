"""Early stopping: start the decay of the learning rate, choose the network to keep, and end training."""

from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from audio_utils.training.state import TrainingState

MIN_VALIDATION_CLIPS = 50  # the loss of fewer is too uncertain to show a plateau


@dataclass(frozen=True)
class EarlyStopping:
    """Like Keras's EarlyStopping, but a plateau starts the annealing, and the counters are in the TrainingState."""
    epochs: int  # the maximum
    patience: int  # epochs
    min_delta: float  # nats
    loss_target: float  # nats
    anneal_epochs: int
    fixed_epochs: int = 0

    @classmethod
    def of(cls, options: Namespace) -> "EarlyStopping":
        """From the constants of train_network.py."""
        return cls(options.epochs, options.patience, options.min_delta, options.loss_target, options.anneal_epochs,
                   options.fixed_epochs)

    def plan(self, state: TrainingState, validation_clips: float) -> None:
        """Before the first epoch: fix the epochs of training if the validation clips are too few to show a plateau.

        validation_clips: their number or, if the loss is not a mean over them, the effective number.
        """
        if self.fixed_epochs and not state.epoch and validation_clips < MIN_VALIDATION_CLIPS:
            state.fixed_epochs = state.decay_end = self.fixed_epochs
            state.decay_start = max(1, self.fixed_epochs - self.anneal_epochs)

    def on_epoch_end(self, state: TrainingState, logs: dict[str, Any]) -> bool:
        """Record an epoch's logs, with the names of state.COLUMNS as keys; True if its network is the one to keep.

        val_loss is None if the epoch was trained on all clips; its network is then the best one.
        """
        state.epoch += 1
        state.history.append({"epoch": state.epoch, **logs})
        val_loss = logs["val_loss"]
        if val_loss is None:
            state.best_epoch = state.epoch
            return True
        improved = val_loss < state.best_loss
        if improved:
            state.best_loss, state.best_epoch = val_loss, state.epoch
        if val_loss < state.plateau_loss - self.min_delta:
            state.plateau_loss, state.plateau_epoch = val_loss, state.epoch
        elif not state.decay_end and self._on_plateau(state) and not self._reached_target(state):
            state.decay_start, state.decay_end = state.epoch, state.epoch + self.anneal_epochs
        return improved

    def _on_plateau(self, state: TrainingState) -> bool:
        return state.epoch - state.plateau_epoch >= self.patience

    def _reached_target(self, state: TrainingState) -> bool:
        return state.best_loss < self.loss_target and not state.fixed_epochs

    def stop_reason(self, state: TrainingState) -> str:
        """Why training has ended, or "" if it has not."""
        epochs = state.epoch - state.first_epoch
        if epochs >= self.epochs:
            reason = f"EPOCHS ({self.epochs}) reached"
        elif self._reached_target(state) and self._on_plateau(state):
            reason = f"the validation loss is below {self.loss_target} (LOSS_TARGET) and no longer improves"
        elif state.fixed_epochs and state.epoch >= state.fixed_epochs:
            reason = f"all {state.fixed_epochs} epochs are complete (FIXED_EPOCHS)"
        elif state.decay_end and state.epoch >= state.decay_end:
            validated = state.history[state.decay_start - 1]["val_loss"] is not None
            plateau = "no improvement of the validation loss until" if validated else "constant learning rate until"
            reason = (f"{plateau} epoch {state.decay_start} (PATIENCE); the learning rate has decayed to 0 since then "
                      "(ANNEAL_EPOCHS)")
        else:
            return ""
        return f"Done: {reason}; epoch {state.best_epoch} is kept."
