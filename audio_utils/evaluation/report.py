"""report.html: one self-contained page with the scores, the plots and the mistakes; eval_network.py writes it.

The page embeds everything it shows and loads nothing, so it can be sent by email and archived.
"""

import base64
import functools
import math
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np

from audio_utils.data.sound import sound_of_clip
from audio_utils.data.sounds import Sound, class_of, find_sounds
from audio_utils.evaluation import drawing, intervals, learning_curve_fit, mistake_cards, next_steps, panels, plots
from audio_utils.evaluation.background import of_page
from audio_utils.evaluation.class_table import auc_dots, class_table, threshold_rows
from audio_utils.evaluation.direction_plot import page_content
from audio_utils.evaluation.findings import Findings, about, find_shared, training_names
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.evaluation.mislabeled import rows as mislabeled_rows
from audio_utils.evaluation.mistake_cards import Source
from audio_utils.evaluation.thresholds import FEW_POSITIVES
from audio_utils.runtime import safe_files, tables
from audio_utils.runtime.console import warn
from audio_utils.runtime.errors import UserError

if TYPE_CHECKING:
    import jinja2

MAX_MATRIX = 200  # classes in the page's confusion matrix
MAX_ERRORS = 8  # most frequent errors listed beside it
MAX_LABEL = 18  # columns of a class name in tables


def write(path: Path, findings: Findings, max_mistakes: int, samples: Path, preproc: Path) -> str:
    """Write the page with up to `max_mistakes` mistakes, the most confident first. Returns a sentence about it.

    Warns, as the page does, if clips of one recording make the score too optimistic.
    samples, preproc: the folders of sounds and melgrams; missing files are left out of the page.
    """
    findings = findings._replace(evaluation=findings.evaluation.in_natural_order())
    sounds, own_folder = sounds_of(samples), samples if findings.source else None
    mistakes = findings.evaluation.mistakes
    cards, frames = clip_cards(findings, mistakes[:max_mistakes], sounds, mistake_cards.card)
    training = training_names(sounds, preproc, findings)
    shared = find_shared(findings, sounds, training, preproc)
    classes = class_table(findings.evaluation, findings.scores, Counter(map(class_of, training)))
    return write_page(path, "report.html.jinja", findings.evaluation.class_names, {
        "folder": (own_folder or Path()).resolve().name, "written": datetime.now(), "scores": findings.scores,
        "mistakes": cards, "mistake_count": len(mistakes), "about": about(findings, sounds),
        "classes": classes, "auc_dots": auc_dots(classes["rows"]),
        "thresholds": threshold_rows(findings.evaluation.class_names, findings.scores),
        "background": of_page(findings.scores), "few_positives": FEW_POSITIVES,
        "balance": "" if findings.balance == "none" else findings.balance,
        "directions": page_content(findings.evaluation, findings.scores),
        "warnings": [each for each in (findings.warning, shared.warning) if each],
        "steps": next_steps.choose(findings.evaluation, next_steps.Data(
            Counter(map(class_of, training)), findings.validation_clips, any(each.split == "Val" for each in sounds),
            own_folder, bool(findings.folds)), shared.remedy, learning_curve_fit.advice(findings.learning_curve)),
        "folds": folds_table(findings.folds or {}),
        "mislabeled": mislabeled_rows(findings.evaluation) if findings.folds else [],
        **axes_of_melgrams(findings, frames),
        "resamples": intervals.RESAMPLES,
        "confusion": _confusion(findings.evaluation), **_calibration(findings.evaluation),
        **training_plots(findings)}, shared.warning)


def clip_cards(findings: Findings, shown: np.ndarray, sounds: list[Sound], card: Callable[..., dict[str, Any]],
               classes: np.ndarray | None = None) -> tuple[list[dict[str, Any]], int]:
    """The cards of these mistakes, and the number of frames that they show.

    shown: indices in the evaluation. card: from mistake_cards. classes: the outputs that the occlusion maps explain.
    """
    evaluation, clips = findings.evaluation, findings.clips
    index_of = {name: i for i, name in enumerate(clips.names)}
    indices = np.array([index_of[evaluation.names[i]] for i in shown], int)
    frames = mistake_cards.frames_to_show(clips.melgrams[indices])
    paths = {sound.name: sound.path for sound in sounds if sound.split in (None, findings.split)}
    paths = {normalize("NFC", name): path for name, path in paths.items()} | paths  # as eval_network.py finds classes
    maps = [None] * len(shown)
    if findings.occlusion and len(shown):
        maps = findings.occlusion(indices, frames, *(() if classes is None else (classes,)))
    return [card(evaluation, i, clips.melgrams[index][:, :frames], findings.settings,
                 _source_of(evaluation.names[i], paths, findings.long_files), occlusion)
            for i, index, occlusion in zip(shown, indices, maps, strict=True)], frames


def _source_of(name: str, paths: dict[str, Path], mode: str) -> Source:
    """The file of a clip, and its number in that; paths: name of a sound → file. mode: LONG_FILES."""
    for sound, number in filter(None, [(name, 0), sound_of_clip(name)]):
        if path := paths.get(sound, paths.get(normalize("NFC", sound))):
            return Source(path, number, mode)
    return Source(None)


