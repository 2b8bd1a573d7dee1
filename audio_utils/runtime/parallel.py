"""Apply one function to many files on all cores, with a progress bar; no worker process outlives its parent."""

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

from tqdm import tqdm

from audio_utils.runtime import environment, safe_files, signals, tables
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError, sentence

Item = TypeVar("Item")

MIN_PARALLEL = 64  # files; with fewer, starting processes takes longer than it saves (about half a second each)
PREFETCHED_CHUNKS = 4  # chunks queued per worker: enough to keep it busy, few enough to keep memory flat
MAX_CHUNK = 32  # files in a chunk
MAX_LINES = 10  # files that are reported one by one
MAX_CRASHES = 10  # files that may crash the process that works on them; with more, the files are not the cause
_EXIT_SECONDS = 1  # maximum time that a worker without a parent may stay inside a library


def cores() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(function: Callable[..., Any], items: list[Item], title: str, jobs: int | None = None, shared: tuple = (),
         min_parallel: int = MIN_PARALLEL) -> Iterator[tuple[Item, Any]]:
    """Call function(item, *shared) for each item, in any order; yield (item, result).

    A UserError or OSError that the function raises is the result for its item, and so is the crash of a library: one
    bad file does not stop the others. Other exceptions are raised here. function and items must be picklable; shared
    is sent to each worker once.
    title: of the progress bar. jobs: processes, by default one per core; fewer items than `min_parallel` run
    in this process.
    """
    keep_memory()
    jobs = min(jobs or cores(), len(items) if len(items) >= min_parallel else 1)
    done = _in_processes(function, items, shared, jobs) if jobs > 1 and environment.has_semaphores() else (
        (item, _attempt(function, item, shared)) for item in items)
    with tqdm(total=len(items), desc=title, unit=" files", disable=None, leave=False, smoothing=0.1,
              ncols=tables.bar_columns()) as bar:
        for pair in done:
            bar.update()
            yield pair


class Done(NamedTuple):
    """The result for a file that was processed."""
    sentence: str
    outputs: int  # 0 if it was skipped
    is_problem: bool = False  # the sentence is printed even if there are many files


def report(results: Iterable[tuple[Any, Done | Exception]], files: int, outputs: str) -> int:
    """Print the results of `each`: for up to 10 files a sentence for each, for more only problems, then a summary.

    files: number of files. outputs: their plural, such as "clips of 2 s". Returns the exit status: 1 if any result was
    an error.
    """
    done, errors = [], 0
    for _, result in results:
        with tqdm.external_write_mode():  # clears the bar
            if isinstance(result, Exception):
                warn(sentence(result))
                errors += 1
                continue
            done.append(result.outputs)
            if files <= MAX_LINES or result.is_problem:
                say(result.sentence)
    if files > MAX_LINES and done:
        skipped = f"; {done.count(0)} skipped" if 0 in done else ""
        say(f"{len(done) - done.count(0)} files: {sum(done)} {outputs}{skipped}.")
    return min(errors, 1)


def keep_memory() -> None:
    """Keep freed memory for the next file: allocating it again takes as long as the computation."""
    with suppress(AttributeError, TypeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 256 << 20)  # M_TRIM_THRESHOLD
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD


def _attempt(function: Callable[..., Any], item: Any, shared: tuple) -> Any:
    try:
        return function(item, *shared)
    except (UserError, OSError) as error:
        return error
    except MemoryError:
        return UserError(f"{_name(item)}: needs more memory than is available; shorten or remove it.")


def _name(item: Any) -> Any:
    first = item[0] if type(item) is tuple else item
    return getattr(first, "path", first)


def _in_processes(function: Callable[..., Any], items: list, shared: tuple, jobs: int) -> Iterator[tuple[Any, Any]]:
    size = max(1, min(MAX_CHUNK, len(items) // (4 * jobs)))
    chunks = deque(items[start:start + size] for start in range(0, len(items), size))
    crashes = 0
    while chunks:
        lost = yield from _until_a_crash(chunks, function, shared, jobs, PREFETCHED_CHUNKS * jobs)
        alone = deque([item] for item in lost)  # one of these caused it: try each by itself
        while alone:
            for item in (yield from _until_a_crash(alone, function, shared, 1, 1)):
                crashes += 1
                if crashes > MAX_CRASHES:
                    raise UserError("Worker processes keep being killed from outside (out of memory?); run the same "
                                    "command again with fewer processes (JOBS).")
                yield item, UserError(f"{_name(item)}: crashes the process that works on it; replace or remove it.")


def _until_a_crash(chunks: deque[list], function: Callable[..., Any], shared: tuple, jobs: int,
                   queued: int) -> Generator[tuple[Any, Any], None, list]:
    """Process chunks and yield (item, result); if a process dies, return the items that were in progress."""
    context = multiprocessing.get_context("spawn")  # a forked copy of a process with threads may hang
    with environment.of_workers(), ProcessPoolExecutor(jobs, context, _start_worker, (function, shared)) as pool:
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


def _start_worker(function: Callable[..., Any], shared: tuple) -> None:
    global _work, _shared
    _work, _shared = function, shared
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
    return [(item, _attempt(_work, item, _shared)) for item in chunk]
