"""Worker processes on this machine for `parallel.each`; none outlives its parent."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from audio_utils.runtime import environment, safe_files, signals
from audio_utils.runtime.attempts import MAX_CRASHES, attempt, crash_of, keep_memory
from audio_utils.runtime.errors import UserError
from audio_utils.runtime.safe_files import Writer

PREFETCHED_CHUNKS = 4  # chunks queued per worker: enough to keep it busy, few enough to keep memory flat
MAX_CHUNK = 32  # files in a chunk
_EXIT_SECONDS = 1  # maximum time that a worker without a parent may stay inside a library


def each(function: Callable[..., Any], items: list, shared: tuple, jobs: int) -> Iterator[tuple[Any, Any]]:
    """Yield (item, result), in any order, from `jobs` processes."""
    size = max(1, min(MAX_CHUNK, len(items) // (4 * jobs)))
    chunks = deque(items[start:start + size] for start in range(0, len(items), size))
    crashes, begun_ns = 0, time.time_ns()
    while chunks:
        lost = yield from _until_a_crash(chunks, (function, shared), jobs, PREFETCHED_CHUNKS * jobs)
        alone = deque([item] for item in lost)  # one of these caused it: try each by itself
        while alone:
            for item in (yield from _until_a_crash(alone, (function, shared, begun_ns), 1, 1)):
                crashes += 1
                if crashes > MAX_CRASHES:
                    raise UserError("Worker processes keep being killed from outside (out of memory?); run the same "
                                    "command again with fewer processes (JOBS).")
                yield item, crash_of(item)


def _until_a_crash(chunks: deque[list], work: tuple, jobs: int,
                   queued: int) -> Generator[tuple[Any, Any], None, list]:
    """Process chunks and yield (item, result); if a process dies, return the items that were in progress.

    work: the arguments of `_start_worker`.
    """
    context = multiprocessing.get_context("spawn")  # a forked copy of a process with threads may hang
    with environment.of_workers(), ProcessPoolExecutor(jobs, context, _start_worker, work) as pool:
        running = {}  # future → its chunk
        try:
            while chunks or running:
                with _interrupts_held():
                    while chunks and len(running) < queued:
                        future = pool.submit(_run_chunk, chunks[0])
                        running[future] = chunks.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    results = future.result()
                    del running[future]
                    yield from results
        except BrokenProcessPool:
            return [item for chunk in running.values() for item in chunk]
        finally:
            pool.shutdown(cancel_futures=True)
    return []


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes started within the block ignore ^C, which is sent to the whole group; this process handles it.

    The same holds for SIGTERM: a process that loses its parent during start-up prints a traceback. The signal mask is
    inherited by the workers; in this process another thread may still receive the signal, so handlers are deferred too.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with signals.deferred():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(function: Callable[..., Any], shared: tuple, begun_ns: int | None = None) -> None:
    """begun_ns: when the run began, if another process may have written files of the same items since then."""
    global _work, _shared
    _work, _shared = function, shared
    safe_files.write_as(Writer(repeated_since_ns=begun_ns))
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Exit from the main thread, so that it starts no further file; if a library blocks it, exit from this thread."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    if hasattr(signal, "pthread_kill"):  # not Windows
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        time.sleep(_EXIT_SECONDS)
    _leave()


def _leave(*_signal: Any) -> None:
    safe_files.discard_unfinished()
    os._exit(1)


def _run_chunk(chunk: list) -> list[tuple[Any, Any]]:
    return [(item, attempt(_work, item, _shared)) for item in chunk]
