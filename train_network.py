"""Train a network on the melgrams of Preproc/Train; ^C at any time, the same command goes on.

Reads   Preproc/Train (or Samples/ where nothing is preprocessed), Preproc/Test at the end
Writes  weights.hdf5           the best network so far, and all that is needed to go on training
        history.csv            losses and accuracies of each epoch
        training_curves.png    the same as a picture
        folds/                 with FOLDS, these three for each fold; scores.json, mistakes.csv and
                               confusion_matrix.png of all folds together

    python train_network.py
    python train_network.py --network vgg --epochs 50  # the first Panotti's network
    python train_network.py --network modulation  # hears how fast a sound goes up and down: for few clips of many kinds
    python train_network.py --network ensemble  # the mean of three networks: slower, mostly better
    python train_network.py --fresh               # start anew; the old weights are kept as weights.<date>.hdf5
    python train_network.py --folds 5             # cross-validation, for few sounds

It stops by itself when validation no longer improves. The Test sounds choose nothing.
"""

from audio_utils import command_line  # first of all: it answers ^C from here on

# isort: split
import math
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import numpy as np

import preprocess_data
from audio_utils import dataset, evaluation, plots, safe_files, weights_file
from audio_utils.command_line import say, warn
from audio_utils.evaluation import Evaluation
from audio_utils.progress import Progress, write_history
from audio_utils.safe_files import UserError
from audio_utils.weights_file import Scaling, Trained

NETWORK = "residual"        # one of panotti_models.NETWORKS
EPOCHS = 2000               # at most; it stops earlier when validation no longer improves
EPOCH_CLIPS = 1000          # at least: fewer clips are passed over several times an epoch
BATCH_SIZE = 16             # clips a step
LEARNING_RATE = 0.002       # of AdamW, after the warm-up
WARM_UP = 200               # steps in which the learning rate rises to that
WEIGHT_DECAY = 0.1          # of AdamW
AVERAGING = 0.9             # every 10 steps the weights enter their moving average, this share of which stays as it is;
                            # the average is what is validated and saved
PATIENCE = 8                # epochs without a better validation loss, then the learning rate begins to fall
COOL_DOWN = 16              # epochs in which it falls to 0, and training ends
NEGLIGIBLE = 0.001          # nats; a validation loss less than that below the best is no better, and where the best is
                            # less than that, training ends without a cool-down
VALIDATION_FRACTION = 0.1   # of each class of Train, held out to tell when validation no longer improves
FINISH_ON_ALL = True        # while the learning rate falls they are trained on too, and the last network is kept;
                            # False: they go on validating, and the best network is kept

# Each time that a clip is trained on it is varied; 0 switches each of these off.
TIME_SHIFT = 0.2            # of the clip's length: rolled in time by up to that, either way
MASKED_TIME = 0.0           # of the clip's length: a run of up to that is blotted out; 0.15 hurt with few clips of
                            # each effect, and may help with hundreds
FREQUENCY_WARP = 0.0        # all frequencies of a clip are multiplied, or divided, by up to 1 + this; 0.2 for voices
                            # never heard, but not where pitch is the question
# These two (0.15 and 0.3) helped with few clips of many kinds, and hurt where an equalizer, or a new voice, is heard.
MASKED_BANDS = 0.0          # of the mel bands: a run of up to that is blotted out
MIXUP = 0.0                 # clips are mixed two by two, with weights from Beta(MIXUP, MIXUP)

FOLDS = ""                  # "5": cross-validation, each fifth of Train tested by a network trained on the others; or a
                            # regular expression on the file's name: what it matches is the fold (r"^\d"); where it
                            # matches nothing (r"_(ann|bob)_"), the sound is always trained on
SEED = 1                    # of the validation split, the folds, the first weights, the order of the clips
PRECISION = "auto"          # "float32" or "mixed_bfloat16"; "auto": bfloat16 where the processor or the GPU has it
GPU_CLIPS_GB = 4.0          # clips that take no more than this stay in the GPU's memory; 0: they are sent in batches
FRESH = False               # True: start anew

