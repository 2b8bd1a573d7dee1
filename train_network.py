"""Train a network on the melgrams of Preproc/Train; ^C at any time, the same command goes on.

Reads   Preproc/Train (or Samples/ where nothing is preprocessed), Preproc/Test at the end
Writes  weights.hdf5           the best network so far, and all that is needed to go on training
        history.csv            losses and accuracies of each epoch
        training_curves.png    the same as a picture

    python train_network.py
    python train_network.py --network vgg --epochs 50  # the first Panotti's network
    python train_network.py --fresh               # start anew; the old weights are kept as weights.<date>.hdf5

It stops by itself when validation no longer improves. The Test sounds choose nothing.
"""

from audio_utils import command_line  # first of all: it answers ^C from here on

# isort: split
import csv
import math
import time
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path

import numpy as np
from tqdm import tqdm

import preprocess_data
from audio_utils import dataset, plots, safe_files, weights_file
from audio_utils.command_line import say, warn
from audio_utils.safe_files import UserError
from audio_utils.weights_file import Scaling, Trained

NETWORK = "residual"        # one of panotti_models.NETWORKS
EPOCHS = 2000               # at most; it stops earlier when validation no longer improves
BATCH_SIZE = 40             # clips a step
LEARNING_RATE = 0.001       # of AdamW, after the warm-up
WARM_UP = 200               # steps in which the learning rate rises to that
WEIGHT_DECAY = 0.004        # of AdamW
NEGLIGIBLE = 0.001          # nats; a validation loss less than that below the best is no reason to go on, and where
                            # the best is less than that, HALVE_AFTER epochs more are enough
HALVE_AFTER = 5             # epochs without a better validation loss, then the learning rate is halved
STOP_AFTER = 20             # epochs without a better validation loss, then training ends
VALIDATION_FRACTION = 0.2   # of each class of Train, held out to choose the best epoch
TIME_SHIFT = 0.2            # of the clip's length: each clip is rolled in time by up to that, either way
SEED = 1                    # of the validation split, the first weights, the order of the clips
PRECISION = "auto"          # "float32" or "mixed_bfloat16"; "auto": bfloat16 where the processor is faster with it
FRESH = False               # True: start anew

_SAID = ("EPOCHS", "BATCH_SIZE", "LEARNING_RATE", "WARM_UP", "WEIGHT_DECAY", "NEGLIGIBLE", "HALVE_AFTER", "STOP_AFTER",
         "TIME_SHIFT", "SEED", "PRECISION")  # where a resumed run has another value, it says so
_COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")  # of history.csv
_DRAW_EVERY = 10  # seconds, at least, between two pictures of the training curves
_WEIGHTS, _HISTORY, _CURVES = Path("weights.hdf5"), Path("history.csv"), Path("training_curves.png")


@dataclass
class Progress:
    """Where training is; saved with the weights, so that a resumed run goes on exactly."""
    constants: dict  # those of _SAID with which the last epoch was trained
    learning_rate: float  # of now, after halvings
    epoch: int = 0  # epochs done
    steps: int = 0
    best_loss: float = math.inf  # of validation
    best_epoch: int = 0
    marked_loss: float = math.inf  # the last best that was more than negligibly better
    marked_epoch: int = 0
    waited: int = 0  # epochs since then, or since the learning rate was halved
    validation: list = field(default_factory=list)  # names of the clips held out
    history: list = field(default_factory=list)  # a dictionary for each epoch

    @classmethod
    def of(cls, values):
        """From what weights.hdf5 holds; raises TypeError where that is something else."""
        progress = cls(**values)
        for each in fields(cls):
            if not isinstance(getattr(progress, each.name), (each.type, int) if each.type is float else each.type):
                raise TypeError(each.name)
        numbers = [value for row in progress.history for value in (row[name] for name in _COLUMNS)]
        if not all(isinstance(value, int | float) for value in numbers) or len(progress.history) != progress.epoch:
            raise TypeError("history")
        return progress


def main():
    options = command_line.parse(globals())
    check(options)
    command_line.on_stop(f"Stopped before an epoch was done; {_WEIGHTS} is as it was, the same command starts again.")
    with safe_files.claimed("."):
        train(options)


