"""Feed batches to the network: augmented by NumPy, ahead in threads, and sent one by one; or augmented on the device.

Both are kept until the second has been measured on a GPU: on a CPU it is slower, because a graph gathers frames element
by element. Both draw the same parameters in the same order. With several devices, the parameters are those of the whole
batch in all processes, and each process reads, augments and sends its part.
"""

import contextlib
import math
from argparse import Namespace
from typing import Any, Protocol

import numpy as np

from audio_utils.data.clips import Clips
from audio_utils.inference import device, distribution, network
from audio_utils.runtime import prefetch
from audio_utils.training.augmentation import Augmenter, Parameters
from panotti_models import keras


class StepCallbacks(Protocol):
    """The functions that a feed calls during an epoch."""

    def on_train_batch_begin(self, epoch_fraction: float) -> None:
        """Called before one or more steps, when this fraction of the epoch is done."""

    def on_train_batch_end(self, steps: int, loss: float) -> None:
        """Called after this number of steps; loss: the mean of the epoch so far."""


class _Feed:
    """model: its input is a batch of melgrams; of an ensemble, all members are trained."""

    def __init__(self, clips: Clips, augmenter: Augmenter, members: int | None) -> None:
        self.clips, self.augmenter, self.members = clips, augmenter, members

    def draw(self, indices: np.ndarray, rng: np.random.Generator) -> tuple[Parameters, np.ndarray]:
        """The parameters and the targets of a batch; of an ensemble, targets for each member."""
        mels, frames = self.clips.melgrams.shape[1:3]
        parameters = self.augmenter.randomize_parameters(indices, mels, frames, rng)
        targets = self.augmenter.targets(self.clips.targets, parameters)
        return parameters, np.repeat(targets[:, None], self.members, axis=1) if self.members else targets


