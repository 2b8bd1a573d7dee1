"""One function over many files on many cores, with a progress bar; no worker outlives its parent."""

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress

from tqdm import tqdm

from audio_utils import command_line, safe_files
from audio_utils.safe_files import UserError

FEWEST = 64  # files for which it pays to start other processes (each takes about half a second to start)
CHUNKS_AHEAD = 4  # chunks a worker has waiting; enough to keep it busy, few enough to keep memory flat
MAX_CHUNK = 32  # files handed to a worker at a time
MOST_CRASHES = 10  # files that may end the process that works on them; more, and it is not the files
_LONGEST_GOODBYE = 1  # seconds that a worker may go on without its parent, inside a library


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(function, items, what, jobs=None, shared=(), fewest=FEWEST):
    """Call function(item, *shared) for each of a list of items, in any order; yield (item, result).

    A UserError, or an OSError, that the function raises is the result for its item: one bad file does not
    stop the others, also where it makes a library crash. function and items must be picklable; shared is sent to each
    worker once. jobs: processes, by default one a core; fewer items than `fewest` are done in this process.
    Other exceptions are raised here.
    """
    keep_memory()
    jobs = min(jobs or cores(), len(items) if len(items) >= fewest else 1)
    done = _in_processes(function, items, shared, jobs) if jobs > 1 else (
        (item, _attempt(function, item, shared)) for item in items)
    with tqdm(total=len(items), desc=what, unit=" files", disable=None, leave=False, smoothing=0.1) as bar:
        for pair in done:
            bar.update()
            yield pair


def report(done):
    """Print what `each` gives for each file, a sentence or an error. Returns the exit status: 1 if any was an error."""
    status = 0
    for _, result in done:
        with tqdm.external_write_mode():  # the bar makes room
            if not isinstance(result, Exception):
                command_line.say(result)
                continue
            command_line.warn(command_line.describe_os_error(result) if isinstance(result, OSError) else str(result))
            status = 1
    return status


def keep_memory():
    """Keep freed memory for the next file; to get it from Linux anew would take as long again as the arithmetic."""
    with suppress(AttributeError, TypeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 256 << 20)  # M_TRIM_THRESHOLD
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD


def _attempt(function, item, shared):
    try:
        return function(item, *shared)
    except (UserError, OSError) as error:
        return error
    except MemoryError:
        return UserError(f"{_name(item)}: takes more memory than there is; shorten or remove it.")


def _name(item):
    first = item[0] if type(item) is tuple else item
    return getattr(first, "path", first)


def _in_processes(function, items, shared, jobs):
    size = max(1, min(MAX_CHUNK, len(items) // (4 * jobs)))
    chunks = deque(items[start:start + size] for start in range(0, len(items), size))
    crashes = 0
    while chunks:
        lost = yield from _until_a_crash(chunks, function, shared, jobs, CHUNKS_AHEAD * jobs)
        alone = deque([item] for item in lost)  # one of these did it: try each by itself
        while alone:
            for item in (yield from _until_a_crash(alone, function, shared, 1, 1)):
                crashes += 1
                if crashes > MOST_CRASHES:
                    raise UserError("Worker processes are ended from outside again and again (out of memory?); "
                                    "run the same command again, with fewer processes (JOBS).")
                yield item, UserError(f"{_name(item)}: ends the process that works on it; replace or remove it.")


def _until_a_crash(chunks, function, shared, jobs, ahead):
    """Work chunks off and yield (item, result); where a process ends, return the items that were under way."""
    context = multiprocessing.get_context("spawn")  # forked copies of a process with threads may hang
    with _environment_of_workers(), ProcessPoolExecutor(jobs, context, _start_worker, (function, shared)) as pool:
        running = {}  # future → its chunk
        try:
            while chunks or running:
                with _interrupts_held():
                    while chunks and len(running) < ahead:
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
def _environment_of_workers():
    """Processes started inside use one BLAS thread each, and don't complain when the parent is killed."""
    before = os.environ.copy()
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1",
                      PYTHONWARNINGS="ignore::UserWarning:multiprocessing.resource_tracker")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _interrupts_held():
    """Processes started inside never see ^C, which reaches the whole group; it is answered here, afterwards.

    So is SIGTERM: a process that loses its parent while it starts says so at length. The mask is for them; here other
    threads may catch the signal.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with command_line.stopping_later():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(function, shared):
    global _work, _shared
    _work, _shared = function, shared
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """Leave from the main thread, which then begins no further file; from this one where a library holds it."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    if hasattr(signal, "pthread_kill"):  # not Windows
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
        time.sleep(_LONGEST_GOODBYE)
    _leave()


def _leave(*_signal):
    safe_files.discard_unfinished()
    os._exit(1)


def _run_chunk(chunk):
    return [(item, _attempt(_work, item, _shared)) for item in chunk]
