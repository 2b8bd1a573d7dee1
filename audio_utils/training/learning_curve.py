"""The learning curve: a network for each of several numbers of training clips, scored on the same validation clips.

The epoch that is kept is chosen on these validation clips too, so the scores are slightly too high. Test is not used.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

from audio_utils.data import split
from audio_utils.data.clips import Clips
from audio_utils.data.dataset import Dataset, require_same
from audio_utils.data.preproc import PREPROC, SETTINGS
from audio_utils.data.sounds import require_classes
from audio_utils.data.split import Grouping
from audio_utils.evaluation import background, intervals, learning_curve_fit
from audio_utils.inference.checkpoint import WEIGHTS, Checkpoint
from audio_utils.runtime import safe_files, tables
from audio_utils.runtime.console import say
from audio_utils.runtime.errors import UserError
from audio_utils.training import fold_thresholds, known_clips, network_choice, resume
from audio_utils.training.state import TrainingState

FOLDER = learning_curve_fit.SCORES.parent
PLOT = FOLDER / "learning_curve.png"
FRACTIONS = {"1/8": 1 / 8, "1/4": 1 / 4, "1/2": 1 / 2, "all": 1}


def measure(options: Namespace, dataset: Dataset, constants: dict[str, Any]) -> None:
    """Train with each number of clips in learning_curve/, then write and print the scores; a second call continues.

    options: the constants of train_network.py; constants: those that the training state records.
    """
    clips = dataset.load("Train")
    require_classes(clips.class_names, "Preproc/Train")
    if not clips.multi_label:
        background.announce(options.background_classes, clips.class_names)
    if options.fresh and FOLDER.exists():
        resume.put_away(FOLDER)
    network_choice.choose(options, dataset, clips, () if options.fresh else FOLDER.glob(f"*/{WEIGHTS}"))
    training, validation = choose_validation(options, dataset, clips)
    subsets = choose_subsets(training, options.seed, dataset.grouping)
    fixed = dataset._replace(source=lambda split, class_names: (validation, []))  # the Trainer loads only Val
    sizes = []
    for number, (fraction, subset) in enumerate(subsets.items(), 1):
        say(f"{'All' if fraction == 'all' else fraction + ' of the'} training clips, {number} of {len(subsets)}:")
        state = train_subset(options, FOLDER / fraction.replace("/", "_"), fixed, clips, validation, subset, constants)
        sizes.append(scores_of(state, fraction, len(subset), len(validation)))
        say(f"{len(subset)} training clips: loss {sizes[-1]['loss']:.4f}, accuracy {sizes[-1]['accuracy']:.2%}.\n")
    write_scores({"fingerprint": fold_thresholds.of_clips(options.network, dataset.settings, clips, options.balance,
                                                          state.start_from),
                  "validation_clips": len(validation), "sizes": sizes})


def choose_validation(options: Namespace, dataset: Dataset, clips: Clips) -> tuple[list[str], Clips]:
    """The names of the training clips, and the validation clips: chosen as in any training, or the user's own Val."""
    own = dataset.load("Val", clips.class_names)
    training, validation, _ = resume.train_val_split(clips.names, TrainingState({}), None, options.validation_fraction,
                                                     options.seed, dataset.grouping, own.names)
    if not len(own):
        own = clips.subset(validation)
    return [clips.names[i] for i in training], own


def choose_subsets(training: list[str], seed: int, grouping: Grouping) -> dict[str, list[str]]:
    """Fraction → names of training clips, each subset part of the next; without those that are equal to the next."""
    *parts, _ = FRACTIONS.values()
    subsets = [*split.nested_subsets(training, parts, seed, grouping), training]
    larger = [*map(len, subsets[1:]), len(training) + 1]
    chosen = {fraction: subset for fraction, subset, next_size in zip(FRACTIONS, subsets, larger, strict=True)
              if len(subset) < next_size}
    if len(chosen) < 2:
        raise UserError("Preproc/Train: contains too few sounds for a learning curve; add more to each class.")
    return chosen


def train_subset(options: Namespace, folder: Path, dataset: Dataset, clips: Clips, validation: Clips,
                 subset: list[str], constants: dict[str, Any]) -> TrainingState:
    """Train on a subset of the clips, continuing from its folder; returns the final state."""
    safe_files.make_folder(folder)
    checkpoint = resume.read_checkpoint(folder / WEIGHTS, options.fresh)
    held_out = sorted(set(clips.names) - set(subset))
    if checkpoint:
        require_same(checkpoint.settings, dataset.settings, PREPROC / SETTINGS, folder / WEIGHTS)
        require_same_clips(folder / WEIGHTS, checkpoint, clips, held_out, validation.names)
    state = resume.initial_state(folder / WEIGHTS, checkpoint, options, clips, held_out, constants)
    from audio_utils.training.trainer import Trainer
    trainer = Trainer(options, folder, dataset, clips, state, checkpoint)
    trainer.train()
    return trainer.state


def require_same_clips(path: Path, checkpoint: Checkpoint, clips: Clips, held_out: list[str],
                       validation: list[str]) -> None:
    """Reject a network that was trained on, or validated with, other clips."""
    before = [sorted(checkpoint.training_state.get(key) or []) for key in ("held_out", "validation")]
    if before != [held_out, sorted(validation)] or len(known_clips.names_before(path, clips)) < len(clips):
        raise UserError(f"{path}: was trained for a learning curve of other sounds; restore SEED, VALIDATION_FRACTION "
                        "and the sounds, or use --fresh to start it over (the old one is kept).")


def scores_of(state: TrainingState, fraction: str, count: int, validation: int) -> dict[str, Any]:
    """The entry of scores.json for one number of training clips; validation: number of validation clips."""
    kept = state.history[state.best_epoch - 1]
    correct = round(kept["val_accuracy"] * validation)
    return {"fraction": fraction, "clips": count, "loss": kept["val_loss"], "accuracy": kept["val_accuracy"],
            "accuracy_interval": intervals.wilson(correct, validation), "mistakes": validation - correct,
            "epochs": state.epoch}


def write_scores(scores: dict[str, Any]) -> None:
    """Write and print the scores of all sizes, and the finding."""
    scores["finding"] = learning_curve_fit.finding(scores)
    safe_files.write_json(learning_curve_fit.SCORES, scores)
    learning_curve_fit.plot(PLOT, scores)
    rows = [[each["fraction"], f"{each['clips']:,}", tables.number(each["loss"]), f"{each['accuracy']:.2%}",
             "{:.1%} to {:.1%}".format(*each["accuracy_interval"]), str(each["epochs"])] for each in scores["sizes"]]
    header = ["training", "clips", "loss", "accuracy", "95% interval", "epochs"]
    say("\n".join(tables.table([header, *rows])))
    say(f"\n{scores['finding']}.")
    say(f"Written to {FOLDER}/: {learning_curve_fit.SCORES.name}, {PLOT.name}.")
