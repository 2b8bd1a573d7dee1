"""The clips that eval_network.py scores, and which of them the network was trained on."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio_utils.audio.long_sounds import BEGINNING
from audio_utils.data import dataset, labelled_folder
from audio_utils.data.class_folders import renamed_classes
from audio_utils.data.clips import Clips
from audio_utils.data.dataset import Dataset
from audio_utils.data.preproc import PREPROC
from audio_utils.data.sounds import SAMPLES, Skipped
from audio_utils.data.split import Grouping
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError
from audio_utils.training import known_clips, start_from


class TrainedOn(NamedTuple):
    """The clips of a test set that the network was trained on."""
    names: list[str] | None  # None: unknown
    are_scored: bool = False
    warning: str = ""  # the effect on the scores, "" if there is none


class ScoredClips(NamedTuple):
    """The clips of Test, or of another folder of sounds."""
    clips: Clips  # with labels in the order of the network's classes
    trained_on: TrainedOn
    samples: Path  # the folder of their sounds
    source: str = ""  # "all sounds of birds/", "" for Test
    grouping: Grouping | None = None  # of the split, None without one
    skipped: list[Skipped] | None = None  # sounds of the folder that are not scored, None for Test
    long_files: str = BEGINNING  # the constant of preprocess_data.py
    training: list[str] | None = None  # names of the clips of Train, if nothing is preprocessed


# --- Test -----------------------------------------------------------------------------------------------------------

def of_test(options: Namespace, checkpoint: Checkpoint, weights: str | Path) -> ScoredClips:
    """The clips of Preproc/Test, or the test files of Samples/ if nothing is preprocessed.

    options: the constants of preprocess_data.py. weights: the file of the checkpoint.
    """
    data = dataset.open_dataset(options, checkpoint.settings, weights, memory_gb=0)  # each clip is read in its turn
    clips = data.load("Test", checkpoint.class_names)
    checkpoint.require_labels_of(clips, weights)
    renamed = "" if clips.multi_label else renamed_classes(checkpoint.class_names, melgrams=PREPROC / "Test")
    if not len(clips):
        raise UserError(renamed or f"{PREPROC}/Test: contains no clip of the network's classes; add sounds to "
                        f"{SAMPLES}/ and run preprocess_data.py again.")
    if renamed:
        warn(renamed)
    start = start_from.of_checkpoint(checkpoint).get("path")
    return ScoredClips(clips, _report_trained(weights, clips, data, start), SAMPLES, grouping=data.grouping,
                       long_files=data.long_files, training=data.training)


def _report_trained(path: str | Path, test: Clips, data: Dataset, start: str | None = None) -> TrainedOn:
    """Say if Test sounds were in Train in any epoch, or sound like some; nothing for a file of an older version.

    start: the file of the network that training began with.
    """
    known = known_clips.trained_on(path, test)
    if known is None or not known.any():
        return TrainedOn(None if known is None else [])
    train, _ = data.source("Train", None)
    alike = known & known_clips.have_same_content(test, train)
    warnings = list(_warnings(test.names, alike, known & ~alike, start))
    for sentence in warnings:
        say(sentence)
    return TrainedOn([test.names[i] for i in np.flatnonzero(known)], True, " ".join(warnings))


def _warnings(names: list[str], alike: np.ndarray, moved: np.ndarray, start: str | None) -> Iterator[str]:
    """Sentences about Test sounds; alike, moved: whether each sounds like one of Train, or was in Train before.

    start: the file of the network that training began with, None if there is none.
    """
    if count := alike.sum():
        same = "sound the same as Train sounds" if count > 1 else "is the same as a Train sound"
        yield (f"{count} of {len(names)} Test sounds {same}, such as {names[alike.argmax()]}, so the score is too "
               "high.")
    if count := moved.sum():
        before, remedy = (f"or in that of {start}", "--fresh without START_FROM") if start else ("", "--fresh")
        yield (f"{count} sound{'s are' if count > 1 else ' is'} in Test and {'were' if count > 1 else 'was'} in Train "
               f"before{before and ' ' + before}, such as {names[moved.argmax()]}, so the score is too high; use "
               f"{remedy}.")


# --- another folder -------------------------------------------------------------------------------------------------

def of_folder(samples: Path, checkpoint: Checkpoint, weights: str | Path, jobs: int | None) -> ScoredClips:
    """The clips of a folder, except those that the network was trained on."""
    mode = checkpoint.preprocessing_constants["LONG_FILES"]
    found = labelled_folder.load(samples, checkpoint.settings, checkpoint.class_names, jobs, mode,
                                 checkpoint.multi_label)
    clips, trained_on = _leave_out_trained(weights, found.clips, found.paths)
    left_out = sorted(set(found.clips.names) - set(clips.names))
    skipped = [Skipped(path, "was in the network's Train set")
               for path in dict.fromkeys(found.paths[name] for name in left_out)]
    source = f"all sounds of {found.folder}/"
    if left_out:
        source += f", except {len(left_out)} that the network was trained on"
    return ScoredClips(clips, trained_on, samples, source, skipped=found.skipped + skipped, long_files=mode)


def _leave_out_trained(path: str | Path, clips: Clips, files: dict[str, Path]) -> tuple[Clips, TrainedOn]:
    """The clips that were never in Train, or all of them if all were or if this is unknown; says how many were.

    files: name of a clip → file; if a clip was in Train, so were all of its file.
    """
    known = known_clips.trained_on(path, clips)
    if known is None:
        unknown = TrainedOn(None, False, f"{path}: does not record the sounds that it was trained on, as it is of an "
                            "older version; if some of them are scored, the scores are too high.")
        warn(unknown.warning)
        return clips, unknown
    trained = {files[clips.names[i]] for i in np.flatnonzero(known)}
    known = np.array([files[name] in trained for name in clips.names], bool)
    names = [clips.names[i] for i in np.flatnonzero(known)]
    if not names:
        return clips, TrainedOn([])
    unit = "clips" if len(set(files.values())) < len(clips) else "sounds"
    if known.all():
        every = f"All {len(names)} {unit} were" if len(names) > 1 else f"The only sound, {names[0]}, was"
        warning = f"{every} in the network's Train set, so the scores are too high."
        warn(warning)
        return clips, TrainedOn(names, True, warning)
    say(f"{len(names)} of {len(clips)} {unit} {'was' if len(names) == 1 else 'were'} in the network's Train set, such "
        f"as {names[0]}; {'it is' if len(names) == 1 else 'they are'} left out of the scores.")
    kept = np.flatnonzero(~known)
    return clips.subset(kept), TrainedOn(names)
