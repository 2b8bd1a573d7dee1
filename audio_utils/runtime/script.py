"""The frame around every script: `run(main)` sets up signals and streams, and turns errors into exit statuses.

Exit statuses: 0 done, 1 a mistake the user can correct, 2 bad arguments, 130 after ^C, 143 after SIGTERM.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from audio_utils.runtime import signals
from audio_utils.runtime.console import warn
from audio_utils.runtime.errors import UserError, describe_os_error

_NO_MEMORY = "Not enough memory; use fewer or shorter clips (CLIP_SECONDS), or a smaller BATCH_SIZE."


def guard_imports(name: str) -> None:
    """Make ^C during a script's imports one sentence; name: the script's `__name__`."""
    if name == "__main__" and not in_notebook():
        sys.excepthook = _report_interrupt


def _report_interrupt(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    elif sys.stderr is not None:
        sys.stderr.write(f"\n{signals.STOPPED}\n")


def run(main: Callable[[], int | None]) -> None:
    """Run a script's `main()`, and leave with its exit status; a user's mistake becomes one sentence.

    In a notebook (`%run script.py`) there are no handlers: an interrupt raises KeyboardInterrupt, and success returns.
    """
    notebook = in_notebook()
    if not notebook:
        _open_closed_streams()
        signals.install()
    try:
        status = main() or 0
        sys.stdout.flush()
    except UserError as error:
        status = _fail(str(error))
    except MemoryError:
        status = _fail(_NO_MEMORY)
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        status = _fail(describe_os_error(error))
    if status or not notebook:
        sys.exit(status)


def _fail(sentence: str) -> int:
    warn(sentence)
    return 1


def in_notebook() -> bool:
    """Whether this process is an IPython shell or a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _open_closed_streams() -> None:
    """Give the script its three standard streams where the caller closed some, and let them take any file name."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
        with suppress(AttributeError):  # replaced by an object without encodings
            getattr(sys, name).reconfigure(errors="backslashreplace")