def sounds_of(samples: Path, multi_label: bool = False) -> list[Sound]:
    """The sounds of Samples/, none if it does not exist."""
    try:
        return find_sounds(samples, multi_label=multi_label)[0]
    except UserError:
        return []


# --- the template ---------------------------------------------------------------------------------------------------

def write_page(path: Path, template: str, class_names: list[str], content: dict[str, Any], warning: str) -> str:
    """Write the page, which states its own size; prints the warning. Returns a sentence about the page.

    template: the name of its file.
    """
    environment = _environment()
    environment.filters |= {"percent": percent, "auc": auc_or_dash, "uri": _data_uri, "size_text": size_text,
                            "short": _labels(class_names)}
    found = environment.get_template(template)
    size = len(found.render(content, size=0).encode(errors="replace"))
    page = found.render(content, size=size).encode(errors="replace").decode()  # a file name need not be UTF-8
    safe_files.write_text(path, page)
    if warning:
        warn(warning)
    cards = content["mistakes"]
    with_audio = sum(each["audio"] is not None for each in cards)
    shows = f"; shows {len(cards)} of {content['mistake_count']} mistakes, {with_audio} with audio" if cards else ""
    return f"{path}: {size_text(len(page.encode()))}{shows}."


@functools.cache  # so that the template is compiled once
def _environment() -> "jinja2.Environment":
    import jinja2
    return jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=jinja2.StrictUndefined)


def _labels(names: list[str]) -> Callable[[str], str]:
    """A function from a name, of a class or anything else, to a short label."""
    labels = dict(zip(names, tables.shorten_distinct(names, MAX_LABEL), strict=True))
    return lambda name: labels.get(name) or tables.shorten(name, MAX_LABEL)


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
    correct, confidence = evaluation.correct, evaluation.confidence
    bins, error = intervals.reliability(confidence, correct)
    return {"baseline_accuracy": evaluation.confusion.sum(axis=1).max() / len(correct),
            "baseline_loss": math.log(len(evaluation.class_names)),
            "calibration_error": error, "bins": len(bins),
            "calibration_finding": calibration_finding(confidence, correct),
            "reliability_diagram": svg(panels.draw_reliability, bins)}


def calibration_finding(confidence: np.ndarray, correct: np.ndarray) -> str:
    """The mean confidence compared with the accuracy; confidence: (clips,). correct: bool (clips,)."""
    return (f"{intervals.calibration(confidence, correct)}: mean confidence {confidence.mean():.1%}, accuracy "
            f"{correct.mean():.1%}")


def folds_table(folds: dict[str, Evaluation]) -> list[tuple]:
    """(name, accuracy, its interval, loss, files) of each fold."""
    return [(name, result.accuracy, result.accuracy_interval, result.loss, len(result.names))
            for name, result in folds.items()]


def _confusion(evaluation: Evaluation) -> dict[str, Any]:
    """The confusion matrix as rows of (files, fraction of the row's files), and its most frequent errors."""
    counts, names = evaluation.confusion, evaluation.class_names
    fractions = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    errors = counts - np.diag(counts.diagonal())
    most = [np.unravel_index(i, errors.shape) for i in np.argsort(-errors, axis=None, kind="stable")[:MAX_ERRORS]]
    return {"finding": plots.confusion_finding(counts, names), "names": names,
            "errors": [(names[i], names[j], int(errors[i, j]), int(counts[i].sum())) for i, j in most if errors[i, j]],
            "rows": [list(zip(*pair, strict=True)) for pair in zip(counts.tolist(), fractions.tolist(), strict=True)]
            if len(counts) <= MAX_MATRIX else []}


def axes_of_melgrams(findings: Findings, frames: int) -> dict[str, Any]:
    """The ticks and the color scale of the melgrams; frames: the number that each shows."""
    return {"hz_ticks": mistake_cards.hz_ticks(findings.settings),
            "time_ticks": mistake_cards.time_ticks(findings.settings, frames),
            "color_scale": panels.melgram_png(np.linspace(-panels.MELGRAM_DB, 0, panels.MELGRAM_DB)[None], 0),
            "melgram_db": panels.MELGRAM_DB, "full_color_points": round(100 * panels.FULL_COLOR_FALL)}


def training_plots(findings: Findings) -> dict[str, Any]:
    """The training curves and the learning curve, with their findings."""
    history = findings.history
    return {"history_finding": panels.history_finding(history) if history else "",
            "history_plots": [svg(panels.draw_history, history, name) for name in ("loss", "accuracy") if history],
            "learning_curve": _learning_curve(findings.learning_curve)}


def _learning_curve(scores: dict[str, Any] | None) -> dict[str, Any] | None:
    """The plots of the learning curve and their finding, if there is one."""
    return scores and {"finding": learning_curve_fit.finding(scores), "validation_clips": scores["validation_clips"],
                       "plots": [svg(draw, scores) for draw in (learning_curve_fit.draw_accuracy,
                                                                 learning_curve_fit.draw_loss)]}


def svg(*drawn: Any) -> str:
    import markupsafe
    return markupsafe.Markup(drawing.svg(*drawn))