def train(options):
    """From where weights.hdf5 left training, or from the beginning, to its end."""
    before = weights_file.read(_WEIGHTS) if _WEIGHTS.exists() and not options.fresh else None
    data = preprocess_data.open_data(before and before.settings, before and before.record)
    progress = resume(before, options) if before else Progress({}, options.learning_rate)
    progress.constants = {name: getattr(options, name.lower()) for name in _SAID}
    training, validation = load_clips(data, before, progress, options)
    run = Run(options, data, before, progress, training, validation)
    run.describe()
    put_old_away(before)
    if progress.history:
        write_history(progress.history)  # a run that was killed may not have come so far
    while not finished(progress, options):
        one_epoch(run)
    say(finished(progress, options))
    plots.training_curves(_CURVES, progress.history)
    score_test(run, data)


def check(options):
    """Refuse constants and flags that mean nothing."""
    for name in ("epochs", "batch_size", "halve_after", "stop_after"):
        command_line.check_number(options, name, int, 1)
    command_line.check_number(options, "warm_up", int, 0)
    command_line.check_number(options, "seed", int, 0, 2 ** 32 - 1)
    command_line.check_number(options, "learning_rate", float, 1e-12)
    command_line.check_number(options, "weight_decay", float, 0)
    command_line.check_number(options, "negligible", float, 0)
    command_line.check_number(options, "validation_fraction", float, 0.01, 0.9)
    command_line.check_number(options, "time_shift", float, 0, 1)
    if options.precision not in ("auto", "float32", "mixed_bfloat16"):
        raise UserError(f"PRECISION is {options.precision!r}; choose auto, float32 or mixed_bfloat16.")


# --- where training starts ------------------------------------------------------------------------------------------

def resume(before, options):
    """The Progress in weights.hdf5, with a new learning rate where LEARNING_RATE was changed."""
    try:
        progress = Progress.of(before.progress)
    except (TypeError, KeyError):
        raise UserError(f"{_WEIGHTS}: holds no training that this version can go on with; give --fresh.") from None
    if before.network != options.network:
        raise UserError(f"{_WEIGHTS}: holds the network {before.network!r}, NETWORK is {options.network!r}; "
                        "set it back, or give --fresh to start anew (the old file is kept).")
    for name, was in progress.constants.items():
        now = getattr(options, name.lower(), was)
        if now != was:
            say(f"{name} was {was} and is now {now}.")
    if progress.constants.get("LEARNING_RATE") != options.learning_rate:
        progress.learning_rate = options.learning_rate
    return progress


def load_clips(data, before, progress, options):
    """(training, validation): the clips of Train, dealt as Test was; those of a resumed run stay where they were."""
    clips, remarks = data.load("Train")
    for remark in remarks:
        warn(remark)
    if before and before.class_names != clips.class_names:
        raise UserError(f"{_WEIGHTS}: knows the classes {', '.join(before.class_names)}; now there are "
                        f"{', '.join(clips.class_names)}; give --fresh to start anew (the old file is kept).")
    dataset.require_classes(clips.class_names, "Preproc/Train")
    keep_together = data.record["constants"].get("KEEP_TOGETHER", "")
    held_before = set(progress.validation)
    tied = {dataset.group_of(name, keep_together) for name in held_before}
    known = {name: name in held_before for name in clips.names
             if name in held_before or dataset.group_of(name, keep_together) not in tied} if before else {}
    held = dataset.deal(clips.names, known, options.validation_fraction, options.seed, keep_together)
    progress.validation = [name for name in clips.names if held[name]]
    if not progress.validation:
        raise UserError("Preproc/Train: holds too few sounds to validate with; add more to each class.")
    places = {is_held: [i for i, name in enumerate(clips.names) if held[name] is is_held] for is_held in (False, True)}
    return clips.only(places[False]), clips.only(places[True])