_SAID = ("EPOCHS", "EPOCH_CLIPS", "BATCH_SIZE", "LEARNING_RATE", "WARM_UP", "WEIGHT_DECAY", "AVERAGING", "NEGLIGIBLE",
         "PATIENCE", "COOL_DOWN", "FINISH_ON_ALL", "TIME_SHIFT", "MASKED_TIME", "FREQUENCY_WARP", "MASKED_BANDS",
         "MIXUP", "SEED", "PRECISION")  # where a resumed run has another value, it says so
_DRAW_EVERY = 10  # seconds, at least, between two pictures of the training curves
_FOLDS = Path("folds")


def main():
    options = command_line.parse(globals())
    check(options)
    with safe_files.claimed("."):
        if options.folds:
            cross_validate(options)
        else:
            train_one(options)


def check(options):
    """Refuse constants and flags that mean nothing."""
    for name in ("epochs", "epoch_clips", "batch_size", "patience"):
        command_line.check_number(options, name, int, 1)
    for name in ("warm_up", "cool_down"):
        command_line.check_number(options, name, int, 0)
    command_line.check_number(options, "seed", int, 0, 2 ** 32 - 1)
    command_line.check_number(options, "learning_rate", float, 1e-12)
    for name in ("weight_decay", "negligible", "mixup", "gpu_clips_gb"):
        command_line.check_number(options, name, float, 0)
    for name in ("averaging", "time_shift", "masked_time", "frequency_warp", "masked_bands"):
        command_line.check_number(options, name, float, 0, 1)
    command_line.check_number(options, "validation_fraction", float, 0.01, 0.9)
    if options.precision not in ("auto", "float32", "mixed_bfloat16"):
        raise UserError(f"PRECISION is {options.precision!r}; choose auto, float32 or mixed_bfloat16.")
    dataset.check_folds(options.folds)


def train_one(options):
    """One network of all of Train, from where weights.hdf5 left it, or from the beginning, to its end."""
    before = look_back(Path("weights.hdf5"), options)
    data = preprocess_data.open_data(before and before.settings, before and before.record)
    run = Run(options, Path(), before, data, load(data, "Train"))
    run.put_old_away()
    run.to_its_end()
    clips = load(data, "Test", run.trained.class_names)
    if not len(clips):
        say("There are no Test sounds to score it with.")
        return
    found = evaluate(run.best_network(), clips)
    say(f"Test: loss {found.loss:.4f}, accuracy {found.accuracy:.2%} of {len(clips)} clips. eval_network.py says more.")


def load(data, side, class_names=None):
    clips, remarks = data.load(side, class_names)
    for remark in remarks:
        warn(remark)
    return clips


# --- cross-validation -----------------------------------------------------------------------------------------------

def cross_validate(options):
    """A network for each fold, tested on what it was not trained on; then the figures of all folds together."""
    if options.fresh:
        put_folds_away()
    data = preprocess_data.open_data()
    clips = load(data, "Train")
    called, fold_of = dataset.folds(clips.names, options.folds, options.seed, keep_together(data))
    always = [name for name in clips.names if name in fold_of and not fold_of[name]]
    if always:
        say(f"{len(always)} sounds are in no fold, {always[0]} the first: they are always trained on.")
    found = []
    for name in called:
        say(f"Fold {name}, {len(found) + 1} of {len(called)}:")
        held_out = [clip for clip in clips.names if fold_of.get(clip) == name]
        found.append(train_fold(options, _FOLDS / f"fold_{name}", data, clips, held_out))
        say(f"Fold {name}: loss {found[-1].loss:.4f}, accuracy {found[-1].accuracy:.2%} of {len(held_out)} clips.\n")
    summarise(dict(zip(called, found, strict=True)))


def put_folds_away():
    if _FOLDS.exists():
        kept = dated(_FOLDS)
        _FOLDS.rename(kept)
        say(f"{_FOLDS}: kept as {kept}.")


