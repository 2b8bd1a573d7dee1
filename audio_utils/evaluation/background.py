"""Background classes: they are learned like other classes but never reported; the prediction is "none of these".

A false alarm is a background clip that gets another class. A lost sound is a clip of another class that is predicted
as "none of these".
"""

from collections.abc import Sequence
from typing import Any
from unicodedata import normalize

import numpy as np

from audio_utils.data.checks import named
from audio_utils.evaluation import intervals, thresholds
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.runtime import tables
from audio_utils.runtime.console import say
from audio_utils.runtime.errors import UserError

MISSING = "Without a background class, noise is assigned to some class; see BACKGROUND_CLASSES in train_network.py."
EXPLANATION = ('False alarms: background that gets a class. Lost sounds: those of other classes that are "none of '
               'these".')
_USUAL_NAMES = {"background", "noise"}
_SECONDS_PER_HOUR = 3600


# --- BACKGROUND_CLASSES ---------------------------------------------------------------------------------------------

def check(text: object) -> None:
    """Raise UserError unless BACKGROUND_CLASSES is a text."""
    if not isinstance(text, str):
        raise UserError(f"BACKGROUND_CLASSES is {text!r}; set it to the names of classes, separated by commas, as one "
                        'text: "background,noise".')


def parse(text: str, class_names: list[str]) -> list[str]:
    """The names of the background classes in BACKGROUND_CLASSES, in the order of `class_names`.

    A class may have commas in its name. Raises UserError if a name is not that of a class, or if no other class is
    left. One other class makes a detector.
    """
    parts = text.split(",") if text.strip() else []
    found = set()
    while parts:
        name, count = _first_name(parts, class_names)
        if name is None:
            raise UserError(f"BACKGROUND_CLASSES is {text!r}, but {parts[0].strip()!r} is not a class; the classes are "
                            f"{named(class_names)}.")
        found.add(name)
        del parts[:count]
    if found.issuperset(class_names):
        raise UserError(f"BACKGROUND_CLASSES is {text!r}: no class is left that is not background; add sounds of "
                        "others, or remove a name.")
    return [name for name in class_names if name in found]


def _first_name(parts: list[str], class_names: list[str]) -> tuple[str | None, int]:
    """The class that the first parts of a text name, as many as possible, and their number; None if there is none.

    Unicode normalization forms (macOS has its own), and spaces around a name, may differ.
    """
    by_name = {normalize("NFC", name): name for name in class_names} | {name: name for name in class_names}
    for count in range(len(parts), 0, -1):
        text = ",".join(parts[:count])
        for name in (text, text.strip(), normalize("NFC", text.strip())):
            if name in by_name:
                return by_name[name], count
    return None, 0


def hint(text: str, class_names: list[str]) -> str:
    """A sentence if BACKGROUND_CLASSES is empty and classes have the usual names of background, else ""."""
    usual = [name for name in class_names if name.lower() in _USUAL_NAMES]
    if text.strip() or not usual or len(class_names) == len(usual):
        return ""
    subject = f"Class {usual[0]} is" if len(usual) == 1 else f"Classes {' and '.join(usual)} are"
    return (f"{subject} reported as any other; with --background-classes {','.join(usual)}, predict_class.py says "
            '"none of these" instead.')


def announce(text: str, class_names: list[str]) -> None:
    """Raise UserError if BACKGROUND_CLASSES does not fit these classes; otherwise print the hint, if there is one."""
    parse(text, class_names)
    if advice := hint(text, class_names):
        say(advice)


def check_names(background: list[str], class_names: list[str]) -> None:
    """Raise ValueError or TypeError unless these are classes, in their order, and another class is left."""
    if not isinstance(background, list) or background != [name for name in class_names if name in background]:
        raise TypeError("background classes")
    if len(class_names) == len(background):
        raise ValueError("background classes")


# --- false alarms and lost sounds -----------------------------------------------------------------------------------

