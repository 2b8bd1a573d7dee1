"""Thresholds from cross-validation: in folds/scores.json, and in the weights.hdf5 trained on the same clips."""

from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data.clips import Clips
from audio_utils.evaluation import thresholds
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.runtime import safe_files
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError, sentence
from audio_utils.training import known_clips, start_from
from audio_utils.training.balance import NONE, of_training

_REMEDY = "its thresholds are not used; run train_network.py --folds again"


def fingerprint(network: str, settings: MelgramSettings, class_names: list[str], hashes: np.ndarray,
                balance: str = NONE, started: dict[str, str] | None = None) -> dict[str, Any]:
    """What thresholds and a learning curve depend on, for JSON.

    network: its name. hashes: uint64 (clips,), of the clips in Train. balance: BALANCE. started: start_from of the
    training state.
    """
    clips = blake2b(np.sort(hashes).astype("<u8").tobytes(), digest_size=16).hexdigest()
    return {"network": network, "settings": settings.to_dict(), "class_names": class_names, "clips": clips,
            **({"balance": balance} if balance != NONE else {}),
            **({"start_from": started.get("digest")} if started else {})}


def of_clips(network: str, settings: MelgramSettings, clips: Clips, balance: str = NONE,
             started: dict[str, str] | None = None) -> dict[str, Any]:
    """The fingerprint of a network that is trained on these clips."""
    hashes = known_clips.hashes(None, clips)[known_clips.LABELS if clips.multi_label else 0]
    return fingerprint(network, settings, clips.class_names, hashes, balance, started)


def of_checkpoint(path: str | Path, checkpoint: checkpoints.Checkpoint) -> dict[str, Any]:
    """The fingerprint of a trained network; {} for a file of an older version, which did not record the clips."""
    hashes = checkpoints.read_clip_hashes(path, known_clips.LABELS if checkpoint.multi_label else 0)
    return {} if hashes is None else \
        fingerprint(checkpoint.network, checkpoint.settings, checkpoint.class_names, hashes, of_training(checkpoint),
                    start_from.of_checkpoint(checkpoint))


def read(path: Path, network: str, settings: MelgramSettings, clips: Clips, balance: str = NONE,
         started: dict[str, str] | None = None) -> dict[str, Any]:
    """The thresholds in a scores.json of cross-validation with this network and these clips; {} if there are none.

    balance: BALANCE. Prints a sentence if they are used, or if the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        scores = safe_files.read_json(path, _REMEDY)
        if scores.get("fingerprint") != of_clips(network, settings, clips, balance, started):
            return {}
        found = scores["thresholds"]
        thresholds.check(found, clips.class_names)
    except (UserError, OSError) as error:
        warn(sentence(error))
    except (KeyError, ValueError, TypeError, AttributeError):
        warn(f"{path}: is damaged; {_REMEDY}.")
    else:
        say(f"Thresholds for predict_class.py: from {path}, {found['source']}.")
        return found
    return {}


def store(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Write thresholds into a weights.hdf5 if there is one, or say why not if its network has another fingerprint.

    Raises UserError if the file is damaged.
    """
    if not path.exists():
        return
    checkpoint = checkpoints.read(path)
    if other := _difference(checkpoint, of_checkpoint(path, checkpoint), wanted):
        say(f"{path}: does not get these thresholds, because it was trained {other}; train_network.py --fresh trains a "
            "network that does.")
        return
    checkpoints.update(path, thresholds=found)
    use = "" if checkpoint.multi_label else " --min-probability auto"  # the default with MULTI_LABEL
    say(f"{path}: now contains the thresholds of cross-validation, for predict_class.py{use}.")


def _difference(checkpoint: checkpoints.Checkpoint, has: dict[str, Any], wanted: dict[str, Any]) -> str:
    """How the training of a checkpoint with a fingerprint differs from the wanted one, "" if it does not."""
    if not has:
        return "by an older version, which did not record the clips"
    if checkpoint.training_state.get("held_out"):  # of a fold, or of a learning curve
        return "on a part of the sounds"
    names = {"network": f"as {checkpoint.network!r}", "class_names": "with other classes",
             "settings": "with other preprocessing", "clips": "on other sounds",
             "balance": "with another BALANCE", "start_from": "with another START_FROM"}
    return next((text for name, text in names.items() if has.get(name) != wanted.get(name)), "")
