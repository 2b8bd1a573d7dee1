"""prefetch.py: results in order, a few ahead, and no thread left behind."""

import threading
import time
from contextlib import closing

import pytest

from audio_utils.runtime import prefetch


def drawing(count, drawn):
    for i in range(count):
        drawn.append(threading.current_thread())
        yield i


def threads():
    return [each for each in threading.enumerate() if each.name.startswith("prefetch")]


def slower_at_first(i):
    time.sleep(0.002 * (5 - i % 6))
    return i, threading.current_thread().name


def test_results_are_in_order_and_computed_in_threads_of_items_drawn_in_this_one():
    drawn = []
    results = list(prefetch.each(slower_at_first, drawing(30, drawn)))
    assert [result for result, _ in results] == list(range(30))
    assert all(name.startswith("prefetch") for _, name in results)
    assert set(drawn) == {threading.current_thread()}
    assert not threads()
    assert list(prefetch.each(slower_at_first, [])) == []


@pytest.mark.parametrize(("result_bytes", "ahead"), [(0, 8), (1 << 20, 8), (prefetch.MAX_BYTES // 3, 3), (1 << 40, 1)])
def test_only_a_few_results_wait(result_bytes, ahead):
    drawn = []
    with closing(prefetch.each(str, drawing(100, drawn), result_bytes)) as results:
        assert [next(results), next(results)] == ["0", "1"]
        assert len(drawn) == 2 + ahead
    assert not threads()


def test_an_error_is_raised_in_its_turn_and_ends_all_threads():
    drawn, results = [], []
    with pytest.raises(ZeroDivisionError):
        results.extend(prefetch.each(lambda i: 1 / (i - 3), drawing(100, drawn)))
    assert len(results) == 3
    assert len(drawn) < 20
    assert not threads()
