"""The connection to a Dask scheduler, and the checks of its workers; each problem is one sentence."""

import functools
import logging
import os
import secrets
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_utils.runtime import dask_worker, safe_files
from audio_utils.runtime.attempts import name_of
from audio_utils.runtime.dask_worker import PROBE, Run
from audio_utils.runtime.errors import UserError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10
WORKER_SECONDS = 20  # without any worker
PROBE_SECONDS = 5  # until a file that another host has written is seen in a network file system
_COMPARED = ("dask", "distributed", "msgpack", "cloudpickle")  # packages that client, scheduler and workers share
_LOGGERS = ("batched", "client", "comm", "comm.tcp", "core", "protocol", "utils", "utils_comm")


# --- the connection -------------------------------------------------------------------------------------------------

def connected(address: str) -> "Client":
    """The client of a scheduler, which has workers. Raises UserError."""
    client = _client(address)
    if client.status != "running":  # of an earlier call
        _client.cache_clear()
        client = _client(address)
    deadline = time.monotonic() + WORKER_SECONDS
    while not (threads := asked(address, client.nthreads)):
        if time.monotonic() > deadline:
            raise UserError(describe_no_workers(address))
        time.sleep(0.2)
    if worker := next((worker for worker, count in threads.items() if count != 1), None):
        raise UserError(f"{address}: the worker {worker} has {threads[worker]} threads; start the workers with "
                        "--nthreads 1.")
    return client


@functools.cache
def _client(address: str) -> "Client":
    try:
        from distributed import Client
    except ImportError:
        raise UserError(f"JOBS is an address, and Dask is not installed in {sys.executable}; type:\n"
                        f"    {sys.executable} -m pip install dask distributed") from None
    for name in _LOGGERS:
        logging.getLogger(f"distributed.{name}").disabled = True
    _require_encryption(address)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about versions, which are compared below
            client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except OSError:
        raise UserError(f"{address}: no Dask scheduler answers; start one, or correct JOBS.") from None
    _require_same_versions(address, asked(address, client.get_versions))
    return client


def _require_encryption(address: str) -> None:
    """Raise UserError unless Dask's configuration of TLS fits the address; the client would not end cleanly."""
    from distributed import Security
    try:
        settings = Security().get_connection_args("client")
    except OSError as error:  # also if ssl can't read the file
        raise UserError(f"{address}: Dask's configuration names a certificate or key that can't be read "
                        f"({error.strerror or error}); correct distributed.comm.tls.") from None
    if address.startswith("tls:") and settings.get("ssl_context") is None:
        raise UserError(f"{address}: needs a certificate and a key; set distributed.comm.tls in Dask's configuration.")
    if address.startswith("tcp:") and settings.get("require_encryption"):
        raise UserError(f"{address}: is not encrypted, as Dask's configuration requires; write tls:// in JOBS.")


def _require_same_versions(address: str, found: dict) -> None:
    """Raise UserError if the scheduler or a worker has another version; found: the result of `get_versions`."""
    ours = _versions(found["client"])
    for where, each in [("the scheduler", found["scheduler"]),
                        *((f"the worker {worker}", each) for worker, each in found["workers"].items())]:
        for name, version in _versions(each).items():
            if version != ours[name]:
                raise UserError(f"{address}: {where} has {name} {version}, but this process {ours[name]}; install the "
                                "same version on all hosts.")


def _versions(found: dict) -> dict[str, str]:
    """Name → version of Python, of which only the minor version matters, and of Dask's packages."""
    return {"Python": ".".join(found["host"]["python"].split(".")[:2]),
            **{name: found["packages"].get(name) for name in _COMPARED}}


def asked(address: str, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """The answer of the scheduler."""
    try:
        return function(*arguments, **keywords)
    except (OSError, CancelledError):
        raise UserError(describe_lost(address)) from None


def describe_lost(address: str) -> str:
    """A sentence."""
    return (f"{address}: the connection to the Dask scheduler is lost; finished work is kept; start the scheduler and "
            "its workers again, and run the same command again.")


def describe_no_workers(address: str) -> str:
    """A sentence."""
    return (f"{address}: the Dask scheduler has no workers; start some (dask worker {address} --nthreads 1) and run "
            "the same command again.")


# --- the workers ----------------------------------------------------------------------------------------------------

def begin(items: list, folders: ExitStack) -> Run:
    """Create a folder with a probe in each file system that is used."""
    safe_files.sweep(".", "*@dask*")
    token = secrets.token_hex(16)
    probed = []
    for parent in _file_systems(items):
        probed.append(folders.enter_context(safe_files.temporary_folder(parent, "dask")))
        (probed[-1] / PROBE).write_text(token)
    return Run(str(probed[0]), os.getcwd(), tuple(map(str, probed)), token, dask_worker.suite_digest(),
               dask_worker.package_versions())


def _file_systems(items: list) -> list[str]:
    """The working directory, and a folder of items in each other file system that this process can write to."""
    found = {os.stat(".").st_dev: os.getcwd()}
    files = filter(lambda file: isinstance(file, (str, Path)), map(name_of, items))
    for folder in dict.fromkeys(os.path.dirname(file) or "." for file in files):
        with suppress(OSError):
            if os.access(folder, os.W_OK):
                found.setdefault(os.stat(folder).st_dev, os.path.abspath(folder))
    return list(found.values())


def check_workers(client: "Client", address: str, run: Run) -> None:
    """Raise UserError if a worker differs from this process or does not see the same files."""
    found = asked(address, client.run, remote("difference"), tuple(run), on_error="return")
    for worker, sentence in found.items():
        if isinstance(sentence, tuple):  # refused
            sentence = sentence[1]
        elif isinstance(sentence, Exception):
            sentence = f"{address}: the worker {worker} fails ({type(sentence).__name__}: {sentence}); restart it."
        if sentence:
            raise UserError(sentence)
    for folder in run.probed:
        deadline = time.monotonic() + PROBE_SECONDS
        while [path.read_text() for path in Path(folder).glob("@*")].count(run.token) < len(found):
            if time.monotonic() > deadline:
                raise UserError(f"{Path(folder).parent}/: a Dask worker sees another folder at this path; mount the "
                                "same one on all hosts.")
            time.sleep(0.1)


def remote(name: str) -> Callable[..., Any]:
    """A function for a worker: it calls a function of `dask_worker`, and says if the suite can't be imported.

    It is sent as code, not as the name of a module, because a new worker does not have the suite in its path.
    """
    suite = str(dask_worker.SUITE)

    def call(*arguments: object) -> tuple | str:
        import importlib
        import socket
        import sys
        if suite not in sys.path:
            sys.path.insert(0, suite)
        try:
            module = importlib.import_module("audio_utils.runtime.dask_worker")
        except ImportError as error:
            return "refused", (f"Dask worker on {socket.gethostname()}: can't import the suite from {suite} ({error}); "
                               "the suite and its packages must be there on all hosts.")
        return getattr(module, name)(*arguments)
    return call
