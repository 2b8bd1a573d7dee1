"""Train a network on the melgrams in Preproc/Train; ^C stops it at any time, and the same command continues.

Reads   Preproc/Train (or Samples/ if nothing is preprocessed)
Writes  weights.hdf5           the best network so far, and all that is needed to continue training
        history.csv            loss and accuracy of each epoch
        training_curves.png    the same as a plot
        folds/                 with FOLDS, these three for each fold; scores.json, mistakes.csv,
                               likely_mislabeled.csv, confusion_matrix.png (with MULTI_LABEL, label_errors.png)
                               and report.html of all folds together
        learning_curve/        with LEARNING_CURVE, the first three for each number of training clips; scores.json and
                               learning_curve.png, which show whether more sounds would help

    python train_network.py
    python train_network.py --network vgg --epochs 50  # the original Panotti's network
    python train_network.py --network ensemble    # the average of three networks: slower, usually better
    python train_network.py --background-classes noise    # for noise, predict_class.py then says "none of these"
    python train_network.py --balance sample      # classes of very unequal size
    python train_network.py --start-from other/weights.hdf5    # begin with the layers of another network
    python train_network.py --fresh               # start over; the old weights are kept as weights.<date>.hdf5
    python train_network.py --continue            # train on after the end, for example with new sounds
    python train_network.py --folds 5             # cross-validation, for few sounds
    python train_network.py --learning-curve      # would more sounds help, and how much?

Training stops when the validation loss no longer improves. The Test sounds have no influence on it;
eval_network.py evaluates the network on them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # needed with PYTHONSAFEPATH
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
from argparse import Namespace

import eval_network
import preprocess_data
from audio_utils.data import dataset, multi_label, split
from audio_utils.data.class_folders import renamed_classes
from audio_utils.data.dataset import Dataset
from audio_utils.evaluation import background
from audio_utils.inference.checkpoint import WEIGHTS, Checkpoint
from audio_utils.runtime import command_line, ranks, safe_files, signals
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError
from audio_utils.training import (
    balance,
    cross_validation,
    fold_thresholds,
    learning_curve,
    network_choice,
    resume,
    start_from,
    tensorboard_scalars,
)

NETWORK = "auto"            # or one of panotti_models.NETWORKS; "auto": "hybrid" for few clips, if a regression on
                            # statistics of them has a high accuracy; otherwise "residual"
BACKGROUND_CLASSES = ""     # "background,noise": these classes are learned, but never reported: for them, the answer of
                            # predict_class.py is "none of these", and eval_network.py counts false alarms; can be
                            # changed after training
START_FROM = ""             # "other/weights.hdf5": begin with the layers of this network, all but the last, for few
                            # sounds or new classes; the same NETWORK, and the same settings of preprocess_data.py,
                            # except for the length of clips
BALANCE = "none"            # for classes of unequal size: "sample" draws all equally often, "loss" gives rare ones more
                            # weight; the probabilities are then those for equally frequent classes, so rare classes
                            # are predicted more often, also wrongly
EPOCHS = 2000               # maximum; training stops earlier when the validation loss no longer improves
EPOCH_CLIPS = 1000          # minimum per epoch; a smaller data set is repeated
MAX_EPOCH_CLIPS = 4000      # maximum per epoch: a random part of a larger data set, different in each epoch, so that
                            # it is validated and saved often enough, and stops in time; None: no maximum
BATCH_SIZE = 16             # clips per step, on all devices together
OPTIMIZER = "muon"          # or "adamw"
LEARNING_RATE = 0.004       # after the warm-up
SCALE_RATE = False          # True: LEARNING_RATE is for 16 clips per step, and multiplied by the square root of
                            # BATCH_SIZE / 16
WARM_UP = 200               # steps over which the learning rate rises to LEARNING_RATE
WEIGHT_DECAY = 0.1          # per step, times the learning rate
EMA_DECAY = 0.9             # of the exponential moving average (EMA) of the weights, which is validated and saved
EMA_EVERY = 10              # steps between updates of the average
PATIENCE = 4                # epochs without improvement of the validation loss before the learning rate decays
MIN_DELTA = 0.001           # nats; a smaller decrease of the validation loss is no improvement
LOSS_TARGET = 0.001         # nats; a validation loss below this that no longer improves ends training without annealing
ANNEAL_EPOCHS = 24          # epochs over which the learning rate decays to 0; then training ends
FIXED_EPOCHS = 28           # the number of epochs, annealing included, if there are fewer than 50 validation clips,
                            # because their loss is too uncertain to show a plateau; 0: stop at a plateau in any case
VALIDATION_FRACTION = 0.1   # of each class of Train, for validation
FINISH_ON_ALL = True        # while the learning rate decays, train on the validation clips too, and keep the last
                            # network; False: continue to validate, and keep the best network

# Augmentation, different for a clip in each epoch; 0 switches each of these off.
TIME_SHIFT = 0.2            # maximum roll in time, as a fraction of the clip
# These three, if None, are 0.15, 0.15 and 0.3 with fewer than 150 training clips per class, and 0 with more.
TIME_MASK = None            # maximum length of a time mask, as a fraction of the clip
FREQUENCY_MASK = None       # maximum width of a frequency mask, as a fraction of the mel bands
MIXUP = None                # mix clips in pairs, as sounds mix, with weights from Beta(MIXUP, MIXUP)
# Try these two (0.2) for sounds of other tempos or pitches. They are wrong if the classes differ in tempo or pitch.
TIME_STRETCH = 0.0          # each clip is played up to 1 + this times as fast or as slowly
FREQUENCY_WARP = 0.0        # all frequencies of a clip are multiplied or divided by up to 1 + this

FOLDS = ""                  # "5": cross-validation with 5 folds; or a regular expression for the file names: the text
                            # that it matches is the fold (r"^\d"); sounds that it does not match (r"_(ann|bob)_") are
                            # always used for training
LEARNING_CURVE = False      # True: train on 1/8, 1/4, 1/2 and all of the training clips, each time with the same
                            # validation clips, to predict the accuracy with twice as many; the best epoch is chosen on
                            # these validation clips too, so the accuracy is slightly too high
SEED = 1                    # of the validation split, the folds, the initial weights and the order of the clips
TENSORBOARD = ""            # a folder for the scalars of history.csv, which tensorboard --logdir shows; of FOLDS and
                            # LEARNING_CURVE, in a subfolder for each network; pip install tensorboard
PRECISION = "auto"          # "float32" or "mixed_bfloat16"; "auto": bfloat16 if the processor or the GPU supports it
                            # and a training step in it gives the same result as in float32, within a tolerance
MEMORY_GB = None            # clips of Train that take more are read from Preproc/ as they are needed; None: half of the
                            # memory that is free
GPU_CLIPS_GB = 4.0          # if the clips take no more than this, they stay in the GPU's memory; 0: sent in batches
FRESH = False               # True: start over; the old weights are kept
CONTINUE = False            # True: after the end of training, train on; EPOCHS counts from there

_LIMITS = {
    "EPOCHS": Limits(int, 1), "EPOCH_CLIPS": Limits(int, 1), "MAX_EPOCH_CLIPS": Limits(int, 1, optional=True),
    "BATCH_SIZE": Limits(int, 1), "PATIENCE": Limits(int, 1), "MEMORY_GB": Limits(float, 0, optional=True),
    "WARM_UP": Limits(int, 0), "ANNEAL_EPOCHS": Limits(int, 0), "EMA_EVERY": Limits(int, 1),
    "FIXED_EPOCHS": Limits(int, 0), "SEED": Limits(int, 0, 2 ** 32 - 1), "LEARNING_RATE": Limits(float, 1e-12),
    "WEIGHT_DECAY": Limits(float, 0),
    "MIN_DELTA": Limits(float, 0), "LOSS_TARGET": Limits(float, 0), "MIXUP": Limits(float, 0, optional=True),
    "GPU_CLIPS_GB": Limits(float, 0), "EMA_DECAY": Limits(float, 0, 1), "TIME_SHIFT": Limits(float, 0, 1),
    "TIME_STRETCH": Limits(float, 0, 1), "TIME_MASK": Limits(float, 0, 1, True), "FREQUENCY_WARP": Limits(float, 0, 1),
    "FREQUENCY_MASK": Limits(float, 0, 1, True), "VALIDATION_FRACTION": Limits(float, 0.01, 0.9)}
_NOT_RECORDED = ("network", "folds", "learning_curve", "memory_gb", "gpu_clips_gb", "fresh", "continue", "tensorboard",
                 "background_classes", "start_from")  # these are in the checkpoint itself


def main() -> int:
    options = command_line.parse(globals(), _LIMITS)
    check(options)
    if ranks.must_launch():
        return ranks.launch()
    with ranks.joined(), safe_files.locked("."):
        if options.folds:
            cross_validation.cross_validate(options, open_dataset(options), recorded(options),
                                            eval_network.REPORT_CLIPS)
        elif options.learning_curve:
            learning_curve.measure(options, open_dataset(options), recorded(options))
        else:
            train(options)
    return 0


def check(options: Namespace) -> None:
    """Reject text options with invalid values, and options that exclude each other."""
    split.check_folds(options.folds)
    background.check(options.background_classes)
    balance.check(options.balance)
    tensorboard_scalars.check(options.tensorboard, options.fresh)
    start_from.check(options.start_from, cross_validation.FOLDS if options.folds else
                     learning_curve.FOLDER if options.learning_curve else Path(), options.fresh)
    if options.precision not in ("auto", "float32", "mixed_bfloat16"):
        raise UserError(f"PRECISION is {options.precision!r}; choose auto, float32 or mixed_bfloat16.")
    if options.optimizer not in ("muon", "adamw"):
        raise UserError(f"OPTIMIZER is {options.optimizer!r}; choose muon or adamw.")
    for one, other in (("FRESH", "CONTINUE"), ("LEARNING_CURVE", "FOLDS"), ("LEARNING_CURVE", "CONTINUE")):
        if getattr(options, one.lower()) and getattr(options, other.lower()):
            raise UserError(f"{one} and {other} are both set; choose one of them.")


def open_dataset(options: Namespace, checkpoint: Checkpoint | None = None) -> Dataset:
    """The data set, preprocessed with the settings of the checkpoint if there is one."""
    before = checkpoint.preprocessing_constants if checkpoint else {}
    data = dataset.open_dataset(command_line.constants(preprocess_data, before), checkpoint and checkpoint.settings,
                                memory_gb=options.memory_gb)
    if not checkpoint:
        start_from.require_compatible(options, data.settings)
    multi_label.refuse(data.multi_label, {
        "BACKGROUND_CLASSES": options.background_classes,
        "BALANCE": options.balance if options.balance != balance.NONE else ""})
    return data


def recorded(options: Namespace) -> dict:
    """The constants in the training state, all but _NOT_RECORDED; a resumed run reports those that have changed."""
    return {name.upper(): value for name, value in vars(options).items() if name not in _NOT_RECORDED}


def train(options: Namespace) -> None:
    """Train one network on all of Train, continuing from weights.hdf5 if possible."""
    checkpoint = resume.read_checkpoint(WEIGHTS, options.fresh)
    data = open_dataset(options, checkpoint)
    clips = data.load("Train")
    if not data.multi_label:  # with it, classes are not folders, and background is a sound without labels
        background.announce(options.background_classes, clips.class_names)
        if renamed := renamed_classes(clips.class_names):
            warn(renamed)
    network_choice.choose(options, data, clips, [] if options.fresh else [WEIGHTS])
    state = resume.initial_state(WEIGHTS, checkpoint, options, clips, [], recorded(options))
    from audio_utils.training.trainer import Trainer  # with Keras, which takes seconds
    cross_validated = fold_thresholds.read(cross_validation.SCORES, options.network, data.settings, clips,
                                           options.balance, state.start_from)
    trainer = Trainer(options, Path(), data, clips, state, checkpoint, cross_validated)
    if options.fresh and WEIGHTS.exists():
        kept = resume.put_away(WEIGHTS)
        signals.on_stop(f"Stopped before the first epoch was complete; the old weights are kept as {kept}; the same "
                        "command starts again.")
    trainer.train()
    say(trainer.validation_result())
    say("Now run eval_network.py, for the score on the Test sounds.")


if __name__ == "__main__":
    script.run(main)
