"""Apply one function to many files, on all cores or on the workers of a Dask scheduler, with a progress bar."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from tqdm import tqdm

from audio_utils.runtime import dask_pool, environment, process_pool, tables
from audio_utils.runtime.attempts import attempt, keep_memory
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import sentence

Item = TypeVar("Item")

MIN_PARALLEL = 64  # files; with fewer, starting processes takes longer than it saves (about half a second each)
MAX_LINES = 10  # files that are reported one by one


def cores() -> int:
    """The number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(function: Callable[..., Any], items: list[Item], title: str, jobs: int | str | None = None,
         shared: tuple = (), min_parallel: int = MIN_PARALLEL) -> Iterator[tuple[Item, Any]]:
    """Call function(item, *shared) for each item, in any order; yield (item, result).

    A UserError or OSError that the function raises is the result for its item, and so is the crash of a library: one
    bad file does not stop the others. Other exceptions are raised here. function and items must be picklable; shared
    is sent to each worker once.
    title: of the progress bar. jobs: processes, by default one per core; fewer items than `min_parallel` run
    in this process. Or the address of a Dask scheduler, whose workers process any number of items.
    """
    keep_memory()
    done = _results(function, items, jobs, shared, min_parallel)
    with tqdm(total=len(items), desc=title, unit=" files", disable=None, leave=False, smoothing=0.1,
              ncols=tables.bar_columns()) as bar:
        for pair in done:
            bar.update()
            yield pair


def _results(function: Callable[..., Any], items: list[Item], jobs: int | str | None, shared: tuple,
             min_parallel: int) -> Iterator[tuple[Item, Any]]:
    if isinstance(jobs, str):
        return dask_pool.each(function, items, shared, jobs) if items else iter(())
    jobs = min(jobs or cores(), len(items) if len(items) >= min_parallel else 1)
    if jobs > 1 and environment.has_semaphores():
        return process_pool.each(function, items, shared, jobs)
    return ((item, attempt(function, item, shared)) for item in items)


def on_this_machine(jobs: int | str | None) -> int | None:
    """The number of processes for work whose results are large: one per core if `jobs` is an address."""
    return None if isinstance(jobs, str) else jobs


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
