"""Data parallelism on all devices of this process and of others, with JAX and Keras's DataParallel.

Variables are replicated on all devices, and each device computes a part of a batch. All processes run the same program
in the same order, because training steps, predictions and the functions that compare processes wait for all of them.
With one device, the functions change nothing.
"""

import atexit
import functools
import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import numpy as np

from audio_utils.runtime import prefetch, ranks
from audio_utils.runtime.console import say
from audio_utils.runtime.errors import UserError
from panotti_models import keras

HEARTBEAT_SECONDS = 60  # without a sign of life, a process is taken for dead, and the others end


# --- devices --------------------------------------------------------------------------------------------------------

def begin() -> None:
    """Use all devices for the models that are built from here on. Raises UserError if the processes can't connect.

    To be called before the first computation, and again after `keras.utils.clear_session`.
    """
    if keras.config.backend() == "jax":
        keras.distribution.set_distribution(_distribution())
    else:
        _say_one_device_is_used()


@functools.cache
def _distribution() -> Any:
    """Keras's DataParallel, or None with one device."""
    import jax
    if ranks.joined_ranks().count > 1:
        _connect()
    if jax.device_count() != jax.local_device_count() * jax.process_count():
        raise UserError("The processes have different numbers of devices; set CUDA_VISIBLE_DEVICES so that each has "
                        "the same number.")
    return keras.distribution.DataParallel(auto_shard_dataset=False) if jax.device_count() > 1 else None


def _connect() -> None:
    import jax
    rank, count, coordinator = ranks.joined_ranks()
    say(f"Process {rank} of {count} waits for the others at {coordinator}.")
    atexit.register(ranks.leave_if_failed)
    try:
        jax.distributed.initialize(coordinator, count, rank, initialization_timeout=ranks.START_SECONDS,
                                   heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except (RuntimeError, ValueError) as error:  # or it ends the process
        raise UserError(f"{ranks.ADDRESSES}: the processes can't connect at {coordinator} "
                        f"({' '.join(str(error).split())[:80]}); start all of them, and check the address.") from None
    ranks.note_connection()


@functools.cache
def _say_one_device_is_used() -> None:
    backend = keras.config.backend()
    module = importlib.import_module(backend)
    count = len(module.config.list_physical_devices("GPU")) if backend == "tensorflow" else module.cuda.device_count()
    if count > 1:
        say(f"{backend} uses one of the {count} GPUs; KERAS_BACKEND=jax uses all of them.")


def devices() -> int:
    """The number of devices that compute a batch together."""
    distribution = keras.distribution.distribution()
    return distribution.num_model_replicas if distribution else 1


@contextmanager
def suspended() -> Iterator[None]:
    """Within the block, models are built for one device of this process."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def describe() -> str:
    """The devices, such as "2 × gpu in 2 processes"; "" with one device."""
    if devices() == 1:
        return ""
    import jax
    processes = jax.process_count()
    return f"{devices()} × {jax.default_backend()}{f' in {processes} processes' if processes > 1 else ''}"


# --- values ---------------------------------------------------------------------------------------------------------

def _sharding(*axes: str | None) -> Any:
    distribution = keras.distribution.distribution()
    return keras.distribution.TensorLayout(axes, distribution.device_mesh).backend_layout


def replicated(value: Any, variable: Any) -> Any:
    """The value for a variable; with several processes, as an array on all devices.

    Otherwise, JAX compares the values of all processes at each assignment, and waits for them.
    """
    if ranks.joined_ranks().count == 1 or devices() == 1:
        return value
    import jax
    array = np.asarray(value, np.dtype(str(variable.dtype)))
    return jax.make_array_from_callback(array.shape, _sharding(), array.__getitem__)


def local_rows(batch_size: int) -> np.ndarray:
    """The indices of the clips of a batch that this process provides."""
    rank, count, _ = ranks.joined_ranks()
    part = batch_size // count
    return np.arange(rank * part, (rank + 1) * part)


def predict(model: keras.Model, read: Callable[[np.ndarray], np.ndarray],
            batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a model, (clips, …) for each batch; all processes read a part of it and get all outputs.

    read: indices of clips → melgrams. batches: indices.
    """
    import jax
    part_bytes = 4 * math.prod(model.input_shape[1:]) * max(map(len, batches), default=0) // ranks.joined_ranks().count
    parts = prefetch.each(read, map(_padded, batches), part_bytes)  # Keras's distribution is that of this thread
    variables = [[each.value for each in group] for group in (model.trainable_variables, model.non_trainable_variables)]
    sharding = _sharding(keras.distribution.distribution().batch_dim_name)
    return [np.asarray(_forward(model)(*variables, jax.make_array_from_process_local_data(sharding, part)))[:len(batch)]
            for part, batch in zip(parts, batches, strict=True)]


def _padded(batch: np.ndarray) -> np.ndarray:
    """The part of a batch that this process reads; the last clip is repeated until all devices have the same number."""
    size = math.ceil(len(batch) / devices()) * devices()
    return np.pad(batch, (0, size - len(batch)), "edge")[local_rows(size)]


@functools.lru_cache(maxsize=2)
def _forward(model: keras.Model) -> Callable[..., Any]:
    """(trainable variables, other variables, batch) → output on all devices; Keras's `predict` leaves it divided."""
    import jax

    def forward(trainable: list, other: list, batch: Any) -> Any:
        return model.stateless_call(trainable, other, batch, training=False)[0]

    return jax.jit(forward, out_shardings=_sharding())


# --- agreement of the processes -------------------------------------------------------------------------------------

def barrier() -> None:
    """Wait until all processes are here."""
    if ranks.joined_ranks().count > 1:
        from jax.experimental import multihost_utils
        multihost_utils.sync_global_devices("panotti")


def everywhere(condition: bool) -> bool:
    """Whether a condition holds in all processes."""
    return bool(_gathered(np.array([condition], np.uint32)).all())


def of_first(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The arrays (float32) of rank 0; those of another processor may differ in rounding."""
    return [_gathered(array)[0] for array in arrays]


def require_same(contents: dict[str, str]) -> None:
    """Raise UserError if the processes differ in one of these texts; the keys name them for the message."""
    for name, text in contents.items():
        digests = _gathered(np.frombuffer(blake2b(text.encode(), digest_size=8).digest(), np.uint32))
        for rank, digest in enumerate(digests):
            if (digest != digests[0]).any():
                raise UserError(f"Processes 0 and {rank} differ in {name}; all hosts need the same.")


def _gathered(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, (processes, …)."""
    if ranks.joined_ranks().count == 1:
        return array[None]
    from jax.experimental import multihost_utils
    return np.asarray(multihost_utils.process_allgather(array)).reshape(-1, *array.shape)
