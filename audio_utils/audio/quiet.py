"""Suppresses the messages of libmpg123, with which libsndfile reads mp3 files.

That library prints messages without a file name to the C library's `stderr` and has no option against that
(github.com/libsndfile/libsndfile/issues/958). Python does not write to that stream but to the file descriptor below it,
so only the stream is replaced, for the time of one call.
"""

import ctypes
import functools
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_depth = 0  # calls in progress, in all threads
_saved = None  # the stream before the first of them


@contextmanager
def silenced() -> Iterator[None]:
    """Within the block, C libraries print nothing to `stderr`; the output of Python, in any thread, is unaffected."""
    global _depth, _saved
    streams = _streams()
    if streams is None:
        yield
        return
    stderr, null = streams
    with _lock:
        _depth += 1
        if _depth == 1:
            _saved, stderr.value = stderr.value, null
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth:
                stderr.value = _saved


@functools.cache
def _streams() -> tuple[ctypes.c_void_p, int] | None:
    """(The C variable `stderr`, a stream to /dev/null); None where that variable is not known to be writable."""
    try:
        libc = ctypes.CDLL(None)
        if sys.platform != "darwin":
            libc.gnu_get_libc_version  # noqa: B018  in other C libraries `stderr` may be a constant
        stderr = ctypes.c_void_p.in_dll(libc, "__stderrp" if sys.platform == "darwin" else "stderr")
        libc.fopen.restype = ctypes.c_void_p
        null = libc.fopen(b"/dev/null", b"w")
    except (OSError, AttributeError, ValueError, TypeError):  # TypeError: Windows
        return None
    return (stderr, null) if null else None
