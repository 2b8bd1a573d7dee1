"""Start training or resume it from weights.hdf5, and choose the training and validation clips."""

from argparse import Namespace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_utils.data import split
from audio_utils.data.clips import Clips
from audio_utils.data.sounds import require_classes
from audio_utils.data.split import Grouping
from audio_utils.evaluation import background
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime import safe_files, signals
from audio_utils.runtime.console import say
from audio_utils.runtime.errors import UserError
from audio_utils.training import balance, known_clips, start_from
from audio_utils.training.early_stopping import EarlyStopping
from audio_utils.training.state import TrainingState

_NO_VALIDATION = "none of the validation clips any more; restore those sounds, or use --fresh to start over."
_FEW_FOR_VALIDATION = "too few sounds for validation; add more to each class."
_EARLIER_VERSION = {"OPTIMIZER": "adamw", "TIME_STRETCH": 0.0}  # constants that it did not have, and their equivalents
_WITHOUT_VALIDATION = (": on all clips, because the validation clips have been trained on; the learning rate is "
                       "constant for PATIENCE epochs and decays for ANNEAL_EPOCHS")


def read_checkpoint(path: Path, fresh: bool) -> Checkpoint | None:
    """The checkpoint to continue from; None if there is none, or training is to start over."""
    exists = path.exists() and not fresh
    unchanged = f"{path} is unchanged; " if path.exists() else ""
    signals.on_stop(f"Stopped before the first epoch was complete; {unchanged}the same command "
                    f"{'continues' if exists else 'starts again'}.")
    return checkpoints.read(path) if exists else None


def put_away(path: Path) -> Path:
    """Rename an old file or folder by adding today's date; returns the new path."""
    kept = path.with_stem(f"{path.stem}.{datetime.now():%Y-%m-%d}")
    if kept.exists():
        kept = path.with_stem(f"{path.stem}.{datetime.now():%Y-%m-%d-%H%M%S}")
    if safe_files.writes():
        path.rename(kept)
    say(f"{path}: kept as {kept}.")
    return kept


# --- the training state ---------------------------------------------------------------------------------------------

def initial_state(path: Path, checkpoint: Checkpoint | None, options: Namespace, clips: Clips, held_out: list[str],
                  constants: dict[str, Any]) -> TrainingState:
    """The state of the checkpoint, or a new one; rejects a checkpoint that does not match the clips or options.

    held_out: names of the test clips of this fold. constants: those of train_network.py that the state records; a
    message reports each that has changed.
    """
    if checkpoint:
        checkpoint.require_labels_of(clips, path)
    require_classes(clips.class_names, "Preproc/Train")
    if not checkpoint:
        return TrainingState(constants, held_out=list(held_out), start_from=start_from.begin(options.start_from, clips))
    if checkpoint.class_names != clips.class_names:
        raise UserError(f"{path}: has the classes {', '.join(checkpoint.class_names)}; now there are "
                        f"{', '.join(clips.class_names)}; use --fresh to start over (the old file is kept), or rename "
                        "it and use it as START_FROM.")
    try:
        state = TrainingState.from_dict(checkpoint.training_state)
    except (TypeError, KeyError):
        raise UserError(f"{path}: contains no training state that this version can continue; use --fresh.") from None
    if checkpoint.network != options.network:
        raise UserError(f"{path}: contains the network {checkpoint.network!r}, but NETWORK is {options.network!r}; "
                        "set it back, or use --fresh to start over (the old file is kept).")
    balance.require_same(path, checkpoint, options.balance)
    if sorted(state.held_out) != sorted(held_out):
        raise UserError(f"{path}: was trained for a fold of other sounds; restore FOLDS, SEED and the sounds, "
                        "or use --fresh to start all folds over (the old ones are kept).")
    ended = bool(EarlyStopping.of(options).stop_reason(state))
    continues = ended and getattr(options, "continue")
    if continues:
        state.continue_training(options.patience, options.anneal_epochs)
        say(f"Training had ended after epoch {state.epoch} and continues, for at most {options.epochs} epochs (EPOCHS)"
            f"{_WITHOUT_VALIDATION if state.decay_end else ''}.")
    known_clips.report_changes(path, clips, state.epoch, ended and not continues)
    if "OPTIMIZER" not in state.constants and state.constants.get("MIXUP"):
        say(f"MIXUP averaged levels in dB until epoch {state.epoch}; now it adds powers.")
    state.constants = _EARLIER_VERSION | state.constants
    state.constants = report_changed_constants(state, constants)
    start_from.report_change(state, options.start_from)
    _apply_background(path, checkpoint, background.parse(options.background_classes, clips.class_names))
    return state


def _apply_background(path: Path, checkpoint: Checkpoint, now: list[str]) -> None:
    """Store other background classes in the file of a checkpoint; they apply even if training has ended."""
    if checkpoint.background_classes != now:
        checkpoints.update(path, background_classes=now)
        before, after = (f'"{",".join(names)}"' for names in (checkpoint.background_classes, now))
        say(f"BACKGROUND_CLASSES was {before} and is now {after}; {path} contains the new value.")


