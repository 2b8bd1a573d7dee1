"""One attempt at an item of `parallel.each`, in any process: an error or a crash is the result of that item only."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from audio_utils.runtime.errors import UserError

MAX_CRASHES = 10  # items that may crash the process that works on them; with more, the items are not the cause


def attempt(function: Callable[..., Any], item: Any, shared: tuple) -> Any:
    """The result of function(item, *shared), or the UserError or OSError that it raises."""
    try:
        return function(item, *shared)
    except (UserError, OSError) as error:
        return error
    except MemoryError:
        return UserError(f"{name_of(item)}: needs more memory than is available; shorten or remove it.")


def crash_of(item: Any) -> UserError:
    """The result of an item that crashed the process twice, the second time alone."""
    return UserError(f"{name_of(item)}: crashes the process that works on it; replace or remove it.")


def name_of(item: Any) -> Any:
    """The file of an item, which is a file, an object with a path, or a tuple that begins with one of these."""
    first = item[0] if type(item) is tuple else item
    return getattr(first, "path", first)


def keep_memory() -> None:
    """Keep freed memory for the next file: allocating it again takes as long as the computation."""
    with suppress(AttributeError, TypeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 256 << 20)  # M_TRIM_THRESHOLD
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
