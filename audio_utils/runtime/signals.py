"""^C and SIGTERM: a script prints one sentence about what is kept, and ends immediately."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from audio_utils.runtime import console, safe_files

STOPPED = "Stopped. Finished work is kept; run the same command again to continue."
_sentence = STOPPED
_deferred = None  # a list of the signals that `deferred` holds back, or None
_stderr = 2  # the stream for the sentence, even while the script has silenced a library's stderr


def on_stop(sentence: str) -> None:
    """Set the sentence that ^C and SIGTERM will print: what is kept, and how to continue."""
    global _sentence
    _sentence = sentence


def install() -> None:
    """Handle SIGINT and SIGTERM from here on; `script.run` calls this."""
    global _stderr
    with suppress(OSError):
        _stderr = os.dup(2)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` and background jobs ignore ^C
            signal.signal(number, _stop)


@contextmanager
def deferred() -> Iterator[None]:
    """Within the block, installed handlers wait; they run at its end."""
    global _deferred
    _deferred = held = []
    try:
        yield
    finally:
        _deferred = None
        if held:
            _stop(held[0], None)


def _stop(number: int, _frame: FrameType | None) -> None:
    """Exit immediately: the library that is running could swallow an exception."""
    if _deferred is not None:
        _deferred.append(number)
        return
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    safe_files.discard_unfinished()
    with suppress(Exception):  # nothing may prevent the exit
        text = console.wrapped(_sentence) if os.isatty(_stderr) else _sentence
        os.write(_stderr, f"\n{text}\n".encode(errors="backslashreplace"))
    os._exit(128 + number)
