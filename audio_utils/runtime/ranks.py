"""The processes of a training on several hosts: how each is started, and how its end is reported.

Keras's environment variables describe them; a process is identified by its rank, from 0. JAX ends a process that loses
another one, and prints its own log. So the user's command only starts the actual process, waits for it, and says in one
sentence how it ended. Only rank 0 prints and writes files.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import NamedTuple

from audio_utils.runtime import environment, safe_files, signals
from audio_utils.runtime.console import warn
from audio_utils.runtime.errors import UserError

START_SECONDS = 110  # in which all processes must have started
ADDRESSES, COUNT, RANK = (f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))
_LOG = "PANOTTI_LOG"  # only the actual process has this variable: the file for the output of native libraries
_ADDRESS = re.compile(r"(?:\[[^\s\],]+\]|[^\s:/\[\],]+):([0-9]{1,5})")
_HIGHEST_PORT = 65535
_REASON, _CONNECTED = "reason", "connected"  # files beside it: the error of the connection; empty, once there is one
_LOST = 75  # exit status after the loss of another process
_SIGKILL = 9
_STOP_SECONDS = 4
_QUIET = {"JAX_ENABLE_PREEMPTION_SERVICE": "false"}  # it would catch SIGTERM
_STATUSES = (0, 1, 2, 128 + signal.SIGINT, 128 + signal.SIGTERM)  # of a process that ended by itself
_LOSS = re.compile("(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION): .*", re.S)


class Ranks(NamedTuple):
    """This process among all."""
    rank: int = 0
    count: int = 1
    coordinator: str = ""  # the address of rank 0


_joined = Ranks()
_failed = False


def joined_ranks() -> Ranks:
    """The ranks that this process has joined; rank 0 of 1 if it is alone."""
    return _joined


def from_environment() -> Ranks:
    """The ranks that Keras's variables describe. Raises UserError if these are incomplete or contradict each other."""
    given = {name: os.environ.get(name, "").strip() for name in (ADDRESSES, COUNT, RANK)}
    if not any(given.values()):
        return Ranks()
    for name, text in given.items():
        if not text:
            raise UserError(f"{name} is not set, but other variables of Keras's distribution are; set {name}, or unset "
                            "them.")
        if name != ADDRESSES and not re.fullmatch("[0-9]{1,6}", text):
            raise UserError(f"{name} is {text!r}; set it to a whole number.")
    rank, count, addresses = int(given[RANK]), int(given[COUNT]), given[ADDRESSES].split(",")
    if not rank < count:
        raise UserError(f"{RANK} is {rank}; with {COUNT}={count}, set it to a number from 0 to {max(0, count - 1)}.")
    if len(addresses) not in (1, count) or not all(map(_is_address, addresses)):
        raise UserError(f"{ADDRESSES} is {given[ADDRESSES]!r}; set it to the address of process 0, such as "
                        "10.0.0.1:1234, on all hosts.")
    return Ranks(rank, count, addresses[0])


def _is_address(text: str) -> bool:
    """Whether a text is a host and a port, to which a process can connect."""
    found = _ADDRESS.fullmatch(text)
    return bool(found) and 0 < int(found[1]) <= _HIGHEST_PORT


# --- the user's command ---------------------------------------------------------------------------------------------

def must_launch() -> bool:
    """Whether this is the user's command, and the actual process is still to be started. Raises UserError."""
    return _LOG not in os.environ and from_environment().count > 1


