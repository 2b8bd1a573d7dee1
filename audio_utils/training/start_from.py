"""START_FROM: training begins with the layers of another network; checks and records, without Keras.

The training state records the file. A resumed training continues without it.
"""

from argparse import Namespace
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data.clips import Clips
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.checkpoint import WEIGHTS, Checkpoint
from audio_utils.runtime.console import say
from audio_utils.runtime.errors import UserError
from audio_utils.training import known_clips
from audio_utils.training.network_choice import AUTO
from audio_utils.training.state import TrainingState

_MAY_DIFFER = ("clip_samples", "clip_seconds")
_CHOOSE_ANOTHER = "or start from another network"


# --- checks before training -----------------------------------------------------------------------------------------

def check(path: object, folder: Path, fresh: bool) -> None:
    """Raise UserError if START_FROM is not a path, or the path of a file that this training writes, or does not exist.

    folder: of weights.hdf5, or of the folders with those of folds or of a learning curve. fresh: FRESH. A training that
    has begun does not need the file.
    """
    if not isinstance(path, str):
        raise UserError(f"START_FROM is {path!r}; set it to the path of another network, such as "
                        f'"other/{WEIGHTS}".')
    if not path:
        return
    own = [each for each in ([WEIGHTS] if folder == Path() else folder.glob(f"*/{WEIGHTS}")) if each.exists()]
    if fresh or not own:
        require_exists(path)
    if Path(path).exists() and any(each.samefile(path) for each in own):
        raise UserError(f"START_FROM is {path!r}, the file that this training writes; --continue trains it on, --fresh "
                        "starts over; to start from it, rename it first.")


def require_compatible(options: Namespace, settings: MelgramSettings) -> None:
    """Raise UserError unless the network in START_FROM is the same as NETWORK, and was trained on such melgrams.

    Clips may have another length. options: the constants of train_network.py.
    """
    path = options.start_from
    if not path or not Path(path).exists():
        return
    other = read(path)
    if options.network not in (AUTO, other.network):
        raise UserError(f"START_FROM: {path} contains the network {other.network!r}, but NETWORK is "
                        f"{options.network!r}; add --network {other.network}, {_CHOOSE_ANOTHER}.")
    for (name, value), now in zip(other.settings.to_dict().items(), settings.to_dict().values(), strict=True):
        if value != now and name not in _MAY_DIFFER:
            raise UserError(f"START_FROM: {path} was trained on melgrams with {name} = {value}, but here it is {now}; "
                            f"{_remedy(name, value, other.settings)}, {_CHOOSE_ANOTHER}.")


def _remedy(name: str, value: int, settings: MelgramSettings) -> str:
    """How to preprocess with this value of a setting."""
    flags = {"sample_rate": f"--sample-rate {value}", "mels": f"--mels {value}"} | {
        each: f"--{each}-ms {1000 * getattr(settings, each) / settings.sample_rate:.6g}" for each in ("window", "hop")}
    if name == "channels":
        flags[name] = "--mono" if value == 1 else ""
    return f"run preprocess_data.py {flags[name]} --overwrite" if flags.get(name) else \
        f"use sounds with {value} channels" if name == "channels" else "train that network again"


def require_exists(path: str) -> None:
    """Raise UserError if START_FROM does not exist."""
    if not Path(path).exists():
        raise UserError(f"START_FROM is {path!r}, which does not exist; set it to the {WEIGHTS} of another training.")


def read(path: str) -> Checkpoint:
    """The metadata of the network in START_FROM. Raises UserError."""
    require_exists(path)
    return checkpoints.read(path)


# --- the training state ---------------------------------------------------------------------------------------------

def begin(path: str, clips: Clips) -> dict[str, str]:
    """The entry of the training state for a new training: the path of the file, and a digest; {} without START_FROM.

    Says how many of the clips in Train the other network was trained on.
    """
    if not path:
        return {}
    read(path)
    if not known_clips.records_content(path):
        raise UserError(f"START_FROM: {path} is of an older version, which did not record the sounds that it was "
                        "trained on; train that network again.")
    if count := known_clips.trained_on(path, clips).sum():
        say(f"{count} of {len(clips)} clips in Train were also in that of {path}; validation may be too optimistic.")
    return {"path": path, "digest": digest(path)}


def digest(path: str) -> str:
    """A hash of the content of a file."""
    return blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


def report_change(state: TrainingState, path: str) -> None:
    """Say if a resumed training began with another START_FROM, which still applies."""
    before = state.start_from.get("path", "")
    with suppress(OSError):  # the file is not needed any more
        if path and digest(path) == state.start_from.get("digest"):
            return
    if path != before:
        say(f'START_FROM was "{before}" and is now "{path}": it applies when training begins; --fresh applies it.')
    elif path and Path(path).exists():
        say(f"START_FROM: {path} has changed since training began, which has no effect; --fresh applies it.")


def of_checkpoint(checkpoint: Checkpoint) -> dict[str, str]:
    """The path and the digest of the file that training began with, {} if there is none."""
    found = checkpoint.training_state.get("start_from")
    return found if isinstance(found, dict) else {}


def inherit_standardization(state: TrainingState, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint of a new training, with the standardization that the layers of START_FROM were trained with."""
    if not state.start_from:
        return checkpoint
    return checkpoint._replace(standardization=read(state.start_from["path"]).standardization)


# --- cross-validation -----------------------------------------------------------------------------------------------

def of_folds(weights: dict[str, Path], results: dict[str, Evaluation],
             clips: Clips) -> tuple[dict[str, str], dict[str, Any]]:
    """START_FROM of the folds as in the training state, and the number of tested clips that it was trained on.

    weights: fold → its file. results: fold → Evaluation. The number is in an entry for scores.json. Both are {} without
    START_FROM.
    """
    index = {name: i for i, name in enumerate(clips.names)}
    started = {fold: found for fold, path in weights.items()
               if (found := of_checkpoint(checkpoints.read(path)))}
    known = sum(_count_known(weights[fold], clips.subset(np.array([index[name] for name in results[fold].names], int)))
                for fold in started)
    if not started:
        return {}, {}
    return next(iter(started.values())), {"trained_on": known, "trained_on_are_scored": known > 0}


def _count_known(path: Path, clips: Clips) -> int:
    return int(known_clips.trained_on(path, clips).sum())


def warning(scores: dict[str, Any]) -> str:
    """A sentence about the tested clips of cross-validation that START_FROM was trained on, or ""."""
    if not scores.get("trained_on_are_scored"):
        return ""
    return (f"{scores['trained_on']} of {scores['files']} clips were in the Train set of START_FROM, so the scores are "
            "too high.")
