"""The trainer: a network, its optimizer and the one TrainingState, from the first epoch to the last."""

import time
from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import panotti_models
from audio_utils.data.clips import Clips
from audio_utils.data.dataset import Dataset
from audio_utils.data.standardization import Standardization
from audio_utils.evaluation import background, plots, thresholds
from audio_utils.evaluation.label_scores import MultiLabelEvaluation
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference import device, distribution, levels, network
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.inference.network import arrays, assign
from audio_utils.runtime import signals, tables
from audio_utils.runtime.console import say
from audio_utils.runtime.errors import UserError
from audio_utils.training import checkpointing, epoch_table, feeding, known_clips, optimizer, precision, resume
from audio_utils.training.augmentation import Augmenter
from audio_utils.training.balance import Balance
from audio_utils.training.early_stopping import EarlyStopping
from audio_utils.training.ema import EMA
from audio_utils.training.finite import NotFiniteError, require_all_finite, require_finite
from audio_utils.training.label_loss import about_accuracy, compiling
from audio_utils.training.parallel_checks import require_divisible, require_same_input
from audio_utils.training.regression import refit_member
from audio_utils.training.sampler import Sampler
from audio_utils.training.schedule import LearningRateSchedule, learning_rate_for
from audio_utils.training.start_from import inherit_standardization
from audio_utils.training.state import TrainingState, write_history
from audio_utils.training.tensorboard_scalars import Scalars
from audio_utils.training.transfer import initialize_layers
from panotti_models import keras

_PLOT_SECONDS = 10  # at least, between two plots of the training curves


