"""Every item has one result, whatever happens to the workers. Without Dask itself, which test_dask.py uses."""

import os
import time
from collections import Counter, deque
from pathlib import Path

import pytest

from audio_utils.runtime import dask_client, dask_pool, parallel, safe_files
from audio_utils.runtime.errors import UNFINISHED, UserError

pytest.importorskip("cloudpickle")
ADDRESS = "tcp://host:8786"
calls = Counter()


class Death(BaseException):
    """Stands for the death of the worker."""


class KilledWorker(Exception):
    """Dask raises one of this name."""


class Future:
    """A future that is done."""

    def __init__(self, key, value, status="finished"):
        self.key, self.value, self.status = key, value, status

    def add_done_callback(self, function):
        function(self)

    def exception(self):
        return self.value


class Client:
    """A scheduler with one worker, which runs a chunk when it is submitted, and repeats it if it dies."""
    status = "running"

    def __init__(self):
        self.workers, self.killed, self.chunks = {"worker": 1}, 0, []

    def nthreads(self):
        return self.workers

    def submit(self, function, *arguments, key, pure):
        assert not pure
        if not arguments:
            return Future(key, function())
        self.chunks.append(arguments)
        if self.killed:
            self.killed -= 1
            return Future(key, KilledWorker(), "error")
        values = [each.value if isinstance(each, Future) else each for each in arguments]
        for _ in range(2):
            try:
                return Future(key, function(*values))
            except Death:
                continue
            except ZeroDivisionError as error:
                return Future(key, error, "error")
        raise AssertionError("the second worker has begun the chunk, too")

    def gather(self, futures):
        return [future.value for future in futures]

    def cancel(self, _futures):
        pass


@pytest.fixture
def client(tmp_path, monkeypatch):
    client = Client()
    calls.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dask_client, "connected", lambda _: client)
    monkeypatch.setattr(dask_client, "check_workers", lambda *_: None)
    yield client
    assert os.listdir(tmp_path) == []


def work(item, deadly=(), times=99):
    calls[item] += 1
    if item in deadly and calls[item] <= times:
        left = Path(f"{UNFINISHED}{safe_files.tag()}{item}.txt")
        safe_files._writer.note(left)
        left.touch()
        raise Death
    if item == "bad":
        raise UserError("bad: is bad.")
    if item == 0.5:
        raise ZeroDivisionError
    return item * 2


def results(items, *shared):
    return dict(parallel.each(work, items, "", ADDRESS, shared))


def test_each_item_has_its_result_and_few_items_are_sent_too(client):
    assert results([3]) == {3: 6}
    found = results([*range(100), "bad"])
    assert str(found.pop("bad")) == "bad: is bad."
    assert found == {item: 2 * item for item in range(100)}
    assert client.chunks


def test_an_item_that_kills_its_worker_twice_is_named_and_the_others_are_processed_once(client):
    found = results(list(range(50)), (7, 8, 49))
    assert {item: str(each) for item, each in found.items() if each != 2 * item} == {
        item: f"{item}: crashes the process that works on it; replace or remove it." for item in (7, 8, 49)}
    assert calls == {item: 2 if item in (7, 8, 49) else 1 for item in range(50)}


def test_an_item_whose_worker_is_killed_once_is_not_named(client):
    assert results(list(range(50)), (7,), 1) == {item: 2 * item for item in range(50)}
    assert calls == {item: 2 if item == 7 else 1 for item in range(50)}


def test_chunks_that_a_dead_worker_only_held_are_sent_again(client):
    client.killed = 3
    assert results(list(range(50))) == {item: 2 * item for item in range(50)}
    assert set(calls.values()) == {1}


def test_workers_that_keep_dying_are_one_sentence(client):
    client.killed = 99
    with pytest.raises(UserError, match="host:8786: Dask workers keep being killed"):
        results(list(range(50)))


def test_a_mistake_of_the_code_is_raised(client):
    with pytest.raises(ZeroDivisionError):
        results([0.5])


def test_a_worker_that_refuses_is_one_sentence(client, monkeypatch):
    monkeypatch.setattr("audio_utils.runtime.dask_worker._difference", lambda _: "worker: differs.")
    with pytest.raises(UserError, match="^worker: differs.$"):
        results([1])


def test_a_lost_scheduler_is_one_sentence(client):
    found = parallel.each(work, list(range(50)), "", ADDRESS)
    next(found)
    client.status = "connecting"
    with pytest.raises(UserError) as lost:
        list(found)
    assert str(lost.value) == dask_client.describe_lost(ADDRESS)


def test_a_scheduler_that_is_lost_while_a_chunk_is_sent_is_one_sentence(client, monkeypatch):
    def fail(*_arguments, **_keywords):
        client.status = "closed"
        raise RuntimeError("closed")

    monkeypatch.setattr(client, "submit", fail)
    with pytest.raises(UserError) as lost:
        results([1])
    assert str(lost.value) == dask_client.describe_lost(ADDRESS)


def test_workers_that_are_gone_are_one_sentence(client, monkeypatch):
    monkeypatch.setattr(dask_pool, "_REFRESH_SECONDS", 0)
    monkeypatch.setattr(dask_client, "WORKER_SECONDS", 0.01)
    found = parallel.each(work, list(range(50)), "", ADDRESS)
    next(found)
    client.workers = {}
    time.sleep(0.02)
    with pytest.raises(UserError) as gone:
        list(found)
    assert str(gone.value) == dask_client.describe_no_workers(ADDRESS)


@pytest.mark.parametrize(("item_seconds", "waiting", "size"), [
    (None, 1000, 8), (0.01, 1000, 50), (10, 1000, 1), (1e-5, 10 ** 6, 2000), (0.01, 40, 20), (0.01, 1, 1)])
def test_a_chunk_takes_half_a_second_except_for_the_last_ones(client, item_seconds, waiting, size):
    chunks = dask_pool._Chunks(client, ADDRESS, dask_client.Run("", "", (), "", "", ()), ())
    chunks.workers, chunks.item_seconds = 2, item_seconds
    assert len(chunks._cut(deque(range(waiting))).items) == size
    assert chunks._window() == (2 if item_seconds is None else 8)


def test_the_first_duration_which_includes_imports_is_soon_forgotten(client):
    chunks = dask_pool._Chunks(client, ADDRESS, dask_client.Run("", "", (), "", "", ()), ())
    for seconds in (1, 0.01, 0.02):
        chunks._learn(seconds)
    assert chunks.item_seconds == 0.015
