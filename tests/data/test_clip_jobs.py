"""The parts of a long sound are put together in order, and one bad part is an error of the sound."""

from types import SimpleNamespace

import numpy as np
import pytest

from audio_utils.audio.long_sounds import Part
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import clip_jobs
from audio_utils.data.clip_jobs import Outcome
from audio_utils.data.sound import Sound
from audio_utils.runtime import parallel
from audio_utils.runtime.errors import UserError

SETTINGS = MelgramSettings.of(8000, 8000 * 40, 1, 20, 46.44, 11.61)  # a job has three clips of 40 s
LONG, SHORT = Sound("a", "Samples/a/long.wav"), Sound("a", "Samples/a/short.wav")


@pytest.fixture
def outcomes(monkeypatch):
    """A function of what the jobs return: first clip → clips or error. Returns sound → Outcome, and the calls."""
    def run(found, sounds, unchanged=()):
        def each(function, items, title, jobs, shared, min_parallel):
            calls.append((items, min_parallel))
            return [(item, found[item.first]) for item in reversed(items)]

        calls = []
        monkeypatch.setattr(parallel, "each", each)
        found = {first: (str(first), Part(value, 0, np.zeros(2), False)) if isinstance(value, int) else value
                 for first, value in found.items()}
        return dict(clip_jobs.each(None, sounds, SETTINGS, 1, (), frozenset(unchanged))), *calls[0]
    return run


def test_results_are_in_the_order_of_the_clips_whatever_that_of_the_jobs(outcomes):
    found, items, _ = outcomes({0: ("whole", "is silent"), 1: 3, 4: 3, 7: 2}, {LONG: 8, SHORT: 0})
    assert found == {LONG: Outcome(["1", "4", "7"], 8, ""), SHORT: Outcome(["whole"], 0, "is silent")}
    assert [item[1:] for item in items] == [(1, 3), (4, 3), (7, 2), (0, 1)]
    assert {item.path for item in items} == {LONG.path, SHORT.path}


def test_after_the_end_of_a_truncated_file_nothing_is_used(outcomes):
    """A decoder may find something beyond a damaged part."""
    found, _, _ = outcomes({1: 3, 4: 1, 7: 2}, {LONG: 8})
    assert found == {LONG: Outcome(["1", "4"], 4, f"{LONG.path}: is truncated; the available part is used.")}


def test_an_error_in_one_job_is_that_of_the_sound(outcomes):
    error = UserError("bad")
    assert outcomes({1: 3, 4: error, 7: 2}, {LONG: 8})[0] == {LONG: error}
    assert outcomes({0: error}, {SHORT: 0})[0] == {SHORT: error}


def test_few_long_sounds_are_worth_several_processes(outcomes):
    whole = dict.fromkeys(range(1, 64, 3), 3) | {64: 1}
    assert outcomes(whole, {LONG: 64})[2] == 2
    assert outcomes({1: 3, 0: ("", "")}, {LONG: 3, SHORT: 0}, [SHORT])[2] == parallel.MIN_PARALLEL
    assert outcomes({0: ("", "")}, {SHORT: 0}, [SHORT])[1] == [(SHORT, 0, 0)]


def test_a_job_has_the_path_by_which_crashes_are_named():
    assert clip_jobs.Job(SimpleNamespace(path="x.wav"), 1, 2).path == "x.wav"
