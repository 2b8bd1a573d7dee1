"""A GPU and its work: name, memory in use, and the time of each stage of training with Keras on JAX or torch.

    from gpu_device import Stopwatch, gpu_names, used_memory
"""

import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress


def gpu_names() -> list:
    """The name, memory and driver of each GPU."""
    return [f"{name}, {memory} MiB, driver {driver}" for name, memory, driver in
            (line.split(", ") for line in nvidia_smi("--query-gpu=name,memory.total,driver_version"))]


def used_memory(process_id: int) -> tuple:
    """(MiB, "process"), or (MiB, "whole GPU") if the driver does not list the process."""
    apps = dict(re.findall(r"(\d+), (\d+)", "\n".join(nvidia_smi("--query-compute-apps=pid,used_memory"))))
    if str(process_id) in apps:
        return int(apps[str(process_id)]), "process"
    return max((int(line) for line in nvidia_smi("--query-gpu=memory.used") if line.isdigit()), default=0), "whole GPU"


def nvidia_smi(query: str) -> list:
    """The output lines of nvidia-smi for a query; none if there is no GPU."""
    with suppress(OSError):
        done = subprocess.run(["nvidia-smi", query, "--format=csv,noheader,nounits"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
        return [] if done.returncode else done.stdout.splitlines()
    return []


class Stopwatch:
    """Times functions by label, without those called within them; waits for the device after each."""

    def __init__(self, backend: str):
        self.backend, self.seconds, self.within = backend, Counter(), 0.0

    def timed(self, label: str, function: Callable) -> Callable:
        def call(*arguments, **keywords):
            before, self.within, start = self.within, 0.0, time.perf_counter()
            result = self.wait(function(*arguments, **keywords))
            seconds = time.perf_counter() - start
            self.seconds[label] += seconds - self.within
            self.within = before + seconds
            return result
        return call

    def wait(self, result: object) -> object:
        if self.backend == "jax":
            import jax
            return jax.block_until_ready(result)
        import torch
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return result

    def time_device(self, model) -> None:
        """Time Keras's training steps on the device and, separately, the transfer of their batches."""
        import keras
        send = self.timed("transfer", lambda batch: keras.tree.map_structure(keras.ops.convert_to_tensor, batch))
        if self.backend == "torch":
            model.make_train_function()
            step = self.timed("device", model.train_function)
            model.train_function = lambda batch: step(send(batch))
            return
        fetch = self.timed("transfer", lambda batches: next(batches, None))
        make = model._make_function  # step → a function that takes an iterator of batches and calls step for each
        model._make_function = lambda step: make(self.timed("device", step))
        model.make_train_function()
        steps = model.train_function
        model.train_function = lambda state, batches: steps(state, map(send, iter(lambda: fetch(batches), None)))