def add_false_alarms(scores: dict[str, Any], evaluation: Evaluation, background: Sequence[str],
                     clip_seconds: float) -> dict[str, Any]:
    """The content of scores.json, with false alarms and lost sounds if there are background classes.

    They are those of predict_class.py for each MIN_PROBABILITY: 0 and, if the scores contain thresholds of the network,
    the kinds of these. clip_seconds: the length of a clip, each of which gets one prediction.
    """
    if not background:
        return scores
    is_background = np.array([name in background for name in evaluation.class_names])[evaluation.labels]
    chosen = scores.get("thresholds", {})
    at = {}
    for value in (0, *(thresholds.KINDS if chosen else ())):
        lowest = thresholds.lowest_probabilities(value, chosen, evaluation.class_names, "", background)
        is_reported = evaluation.confidence >= lowest[evaluation.predicted]
        at[str(value)] = _alarms(is_reported[is_background], clip_seconds) | _lost(~is_reported[~is_background])
    return scores | {"background": {
        "classes": list(background), "clips": int(is_background.sum()), "clip_seconds": clip_seconds,
        "other_clips": int((~is_background).sum()), "min_probability": at}}


def _alarms(is_alarm: np.ndarray, clip_seconds: float) -> dict[str, Any]:
    """The false alarms: their number, and the rates with 95% intervals; is_alarm: bool (background clips,)."""
    count, total = int(is_alarm.sum()), len(is_alarm)
    low, high = intervals.wilson(count, total) if total else (None, None)
    return {"false_alarms": count, "false_alarms_per_100_clips": 100 * count / total if total else None,
            "false_alarms_per_100_clips_interval": (100 * low, 100 * high) if total else None,
            "false_alarms_per_hour": count / total * _SECONDS_PER_HOUR / clip_seconds if total else None}


def _lost(is_lost: np.ndarray) -> dict[str, Any]:
    """The lost sounds: their number, and their fraction with its 95% interval; is_lost: bool (other clips,)."""
    count, total = int(is_lost.sum()), len(is_lost)
    return {"lost": count, "lost_fraction": count / total if total else None,
            "lost_interval": intervals.wilson(count, total) if total else None}


# --- text -----------------------------------------------------------------------------------------------------------

HEADER = ("min-probability", "false alarms", "per 100", "95% interval", "per hour", "lost sounds")


def rows(scores: dict[str, Any]) -> list[list[str]]:
    """The table under HEADER: a row for each MIN_PROBABILITY in scores.json; no rows without background classes."""
    found = scores.get("background", {"min_probability": {}})
    return [[value, *_alarm_cells(at, found["clips"]), f"{at['lost']} ({at['lost_fraction']:.1%})"
             if found["other_clips"] else "-"] for value, at in found["min_probability"].items()]


def _alarm_cells(at: dict[str, Any], clips: int) -> list[str]:
    if not clips:
        return ["-"] * 4
    return [str(at["false_alarms"]), f"{at['false_alarms_per_100_clips']:.1f}",
            "{:.1f} to {:.1f}".format(*at["false_alarms_per_100_clips_interval"]), f"{at['false_alarms_per_hour']:.0f}"]


def summary(scores: dict[str, Any]) -> str:
    """The numbers of background clips and of other clips, as a phrase."""
    found = scores["background"]
    return (f"{found['clips']:,} clips of {', '.join(found['classes'])} and {found['other_clips']:,} of other classes, "
            f"{found['clip_seconds']:.4g} s each")


def of_page(scores: dict[str, Any]) -> dict[str, Any] | None:
    """The table for report.html, None without background classes."""
    return {"finding": _finding(scores["background"]), "summary": summary(scores), "header": HEADER,
            "rows": rows(scores)} if "background" in scores else None


def _finding(found: dict[str, Any]) -> str:
    """The false alarms and the lost sounds without a MIN_PROBABILITY, as a clause."""
    at = found["min_probability"]["0"]
    alarms = f"{at['false_alarms']} of {found['clips']:,} background clips get a class" if found["clips"] else \
        "There are no background clips"
    return f"{alarms}, {at['lost']} of {found['other_clips']:,} other clips are lost to background"


def say_false_alarms(scores: dict[str, Any]) -> None:
    """Print the table; nothing without background classes."""
    if found := rows(scores):
        say("\n".join(["", f"Background: {summary(scores)}.", *tables.table([list(HEADER), *found]), EXPLANATION]))
