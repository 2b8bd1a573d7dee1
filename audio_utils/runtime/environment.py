"""The environment of the numerical libraries: few threads, little talk, only the GPU memory that is needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_BACKENDS = {
    "TF_CPP_MIN_LOG_LEVEL": "3",  # TensorFlow's messages at start-up
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # TensorFlow takes what GPU memory it needs, not all
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the same for JAX
}


@contextmanager
def quiet_backend() -> Iterator[None]:
    """For the import of Keras: sets its backends' variables, and drops what they write to stderr past Python."""
    for name, value in _BACKENDS.items():
        os.environ.setdefault(name, value)
    saved = os.dup(2)
    with open(os.devnull, "wb") as devnull:
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextmanager
def of_workers() -> Iterator[None]:
    """Processes started within the block use one BLAS thread each, and don't complain when the parent is killed."""
    before = os.environ.copy()
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1",
                      PYTHONWARNINGS="ignore::UserWarning:multiprocessing.resource_tracker")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