def launch() -> int:
    """Start this script again as the actual process and wait for its end.

    Returns its exit status. Raises UserError if it was killed, or lost another process.
    """
    ranks = from_environment()
    if (backend := environment.require_backend()) != "jax":
        raise UserError(f"{COUNT} is {ranks.count}, but the backend is {backend}, which trains in one process; set "
                        f"KERAS_BACKEND=jax, or unset {COUNT}, {RANK} and {ADDRESSES}.")
    with tempfile.TemporaryDirectory(prefix="panotti-") as folder:
        messages = Path(folder, "messages")
        status = _run(ranks, Path(folder, "log"), messages)
        if status in (1, 2) and ranks.rank:
            warn(f"Process {ranks.rank}: {messages.read_text(errors='backslashreplace').rstrip()}")
        if status not in _STATUSES:
            raise UserError(f"Process {ranks.rank} of {ranks.count} {_describe_end(status, ranks, Path(folder))}; "
                            "finished epochs are kept; when all processes have ended, start all of them again to "
                            "continue.")
    return status


def _run(ranks: Ranks, log: Path, messages: Path) -> int:
    """The exit status of the actual process. It ends with this one, when its stdin is closed."""
    log.touch()
    with open(messages, "wb") as file:
        streams = {"stdout": subprocess.DEVNULL, "stderr": file} if ranks.rank else {}
        process = subprocess.Popen([sys.executable, *sys.argv], stdin=subprocess.PIPE,
                                   env=os.environ | _QUIET | {_LOG: str(log)}, **streams)
    stopped = _forward_signals(process)
    status = process.wait()
    if stopped and status == -_SIGKILL:
        warn(f"\n{signals.STOPPED}")
        return 128 + stopped[0]
    return status


def _forward_signals(process: subprocess.Popen) -> list[int]:
    """Send ^C and SIGTERM to the process, and kill it if it does not end, as it may wait for another one.

    Returns a list to which the signals are appended.
    """
    stopped = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)
        process.send_signal(number)
        timer = threading.Timer(_STOP_SECONDS, process.kill)
        timer.daemon = True
        timer.start()

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    return stopped


def _describe_end(status: int, ranks: Ranks, folder: Path) -> str:
    if status == -_SIGKILL:
        return "was killed (SIGKILL; perhaps it needed too much memory)"
    reason = f" ({(folder / _REASON).read_text()})" if (folder / _REASON).exists() else ""
    if not (folder / _CONNECTED).exists():
        return f"did not connect to the others at {ranks.coordinator} within {START_SECONDS} s{reason}"
    return f"lost the connection to the others, so one of them has probably ended{reason}"


# --- the actual process ---------------------------------------------------------------------------------------------

@contextmanager
def joined() -> Iterator[None]:
    """Around the work of the script: this process is one of the ranks, if it was started as one."""
    global _joined, _failed
    if _LOG in os.environ:
        _joined = from_environment()
        _redirect_log(os.environ[_LOG])
        sys.excepthook = _end
        threading.Thread(target=_end_with_parent, daemon=True).start()
        if _joined.rank:
            safe_files.write_as(safe_files.Writer(discards=True))
    try:
        yield
    except BaseException:
        _failed = True
        raise


def _redirect_log(path: str) -> None:
    """Send the output of native libraries to a file, but not that of Python."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    for name, number in (("stdout", 1), ("stderr", 2)):
        setattr(sys, name, os.fdopen(os.dup(number), "w", buffering=1, errors="backslashreplace"))
        os.dup2(descriptor, number)
    os.close(descriptor)


def _end(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """After an exception that is no mistake of the user: an error of the connection, as JAX words it, or a bug."""
    if not _LOSS.fullmatch(str(error)):
        sys.__excepthook__(kind, error, traceback)
        _leave(1)
    Path(os.environ[_LOG]).with_name(_REASON).write_text(" ".join(str(error).split())[:120])
    _leave(_LOST)


def note_connection() -> None:
    """To be called when all processes are connected."""
    Path(os.environ[_LOG]).with_name(_CONNECTED).touch()


def _end_with_parent() -> None:
    with suppress(OSError):
        while os.read(0, 1):
            pass
    _leave(1)


def leave_if_failed() -> None:
    """To be called at exit: after a failure, JAX would wait for the other processes, which wait for this one."""
    if _failed:
        _leave(1)


def _leave(status: int) -> None:
    safe_files.discard_unfinished()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(status)
