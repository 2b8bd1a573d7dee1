"""report.html: one self-contained page with the scores, the plots and the mistakes; eval_network.py writes it.

The page embeds everything it shows and loads nothing, so it can be sent by email and archived.
"""

import base64
import math
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import index
from audio_utils.data.clips import Clips
from audio_utils.data.preproc import used_melgrams
from audio_utils.data.sounds import SPLITS, Sound, class_of, find_sounds
from audio_utils.data.split import Grouping, split_sounds
from audio_utils.evaluation import drawing, intervals, mistake_cards, next_steps, panels, plots
from audio_utils.evaluation.class_table import auc_dots, class_table
from audio_utils.evaluation.metrics import Evaluation, RocCurve
from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UserError

MAX_MATRIX = 200  # classes in the page's confusion matrix
MAX_ERRORS = 8  # most frequent errors listed beside it


class Findings(NamedTuple):
    """The content of the report."""
    network: str  # its name
    settings: MelgramSettings
    preprocessing: dict[str, Any]  # settings.json
    history: list[dict]  # of training, a dictionary for each epoch
    validation: str  # number and source of the validation clips
    clips: Clips  # of Test
    evaluation: Evaluation  # of these clips
    curves: dict[str, RocCurve]
    scores: dict[str, Any]  # as in scores.json
    validation_clips: int = 0  # their number; 0 if unknown


def write(path: Path, findings: Findings, max_mistakes: int, samples: Path, preproc: Path) -> str:
    """Write the page with up to `max_mistakes` mistakes, the most confident first. Returns a sentence about it.

    samples, preproc: the folders of sounds and melgrams; missing files are left out of the page.
    """
    findings = findings._replace(evaluation=findings.evaluation.in_natural_order())
    sounds = _sounds_of(samples)
    paths = {sound.name: sound.path for sound in sounds}  # Test comes after Train, so its file takes precedence
    mistakes = findings.evaluation.mistakes
    shown = mistakes[:max_mistakes]
    frames = mistake_cards.frames_to_show(findings.clips.melgrams[shown])
    cards = [mistake_cards.card(findings.evaluation, findings.clips, findings.settings, i, paths, frames)
             for i in shown]
    training = training_names(sounds, preproc, findings)
    shared = _shared(findings, sounds, training, preproc)
    classes = class_table(findings.evaluation, findings.scores, Counter(map(class_of, training)))
    page = _render({
        "folder": Path.cwd().name, "written": datetime.now(), "scores": findings.scores,
        "mistakes": cards, "mistake_count": len(mistakes), "about": about(findings, sounds),
        "classes": classes, "auc_dots": auc_dots(classes["rows"]), "shared": shared,
        "steps": next_steps.choose(findings.evaluation, Counter(map(class_of, training)), findings.validation_clips,
                                   shared.remedy),
        "hz_ticks": mistake_cards.hz_ticks(findings.settings),
        "time_ticks": mistake_cards.time_ticks(findings.settings, frames),
        "color_scale": panels.melgram_png(np.linspace(-panels.MELGRAM_DB, 0, panels.MELGRAM_DB)[None], 0),
        "melgram_db": panels.MELGRAM_DB, "resamples": intervals.RESAMPLES,
        "confusion": _confusion(findings.evaluation), **_calibration(findings.evaluation),
        **_training(findings.history)})
    safe_files.write_text(path, page)
    with_audio = sum(each["audio"] is not None for each in cards)
    shows = f"; shows {len(cards)} of {len(mistakes)} mistakes, {with_audio} with audio" if cards else ""
    return f"{path}: {size_text(len(page.encode()))}{shows}."


# --- the template ---------------------------------------------------------------------------------------------------

def _render(content: dict[str, Any]) -> str:
    """The page, which states its own size."""
    import jinja2
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                     trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"percent": percent, "auc": auc_or_dash, "uri": _data_uri, "size_text": size_text,
                            "short": lambda name: drawing.shortened(name, 18)}
    template = environment.get_template("report.html.jinja")
    size = len(template.render(content, size=0).encode(errors="replace"))
    return template.render(content, size=size).encode(errors="replace").decode()  # a file name need not be UTF-8


def percent(fraction: float | None) -> str:
    """One decimal, none for exactly 0 and 1."""
    if fraction is None or np.isnan(fraction):
        return "–"
    return f"{fraction:.0%}" if fraction in (0, 1) else f"{fraction:.1%}"


def auc_or_dash(auc: float | None) -> str:
    """Four digits; a dash for None."""
    return "–" if auc is None else panels.auc_text(auc)


