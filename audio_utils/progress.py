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
    learning_rate: float  # of now, after halvings
    epoch: int = 0  # epochs done
    steps: int = 0
    averaged: int = 0  # how often the weights have entered their average
    best_loss: float = math.inf  # of validation
    best_epoch: int = 0
    marked_loss: float = math.inf  # the last best that was more than negligibly better
    marked_epoch: int = 0
    waited: int = 0  # epochs since then, or since the learning rate was halved
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
        if not all(isinstance(value, int | float) for value in numbers) or len(progress.history) != progress.epoch:
            raise TypeError("history")
        return progress

    def enter(self, figures, negligible, halve_after):
        """Enter the figures of an epoch, by the names of COLUMNS; True where it is the best so far."""
        self.epoch += 1
        self.history.append({"epoch": self.epoch, **figures, "learning_rate": self.learning_rate})
        val_loss = figures["val_loss"]
        improved = val_loss < self.best_loss
        if improved:
            self.best_loss, self.best_epoch = val_loss, self.epoch
        self.waited += 1
        if val_loss < self.marked_loss - negligible:
            self.marked_loss, self.marked_epoch, self.waited = val_loss, self.epoch, 0
        elif self.waited >= halve_after:
            self.learning_rate, self.waited = self.learning_rate / 2, 0
        return improved

    def finished(self, epochs, negligible, halve_after, stop_after):
        """Why training is at its end, or nothing."""
        waited = self.epoch - self.marked_epoch
        if self.epoch >= epochs:
            why = f"{self.epoch} epochs (EPOCHS)"
        elif self.best_loss < negligible and waited >= halve_after:
            why = f"the validation loss is below {negligible} (NEGLIGIBLE), nothing is left to improve"
        elif waited >= stop_after:
            why = f"validation has not improved for {stop_after} epochs (STOP_AFTER)"
        else:
            return ""
        return f"Done: {why}, the best was epoch {self.best_epoch}."


def write_history(path, history):
    """history.csv, a line for each epoch."""
    with safe_files.replacing(path) as unfinished, open(unfinished, "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(history)