class Run:
    """A network, its optimizer and its clips: new, or as weights.hdf5 left them."""

    def __init__(self, options, data, before, progress, training, validation):
        import panotti_models
        keras = panotti_models.keras
        if options.network not in panotti_models.NETWORKS:
            raise UserError(f"NETWORK is {options.network!r}; choose one of {', '.join(panotti_models.NETWORKS)}.")
        self.options, self.progress, self.training, self.validation = options, progress, training, validation
        keras.utils.set_random_seed(options.seed)
        self.trained = before or Trained(options.network, training.class_names, data.settings, data.record,
                                         Scaling.of(training.melgrams), {}, [])
        self.precision = panotti_models.best_precision() if options.precision == "auto" else options.precision
        self.model = panotti_models.build(options.network, data.settings.shape, len(training.class_names),
                                          self.trained.scaling, self.precision)
        self.optimizer = keras.optimizers.AdamW(options.learning_rate, weight_decay=options.weight_decay)
        self.model.compile(self.optimizer, "categorical_crossentropy", metrics=["accuracy"])
        self.drawn = time.monotonic()
        self.best = panotti_models.arrays(self.model.weights)
        if before:
            self.best = panotti_models.restore(_WEIGHTS, before, self.model, self.optimizer)

    def draw(self):
        """Draw the training curves, unless that was a moment ago."""
        if time.monotonic() - self.drawn > _DRAW_EVERY:
            plots.training_curves(_CURVES, self.progress.history)
            self.drawn = time.monotonic()

    def describe(self):
        """Say what is trained on what."""
        import panotti_models
        mels, frames, channels = self.trained.settings.shape
        say(f"Network {self.trained.network!r}, {self.model.count_params():,} parameters, on "
            f"{panotti_models.device()} ({panotti_models.keras.config.backend()}, {self.precision}).")
        say(f"{len(self.training)} clips to train on, {len(self.validation)} to validate, of {mels} mels, "
            f"{frames} frames, {channels} channel{'s' * (channels > 1)}, in {len(self.training.class_names)} classes.")
        if self.progress.epoch:
            say(f"Going on after epoch {self.progress.epoch}; the best so far is epoch {self.progress.best_epoch} "
                f"(validation loss {self.progress.best_loss:.4f}).")


def put_old_away(before):
    """Where training starts anew beside old weights, keep them under the day's name."""
    if before is None and _WEIGHTS.exists():
        kept = _WEIGHTS.with_stem(f"{_WEIGHTS.stem}.{datetime.now():%Y-%m-%d}")
        if kept.exists():
            kept = _WEIGHTS.with_stem(f"{_WEIGHTS.stem}.{datetime.now():%Y-%m-%d-%H%M%S}")
        _WEIGHTS.rename(kept)
        say(f"{_WEIGHTS}: kept as {kept}.")
        command_line.on_stop(f"Stopped before an epoch was done; the old weights are kept as {kept}, "
                             "the same command starts again.")


# --- training -------------------------------------------------------------------------------------------------------

def finished(progress, options):
    """Why training is at its end, or nothing."""
    if progress.epoch >= options.epochs:
        return f"Done: {progress.epoch} epochs (EPOCHS), the best was epoch {progress.best_epoch}."
    waited = progress.epoch - progress.marked_epoch
    if progress.best_loss < options.negligible and waited >= options.halve_after:
        return (f"Done: the validation loss is below {options.negligible} (NEGLIGIBLE), nothing is left to improve, "
                f"the best was epoch {progress.best_epoch}.")
    if waited >= options.stop_after:
        return (f"Done: validation has not improved for {options.stop_after} epochs (STOP_AFTER), "
                f"the best was epoch {progress.best_epoch}.")
    return ""


def one_epoch(run):
    """One pass over the training clips, validation, and all that is written after it."""
    import panotti_models
    progress, start = run.progress, time.monotonic()
    loss, accuracy = fit(run)
    seconds = time.monotonic() - start
    val_loss, val_accuracy = panotti_models.loss_and_accuracy(
        panotti_models.predict(run.model, run.validation.melgrams), run.validation.labels)
    require_number(val_loss, "validation loss", progress)  # the last step may have spoilt the weights
    improved = enter(progress, run.options, loss, accuracy, val_loss, val_accuracy)
    if improved:
        run.best = panotti_models.arrays(run.model.weights)
    panotti_models.save(_WEIGHTS, run.trained._replace(progress=asdict(progress)), run.model, run.best, run.optimizer)
    again = "the same command without --fresh" if run.options.fresh else "the same command"
    command_line.on_stop(f"Stopped. {_WEIGHTS} holds the best network so far (epoch {progress.best_epoch}) and the "
                         f"state after epoch {progress.epoch}; {again} goes on from there.")
    write_history(progress.history)
    run.draw()
    say(f"epoch {progress.epoch:4}  loss {loss:.4f}  accuracy {accuracy:6.2%}  validation: loss {val_loss:.4f}  "
        f"accuracy {val_accuracy:6.2%}  best {progress.best_loss:.4f} in epoch {progress.best_epoch:3}"
        f"{'*' if improved else ' '} {len(run.training) / seconds:5.0f} clips/s {seconds:6.1f} s")


