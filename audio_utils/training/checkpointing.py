"""Writing weights.hdf5 with all that is needed to continue training, and restoring it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.inference.network import arrays, assign, weight_paths
from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UserError
from panotti_models import keras


def save(path: Path, checkpoint: Checkpoint, model: keras.Model, best: list[np.ndarray], ema: list[np.ndarray],
         optimizer: keras.optimizers.Optimizer, clip_hashes: Sequence[np.ndarray] = ()) -> None:
    """Write the best network and the state of training in one step, durably.

    model: with the weights of the last epoch, which are restored after saving. best, ema: the weights of the best
    network, and the exponential moving average, in the order of model.weights.
    clip_hashes: from known_clips.hashes.
    """
    last = arrays(model.variables)
    with checkpoints.InMemory() as file:
        assign(model.weights, best)
        model.save(file, include_optimizer=False)
        assign(model.variables, last)
        checkpoints.write(file, checkpoint._replace(weights=weight_paths(model)), last=last, average=ema,
                          optimizer=arrays(optimizer.variables), clips=list(clip_hashes))
        safe_files.write_bytes(path, file.image())


def restore(path: Path, checkpoint: Checkpoint, model: keras.Model,
            optimizer: keras.optimizers.Optimizer) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Restore the variables of a network and its optimizer; returns the arrays (best, ema) that `save` was given."""
    optimizer.build(model.trainable_variables)
    try:
        assign(model.variables, checkpoints.read_state(path, "last", model.variables))
        assign(optimizer.variables, checkpoints.read_state(path, "optimizer", optimizer.variables))
        return (checkpoints.read_best(path, checkpoint, model.weights),
                checkpoints.read_state(path, "average", model.weights))
    except UserError:
        before, now = checkpoint.training_state.get("backend"), keras.config.backend()
        if before in (None, "", now):
            raise
        raise UserError(f"{path}: was trained with the backend {before}, and {now} can't continue it; set "
                        f"KERAS_BACKEND={before}, or use --fresh to start over (the old file is kept).") from None
