"""parallel_checks.py: the share of a batch of each device, and processes that differ."""

from argparse import Namespace

import numpy as np
import pytest

from audio_utils.inference import distribution
from audio_utils.runtime import ranks
from audio_utils.runtime.errors import UserError
from audio_utils.training import parallel_checks
from audio_utils.training.state import TrainingState


@pytest.mark.parametrize(("devices", "batch_size", "clips", "message"), [
    (1, 15, 3, ""), (4, 16, 100, ""), (4, 12, 4, ""),
    (4, 18, 100, "^BATCH_SIZE is 18; with 4 devices, set it to a multiple of 4.$"),
    (4, 2, 100, "^BATCH_SIZE is 2; with 4 devices"), (4, 16, 3, "^An epoch has 3 clips for 4 devices; raise")])
def test_each_device_gets_the_same_number_of_clips(monkeypatch, devices, batch_size, clips, message):
    monkeypatch.setattr(distribution, "devices", lambda: devices)
    if not message:
        parallel_checks.require_divisible(batch_size, clips)
        return
    with pytest.raises(UserError, match=message):
        parallel_checks.require_divisible(batch_size, clips)


@pytest.mark.parametrize(("change", "message"), [
    ({}, ""), ({"memory_gb": 2.0}, ""), ({"seed": 2}, "their constants or flags"),
    ({"epoch": 1}, "the state in weights"), ({"clip": 7}, "the clips of Preproc/")])
def test_processes_must_have_the_same_input(monkeypatch, change, message):
    def require(seed=1, memory_gb=1.0, epoch=0, clip=3):
        parallel_checks.require_same_input(Namespace(seed=seed, memory_gb=memory_gb), TrainingState({}, epoch),
                                           [np.array([1, clip], np.uint64)])

    monkeypatch.setattr(ranks, "_joined", ranks.Ranks(0, 2, "127.0.0.1:1"))
    digests = []
    monkeypatch.setattr(distribution, "_gathered", lambda array: digests.append(array) or array[None])
    require()
    others = iter(digests.copy())
    monkeypatch.setattr(distribution, "_gathered", lambda array: np.stack([next(others), array]))
    if not message:
        require(**change)
        return
    with pytest.raises(UserError, match=f"^Processes 0 and 1 differ in {message}.*; all hosts need the same.$"):
        require(**change)