class Trainer:
    """Trains one network; new, or restored from a checkpoint.

    options: the constants of train_network.py. folder: for weights.hdf5, history.csv and training_curves.png.
    cross_validated: thresholds from cross-validation; without any, they are chosen from the validation clips.
    """

    def __init__(self, options: Namespace, folder: Path, dataset: Dataset, clips: Clips, state: TrainingState,
                 checkpoint: Checkpoint | None, cross_validated: dict[str, Any] | None = None) -> None:
        if options.network not in panotti_models.NETWORKS:
            raise UserError(f"NETWORK is {options.network!r}; choose auto, {', '.join(panotti_models.NETWORKS)}.")
        distribution.begin()
        self.options, self.clips, self.state = options, clips, state
        self.weights, self.history, self.curves = (
            folder / name for name in (checkpoints.WEIGHTS, "history.csv", "training_curves.png"))
        own = dataset.load("Val", clips.class_names)
        self.split = resume.train_val_split(
            clips.names, state, known_clips.names_before(self.weights, clips) if checkpoint else None,
            options.validation_fraction, options.seed, dataset.grouping, own.names)
        self.validation = (own, None) if state.own_validation else (clips, self.split.validation)
        validated = own.targets if state.own_validation else clips.targets[self.split.validation]
        self._validation_clips = len(validated)
        self.balance = Balance(options.balance, clips, self.split.training, validated)
        self.checkpoint = checkpoint or inherit_standardization(state, Checkpoint(
            options.network, clips.class_names, dataset.settings, dataset.preprocessing,
            Standardization(*distribution.of_first(Standardization.of(clips.melgrams, self.split.training))), {}, []))
        self.checkpoint = levels.include(self.checkpoint, clips.summaries["max_db"][self.split.all])._replace(
            background_classes=background.parse(options.background_classes, clips.class_names))
        self.cross_validated = bool(cross_validated)
        if cross_validated:
            self.checkpoint = self.checkpoint._replace(thresholds=cross_validated)
        self.clip_hashes = known_clips.hashes(self.weights if checkpoint else None, clips, self.split.all,
                                              state.start_from.get("path"))
        self.sampler = Sampler(options.epoch_clips, options.batch_size, options.max_epoch_clips, distribution.devices(),
                               self.balance.drawn_labels)
        require_divisible(options.batch_size, self.sampler.drawn(len(self.split.training)))
        require_same_input(options, state, self.clip_hashes)
        self.schedule = LearningRateSchedule(learning_rate_for(options), options.warm_up)
        self.early_stopping = EarlyStopping.of(options)
        self.early_stopping.plan(state, self.balance.validation_clips)
        self._build_model(self._form(checkpoint))
        self._plotted, self._lines = time.monotonic(), 0
        if checkpoint:
            resume.report_changed_groups(checkpoint, dataset.grouping.group_by)
            self.best, self.ema.weights = checkpointing.restore(self.weights, checkpoint, self.model, self.optimizer)
        resume.record_arithmetic(state, keras.config.backend(), self.precision, distribution.devices())
        self.scalars = Scalars(options.tensorboard, folder.name, self.compiled, state.history)

    def _form(self, checkpoint: Checkpoint | None) -> network.Form:
        """The layers to train: those in the checkpoint, or those of panotti_models.py if there is none."""
        if not checkpoint:
            return network.current_form(self.checkpoint)
        form = network.stored_form(self.weights, checkpoint)
        if not form.is_current:
            say(f"{self.weights}: panotti_models.py now defines other layers of {checkpoint.network!r}; training "
                "continues with those in the file; --fresh uses the new ones.")
        return form

    def _build_model(self, form: network.Form) -> None:
        options, known = self.options, self.checkpoint
        self.precision = self._choose_precision(form)
        keras.utils.clear_session()  # layers are numbered from one, as in a new process
        distribution.begin()
        keras.utils.set_random_seed(options.seed)
        self.model = form.build(self.precision)
        device.fuse_batch_normalization(self.model)
        initialize_layers(self.model, form, self.state, self.clips, self.split.training, self.balance.mode)
        self.best = arrays(self.model.weights)
        self.ema = EMA(options.ema_decay, options.ema_every, self.best)
        members = panotti_models.members(self.model)
        self.augmenter = Augmenter(options, known.settings.band_hz, known.standardization.mean,
                                   np.count_nonzero(self.clips.targets[self.split.all]) / len(known.class_names),
                                   known.multi_label)
        self.feed = feeding.create(options, self.clips, self.augmenter, members and members.output_shape[1])
        self.compiled = self.feed.compiled_model(members or self.model)
        self.optimizer = optimizer.create(self.state.constants["OPTIMIZER"], self.model, self.schedule.learning_rate,
                                          options.weight_decay)
        self.compiled.compile(self.optimizer, **compiling(known.multi_label, self.balance.loss()),
                              steps_per_execution=self.feed.steps_per_execution)
        self.optimizer.build(self.model.trainable_variables)

    def _choose_precision(self, form: network.Form) -> str:
        """The dtype policy for the part of a batch that a device computes, the same in all processes."""
        clips = self.sampler.size(len(self._epoch_indices)) // distribution.devices()
        with distribution.suspended():
            chosen = precision.choose(self.options.precision, form, self.checkpoint.standardization, clips, self.state)
        return chosen if distribution.everywhere(chosen != "float32") else "float32"

    # --- the whole training ----------------------------------------------------------------------------------------

    def train(self) -> None:
        """Train until a stop reason applies."""
        self._describe()
        if self.state.history:
            write_history(self.history, self.state.history)  # a run that was killed may not have written it
        while not (reason := self.early_stopping.stop_reason(self.state)):
            self.run_epoch()
        say(reason)
        plots.training_curves(self.curves, self.state.history)

    def validation_result(self) -> str:
        """A sentence about the validation of the network that is kept."""
        return epoch_table.final_validation(self.state, self._validation_source, self._validation_clips)

    def best_network(self) -> keras.Model:
        """The network that is kept, read from weights.hdf5."""
        return network.load(self.weights, checkpoints.read(self.weights))

    @property
    def _validation_source(self) -> str:
        """The number of validation clips, and their origin if they are the user's own."""
        state, count = self.state, self._validation_clips
        of_val = state.own_validation and not set(state.validation) <= set(state.held_out)  # a learning curve's are
        return f"{count} validation clip{'s' * (count != 1)}{' of Val (never trained on)' if of_val else ''}"

    def _describe(self) -> None:
        mels, frames, channels = self.checkpoint.settings.shape
        say(f"Network {self.checkpoint.network!r}, {self.model.count_params():,} parameters, on "
            f"{distribution.describe() or device.device()} ({keras.config.backend()}, {self.precision}).")
        drawn = self.sampler.describe(len(self._epoch_indices))
        say(f"{len(self.split.training)} training clips{drawn}, {self._validation_source}, of {mels} mels, "
            f"{frames} frames, {channels} channel{'s' * (channels > 1)}, in {len(self.clips.class_names)} classes.")
        ended = bool(self.early_stopping.stop_reason(self.state))
        beginning = epoch_table.beginning(self.state, self.options.epochs, ended)
        balance = self.balance.describe(not self.state.epoch)
        about = about_accuracy(self.clips.multi_label), self.augmenter.description, balance, *beginning
        for sentence in filter(None, about):
            say(sentence)
        self._announce_annealing()

    def _announce_annealing(self) -> None:
        if self.state.decay_end and not self.early_stopping.stop_reason(self.state):
            say(epoch_table.annealing(self.state, self._on_all))

    @property
    def _on_all(self) -> bool:
        """Whether the current epoch is trained on the validation clips too."""
        return not self.state.own_validation and (self.state.trained_on_validation or (
            self.options.finish_on_all and self.state.annealing))

    @property
    def _epoch_indices(self) -> np.ndarray:
        """The clips that the current epoch is trained on."""
        return self.split.all if self._on_all else self.split.training

    # --- an epoch --------------------------------------------------------------------------------------------------

    def run_epoch(self) -> None:
        """Train for an epoch, validate, and write all files; if a value becomes NaN or infinite, repeat it once."""
        variables = self.model.variables + self.optimizer.variables
        before = arrays(variables), self.ema.weights, replace(self.state)
        try:
            return self._run_epoch()
        except NotFiniteError as problem:
            say(f"{problem} in epoch {self.state.epoch + 1}; the epoch is repeated once, from the weights before it.")
        values, self.ema.weights, self.state = before
        assign(variables, values)
        try:
            self._run_epoch()
        except NotFiniteError as problem:
            unchanged = f"{self.weights} is unchanged since the previous epoch; " if self.state.epoch else ""
            raise UserError(f"{problem} in epoch {self.state.epoch + 1}; {unchanged}lower LEARNING_RATE or set "
                            "PRECISION to float32, and run again.") from None

    def _run_epoch(self) -> None:
        start = time.monotonic()
        on_all = self._on_all
        logs, clips = self._train_epoch()
        seconds = time.monotonic() - start
        found = self._validate(on_all)
        logs |= self.balance.validation_logs(found)
        require_all_finite({  # training and validation can have a finite loss with NaN in the weights
            "weights": arrays(self.model.weights), "average of the weights": self.ema.weights,
            "optimizer's state": arrays(self.optimizer.variables)})
        logs["learning_rate"] = self.schedule.learning_rate * self.schedule.decay(self.state, 0)
        improved = self.early_stopping.on_epoch_end(self.state, logs)
        if improved:
            self.best = self.ema.weights
        begins = self.state.epoch == self.state.decay_start < self.state.decay_end  # the annealing, in the next epoch
        if found and (improved or (begins and self._on_all)):
            self._choose_thresholds(found)
        if begins:
            self.ema.weights = refit_member(self.model, self.ema.weights, self.clips, self._epoch_indices,
                                            self.balance.mode)
        self._save()
        if self._lines % epoch_table.HEADER_EVERY == 0:
            say(epoch_table.HEADER)
        self._lines += 1
        say(epoch_table.line(self.state, self.options.epochs, improved, clips / seconds, seconds,
                             time.monotonic() - start))
        if self.state.epoch == self.state.decay_start:
            self._announce_annealing()

    def _train_epoch(self) -> tuple[dict[str, Any], int]:
        """The logs of training and the number of clips; random numbers depend on the seed and the epoch alone."""
        rng = np.random.default_rng([self.options.seed, self.state.epoch])
        if keras.config.backend() == "torch":  # its dropout state is not saved; with TensorFlow, this would take 0.4 s
            keras.utils.set_random_seed(int(rng.integers(1 << 32)))
        batches = self.sampler.batches(self._epoch_indices, rng)
        with tqdm(total=len(batches), desc=f"epoch {self.state.epoch + 1:4}", disable=None, unit=" steps", leave=False,
                  delay=2, ncols=tables.bar_columns()) as self._progress_bar:
            loss, accuracy = self.feed.train(self.compiled, batches, rng, self)
        self._update_ema()
        require_finite(loss, "loss")
        return {"loss": loss, "accuracy": accuracy}, sum(map(len, batches))

    def on_train_batch_begin(self, epoch_fraction: float) -> None:
        """The feed's callback before a step."""
        assign([self.optimizer.learning_rate], [self.schedule(self.state, epoch_fraction)])

    def on_train_batch_end(self, steps: int, loss: float) -> None:
        """The feed's callback after steps."""
        self._progress_bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        self._progress_bar.update(steps)
        due = self.ema.is_due(self.state, steps)
        self.state.step += steps
        if due:
            self._update_ema()

    def _update_ema(self) -> None:
        self.ema.update(self.state, arrays(self.model.weights))

    def _validate(self, on_all: bool) -> Evaluation | MultiLabelEvaluation | None:
        """The validation of the EMA of the weights; None if the epoch was trained on all clips."""
        with network.with_weights(self.model, self.ema.weights):
            found = network.evaluate(self.model, *self.validation)
        require_finite(found.loss, "validation loss")  # the last step may have made the weights invalid
        return None if on_all else found

    def _choose_thresholds(self, found: Evaluation | MultiLabelEvaluation) -> None:
        """From the validation of the network that is kept, or from the last one, which is more like the final network.

        They do not depend on EPOCHS or on an interruption, so that a resumed training stores the same.
        """
        if not self.cross_validated:
            source = f"validation after epoch {self.state.epoch}"
            self.checkpoint = self.checkpoint._replace(thresholds=thresholds.of(found, source))

    # --- files and messages ----------------------------------------------------------------------------------------

    def _save(self) -> None:
        checkpointing.save(self.weights, self.checkpoint._replace(training_state=asdict(self.state)), self.model,
                           self.best, self.ema.weights, self.optimizer, self.clip_hashes)
        distribution.barrier()
        command = "the same command without --fresh" if self.options.fresh else "the same command"
        signals.on_stop(f"Stopped. {self.weights} contains the best network so far (epoch {self.state.best_epoch}) and "
                        f"the state after epoch {self.state.epoch}; {command} continues from there.")
        write_history(self.history, self.state.history)
        self.scalars.write(self.state.history)
        if time.monotonic() - self._plotted > _PLOT_SECONDS:
            plots.training_curves(self.curves, self.state.history)
            self._plotted = time.monotonic()
