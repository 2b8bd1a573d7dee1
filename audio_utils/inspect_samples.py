"""Inspect Samples/ before preprocessing: what it contains, and its problems.

Reads   Samples/<class>/*, or Samples/Train/<class>/* and Samples/Test/<class>/*; decodes every sound; with
        MULTI_LABEL, Samples/labels.csv
Writes  samples.png    number, durations and levels of the sounds of each class

    python audio_utils/inspect_samples.py
    python audio_utils/inspect_samples.py --silent-db -50
    python audio_utils/inspect_samples.py --multi-label    # several classes of a sound, as in preprocess_data.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from audio_utils.audio.audio_io import AudioInfo
from audio_utils.audio.long_sounds import BEGINNING
from audio_utils.data import checks, inspection, multi_label, preproc
from audio_utils.data.inspection import SoundStatistics
from audio_utils.data.look_alikes import suggest_group_by
from audio_utils.data.recordings import find_recordings
from audio_utils.data.sounds import SAMPLES, SPLITS, Skipped, Sound, find_sounds
from audio_utils.evaluation import plots
from audio_utils.runtime import command_line, signals, tables
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.console import say

SILENT_DB = -60.0    # dBFS; a sound that never exceeds it is silent (about the noise of a quiet room)
NEARLY_EMPTY = 0.05  # fraction of the class's median duration without silence; a sound below it is nearly empty
CLIPPED = 0.001      # fraction of a sound's samples; with more of them clipped, it is audibly distorted
MULTI_LABEL = False  # True: sounds have the labels in Samples/labels.csv; also if Preproc/ was made with it
JOBS = None          # processes; None: one per core; or the address of a Dask scheduler
                     # ("tcp://host:8786"), whose workers share this folder: see audio_utils/README.md

_LIMITS = {"SILENT_DB": Limits(float, -140, 0), "NEARLY_EMPTY": Limits(float, 0, 1), "CLIPPED": Limits(float, 0, 1),
           "JOBS": Limits(int, 1, optional=True, address=True)}
_PLOT = Path("samples.png")
_MAX_COMBINATIONS = 10  # of labels, in the table


def main() -> None:
    options = command_line.parse(globals(), _LIMITS)
    signals.on_stop("Stopped; nothing was written.")
    start = time.monotonic()
    constants, findings = preprocessing_constants(), []
    has_labels = options.multi_label or constants.get("MULTI_LABEL", False)
    sounds, skipped = find_sounds(SAMPLES, multi_label=has_labels)
    labels = multi_label.of_sounds(sounds, SAMPLES, findings.append)[0] if has_labels else None
    if has_labels:
        sounds = list(labels)
    elif unused := multi_label.hint(SAMPLES):
        findings.append(unused)
    statistics, errors = inspection.measure_all(sounds, options.silent_db, options.jobs)
    unreadable = [Skipped.of(sound.path, error) for sound, error in
                  zip([sound for sound in sounds if sound not in statistics], errors, strict=True)]
    per_class = inspection.by_label(statistics, labels)
    problems = inspection.find_problems(per_class, options.nearly_empty, options.clipped)
    headers = {sound.file: each.info for sound, each in statistics.items()}
    truncated = [path for path, info in headers.items() if info.cut_short]
    findings += [*checks.summarize(skipped + unreadable),
                 *inspection.about_files(truncated, "truncated; the available part is used unless you replace"),
                 *checks.check_headers(list(statistics), headers, clip_seconds=clip_seconds(constants), labels=labels),
                 *inspection.describe_problems(problems, options.silent_db),
                 *suggested_groups(list(statistics), headers, constants)]
    say_tables(list(inspection.by_label(dict.fromkeys(sounds), labels)), per_class, problems)
    if labels is not None:
        say_combinations(inspection.combinations(labels.values()))
    if findings:
        say("\n".join(["", *findings]))
    classes = {sound.class_name for sound in per_class}
    title = summary(statistics, len(classes - {multi_label.NO_LABEL} if has_labels else classes), len(findings))
    say(f"\n{title}.")
    if statistics:
        plots.samples(_PLOT, summaries(per_class, problems), title)
        say(f"Written: {_PLOT}, in {time.monotonic() - start:.1f} s.")


def preprocessing_constants() -> dict[str, Any]:
    """Those of preprocess_data.py with which Preproc/ was made; {} if there is none."""
    usable = preproc.usable_settings(preproc.PREPROC)
    return usable[1]["constants"] | {"CLIP_SECONDS": usable[0].clip_seconds} if usable else {}


def clip_seconds(constants: dict[str, Any]) -> float | None:
    """The length to which long sounds are cut; None if only their beginning is used."""
    return constants["CLIP_SECONDS"] if constants.get("LONG_FILES", BEGINNING) != BEGINNING else None


def suggested_groups(sounds: list[Sound], headers: dict[str, AudioInfo], constants: dict[str, Any]) -> Iterator[str]:
    """The GROUP_BY that preprocess_data.py would suggest, unless Preproc/ has one already."""
    if constants.get("GROUP_BY"):
        return iter(())
    return suggest_group_by(sounds, find_recordings(sounds, {}, headers))


def say_tables(sounds: list[Sound], statistics: dict[Sound, SoundStatistics],
               problems: dict[str, list[Sound]]) -> None:
    """The files, durations (min, median, max in s, total in minutes) and formats of each class, and its problems."""
    members = {name: [sound for sound in sounds if sound.class_name == name]
               for name in tables.in_natural_order({sound.class_name for sound in sounds})}
    splits = [split for split in (*SPLITS, None) if any(sound.split == split for sound in sounds)]
    rows = [[name, *(str(sum(sound.split == split for sound in each)) for split in splits),
             *cells([statistics[sound] for sound in each if sound in statistics])] for name, each in members.items()]
    titles = ["class", *(split or "files" for split in splits),
              "min s", "median", "max s", "minutes", "dBFS", "chan.", "Hz"]
    say("\n".join(tables.table([titles, *rows])))
    problems = problems | {"unreadable": [sound for sound in sounds if sound not in statistics]}
    if found := {name: set(each) for name, each in problems.items() if each}:
        rows = [[name, *(str(len(each.intersection(sounds)) or "-") for each in found.values())]
                for name, sounds in members.items() if any(each.intersection(sounds) for each in found.values())]
        say("\n".join(["", *tables.table([["class", *found], *rows])]))


def say_combinations(found: list[tuple[str, int]]) -> None:
    """The most frequent combinations of labels; found: (labels, number of sounds) of each."""
    rows = [[labels, str(count)] for labels, count in found[:_MAX_COMBINATIONS]]
    say("\n".join(["", *tables.table([["labels of a sound", "sounds"], *rows])]))
    if len(found) > len(rows):
        count = sum(count for _, count in found[len(rows):])
        say(f"{len(found) - len(rows)} more combinations: {count} sounds")


def cells(statistics: list[SoundStatistics]) -> list[str]:
    """The statistics of a class as text."""
    if not statistics:
        return ["-"] * 7
    seconds, levels = [each.seconds for each in statistics], [each.level_db for each in statistics]
    formats = [{getattr(each.info, name) for each in statistics} for name in ("channels", "rate")]
    return [*(f"{value:.2f}" if value < 100 else f"{value:.0f}"
              for value in (min(seconds), np.median(seconds), max(seconds))), f"{sum(seconds) / 60:.1f}",
            f"{np.median(levels):.0f}", *("mixed" if len(values) > 1 else str(*values) for values in formats)]


def summary(statistics: dict[Sound, SoundStatistics], classes: int, findings: int) -> str:
    """A summary in one line; classes, findings: their numbers."""
    minutes = sum(each.seconds for each in statistics.values()) / 60
    return (f"{len(statistics)} sounds in {classes} class{'es' * (classes != 1)}, {minutes:.1f} minutes: "
            + (f"{findings} finding{'s' * (findings > 1)}" if findings else "no problems found"))


def summaries(statistics: dict[Sound, SoundStatistics], problems: dict[str, list[Sound]]) -> dict[
        str, plots.ClassSummary]:
    """Class → its summary, for the plot."""
    flagged = {problem: set(found) for problem, found in problems.items()}
    return {name: plots.ClassSummary(Counter(sound.split for sound in sounds),
                                     np.array([statistics[sound].seconds for sound in sounds]),
                                     np.array([statistics[sound].level_db for sound in sounds]),
                                     {problem: np.array([sound in found for sound in sounds])
                                      for problem, found in flagged.items()})
            for name, sounds in checks.by_class({sound: sound for sound in statistics}).items()}


if __name__ == "__main__":
    script.run(main)
