"""The workers of a Dask scheduler for `parallel.each`. Items are sent in chunks, and only their results come back.

All workers must see the working directory at the same path; there, each chunk has a journal (`dask_worker`). If a
worker dies, the journal shows the item that was in progress: it is processed again alone, with nothing else queued. If
that crashes too, the item is the cause.
"""

import itertools
import math
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from audio_utils.runtime import dask_client, dask_worker
from audio_utils.runtime.attempts import MAX_CRASHES, crash_of
from audio_utils.runtime.dask_worker import Run
from audio_utils.runtime.errors import UserError

if TYPE_CHECKING:
    from distributed import Client, Future

WINDOW = 4  # chunks queued per worker: enough to keep it busy, few enough to keep memory flat
CHUNK_SECONDS = 0.5  # of work; Dask needs about 10 ms for each
MAX_CHUNK = 2000  # items
_FIRST_CHUNK = 8  # items in a chunk before their duration is known
_REFRESH_SECONDS = 5  # between questions for the number of workers, each of which is a call to the scheduler


def each(function: Callable[..., Any], items: list, shared: tuple, address: str) -> Iterator[tuple[Any, Any]]:
    """Yield (item, result), in any order."""
    client = dask_client.connected(address)
    try:
        with ExitStack() as folders:
            run = dask_client.begin(items, folders)
            dask_client.check_workers(client, address, run)
            yield from _Chunks(client, address, run, (function, shared)).results(items)
    except Exception as error:
        if isinstance(error, UserError) or client.status == "running":
            raise
        raise UserError(dask_client.describe_lost(address)) from None


class _Part(NamedTuple):
    """Items of a chunk."""
    items: list
    is_repeated: bool = False  # a worker that died, or is taken for dead, may have begun them
    is_alone: bool = False


