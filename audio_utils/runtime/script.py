"""The frame around every script: `run(main)` sets up signals and streams, and turns errors into exit statuses.

Exit statuses: 0 done, 1 a mistake the user can correct, 2 bad arguments, 130 after ^C, 143 after SIGTERM.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from audio_utils.runtime import installation, signals
from audio_utils.runtime.console import warn
from audio_utils.runtime.errors import UserError, describe_os_error

_REMEDIES = {"CLIP_SECONDS": "--clip-seconds", "BATCH_SIZE": "--batch-size", "JOBS": "--jobs"}  # they reduce memory use


def guard_imports(name: str) -> None:
    """Print one sentence on ^C or a missing package during a script's imports; name: the script's `__name__`.

    It also turns off the locks of HDF5, which refuses to read where the file system has none; our files are replaced
    atomically.
    """
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    if name == "__main__" and not in_notebook():
        sys.excepthook = _report


def _report(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    missing = installation.describe_missing_module(error) if isinstance(error, ModuleNotFoundError) else None
    sentence = f"\n{signals.STOPPED}" if issubclass(kind, KeyboardInterrupt) else missing
    if sentence is None:
        sys.__excepthook__(kind, error, traceback)
    elif sys.stderr is not None:
        warn(sentence)


def run(main: Callable[[], int | None]) -> None:
    """Run a script's `main()` and exit with its status; a user's mistake is printed as one sentence.

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
    except ModuleNotFoundError as error:
        if not (missing := installation.describe_missing_module(error)):
            raise
        status = _fail(missing)
    except MemoryError:
        status = _fail(_describe_no_memory(main))
    except BrokenPipeError:  # the reader has ended, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        status = _fail(describe_os_error(error))
    if status or not notebook:
        sys.exit(status)


def _describe_no_memory(main: Callable[[], int | None]) -> str:
    """One sentence, with the flags of this script that help."""
    flags = [flag for name, flag in _REMEDIES.items() if name in main.__globals__]
    smaller = f", or a smaller {' or '.join(flags)}" if flags else ""
    return f"Not enough memory; use fewer or shorter sounds{smaller}."


def _fail(sentence: str) -> int:
    warn(sentence)
    return 1


def in_notebook() -> bool:
    """Whether this process is an IPython shell or a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _open_closed_streams() -> None:
    """Open the standard streams that the caller closed, and make all of them accept any file name."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
        with suppress(AttributeError):  # replaced by an object without encodings
            getattr(sys, name).reconfigure(errors="backslashreplace")