def size_text(size: int) -> str:
    """Bytes as kB or MB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


# --- scores and plots -----------------------------------------------------------------------------------------------

def _calibration(evaluation: Evaluation) -> dict[str, Any]:
    """The baselines of accuracy and loss, and the reliability diagram."""
    correct, confidence = evaluation.predicted == evaluation.labels, evaluation.probabilities.max(axis=1)
    bins, error = intervals.reliability(confidence, correct)
    return {"baseline_accuracy": evaluation.confusion.sum(axis=1).max() / len(correct),
            "baseline_loss": math.log(len(evaluation.class_names)),
            "calibration_error": error, "bins": len(bins),
            "calibration_finding": calibration_finding(confidence.mean(), correct),
            "reliability_diagram": _svg(panels.draw_reliability, bins)}


def calibration_finding(confidence: float, correct: np.ndarray) -> str:
    """The mean confidence compared with the interval of the accuracy; correct: bool (clips,)."""
    low, high = intervals.wilson(correct.sum(), len(correct))
    finding = "Overconfident" if confidence > high else "Underconfident" if confidence < low else "Well calibrated"
    return f"{finding}: mean confidence {confidence:.1%}, accuracy {correct.mean():.1%}"


def _confusion(evaluation: Evaluation) -> dict[str, Any]:
    """The confusion matrix as rows of (files, fraction of the row's files), and its most frequent errors."""
    counts, names = evaluation.confusion, evaluation.class_names
    fractions = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    errors = counts - np.diag(counts.diagonal())
    most = [np.unravel_index(i, errors.shape) for i in np.argsort(-errors, axis=None, kind="stable")[:MAX_ERRORS]]
    return {"finding": plots.confusion_finding(counts, names),
            "errors": [(names[i], names[j], int(errors[i, j]), int(counts[i].sum())) for i, j in most if errors[i, j]],
            "rows": [list(zip(*pair, strict=True)) for pair in zip(counts.tolist(), fractions.tolist(), strict=True)]
            if len(counts) <= MAX_MATRIX else []}


def _training(history: list[dict]) -> dict[str, Any]:
    """The training curves and their finding."""
    return {"history_finding": panels.history_finding(history) if history else "",
            "history_plots": [_svg(panels.draw_history, history, name) for name in ("loss", "accuracy") if history]}


def _svg(*drawn: Any) -> str:
    import markupsafe
    return markupsafe.Markup(drawing.svg(*drawn))


# --- network and data -----------------------------------------------------------------------------------------------

def _sounds_of(samples: Path) -> list[Sound]:
    """The sounds of Samples/, none if it does not exist."""
    try:
        return find_sounds(samples)[0]
    except UserError:
        return []


def training_names(sounds: list[Sound], preproc: Path, findings: Findings) -> list[str]:
    """The training files: those with melgrams or, if nothing is preprocessed, those that the split assigns."""
    names, _ = used_melgrams(preproc, "Train", findings.settings)
    if names or not sounds:
        return names
    constants = findings.preprocessing.get("constants", {})
    grouping, _ = Grouping(constants.get("GROUP_BY", ""),
                           {sound.name: sound.copy_of for sound in sounds if sound.copy_of},
                           {sound.name: sound.recording for sound in sounds if sound.recording}
                           ).relaxed([sound.name for sound in sounds])
    splits = split_sounds(sounds, {}, constants.get("TEST_FRACTION", 0.2), constants.get("SEED", 1), grouping)
    return [sound.name for sound, split in zip(sounds, splits, strict=True) if split == "Train"]


def _shared(findings: Findings, sounds: list[Sound], training: list[str], preproc: Path) -> next_steps.Shared:
    """Whether clips of one recording are, or may be, in both Train and Test."""
    entries = index.read(preproc)[0].values() if index.exists(preproc) else ()
    known = {split: {each.name: each.recording for each in (*sounds, *entries)
                     if each.recording and each.split in (split, None)} for split in ("Train", "Test")}
    test, train = ({name: known[split].get(name, "") for name in names}
                   for split, names in (("Test", findings.evaluation.names), ("Train", training)))
    shared = next_steps.shared_recordings(test, train, any(sound.split for sound in sounds))
    group_by = findings.preprocessing.get("constants", {}).get("GROUP_BY", "")
    return shared if shared.warning else next_steps.shared_takes(
        sounds, {sound for sound in sounds if sound.name in known["Train"] | known["Test"]}, group_by)


def about(findings: Findings, sounds: list[Sound]) -> list[tuple[str, str]]:
    """(name, text) of each property of the network and its data."""
    settings, constants = findings.settings, findings.preprocessing.get("constants", {})
    ms = 1000 / settings.sample_rate
    group_by = constants.get("GROUP_BY")
    folders = [f"Samples/{name}" for name in SPLITS if any(sound.split == name for sound in sounds)]
    split = f"user-defined, {', '.join(folders)}" if folders else \
        f"{constants.get('TEST_FRACTION', 0):.0%} of each class for testing, seed {constants.get('SEED')}" \
        + (f", grouped by {group_by}" if group_by else "")
    return [
        ("Network", findings.network), *_about_training(findings.history, findings.validation), ("Split", split),
        ("Clips", f"{settings.clip_seconds:.4g} s, {settings.channels} channel{'s' * (settings.channels > 1)}, "
                  f"{settings.sample_rate:,} Hz"),
        ("Melgrams", f"{settings.mels} mel bands, window {settings.window * ms:.1f} ms, "
                     f"hop {settings.hop * ms:.1f} ms")]


def _about_training(history: list[dict], validation: str) -> list[tuple[str, str]]:
    if not history:
        return []
    count, validated = len(history), panels.validated_epochs(history)
    evaluated = f"epoch {panels.best_epoch(history)['epoch']}, the best, is evaluated here" if validated == count else \
        f"the last {count - validated} on all training files; the last one is evaluated here"
    return [("Epochs", f"{count}; {evaluated}"),
            ("Learning rate", f"{history[0]['learning_rate']:g}, {history[-1]['learning_rate']:g} at the end"),
            ("Validation", validation)]
