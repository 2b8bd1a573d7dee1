"""Compute the next results in threads while the current one is used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item, Result = TypeVar("Item"), TypeVar("Result")

THREADS = 4  # they mostly wait for files; NumPy and the reading of files run in parallel
MAX_BYTES = 256 << 20  # of results that wait


def each(function: Callable[[Item], Result], items: Iterable[Item], result_bytes: int = 0) -> Iterator[Result]:
    """Yield function(item) in the order of the items, which are drawn in this thread; a few are computed ahead.

    An exception in a thread is raised here, in its turn. result_bytes: of a result, to limit their number.
    """
    ahead = max(1, min(2 * THREADS, MAX_BYTES // max(1, result_bytes)))
    pool, running = ThreadPoolExecutor(min(THREADS, ahead), "prefetch"), deque()
    try:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) > ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