def report_changed_constants(state: TrainingState, constants: dict[str, Any]) -> dict[str, Any]:
    """Say which constants have changed since the last epoch; returns those to record.

    A constant that acts only at the start of training keeps its recorded value, so that each run reports it again.
    """
    recorded = dict(constants)
    if "VALIDATION_FRACTION" not in state.constants:  # of an older version
        recorded.pop("VALIDATION_FRACTION", None)
    for name, before in state.constants.items():
        now = constants.get(name, before)
        if now == before:
            continue
        effect = _not_applied(name, state, max(before, now) if name == "WARM_UP" else 0)
        say(f"{name} was {before} and is now {now}{f': {effect}; --fresh applies it' if effect else ''}.")
        if effect:
            recorded[name] = before
    return recorded


def _not_applied(name: str, state: TrainingState, warm_up: int) -> str:
    """The reason why a changed constant has no effect any more, or "" if it applies from now on."""
    if name == "VALIDATION_FRACTION":
        return "validation clips stay as they are"
    if name == "SEED":
        return "validation clips and initial weights stay as they are, only the order of the clips changes"
    if name == "OPTIMIZER":
        return "the optimizer stays as it is"
    if name == "WARM_UP" and state.step >= warm_up:
        return "the warm-up is over"
    if name == "FIXED_EPOCHS":
        return "it applies when training begins"
    if name in ("PATIENCE", "MIN_DELTA", "ANNEAL_EPOCHS") and state.decay_end:
        return f"the learning rate decays to 0 in epoch {state.decay_end} as before"
    if name == "FINISH_ON_ALL" and state.trained_on_validation:
        return "the validation clips have been trained on already"
    return ""


def record_arithmetic(state: TrainingState, backend: str, precision: str, devices: int) -> None:
    """Store in the state how the next epoch is computed, and say if this has changed since the last epoch."""
    for attribute, name, value in (("backend", "backend", backend), ("precision", "precision", precision),
                                   ("devices", "number of devices", devices)):
        before = getattr(state, attribute)
        if state.epoch and before not in ("", value):
            say(f"The {name} was {before} until epoch {state.epoch} and is now {value}; the results may differ "
                "slightly from training with one.")
        setattr(state, attribute, value)


def report_changed_groups(checkpoint: Checkpoint, group_by: str) -> None:
    """Say if preprocess_data.py now groups sounds in another way than when training began."""
    before = checkpoint.preprocessing_constants.get("GROUP_BY", group_by)
    if before != group_by:
        say(f"GROUP_BY was {before!r} and is now {group_by!r}: validation clips stay as they are; --fresh applies it.")


# --- training and validation clips ----------------------------------------------------------------------------------

class TrainValSplit(NamedTuple):
    """Indices of the clips of Train."""
    training: np.ndarray
    validation: np.ndarray
    validation_copies: np.ndarray  # augmented copies of validation clips; used for training only together with these

    @property
    def all(self) -> np.ndarray:
        return np.concatenate(self)


def train_val_split(names: list[str], state: TrainingState, known: set[str] | None, fraction: float, seed: int,
                    grouping: Grouping, own: list[str] = ()) -> TrainValSplit:
    """Choose the validation clips as the Test clips were chosen, and store their names in the state.

    In a resumed run, clips stay where they were, even if they are missing for some time. Clips that the fold holds out,
    and the rest of their groups, are left out. known: names of the clips in Train at the last epoch, None if training
    begins. own: names of the clips of Val; if there are any, only they are used for validation.
    """
    held_out = set(map(grouping.of, state.held_out))
    available = [name for name in names if grouping.of(name) not in held_out]
    if own or state.own_validation:
        _use_own_validation(state, list(own), known is not None)
        return TrainValSplit(np.flatnonzero(np.isin(names, available)), *np.zeros((2, 0), int))
    before = set(state.validation)
    groups = set(map(grouping.of, before))  # new clips of these groups are used for validation too
    stay = before | (known or set())
    assigned = {} if known is None else {name: name in before for name in available
                                         if name in stay or grouping.of(name) not in groups}
    validates = split.hold_out(available, assigned, fraction, seed, grouping)
    present = [name for name in available if validates[name]]
    gone = [name for name in state.validation if name not in validates]
    if not present:
        raise UserError(f"Preproc/Train: contains {_NO_VALIDATION if gone else _FEW_FOR_VALIDATION}")
    if gone:
        say(f"{len(gone)} of {len(state.validation)} validation clips are gone, such as {gone[0]}; the validation loss "
            "is that of the others.")
    state.validation = present + gone
    return TrainValSplit(*(np.array([i for i, name in enumerate(names) if name in validates
                                     and validates[name] is part], int) for part in (False, True, None)))


def _use_own_validation(state: TrainingState, own: list[str], resumed: bool) -> None:
    """Store the names of the clips of Val in the state; rejects a network that was validated with clips of Train."""
    if resumed and not state.own_validation:
        raise UserError("Preproc/Val: is new; training began with validation clips of Train; use --fresh to start "
                        "over (the old file is kept), or move the sounds of Val into Train and preprocess again.")
    if not own:
        raise UserError(f"Preproc/Val: contains {_NO_VALIDATION}")
    changed = len(set(own) ^ set(state.validation)) if resumed else 0
    if changed:
        say(f"{changed} validation clips of Val are new or gone since the last epoch; the validation loss is now that "
            f"of the {len(own)} clips in Val.")
    state.validation, state.own_validation = own, True
