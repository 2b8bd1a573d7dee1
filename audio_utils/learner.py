"""A network that learns from clips, a batch at a time, and the moving average of its weights.

On a GPU the clips stay in its memory and are varied there; what is sent for each batch is what was drawn for it, a few
numbers a clip, and Keras runs several steps at a time. Elsewhere NumPy varies them, and gives batch after batch.
"""

import math

import numpy as np
from tqdm import tqdm

import panotti_models
from audio_utils.variation import Variation, mixed
from panotti_models import arrays, keras

_AVERAGE_EVERY = 10  # steps; on a GPU as many are run at a time, at one learning rate


class Learner:
    """options: the constants of train_network.py. trained: what is known of the network. clips: all there are.

    What it counts, steps and entries into the average, it counts in progress. average: arrays, as model.weights.
    """

    def __init__(self, options, trained, clips, progress):
        self.options, self.clips, self.progress = options, clips, progress
        self.truths = np.eye(len(clips.class_names), dtype=np.float32)
        self.variation = Variation(options.time_shift, options.frequency_warp, options.mixup, options.masked_bands,
                                   options.masked_time, trained.settings.band_hz, trained.scaling.mean)
        self.precision = panotti_models.best_precision() if options.precision == "auto" else options.precision
        self.model = panotti_models.build(trained.network, trained.settings.shape, len(trained.class_names),
                                          trained.scaling, self.precision)
        panotti_models.speed_up(self.model)
        self.members = panotti_models.members(self.model)
        self.average = arrays(self.model.weights)
        self.optimizer = keras.optimizers.AdamW(options.learning_rate, weight_decay=options.weight_decay)
        self.on_gpu = panotti_models.on_gpu() and clips.melgrams.nbytes <= options.gpu_clips_gb * 1e9
        self.compiled = self.members or self.model
        if self.on_gpu:
            self.compiled = self._with_clips(self.compiled)
        self.compiled.compile(self.optimizer, "categorical_crossentropy", metrics=["accuracy"],
                              steps_per_execution=_AVERAGE_EVERY if self.on_gpu else 1)

    def restore(self, path, before):
        """Go on from where the weights file was left; returns the arrays of the best network."""
        best, self.average = panotti_models.restore(path, before, self.model, self.optimizer)
        return best

    def epoch(self, batches, rng):
        """Learn from batches, each the places of its clips: (mean loss, accuracy), or (nan, nan) once a loss is none.

        All have one size: with others the network's graph would be made anew.
        """
        with tqdm(total=len(batches), desc=f"epoch {self.progress.epoch + 1:4}", disable=None, unit=" steps",
                  leave=False, delay=2) as bar:
            found = (self._by_gpu if self.on_gpu else self._batch_by_batch)(batches, rng, bar)
        self._enter_average()
        return found

    def _batch_by_batch(self, batches, rng, bar):
        sums = np.zeros(2)
        for step, places in enumerate(batches):
            self._set_rate(step / len(batches))
            drawn, truth = self._draw(places, rng)
            batch = self.variation.batch(self.clips.melgrams, drawn)
            logs = self.compiled.train_on_batch(batch, truth, return_dict=True)
            sums += logs["loss"], logs["accuracy"]
            if not math.isfinite(logs["loss"]):
                return math.nan, math.nan
            self._count(1, bar)
        return tuple(map(float, sums / len(batches)))

    def _by_gpu(self, batches, rng, bar):
        first = self.progress.steps

        def begin(step, logs=None):
            self._set_rate(step / len(batches))

        def end(step, logs=None):
            if keras.config.backend() == "jax":
                self.compiled.jax_state_sync()
            done = min(step + 1, len(batches))  # Keras says ten where the last were fewer
            self._count(first + done - self.progress.steps, bar)

        drawn, truth = zip(*(self._draw(places, rng) for places in batches), strict=True)
        found = self.compiled.fit(
            {name: np.concatenate([each[name] for each in drawn]) for name in drawn[0]}, np.concatenate(truth),
            len(batches[0]), shuffle=False, verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_begin=begin, on_train_batch_end=end)]).history
        return found["loss"][0], found["accuracy"][0]

    def _draw(self, places, rng):
        """(what becomes of the clips of a batch, its truth; of an ensemble, once for each member)."""
        drawn = self.variation.draw(places, self.clips.melgrams.shape[2], rng)
        truth = mixed(self.truths[self.clips.labels[places]], drawn)
        return drawn, np.repeat(truth[:, None], self.members.output_shape[1], axis=1) if self.members else truth

    def _set_rate(self, part):
        """The learning rate of the next step, when so much of the epoch is done."""
        warmth = min(1, (self.progress.steps + 1) / max(1, self.options.warm_up))
        self.optimizer.learning_rate = self.options.learning_rate * warmth * self.progress.share(part)

    def _count(self, steps, bar):
        """Count steps done; every 10 the weights enter their average."""
        bar.update(steps)
        tens = self.progress.steps // _AVERAGE_EVERY
        self.progress.steps += steps
        if self.progress.steps // _AVERAGE_EVERY > tens:
            self._enter_average()

    def _enter_average(self):
        """Let the weights enter their moving average (Polyak and Juditsky 1992); at first it is their mean."""
        keep = min(self.options.averaging, self.progress.averaged / (1 + self.progress.averaged))
        self.average = [keep * average + (1 - keep) * weights
                        for average, weights in zip(self.average, arrays(self.model.weights), strict=True)]
        self.progress.averaged += 1

    def _with_clips(self, model):
        """A model from what is drawn for the clips of a batch to what the given one makes of them."""
        drawn, _ = self._draw(np.zeros(2, int), np.random.default_rng(0))
        inputs = {name: keras.Input(array.shape[1:], dtype=array.dtype.name, name=name)
                  for name, array in drawn.items()}
        return keras.Model(inputs, model(_Clips(self.clips.melgrams, self.variation)(inputs)))


class _Clips(keras.layers.Layer):
    """Melgrams, in the memory of the device: (what is drawn for some) → these, varied."""

    def __init__(self, melgrams, variation):
        super().__init__(dtype="float32")
        self.variation = variation
        self.melgrams = self.add_weight(melgrams.shape, "zeros", trainable=False, autocast=False)
        self.melgrams.assign(melgrams)

    def call(self, drawn):
        return self.variation.batch_in_graph(keras.ops, self.melgrams, drawn)
