"""Checks before training on several devices: their share of a batch, and the same input in all processes."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from audio_utils.inference import distribution
from audio_utils.runtime import dask_worker, ranks
from audio_utils.runtime.errors import UserError
from audio_utils.training.state import TrainingState

_MAY_DIFFER = ("memory_gb", "gpu_clips_gb")  # they do not change the results


def require_divisible(batch_size: int, clips: int) -> None:
    """Raise UserError unless each device gets the same number of clips of a batch; clips: the number in an epoch."""
    devices = distribution.devices()
    if batch_size % devices:
        raise UserError(f"BATCH_SIZE is {batch_size}; with {devices} devices, set it to a multiple of {devices}.")
    if clips < devices:
        raise UserError(f"An epoch has {clips} clips for {devices} devices; raise EPOCH_CLIPS and MAX_EPOCH_CLIPS.")


def require_same_input(options: Namespace, state: TrainingState, clip_hashes: Sequence[np.ndarray]) -> None:
    """Raise UserError if the processes differ in what determines the training.

    clip_hashes: from known_clips.hashes.
    """
    if ranks.joined_ranks().count == 1:
        return
    constants = {name: value for name, value in sorted(vars(options).items()) if name not in _MAY_DIFFER}
    distribution.require_same({
        "the suite or its packages": f"{dask_worker.suite_digest()} {dask_worker.package_versions()}",
        "their constants or flags": repr(constants), "the state in weights.hdf5": repr(asdict(state)),
        "the clips of Preproc/": "".join(array.tobytes().hex() for array in clip_hashes)})
