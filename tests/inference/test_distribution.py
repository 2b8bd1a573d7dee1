"""distribution.py in one process with one device, where it changes nothing, and the parts of each process.

tests/test_several_devices.py runs it with several.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from audio_utils.inference import distribution
from audio_utils.runtime import ranks


def test_with_one_device_nothing_changes():
    distribution.begin()
    with distribution.suspended():
        assert distribution.devices() == 1
    distribution.barrier()
    distribution.require_same({"anything": "a"})
    value = np.float32(3)
    assert distribution.replicated(value, None) is value
    assert (distribution.describe(), distribution.everywhere(True), distribution.everywhere(False)) == ("", True, False)
    assert [each.tolist() for each in distribution.of_first([np.array([1.5]), np.array([2.5])])] == [[1.5], [2.5]]


@pytest.mark.parametrize(("processes", "devices", "batch", "parts"), [
    (1, 2, 5, [[0, 1, 2, 3, 4, 4]]), (2, 2, 5, [[0, 1, 2], [3, 4, 4]]), (2, 4, 5, [[0, 1, 2, 3], [4, 4, 4, 4]]),
    (4, 4, 4, [[0], [1], [2], [3]]), (2, 2, 1, [[0], [0]])])
def test_each_process_reads_its_part_of_a_batch(monkeypatch, processes, devices, batch, parts):
    monkeypatch.setattr(distribution, "devices", lambda: devices)
    found = []
    for rank in range(processes):
        monkeypatch.setattr(ranks, "_joined", ranks.Ranks(rank, processes))
        found.append((distribution._padded(np.arange(batch) + 7) - 7).tolist())
    assert found == parts


@pytest.mark.parametrize(("gpus", "said"), [
    (0, ""), (1, ""), (3, "tensorflow uses one of the 3 GPUs; KERAS_BACKEND=jax uses all of them.\n")])
def test_a_backend_that_uses_one_of_several_gpus_says_so_once(monkeypatch, capsys, gpus, said):
    config = SimpleNamespace(list_physical_devices=lambda kind: [kind] * gpus)
    monkeypatch.setattr(distribution.importlib, "import_module", lambda name: SimpleNamespace(config=config))
    distribution._say_one_device_is_used.cache_clear()
    distribution.begin()
    distribution.begin()
    distribution._say_one_device_is_used.cache_clear()
    assert capsys.readouterr().out == said
