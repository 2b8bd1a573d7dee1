"""The lines that training prints: a table of epochs that fits 80 columns, and the final validation figures."""

import math
from collections.abc import Iterator
from typing import Any

from audio_utils.evaluation import intervals
from audio_utils.runtime import tables
from audio_utils.training.state import TrainingState

HEADER = ("                  training         validation\n"
          "              loss accuracy    loss accuracy     best  clips/s     time   left")
_FEW_EPOCHS = 100  # if EPOCHS leaves fewer, the time left is shown
HEADER_EVERY = 20  # epochs, so that it stays on a screen of 24 lines


def line(state: TrainingState, epochs: int, improved: bool, clips_per_second: float, seconds: float,
         total_seconds: float) -> str:
    """The line of the last epoch in the state; a star after the best validation loss marks an improvement.

    epochs: the maximum (EPOCHS). seconds: of training alone; total_seconds: of the whole epoch.
    """
    logs = state.history[-1]
    validation = f"{'on all clips':>15}{'':9}" if logs["val_loss"] is None else \
        f"{_pair(logs['val_loss'], logs['val_accuracy'])}  {tables.number(state.best_loss)}{'*' if improved else ' '}"
    remaining = min(state.decay_end or math.inf, state.first_epoch + epochs) - state.epoch
    shown = remaining > 0 and (state.decay_end or remaining < _FEW_EPOCHS)
    left = _duration(remaining * total_seconds) if shown else ""
    return (f"epoch {state.epoch:4}  {_pair(logs['loss'], logs['accuracy'])}  {validation} {clips_per_second:8.0f} "
            f"{seconds:6.1f} s {left:>6}").rstrip()


def _pair(loss: float, accuracy: float) -> str:
    return f"{tables.number(loss)}  {accuracy:7.2%}"


def _duration(seconds: float) -> str:
    """0:05, 12:34, 1h05m, 12h."""
    minutes, seconds = divmod(round(seconds), 60)
    hours = minutes // 60
    return f"{minutes}:{seconds:02}" if not hours else f"{hours}h{minutes % 60:02}m" if hours < 10 else f"{hours}h"


def beginning(state: TrainingState, epochs: int, ended: bool) -> Iterator[str]:
    """Sentences before the first epoch: the state, and the end of training; ended: whether it has ended already."""
    if ended:
        yield f"Training had ended after epoch {state.epoch}{'' if state.held_out else '; --continue trains on'}."
    elif state.epoch:
        best = tables.number(state.best_loss).strip()
        loss = f", the best validation loss is {best}" if math.isfinite(state.best_loss) else ""
        yield f"Continuing after epoch {state.epoch}; epoch {state.best_epoch} is kept so far{loss}."
    if ended or state.held_out or (state.decay_end and not state.fixed_epochs):
        return
    last = state.first_epoch + epochs
    stop = "^C stops it, and the same command continues."
    if state.fixed_epochs:
        yield (f"Training ends after epoch {min(state.fixed_epochs, last)}: {len(state.validation)} validation clips "
               f"are too few to show when it should (FIXED_EPOCHS); {stop}")
    else:
        limit = f", or after epoch {last} (EPOCHS)" if last - state.epoch < _FEW_EPOCHS else ""
        yield f"Training ends when the validation loss no longer improves{limit}; {stop}"


def annealing(state: TrainingState, on_all: bool) -> str:
    """A sentence about the decay of the learning rate; on_all: whether all clips are now trained on."""
    without = "; the validation clips are now trained on too, so there is no validation loss" if on_all else ""
    start = "from here on" if state.decay_start <= state.epoch else f"after epoch {state.decay_start}"
    return f"The learning rate decays {start}, to 0 in epoch {state.decay_end}{without}."


def final_validation(state: TrainingState, source: str, clips: int) -> str:
    """A sentence about the validation of the kept network; source: the number of validation clips, and their origin."""
    kept = state.history[state.best_epoch - 1]
    if kept["val_loss"] is not None:
        return f"Validation: {_figures(kept, clips)} of {source}."
    last = next((logs for logs in reversed(state.history) if logs["val_loss"] is not None), None)
    before = f"; before that, in epoch {last['epoch']}: {_figures(last, clips)} of {source}" if last else ""
    return f"Validation: no result, because the kept network was trained on the validation clips too{before}."


def _figures(logs: dict[str, Any], clips: int) -> str:
    accuracy = logs["val_accuracy"]
    low, high = intervals.wilson(round(accuracy * clips), clips)
    return (f"loss {tables.number(logs['val_loss']).strip()}, accuracy {accuracy:.2%} (95% interval {low:.1%} to "
            f"{high:.1%})")