def train_fold(options, folder, data, clips, held_out):
    """Train one fold to its end, going on with what is in its folder: the Evaluation of the clips held out."""
    import panotti_models
    panotti_models.keras.utils.clear_session()  # layers are numbered from one, as where the fold is resumed
    folder.mkdir(parents=True, exist_ok=True)
    before = look_back(folder / "weights.hdf5", options)
    if before:
        preprocess_data.require_same(before.settings, data.settings, preprocess_data.PREPROC / dataset.SETTINGS)
    run = Run(options, folder, before, data, clips, held_out)
    run.to_its_end()
    place = {name: i for i, name in enumerate(clips.names)}
    return evaluate(run.best_network(), clips, np.array([place[name] for name in held_out]))


def summarise(found):
    """Say, and write, how good the networks of all folds are on what they had not learnt from."""
    pooled = Evaluation.pooled(list(found.values()))
    curves = evaluation.roc_curves(pooled)
    accuracies = [each.accuracy for each in found.values()]
    scores = evaluation.score(pooled, curves) | {
        "folds": {name: {"accuracy": each.accuracy, "loss": each.loss, "files": len(each.labels)}
                  for name, each in found.items()}}
    safe_files.write_json(_FOLDS / "scores.json", scores)
    evaluation.write_mistakes(_FOLDS / "mistakes.csv", pooled)
    plots.confusion_matrix(_FOLDS / "confusion_matrix.png", pooled.confusion, pooled.class_names)
    say(f"{len(found)} folds: mean accuracy {np.mean(accuracies):.2%}, from {min(accuracies):.2%} to "
        f"{max(accuracies):.2%}; all {len(pooled.labels)} clips together {scores['accuracy']:.2%} (95% interval "
        "{:.2%} to {:.2%}), macro AUC {:.4f} ({:.4f} to {:.4f}).".format(
            *scores["accuracy_interval"], scores["macro_auc"], *scores["macro_auc_interval"]))
    say(f"Written: {_FOLDS}/scores.json, mistakes.csv, confusion_matrix.png.")


# --- where training starts ------------------------------------------------------------------------------------------

def look_back(path, options):
    """What the weights file says of the training before, None where there is none, or it is to start anew."""
    started = path.exists() and not options.fresh
    command_line.on_stop(f"Stopped before an epoch was done; {path} is as it was, the same command "
                         f"{'goes on' if started else 'starts again'}.")
    return weights_file.read(path) if started else None


def resume(path, before, options, held_out):
    """The Progress in the weights file, if it is one that can be gone on with; says what was changed since."""
    try:
        progress = Progress.of(before.progress)
    except (TypeError, KeyError):
        raise UserError(f"{path}: holds no training that this version can go on with; give --fresh.") from None
    if before.network != options.network:
        raise UserError(f"{path}: holds the network {before.network!r}, NETWORK is {options.network!r}; "
                        "set it back, or give --fresh to start anew (the old file is kept).")
    if sorted(progress.held_out) != sorted(held_out):
        raise UserError(f"{path}: was trained for a fold of other sounds; set FOLDS, SEED and the sounds back, "
                        "or give --fresh to start all folds anew (the old ones are kept).")
    for name, was in progress.constants.items():
        now = getattr(options, name.lower(), was)
        if now != was:
            say(f"{name} was {was} and is now {now}.")
    return progress


def keep_together(data):
    return data.record["constants"].get("KEEP_TOGETHER", "")


def deal(names, progress, resumed, fraction, seed, together):
    """Places to train on, to validate, and of augmented copies of these; those of a resumed run stay where they were.

    They are dealt as Test was. What the fold holds out, and its augmented copies, is none of them.
    """
    held_out = {dataset.group_of(name, together) for name in progress.held_out}
    names_in = [name for name in names if dataset.group_of(name, together) not in held_out]
    held_before = set(progress.validation)
    tied = {dataset.group_of(name, together) for name in held_before}
    known = {name: name in held_before for name in names_in
             if name in held_before or dataset.group_of(name, together) not in tied} if resumed else {}
    held = dataset.deal(names_in, known, fraction, seed, together)
    progress.validation = [name for name in names_in if held[name]]
    if not progress.validation:
        raise UserError("Preproc/Train: holds too few sounds to validate with; add more to each class.")
    return (np.array([i for i, name in enumerate(names) if name in held and held[name] is side], int)
            for side in (False, True, None))