class HostFeed(_Feed):
    """NumPy reads and augments the batches, a few ahead in threads; they are sent one by one."""
    steps_per_execution = 1

    def compiled_model(self, model: keras.Model) -> keras.Model:
        """The model to compile."""
        return model

    def train(self, model: keras.Model, batches: list[np.ndarray], rng: np.random.Generator,
              callbacks: StepCallbacks) -> tuple[float, float]:
        """Train on batches of clip indices: (mean loss, accuracy), or NaN as soon as a loss is not finite."""
        sums = np.zeros(2)
        drawn = (self.draw(indices, rng) for indices in batches)
        with contextlib.closing(prefetch.each(self._batch, drawn, len(batches[0]) * self._clip_bytes)) as ready:
            for step, (batch, targets) in enumerate(ready):
                callbacks.on_train_batch_begin(step / len(batches))
                logs = model.train_on_batch(batch, targets, return_dict=True)
                sums += logs["loss"], logs["accuracy"]
                if not math.isfinite(logs["loss"]):
                    return math.nan, math.nan
                callbacks.on_train_batch_end(1, sums[0] / (step + 1))
        return tuple(map(float, sums / len(batches)))

    @property
    def _clip_bytes(self) -> int:
        return math.prod(self.clips.melgrams.shape[1:]) * 4

    def _batch(self, drawn: tuple[Parameters, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        parameters, targets = drawn
        return self.augmenter.batch(self.clips.melgrams, parameters), targets


class ShardedFeed(HostFeed):
    """The same for several devices: Keras's `fit` divides the batches among them.

    `train_on_batch` waits for all devices after each step. Here, the loss is read only every `loss_every` steps.
    """

    def __init__(self, clips: Clips, augmenter: Augmenter, members: int | None, loss_every: int) -> None:
        super().__init__(clips, augmenter, members)
        self.loss_every = loss_every

    def train(self, model: keras.Model, batches: list[np.ndarray], rng: np.random.Generator,
              callbacks: StepCallbacks) -> tuple[float, float]:
        """Train on batches of clip indices, all of one size: (mean loss, accuracy), or NaN if a loss is not finite."""
        loss = 0.0

        def begin(step: int, logs: dict | None = None) -> None:
            nonlocal loss
            if step:
                model.jax_state_sync()
                if step % self.loss_every == 0:
                    loss = float(model.get_metrics_result()["loss"])
                    model.stop_training = not math.isfinite(loss)
                callbacks.on_train_batch_end(1, loss)
            callbacks.on_train_batch_begin(step / len(batches))

        rows = distribution.local_rows(len(batches[0]))
        drawn = (part_of_batch(*self.draw(indices, rng), rows) for indices in batches)
        with contextlib.closing(prefetch.each(self._part, drawn, len(rows) * self._clip_bytes)) as ready:
            logs = model.fit(ready, steps_per_epoch=len(batches), shuffle=False, verbose=0,
                             callbacks=[keras.callbacks.LambdaCallback(on_train_batch_begin=begin)]).history
        if model.stop_training:
            return math.nan, math.nan
        callbacks.on_train_batch_end(1, loss)
        return logs["loss"][0], logs["accuracy"][0]

    def _part(self, drawn: tuple[Parameters, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        parameters, targets, kept = drawn
        return self.augmenter.batch(self.clips.melgrams, parameters)[kept], targets


def part_of_batch(parameters: Parameters, targets: np.ndarray,
                  rows: np.ndarray) -> tuple[Parameters, np.ndarray, np.ndarray]:
    """The parameters of a part of a batch and of the clips that it is mixed with, its targets, and its rows among them.

    rows: of the part, in the batch.
    """
    needed = np.union1d(rows, parameters["partner"][rows]) if "partner" in parameters else rows
    taken = {name: array[needed] for name, array in parameters.items()}
    if "partner" in taken:  # of the clips that are only mixed in, the partner has no effect
        taken["partner"] = np.searchsorted(needed, taken["partner"]).clip(max=len(needed) - 1).astype(np.int32)
    return taken, targets[rows], np.searchsorted(needed, rows)


class DeviceFeed(_Feed):
    """The clips stay in the device's memory and are augmented there; only the parameters are sent for each batch."""

    def __init__(self, clips: Clips, augmenter: Augmenter, members: int | None, steps_per_execution: int) -> None:
        super().__init__(clips, augmenter, members)
        self.steps_per_execution = 1 if keras.config.backend() == "torch" else steps_per_execution  # Keras refuses more

    def compiled_model(self, model: keras.Model) -> keras.Model:
        """The model to compile: from the parameters of a batch to the given model's output."""
        parameters = _float32(self.draw(np.zeros(2, int), np.random.default_rng(0))[0])
        inputs = {name: keras.Input(array.shape[1:], dtype=array.dtype.name, name=name)
                  for name, array in parameters.items()}
        return keras.Model(inputs, model(_Melgrams(self.clips.melgrams, self.augmenter)(inputs)))

    def train(self, model: keras.Model, batches: list[np.ndarray], rng: np.random.Generator,
              callbacks: StepCallbacks) -> tuple[float, float]:
        """Train on batches of clip indices, all of one size: (mean loss, accuracy)."""
        done = 0

        def begin(step: int, logs: dict | None = None) -> None:
            callbacks.on_train_batch_begin(step / len(batches))

        def end(step: int, logs: dict | None = None) -> None:
            nonlocal done
            if keras.config.backend() == "jax":
                model.jax_state_sync()
            before, done = done, min(step + 1, len(batches))  # Keras counts whole executions
            callbacks.on_train_batch_end(done - before, logs["loss"])

        rows = distribution.local_rows(len(batches[0]))
        parameters, targets = zip(*(self.draw(indices, rng) for indices in batches), strict=True)
        epoch = {name: np.concatenate([each[name][rows] for each in parameters]) for name in parameters[0]}
        history = model.fit(
            _float32(epoch), np.concatenate([each[rows] for each in targets]), len(rows), shuffle=False, verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_begin=begin, on_train_batch_end=end)]).history
        return history["loss"][0], history["accuracy"][0]


def create(options: Namespace, *arguments: Any) -> HostFeed | DeviceFeed:
    """The feed for the constants of train_network.py; arguments: those of all feeds."""
    clips = arguments[0]
    fits = not clips.on_disk and clips.melgrams.nbytes <= options.gpu_clips_gb * 1e9
    if distribution.everywhere(fits and device.on_gpu()):
        return DeviceFeed(*arguments, options.ema_every)
    return ShardedFeed(*arguments, options.ema_every) if distribution.devices() > 1 else HostFeed(*arguments)


def _float32(parameters: Parameters) -> Parameters:
    return {name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in parameters.items()}


class _Melgrams(keras.layers.Layer):
    """Melgrams in the device's memory: (parameters of a batch) → the batch, augmented."""

    def __init__(self, melgrams: np.ndarray, augmenter: Augmenter) -> None:
        super().__init__(dtype="float32")
        self.augmenter = augmenter
        self.melgrams = self.add_weight(melgrams.shape, "zeros", trainable=False, autocast=False)
        network.assign([self.melgrams], [melgrams])

    def call(self, parameters: dict[str, keras.KerasTensor]) -> keras.KerasTensor:
        return self.augmenter.batch_in_graph(keras.ops, self.melgrams, parameters)
