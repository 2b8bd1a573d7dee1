"""The content of report.html: an evaluation, and the network and the data that it is of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_utils.audio.long_sounds import BEGINNING
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import index
from audio_utils.data.clips import Clips
from audio_utils.data.preproc import used_melgrams
from audio_utils.data.sounds import SPLITS, Sound
from audio_utils.data.split import Grouping, split_sounds
from audio_utils.evaluation import background, next_steps, panels
from audio_utils.evaluation.label_scores import MultiLabelEvaluation
from audio_utils.evaluation.metrics import Evaluation, RocCurve


class Findings(NamedTuple):
    """The content of the report."""
    network: str  # its name
    settings: MelgramSettings
    preprocessing: dict[str, Any]  # settings.json
    history: list[dict]  # of training, a dictionary for each epoch
    validation: str  # number and source of the validation clips
    clips: Clips  # of Test; in cross-validation, of Train
    evaluation: Evaluation | MultiLabelEvaluation  # of these clips; in cross-validation, of those in a fold
    curves: dict[str, RocCurve]
    scores: dict[str, Any]  # as in scores.json
    validation_clips: int = 0  # their number; 0 if unknown
    occlusion: Callable[..., list[np.ndarray]] | None = None  # indices of clips, frames (, classes) → occlusion maps
    grouping: Grouping | None = None  # of the sounds, None if unknown
    source: str = ""  # of the clips, such as "all sounds of birds/"; "" for Test and for cross-validation
    warning: str = ""  # a reason why the scores are too high, such as clips of Test that were trained on
    folds: dict[str, Evaluation | MultiLabelEvaluation] | None = None  # fold → its part of the evaluation
    fold_rule: str = ""  # FOLDS of train_network.py
    learning_curve: dict[str, Any] | None = None  # learning_curve/scores.json, if it belongs to this network
    long_files: str = BEGINNING  # the constant of preprocess_data.py
    balance: str = "none"  # the constant of train_network.py
    training: list[str] | None = None  # names of the training clips, if nothing is preprocessed

    @property
    def split(self) -> str:
        """The split of the clips."""
        return "Train" if self.folds else "Test"

    @property
    def constants(self) -> dict[str, Any]:
        """Those of preprocess_data.py."""
        return self.preprocessing.get("constants", {})


# --- files ----------------------------------------------------------------------------------------------------------

def training_names(sounds: list[Sound], preproc: Path, findings: Findings) -> list[str]:
    """The training files: those with melgrams or, if nothing is preprocessed, those that the split assigns."""
    if findings.folds:
        return findings.clips.names
    if findings.source:  # the sounds in `preproc` may be those of another network
        return []
    names, _ = used_melgrams(preproc, "Train", findings.settings)
    if names or not sounds:
        return names
    if findings.training is not None:
        return findings.training
    grouping, _ = Grouping(findings.constants.get("GROUP_BY", ""),
                           {sound.name: sound.copy_of for sound in sounds if sound.copy_of},
                           {sound.name: sound.recording for sound in sounds if sound.recording}
                           ).relaxed([sound.name for sound in sounds])
    splits = split_sounds(sounds, {}, findings.constants.get("TEST_FRACTION", 0.2), findings.constants.get("SEED", 1),
                          grouping)
    return [sound.name for sound, split in zip(sounds, splits, strict=True) if split == "Train"]


def find_shared(findings: Findings, sounds: list[Sound], training: list[str], preproc: Path) -> next_steps.Shared:
    """Whether clips of one recording are, or may be, among both the test and the training files."""
    if findings.source:
        return next_steps.Shared()
    entries = [entry for entry in index.read(preproc)[0].values() if entry.status == index.USED]
    known = {split: {each.name: each.recording for each in sounds if each.recording and each.split in (split, None)}
             | index.recordings(entry for entry in entries if entry.split == split) for split in ("Train", "Test")}
    pairs = [(findings.evaluation.names, training)] if not findings.folds else [
        (result.names, set(training) - set(result.names)) for result in findings.folds.values()]
    own_split = any(sound.split for sound in sounds)
    found = next_steps.shared_recordings(pairs, known[findings.split], known["Train"], own_split, findings.fold_rule,
                                         findings.grouping.labels if findings.grouping else {})
    if found.warning or findings.constants.get("GROUP_BY"):
        return found
    grouped = {sound for sound in sounds if sound.name in known["Train"] | known["Test"]}
    return next_steps.shared_takes(pairs, sounds, grouped, findings.fold_rule)


# --- network and data -----------------------------------------------------------------------------------------------

def about(findings: Findings, sounds: list[Sound]) -> list[tuple[str, str]]:
    """(name, text) of each property of the network and its data."""
    settings, ms = findings.settings, 1000 / findings.settings.sample_rate
    return [
        ("Network", findings.network), *_about_training(findings.history, findings.validation),
        _about_folds(findings) if findings.folds else _about_split(findings, sounds),
        ("Clips", f"{settings.clip_seconds:.4g} s, {settings.channels} channel{'s' * (settings.channels > 1)}, "
                  f"{settings.sample_rate:,} Hz"),
        ("Melgrams", f"{settings.mels} mel bands, window {settings.window * ms:.1f} ms, "
                     f"hop {settings.hop * ms:.1f} ms"),
        ("Background", _about_background(findings.scores))]


def _about_background(scores: dict[str, Any]) -> str:
    if "background" not in scores:
        return background.MISSING
    return f"{', '.join(scores['background']['classes'])}; never reported"


def _about_training(history: list[dict], validation: str) -> list[tuple[str, str]]:
    if not history:
        return []
    count, validated = len(history), panels.validated_epochs(history)
    evaluated = f"epoch {panels.best_epoch(history)['epoch']}, the best, is evaluated here" if validated == count else \
        f"the last {count - validated} on all training files; the last one is evaluated here"
    return [("Epochs", f"{count}; {evaluated}"),
            ("Learning rate", f"{history[0]['learning_rate']:g}, {history[-1]['learning_rate']:g} at the end"),
            ("Validation", validation)]


def _about_split(findings: Findings, sounds: list[Sound]) -> tuple[str, str]:
    if findings.source:
        return "Test files", findings.source
    folders = [f"Samples/{name}" for name in SPLITS if any(sound.split == name for sound in sounds)]
    if folders:
        return "Split", f"user-defined, {', '.join(folders)}"
    constants = findings.constants
    return "Split", (f"{constants.get('TEST_FRACTION', 0):.0%} of each class for testing, seed {constants.get('SEED')}"
                     + _about_groups(findings))


def _about_folds(findings: Findings) -> tuple[str, str]:
    count = len(findings.folds)
    if findings.fold_rule.isdecimal():
        return "Folds", f"{count}, stratified by class" + _about_groups(findings)
    return "Folds", f"{count}, by the text in the file names that matches {findings.fold_rule}"


def _about_groups(findings: Findings) -> str:
    """The grouping by GROUP_BY and by recordings, as the end of a sentence."""
    group_by, recordings = findings.constants.get("GROUP_BY"), findings.grouping and findings.grouping.recordings
    text = f", grouped by {group_by}" if group_by else ""
    if recordings:
        count = len(set(recordings.values()))
        text += (f"; {len(recordings):,} files are clips of {count:,} recording{'s' * (count != 1)}, and those of one "
                 "recording are grouped")
    return text