def fit(run):
    """One pass over the training clips, in an order keyed on the seed and the epoch: (mean loss, accuracy)."""
    from panotti_models import keras
    options, progress, clips = run.options, run.progress, run.training
    rng = np.random.default_rng([options.seed, progress.epoch])
    keras.utils.set_random_seed(int(rng.integers(1 << 32)))  # torch's dropout draws from no state that could be saved
    order = rng.permutation(len(clips))
    truth = np.eye(len(clips.class_names), dtype=np.float32)
    sums = np.zeros(2)
    for start in tqdm(range(0, len(clips), options.batch_size), f"epoch {progress.epoch + 1:4}", disable=None,
                      unit=" steps", leave=False, delay=2):
        chosen = order[start:start + options.batch_size]
        progress.steps += 1
        run.optimizer.learning_rate = progress.learning_rate * min(1, progress.steps / max(1, options.warm_up))
        batch = shift_in_time(clips.melgrams[chosen], options.time_shift, rng)
        logs = run.model.train_on_batch(batch, truth[clips.labels[chosen]], return_dict=True)
        require_number(logs["loss"], "loss", progress)
        sums += len(chosen) * np.array([logs["loss"], logs["accuracy"]])
    return tuple(float(each) for each in sums / len(clips))


def require_number(loss, what, progress):
    """Stop training where a loss is none."""
    if not math.isfinite(loss):
        raise UserError(f"The {what} became {loss} in epoch {progress.epoch + 1}; {_WEIGHTS} is as the epoch "
                        "before left it: lower LEARNING_RATE or set PRECISION to float32, and run again.")


def shift_in_time(melgrams, most, rng):
    """Roll each of (clips, mels, frames, channels) in time by up to `most` of its length, either way."""
    frames = melgrams.shape[2]
    furthest = round(most * frames)
    shifts = rng.integers(-furthest, furthest + 1, len(melgrams))
    places = (np.arange(frames) - shifts[:, None]) % frames  # (clips, frames)
    return np.take_along_axis(melgrams, places[:, None, :, None], axis=2)


def enter(progress, options, loss, accuracy, val_loss, val_accuracy):
    """Enter an epoch into its Progress; True where it is the best so far."""
    progress.epoch += 1
    progress.history.append({"epoch": progress.epoch, "loss": loss, "accuracy": accuracy, "val_loss": val_loss,
                             "val_accuracy": val_accuracy, "learning_rate": progress.learning_rate})
    improved = val_loss < progress.best_loss
    if improved:
        progress.best_loss, progress.best_epoch = val_loss, progress.epoch
    progress.waited += 1
    if val_loss < progress.marked_loss - options.negligible:
        progress.marked_loss, progress.marked_epoch, progress.waited = val_loss, progress.epoch, 0
    elif progress.waited >= options.halve_after:
        progress.learning_rate, progress.waited = progress.learning_rate / 2, 0
    return improved


def write_history(history):
    with safe_files.replacing(_HISTORY) as unfinished, open(unfinished, "w", newline="") as file:
        table = csv.DictWriter(file, history[0])
        table.writeheader()
        table.writerows(history)


def score_test(run, data):
    """Say how the best network does on the Test sounds, which chose nothing."""
    import panotti_models
    clips, remarks = data.load("Test", run.trained.class_names)
    for remark in remarks:
        warn(remark)
    if not len(clips):
        say("There are no Test sounds to score it with.")
        return
    model = panotti_models.load(_WEIGHTS, weights_file.read(_WEIGHTS))
    loss, accuracy = panotti_models.loss_and_accuracy(panotti_models.predict(model, clips.melgrams), clips.labels)
    say(f"Test: loss {loss:.4f}, accuracy {accuracy:.2%} of {len(clips)} clips. eval_network.py says more.")


if __name__ == "__main__":
    command_line.run(main)