def dated(path):
    """A name beside `path` that tells the day, and is not taken."""
    kept = path.with_stem(f"{path.stem}.{datetime.now():%Y-%m-%d}")
    return path.with_stem(f"{path.stem}.{datetime.now():%Y-%m-%d-%H%M%S}") if kept.exists() else kept


# --- training -------------------------------------------------------------------------------------------------------

class Run:
    """A network, its optimizer and its clips: new, or as a weights file left them."""

    def __init__(self, options, folder, before, data, clips, held_out=()):
        import panotti_models
        from audio_utils.learner import Learner
        keras = panotti_models.keras
        self.weights, self.history, self.curves = (
            folder / name for name in ("weights.hdf5", "history.csv", "training_curves.png"))
        if before and before.class_names != clips.class_names:
            raise UserError(f"{self.weights}: knows the classes {', '.join(before.class_names)}; now there are "
                            f"{', '.join(clips.class_names)}; give --fresh to start anew (the old file is kept).")
        dataset.require_classes(clips.class_names, "Preproc/Train")
        if options.network not in panotti_models.NETWORKS:
            raise UserError(f"NETWORK is {options.network!r}; choose one of {', '.join(panotti_models.NETWORKS)}.")
        self.options, self.clips = options, clips
        self.progress = resume(self.weights, before, options, held_out) if before else Progress(
            {}, held_out=list(held_out))
        self.progress.constants = {name: getattr(options, name.lower()) for name in _SAID}
        self.training, self.validation, self.copies = deal(
            clips.names, self.progress, before, options.validation_fraction, options.seed, keep_together(data))
        keras.utils.set_random_seed(options.seed)
        self.trained = before or Trained(options.network, clips.class_names, data.settings, data.record,
                                         Scaling.of(clips.melgrams, self.training), {}, [])
        self.learner = Learner(options, self.trained, clips, self.progress)
        self.best = self.learner.restore(self.weights, before) if before else self.learner.average
        self.drawn = time.monotonic()
        self.describe()

    def describe(self):
        """Say what is trained on what."""
        import panotti_models
        mels, frames, channels = self.trained.settings.shape
        say(f"Network {self.trained.network!r}, {self.learner.model.count_params():,} parameters, on "
            f"{panotti_models.device()} ({panotti_models.keras.config.backend()}, {self.learner.precision}).")
        passes = f", {self.passes} times an epoch" if self.passes > 1 else ""
        say(f"{len(self.training)} clips to train on{passes}, {len(self.validation)} to validate, of {mels} mels, "
            f"{frames} frames, {channels} channel{'s' * (channels > 1)}, in {len(self.clips.class_names)} classes.")
        if self.progress.epoch:
            say(f"Going on after epoch {self.progress.epoch}; kept so far is epoch {self.progress.best_epoch}, and the "
                f"best validation loss {self.progress.best_loss:.4f}.")

    @property
    def on_all(self):
        """Whether the epoch under way is trained on the clips of validation too."""
        return self.progress.cooled_until > 0 and (self.options.finish_on_all or self.progress.taught_all)

    @property
    def taught(self):
        """The places of the clips that are trained on."""
        return np.concatenate([self.training, self.validation, self.copies]) if self.on_all else self.training

    @property
    def passes(self):
        """How often an epoch passes over the clips."""
        return math.ceil(self.options.epoch_clips / len(self.taught))

    def put_old_away(self):
        """Where training starts anew beside old weights, keep them under the day's name."""
        if self.options.fresh and self.weights.exists():
            kept = dated(self.weights)
            self.weights.rename(kept)
            say(f"{self.weights}: kept as {kept}.")
            command_line.on_stop(f"Stopped before an epoch was done; the old weights are kept as {kept}, "
                                 "the same command starts again.")

    def to_its_end(self):
        """Train until it is finished."""
        if self.progress.history:
            write_history(self.history, self.progress.history)  # a run that was killed may not have come so far
        options = self.options
        while not (why := self.progress.finished(options.epochs, options.negligible, options.patience)):
            self.one_epoch()
        say(why)
        plots.training_curves(self.curves, self.progress.history)

    def one_epoch(self):
        """Some 1,000 clips or all of them, validation, and all that is written after it."""
        import panotti_models
        options, progress, learner, start = self.options, self.progress, self.learner, time.monotonic()
        loss, accuracy, count = self.fit()
        seconds = time.monotonic() - start
        with panotti_models.with_weights(learner.model, learner.average):
            found = evaluate(learner.model, self.clips, self.validation)
        self.require_number(found.loss, "validation loss")  # the last step may have spoilt the weights
        val_loss, val_accuracy = (None, None) if self.on_all else (found.loss, found.accuracy)
        figures = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy,
                   "learning_rate": options.learning_rate * progress.share(0)}
        improved = progress.enter(figures, options.negligible, options.patience, options.cool_down)
        if improved:
            self.best = learner.average
        panotti_models.save(self.weights, self.trained._replace(progress=asdict(progress)), learner.model,
                            self.best, learner.average, learner.optimizer)
        again = "the same command without --fresh" if options.fresh else "the same command"
        command_line.on_stop(f"Stopped. {self.weights} holds the best network so far (epoch {progress.best_epoch}) and "
                             f"the state after epoch {progress.epoch}; {again} goes on from there.")
        write_history(self.history, progress.history)
        self.draw()
        validation = (f"on all clips, those of validation too, up to epoch {progress.cooled_until} "
                      if progress.taught_all else
                      f"validation: loss {found.loss:.4f}  accuracy {found.accuracy:6.2%}  "
                      f"best {progress.best_loss:.4f} in epoch {progress.best_epoch:3}{'*' if improved else ' '}")
        say(f"epoch {progress.epoch:4}  loss {loss:.4f}  accuracy {accuracy:6.2%}  {validation} "
            f"{count / seconds:5.0f} clips/s {seconds:6.1f} s")

    def draw(self):
        """Draw the training curves, unless that was a moment ago."""
        if time.monotonic() - self.drawn > _DRAW_EVERY:
            plots.training_curves(self.curves, self.progress.history)
            self.drawn = time.monotonic()

    def fit(self):
        """One epoch, in an order keyed on the seed and its number: (mean loss, accuracy, count of clips)."""
        from panotti_models import keras
        options, progress = self.options, self.progress
        rng = np.random.default_rng([options.seed, progress.epoch])
        if keras.config.backend() == "torch":  # its dropout draws from no state that is saved; TensorFlow needs 0.4 s
            keras.utils.set_random_seed(int(rng.integers(1 << 32)))
        order = np.concatenate([rng.permutation(self.taught) for _ in range(self.passes)])
        size = min(options.batch_size, len(order))
        steps = len(order) // size  # what is left over waits for the next epoch's order: all batches have one size
        loss, accuracy = self.learner.epoch(np.split(order[:steps * size], steps), rng)
        self.require_number(loss, "loss")
        return loss, accuracy, steps * size

    def require_number(self, loss, what):
        """Stop training where a loss is none."""
        if not math.isfinite(loss):
            raise UserError(f"The {what} became {loss} in epoch {self.progress.epoch + 1}; {self.weights} is as the "
                            "epoch before left it: lower LEARNING_RATE or set PRECISION to float32, and run again.")

    def best_network(self):
        """As the weights file holds it."""
        import panotti_models
        return panotti_models.load(self.weights, weights_file.read(self.weights))


def evaluate(model, clips, places=None):
    """What a network makes of clips, or of those at some places."""
    import panotti_models
    return Evaluation.of(clips, panotti_models.predict(model, clips.melgrams, places=places), places)


if __name__ == "__main__":
    command_line.run(main)