class _Chunks:
    """The chunks of a run that are on the cluster."""

    def __init__(self, client: "Client", address: str, run: Run, work: tuple) -> None:
        import cloudpickle  # takes functions of the script itself, too
        self.client, self.address, self.run, self.pickled = client, address, run, cloudpickle.dumps
        self.call, self.numbers = dask_client.remote("run_chunk"), itertools.count()
        self.running = {}  # key → its future, the number of the chunk, and the _Part
        self.done = queue.SimpleQueue()  # futures
        self.id = Path(run.folder).name + run.token
        data = self.pickled(work)
        self.work = client.submit(lambda: data, key=f"work-{self.id}", pure=False)  # Dask repeats it where it is lost
        self.item_seconds = None  # of work for an item; None: not known yet
        self.workers, self.refreshed, self.last_seen = 1, -math.inf, time.monotonic()
        self.crashes = 0  # of items that are alone
        self.losses = 0  # chunks that were lost before they were begun, since the last one that is done

    def results(self, items: list) -> Iterator[tuple[Any, Any]]:
        """Yield (item, result)."""
        new, again, suspects = deque(items), deque(), deque()
        try:
            while new or again or suspects or self.running:
                self._refresh()
                while (again or new) and not suspects and len(self.running) < self._window():
                    self._submit(again.popleft() if again else self._cut(new))
                if suspects and not self.running:
                    self._submit(suspects.popleft())
                for part, results, is_lost in self._finished():
                    yield from zip(part.items, results, strict=False)
                    left = part.items[len(results):]
                    if left and is_lost and part.is_alone:
                        self._count_crash()
                        yield left[0], crash_of(left[0])
                    elif left and is_lost:
                        suspects.append(_Part(left[:1], True, True))
                        left = left[1:]
                        again.extend([_Part(left, True)] if left else [])
                    elif left:
                        again.append(part._replace(items=left, is_repeated=True))
        finally:
            with suppress(Exception):  # the connection may be lost
                self.client.cancel([future for future, _, _ in self.running.values()])

    def _window(self) -> int:
        return self.workers * (WINDOW if self.item_seconds is not None else 1)

    def _cut(self, new: deque) -> _Part:
        """The next chunk; the last ones are smaller, so that all workers have some of them."""
        size = _FIRST_CHUNK if self.item_seconds is None else round(CHUNK_SECONDS / max(self.item_seconds, 1e-6))
        size = max(1, min(size, MAX_CHUNK, math.ceil(len(new) / self.workers)))
        return _Part([new.popleft() for _ in range(min(size, len(new)))])

    def _submit(self, part: _Part) -> None:
        number = next(self.numbers)
        future = self.client.submit(self.call, tuple(self.run), number, self.work, self.pickled(part.items),
                                    part.is_repeated, key=f"chunk-{number}-{self.id}", pure=False)
        self.running[future.key] = future, number, part
        future.add_done_callback(self.done.put)

    def _finished(self) -> Iterator[tuple[_Part, list, bool]]:
        """Wait for chunks; yield the part, the results of its first items, and whether the next one was in progress."""
        futures = self._wait()
        values = self._gathered([future for future in futures if future.status == "finished"])
        for future in futures:
            _, number, part = self.running.pop(future.key)
            value = values.get(future.key) or self._failed(future)
            if value[0] == "refused":
                raise UserError(value[1])
            journal = self.run.journal(number)
            if value[0] == "done":
                results, _ = dask_worker.read_journal(value[2])
                self._learn(value[1] / len(results))
                self.losses = 0
                yield part, results, False
            else:
                yield part, *self._recovered(journal)
            journal.unlink(missing_ok=True)

    def _gathered(self, futures: list["Future"]) -> dict[str, tuple]:
        """Key → value; none if some are lost, and can't be computed again: the journals have all of them."""
        try:
            values = dask_client.asked(self.address, self.client.gather, futures)
        except Exception as error:
            if not _is_killed_worker(error):
                raise
            return {}
        return dict(zip([future.key for future in futures], values, strict=True))

    def _wait(self) -> list["Future"]:
        """The futures that are done, at least one. Raises UserError if the scheduler or all workers are gone."""
        while True:
            self._refresh()
            with suppress(queue.Empty):
                futures = [self.done.get(timeout=1)]
                if self.client.status != "running":
                    continue
                while not self.done.empty():
                    futures.append(self.done.get())
                return futures

    def _refresh(self) -> None:
        """Check the connection, and now and then the number of workers."""
        if self.client.status != "running":
            raise UserError(dask_client.describe_lost(self.address))
        now = time.monotonic()
        if now - self.refreshed < _REFRESH_SECONDS:
            return
        self.refreshed, count = now, len(dask_client.asked(self.address, self.client.nthreads))
        if count:
            self.workers, self.last_seen = count, now
        elif now - self.last_seen > dask_client.WORKER_SECONDS:
            raise UserError(dask_client.describe_no_workers(self.address))

    def _failed(self, future: "Future") -> tuple:
        """The value of a future without one: its workers died, or the data are lost. Raises other errors."""
        error = future.exception() if future.status == "error" else None
        if error is not None and not _is_killed_worker(error):
            raise error
        return ("begun",)

    def _recovered(self, journal: Path) -> tuple[list, bool]:
        """The results in the journal of a dead worker, and whether an item was in progress; removes its files."""
        try:
            results, files = dask_worker.read_journal(journal.read_bytes())
        except FileNotFoundError:  # all workers that held the chunk died before they began it
            self.losses += 1
            if self.losses > MAX_CRASHES * self._window():
                raise UserError(_describe_dying(self.address)) from None
            return [], False
        journal.unlink()  # first: a worker that is taken for dead replaces no file from now on
        for file in files:
            Path(file).unlink(missing_ok=True)
        return results, True

    def _count_crash(self) -> None:
        self.crashes += 1
        if self.crashes > MAX_CRASHES:
            raise UserError(_describe_dying(self.address))

    def _learn(self, seconds: float) -> None:
        """Update the duration of an item; the first ones include imports."""
        known = self.item_seconds
        self.item_seconds = seconds if known is None else min(seconds, (known + seconds) / 2)


def _is_killed_worker(error: Exception) -> bool:
    """Whether Dask has given a task up, because several workers that held it died."""
    return type(error).__name__ == "KilledWorker"


def _describe_dying(address: str) -> str:
    return (f"{address}: Dask workers keep being killed (out of memory?); start fewer workers on a host, and run the "
            "same command again.")
