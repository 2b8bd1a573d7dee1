"""Where a training starts: at the beginning, or where weights.hdf5 left it; and which clips train and validate it."""

from argparse import Namespace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_utils.data import split
from audio_utils.data.clips import Clips
from audio_utils.data.sounds import require_classes
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime import signals
from audio_utils.runtime.console import say
from audio_utils.runtime.errors import UserError
from audio_utils.training.state import TrainingState


def read_checkpoint(path: Path, fresh: bool) -> Checkpoint | None:
    """The checkpoint to continue from; None if there is none, or training is to start anew."""
    exists = path.exists() and not fresh
    signals.on_stop(f"Stopped before the first epoch was complete; {path} is unchanged; the same command "
                    f"{'continues' if exists else 'starts again'}.")
    return checkpoints.read(path) if exists else None


def put_away(path: Path) -> Path:
    """Rename an old file or folder to one with today's date beside it."""
    kept = path.with_stem(f"{path.stem}.{datetime.now():%Y-%m-%d}")
    if kept.exists():
        kept = path.with_stem(f"{path.stem}.{datetime.now():%Y-%m-%d-%H%M%S}")
    path.rename(kept)
    say(f"{path}: kept as {kept}.")
    return kept


# --- the training state ---------------------------------------------------------------------------------------------

def initial_state(path: Path, checkpoint: Checkpoint | None, options: Namespace, clips: Clips, held_out: list[str],
                  constants: dict[str, Any]) -> TrainingState:
    """The state of the checkpoint, or a new one; refuses a checkpoint that these clips or options do not fit.

    held_out: names of the clips that test this fold. constants: those of train_network.py that the state records; a
    message names each that has changed.
    """
    require_classes(clips.class_names, "Preproc/Train")
    if not checkpoint:
        return TrainingState(constants, held_out=list(held_out))
    if checkpoint.class_names != clips.class_names:
        raise UserError(f"{path}: has the classes {', '.join(checkpoint.class_names)}; now there are "
                        f"{', '.join(clips.class_names)}; give --fresh to start anew (the old file is kept).")
    try:
        state = TrainingState.from_dict(checkpoint.training_state)
    except (TypeError, KeyError):
        raise UserError(f"{path}: holds no training that this version can continue; give --fresh.") from None
    if checkpoint.network != options.network:
        raise UserError(f"{path}: holds the network {checkpoint.network!r}, but NETWORK is {options.network!r}; "
                        "set it back, or give --fresh to start anew (the old file is kept).")
    if sorted(state.held_out) != sorted(held_out):
        raise UserError(f"{path}: was trained for a fold of other sounds; set FOLDS, SEED and the sounds back, "
                        "or give --fresh to start all folds anew (the old ones are kept).")
    for name, before in state.constants.items():
        now = constants.get(name, before)
        if now != before:
            say(f"{name} was {before} and is now {now}.")
    state.constants = constants
    return state


# --- training and validation clips ----------------------------------------------------------------------------------

class TrainValSplit(NamedTuple):
    """Indices of clips."""
    training: np.ndarray
    validation: np.ndarray
    validation_copies: np.ndarray  # augmented copies of validation clips, which are trained on only with these

    @property
    def all(self) -> np.ndarray:
        return np.concatenate(self)


def train_val_split(names: list[str], state: TrainingState, resumed: bool, fraction: float, seed: int,
                    group_by: str) -> TrainValSplit:
    """Choose the validation clips as the Test clips were chosen, and enter them in the state.

    In a resumed run, clips stay where they were. Clips that the fold holds out, and their copies, are left out.
    """
    def group_of(name: str) -> str:
        return split.group_of(name, group_by)

    held_out = set(map(group_of, state.held_out))
    available = [name for name in names if group_of(name) not in held_out]
    before = set(state.validation)
    groups = set(map(group_of, before))
    assigned = {name: name in before for name in available
                if name in before or group_of(name) not in groups} if resumed else {}
    validates = split.hold_out(available, assigned, fraction, seed, group_by)
    state.validation = [name for name in available if validates[name]]
    if not state.validation:
        raise UserError("Preproc/Train: holds too few sounds for validation; add more to each class.")
    return TrainValSplit(*(np.array([i for i, name in enumerate(names) if name in validates
                                     and validates[name] is part], int) for part in (False, True, None)))
