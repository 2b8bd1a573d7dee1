"""The training state, saved in weights.hdf5 so that a resumed run continues exactly; and history.csv."""

import csv
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from audio_utils.runtime import safe_files

COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")  # of history.csv


@dataclass
class TrainingState:
    """All that changes while a network trains, except for arrays."""
    constants: dict[str, Any]  # the constants of train_network.py in the last epoch
    epoch: int = 0  # number of epochs done
    step: int = 0  # number of steps done
    ema_updates: int = 0
    best_loss: float = math.inf  # of validation
    best_epoch: int = 0  # the epoch whose network is kept
    plateau_loss: float = math.inf  # the last best loss that was an improvement by more than MIN_DELTA
    plateau_epoch: int = 0
    decay_start: int = 0  # the epoch after which the learning rate decays,
    decay_end: int = 0  # and the epoch in which it reaches 0; 0 if the decay has not begun
    fixed_epochs: int = 0  # epochs of training, if their number does not depend on the validation loss
    held_out: list = field(default_factory=list)  # names of the test clips of this fold
    validation: list = field(default_factory=list)  # names of the validation clips
    own_validation: bool = False  # whether they are from the user's own Val instead of Train
    history: list = field(default_factory=list)  # a dictionary per epoch
    first_epoch: int = 0  # number of epochs done when CONTINUE last took effect
    backend: str = ""  # of Keras, in the last epoch
    precision: str = ""  # the dtype policy in the last epoch
    devices: int = 1  # that computed each batch together in the last epoch
    start_from: dict = field(default_factory=dict)  # the path and digest of START_FROM when training began
    precision_check: dict = field(default_factory=dict)  # of bfloat16: its conditions, and the problem found or ""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainingState":
        """From a checkpoint's dictionary; raises TypeError or KeyError if it is anything else."""
        state = cls(**values)
        for each in fields(cls):
            kind = {float: (float, int), dict[str, Any]: dict}.get(each.type, each.type)
            if not isinstance(getattr(state, each.name), kind):
                raise TypeError(each.name)
        numbers = [value for row in state.history for value in (row[name] for name in COLUMNS)]
        valid = all(isinstance(value, int | float | None) for value in numbers)
        if not valid or len(state.history) != state.epoch:
            raise TypeError("history")
        return state

    @property
    def trained_on_validation(self) -> bool:
        """Whether the validation clips have been trained on, and so can no longer validate."""
        return any(row["val_loss"] is None for row in self.history)

    @property
    def annealing(self) -> bool:
        """Whether the learning rate decays in the current epoch."""
        return self.decay_end > 0 and self.decay_start <= self.epoch

    def continue_training(self, patience: int, anneal_epochs: int) -> None:
        """Train on after the end: with new plateau counters, and a new decay of the learning rate.

        If the validation clips have been trained on, no loss can show a plateau: the decay begins after `patience`
        epochs, and all clips are trained on.
        """
        self.first_epoch = self.plateau_epoch = self.epoch
        self.plateau_loss = math.inf
        self.decay_start = self.decay_end = self.fixed_epochs = 0
        if self.trained_on_validation:
            self.best_loss = math.inf
            self.decay_start = self.epoch + patience
            self.decay_end = self.decay_start + anneal_epochs


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Write history.csv, a line per epoch."""
    with safe_files.replacing(path) as unfinished, open(unfinished, "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(history)
