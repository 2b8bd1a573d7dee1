"""The environment of the numerical libraries: few threads, few messages, and no more GPU memory than needed."""

import importlib
import importlib.util
import json
import logging
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from audio_utils.runtime import installation
from audio_utils.runtime.errors import UserError

_BACKENDS = ("tensorflow", "jax", "torch")  # each is the name of its package too
_VARIABLES = {
    "TF_CPP_MIN_LOG_LEVEL": "3",  # TensorFlow's messages at start-up
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # TensorFlow allocates GPU memory as needed, not all of it
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the same for JAX
}


logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns if the user has no home folder to write to


@contextmanager
def import_of_keras() -> Iterator[None]:
    """For the import of Keras: without its messages; raises UserError if it or its backend can't be imported."""
    name = require_backend()
    try:
        with quiet_backend():
            yield
            if name != "tensorflow":
                with suppress(ImportError):
                    importlib.import_module("tensorflow")  # with any backend, Keras imports it later, and it logs
    except Exception as error:  # of any kind, if a package is damaged or does not fit the others
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        remedy = f"correct or remove {_keras_json()}" if "configuration" in reason else \
            f"pip install --upgrade keras {name}"
        raise UserError(f"Keras can't be imported with the backend {name} ({reason}); {remedy}.") from error


def require_backend() -> str:
    """The backend that Keras will use; raises UserError if it does not exist or is not installed."""
    name, source = os.environ.get("KERAS_BACKEND"), "KERAS_BACKEND"
    if not name:
        name, source = _backend_of_keras_json(), _keras_json()
    missing = [package for package in ("keras", name) if package in (*_BACKENDS, "keras")
               and importlib.util.find_spec(package) is None]
    if name not in _BACKENDS:
        raise UserError(f"{source}: the backend is {name!r}, which Panotti does not support; pip install tensorflow "
                        "and set KERAS_BACKEND=tensorflow (or jax, or torch).")
    if {"keras", "tensorflow"} & set(missing):
        raise UserError(installation.describe_missing(missing))
    if missing:
        raise UserError(f"{source}: the backend is {name}, but {name} can't be found; "
                        f"pip install {name}, or set KERAS_BACKEND=tensorflow.")
    return name


def _keras_json() -> Path:
    """The file with the user's settings of Keras, found as Keras finds it."""
    home = os.path.expanduser("~")
    folder = os.environ.get("KERAS_HOME", os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras"))
    return Path(folder).expanduser() / "keras.json"


def _backend_of_keras_json() -> str:
    try:
        values = json.loads(_keras_json().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return _BACKENDS[0]
    if not isinstance(values, dict):
        raise UserError(f"{_keras_json()}: is damaged; delete it.")
    return str(values.get("backend", _BACKENDS[0]))


@contextmanager
def quiet_backend() -> Iterator[None]:
    """For the import of Keras: sets its backends' variables, and discards their output to file descriptor 2."""
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    saved = os.dup(2)
    with open(os.devnull, "wb") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def has_semaphores() -> bool:
    """Whether processes can share semaphores, which a pool needs; on Linux, they require a writable /dev/shm."""
    try:
        with of_workers():  # a process that the first semaphore starts inherits this environment
            multiprocessing.get_context("spawn").Lock()
    except (ImportError, OSError):
        return False
    return True


@contextmanager
def of_workers() -> Iterator[None]:
    """Processes started within the block use one BLAS thread each, and print no warning when the parent is killed."""
    before = os.environ.copy()
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1",
                      PYTHONWARNINGS="ignore::UserWarning:multiprocessing.resource_tracker")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
