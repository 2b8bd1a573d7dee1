"""Where a training is: its counters, when its learning rate falls, when it ends; a part of weights.hdf5."""

import csv
import math
from dataclasses import dataclass, field, fields

from audio_utils import safe_files

COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")  # of history.csv


@dataclass
class Progress:
    """Saved with the weights, so that a resumed run goes on exactly."""
    constants: dict  # those of train_network.py with which the last epoch was trained
    epoch: int = 0  # epochs done
    steps: int = 0
    averaged: int = 0  # how often the weights have entered their average
    best_loss: float = math.inf  # of validation
    best_epoch: int = 0  # whose network is kept
    marked_loss: float = math.inf  # the last best that was more than negligibly better
    marked_epoch: int = 0
    cooled_from: int = 0  # the epoch after which the learning rate began to fall,
    cooled_until: int = 0  # and the one with which it comes to 0; 0: it has not begun
    held_out: list = field(default_factory=list)  # names of the clips of this fold that it is tested on
    validation: list = field(default_factory=list)  # names of the clips that choose the best epoch
    history: list = field(default_factory=list)  # a dictionary for each epoch

    @classmethod
    def of(cls, values):
        """From what weights.hdf5 holds; raises TypeError where that is something else."""
        progress = cls(**values)
        for each in fields(cls):
            if not isinstance(getattr(progress, each.name), (each.type, int) if each.type is float else each.type):
                raise TypeError(each.name)
        numbers = [value for row in progress.history for value in (row[name] for name in COLUMNS)]
        whole = all(isinstance(value, int | float | None) for value in numbers)
        if not whole or len(progress.history) != progress.epoch:
            raise TypeError("history")
        return progress

    @property
    def taught_all(self):
        """Whether the clips of validation have been trained on, and so can validate no more."""
        return bool(self.history) and self.history[-1]["val_loss"] is None

    def share(self, part):
        """The share of LEARNING_RATE that is left, when so much of the epoch under way is done.

        It stays until validation no longer improves, and then falls to 0 as 1 - √x: Hägele et al., "Scaling Laws and
        Compute-Optimal Training Beyond Fixed Training Durations", NeurIPS 2024, section 3.
        """
        if not self.cooled_until:
            return 1.0
        return 1 - math.sqrt((self.epoch + part - self.cooled_from) / (self.cooled_until - self.cooled_from))

    def enter(self, figures, negligible, patience, cool_down):
        """Enter the figures of an epoch, by the names of COLUMNS; True where its network is to be kept.

        Those of validation are None where it was trained on all clips, and its network so is the best there is.
        """
        self.epoch += 1
        self.history.append({"epoch": self.epoch, **figures})
        val_loss = figures["val_loss"]
        if val_loss is None:
            self.best_epoch = self.epoch
            return True
        improved = val_loss < self.best_loss
        if improved:
            self.best_loss, self.best_epoch = val_loss, self.epoch
        if val_loss < self.marked_loss - negligible:
            self.marked_loss, self.marked_epoch = val_loss, self.epoch
        elif not self.cooled_until and self.epoch - self.marked_epoch >= patience:
            self.cooled_from, self.cooled_until = self.epoch, self.epoch + cool_down
        return improved

    def finished(self, epochs, negligible, patience):
        """Why training is at its end, or nothing."""
        if self.epoch >= epochs:
            why = f"{self.epoch} epochs (EPOCHS)"
        elif self.best_loss < negligible and self.epoch - self.marked_epoch >= patience:
            why = f"the validation loss is below {negligible} (NEGLIGIBLE), nothing is left to improve"
        elif self.cooled_until and self.epoch >= self.cooled_until:
            why = (f"validation no longer improved in epoch {self.cooled_from} (PATIENCE), and since then the learning "
                   "rate has come down to 0 (COOL_DOWN)")
        else:
            return ""
        return f"Done: {why}, epoch {self.best_epoch} is kept."


def write_history(path, history):
    """history.csv, a line for each epoch."""
    with safe_files.replacing(path) as unfinished, open(unfinished, "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(history)
