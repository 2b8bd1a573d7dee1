"""report.html: one page on which to see and hear how good a network is. eval_network.py writes it.

The page holds all that it shows and asks nothing of any network: it can be sent by mail, and opened in ten years.
"""

import base64
import math
import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio_utils import audio_io, dataset, intervals, plots, safe_files
from audio_utils.dataset import Clips
from audio_utils.evaluation import Evaluation
from audio_utils.safe_files import UserError
from audio_utils.weights_file import Trained

LONGEST_SOUND = 30  # seconds of a player, so that the page can be sent by mail
MOST_CHANNELS = 8  # pictured of a clip
LARGEST_MATRIX = 200  # classes
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz


class Findings(NamedTuple):
    """What there is to report."""
    trained: Trained
    clips: Clips  # of Test
    evaluation: Evaluation  # of these clips
    curves: dict  # class name → (false positive rates, true positive rates, area under the curve)
    scores: dict  # as in scores.json


def write(path, findings, most, samples, preproc):
    """Write the page, with `most` mistakes at most to see and hear. Returns a sentence on it.

    samples, preproc: the folders of the sounds and the melgrams; the page does without what is missing there.
    """
    sounds = find_sounds(samples)
    paths = {sound.name: sound.path for sound in sounds}  # Train comes first, so that Test's file is the one kept
    places = findings.evaluation.mistakes[:most]
    frames = frames_to_show(findings.clips.melgrams[places])
    shown = [mistake(findings, i, paths, frames) for i in places]
    figures = headline(findings)
    page = fill({
        "folder": Path.cwd().name, "written": datetime.now(), "scores": findings.scores,
        "mistakes": shown, "mistakes_in_all": len(findings.evaluation.mistakes),
        "about": about(findings, sounds), "confusion": confusion(findings.evaluation),
        "classes": class_table(findings, files_to_train(sounds, preproc, findings.trained.record)),
        "hz_ticks": hz_ticks(findings.trained.settings), "time_ticks": time_ticks(findings.trained.settings, frames),
        "scale": plots.melgram_png(np.linspace(-plots.MELGRAM_DB, 0, plots.MELGRAM_DB)[None], 0),
        "depth": plots.MELGRAM_DB, "resamples": intervals.RESAMPLES, "bins": intervals.BINS,
        **figures, **pictures(findings, figures["reliability"])})
    safe_files.write_text(path, page)
    written = f"{path}: {size_of(len(page.encode()))}"
    if not shown:
        return f"{written}."
    heard = sum(each["sound"] is not None for each in shown)
    mistakes = len(findings.evaluation.mistakes)
    return f"{written}; of {mistakes} mistakes it shows {len(shown)} and lets {heard} be heard."


def fill(content):
    """The page; its own size stands in it."""
    import jinja2
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "auc": show_auc, "uri": data_uri, "size_of": size_of}
    template = environment.get_template("report.html.jinja")
    size = len(template.render(content, size=0).encode(errors="replace"))
    return template.render(content, size=size).encode(errors="replace").decode()  # a name need not be UTF-8


def percent(share):
    return "–" if share is None or np.isnan(share) else f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"


def show_auc(area):
    return "–" if area is None else plots.auc_text(area)


def size_of(count):
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def data_uri(content, kind):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


# --- figures --------------------------------------------------------------------------------------------------------

def headline(findings):
    """The figures that stand above all, with their 95% intervals."""
    evaluation = findings.evaluation
    right, confidence = evaluation.predicted == evaluation.labels, evaluation.probabilities.max(axis=1)
    bins, calibration_error = intervals.reliability(confidence, right)
    return {"guessing": evaluation.confusion.sum(axis=1).max() / len(right),
            "guessing_loss": math.log(len(evaluation.class_names)),
            "reliability": bins, "calibration_error": calibration_error,
            "calibration_finding": calibration_finding(confidence.mean(), right)}


def calibration_finding(confidence, right):
    low, high = intervals.wilson(right.sum(), len(right))
    judgement = "Too sure of itself" if confidence > high else "It could be surer" if confidence < low \
        else "As sure as it should be"
    return f"{judgement}: mean confidence {confidence:.1%}, right {right.mean():.1%}"


def class_table(findings, to_train):
    """A dictionary for each class, and one for their means; what has no value is NaN or None."""
    from sklearn.metrics import precision_recall_fscore_support
    evaluation = findings.evaluation
    names, count = evaluation.class_names, len(evaluation.class_names)
    figures = np.array(precision_recall_fscore_support(evaluation.labels, evaluation.predicted, labels=range(count),
                                                       zero_division=np.nan)[:3])
    files = [findings.scores["classes"][name]["files"] for name in names]
    figures[1:, np.array(files) == 0] = np.nan  # nothing to be found
    rows = [{"name": name, "train": to_train[name], "test": files[i], "auc": findings.scores["classes"][name]["auc"],
             "precision": figures[0, i], "recall": figures[1, i], "f1": figures[2, i]} for i, name in enumerate(names)]
    means = [float(np.nanmean(each)) if not np.isnan(each).all() else None for each in figures]
    tested = [row for row in rows if row["test"]]
    return {"rows": rows, "hardest": min(tested, key=lambda row: row["recall"]),
            "all": {"train": sum(to_train[name] for name in names), "test": sum(files), "precision": means[0],
                    "recall": means[1], "f1": means[2], "auc": findings.scores["macro_auc"]}}


def confusion(evaluation):
    """The confusion matrix as rows of (count, share of the row's files)."""
    counts = evaluation.confusion
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    return {"finding": plots.confusion_finding(counts, evaluation.class_names),
            "rows": [list(zip(*pair, strict=True)) for pair in zip(counts.tolist(), shares.tolist(), strict=True)]
            if len(counts) <= LARGEST_MATRIX else []}


def pictures(findings, bins):
    """The <svg> of each picture, with what it says."""
    import markupsafe
    history, curves = findings.trained.progress.get("history") or [], findings.curves

    def picture(draw, *arguments):
        return markupsafe.Markup(plots.in_page(draw, *arguments))

    edges = [edge for edge in (1, plots.corner(curves)) if edge]
    return {"roc_finding": plots.roc_finding(curves, findings.scores["macro_auc"]), "roc_key": plots.roc_key(curves),
            "rocs": [picture(plots.draw_rocs, curves, edge) for edge in edges] if curves else [],
            "reliability_picture": picture(plots.draw_reliability, bins),
            "history_finding": plots.history_finding(history) if history else "",
            "histories": [picture(plots.draw_history, history, name) for name in ("loss", "accuracy") if history]}


# --- what was trained -----------------------------------------------------------------------------------------------

def find_sounds(samples):
    """The Sounds of Samples/, none where it is gone."""
    try:
        return dataset.find_sounds(samples)[0]
    except UserError:
        return []


def files_to_train(sounds, preproc, record):
    """Class → files to train on: those with melgrams, or, where nothing is preprocessed, those that the split gives."""
    names = [name for side, name in dataset.find_melgrams(preproc) if side == "Train"]
    if not names and sounds:
        rules = record.get("constants", {})
        sides = dataset.split(sounds, {}, rules.get("TEST_FRACTION", 0.2), rules.get("SEED", 1),
                              rules.get("KEEP_TOGETHER", ""))
        names = [sound.name for sound, side in zip(sounds, sides, strict=True) if side == "Train"]
    return Counter(name.rpartition("/")[0] for name in names)


def about(findings, sounds):
    """(name, text) of all that made this network."""
    trained, settings = findings.trained, findings.trained.settings
    history, rules = trained.progress.get("history") or [], trained.record.get("constants", {})
    ms = 1000 / settings.sample_rate
    validated = plots.validated_epochs(history)
    own = any(sound.side for sound in sounds)
    together = rules.get("KEEP_TOGETHER")
    training = [
        ("Epochs", f"{len(history)}; " + (
            f"the best one, {plots.best_epoch(history)['epoch']}, is reported on" if validated == len(history) else
            f"the last {len(history) - validated} on all files of Train; the last is reported on")),
        ("Learning rate", f"{history[0]['learning_rate']:g}, at the end {history[-1]['learning_rate']:g}"),
        ("Validated with", f"{len(trained.progress.get('validation', [])):,} of the files of Train"),
    ] if history else []
    return [
        ("Network", trained.network), *training,
        ("Split", "your own, Samples/Train and Samples/Test" if own else
         f"{rules.get('TEST_FRACTION', 0):.0%} of each class to Test, seed {rules.get('SEED')}"
         + (f", siblings by {together}" if together else "")),
        ("Clips", f"{settings.clip_seconds:.4g} s, {settings.channels} channel{'s' * (settings.channels > 1)}, "
                  f"{settings.sample_rate:,} Hz"),
        ("Melgrams", f"{settings.mels} mels, window {settings.window * ms:.1f} ms, hop {settings.hop * ms:.1f} ms"),
    ]


# --- the mistakes ---------------------------------------------------------------------------------------------------

def frames_to_show(melgrams):
    """How many frames of these clips (clips, mels, frames, channels) the longest sound takes; the rest is padding."""
    heard = [np.flatnonzero((clip > clip.min()).any(axis=(0, 2))) for clip in melgrams]
    return max([1 + int(frames[-1]) for frames in heard if len(frames)], default=melgrams.shape[2])


def mistake(findings, i, paths, frames):
    """All that the page shows of clip i, `frames` of its melgram among it."""
    evaluation, settings = findings.evaluation, findings.trained.settings
    name, chances, truth = evaluation.names[i], evaluation.probabilities[i], evaluation.labels[i]
    best = [*np.argsort(-chances, kind="stable")[:3]]
    melgram = findings.clips.melgrams[i]
    labels = {1: ["melgram"], 2: ["left", "right"]}.get(settings.channels) \
        or [f"channel {n + 1}" for n in range(settings.channels)]
    sound, remark = sound_of(paths[name], settings) if name in paths else (None, "its file is not in Samples/")
    return {"name": name, "truth": evaluation.class_names[truth], "found": evaluation.class_names[best[0]],
            "chances": [(evaluation.class_names[k], float(chances[k]), k == truth)
                        for k in best + [truth] * (truth not in best)],
            "channels": [(label, plots.melgram_png(melgram[:, :frames, n], melgram.max()))
                         for n, label in enumerate(labels[:MOST_CHANNELS])],
            "sound": sound, "remark": remark}


def sound_of(path, settings):
    """The part of a sound that the network heard, as the bytes of an mp3 for the player, and a remark on it.

    Every browser plays mp3. It has one or two channels, and few rates.
    """
    try:
        facts = audio_io.info(path)
        seconds = min(settings.clip_seconds, LONGEST_SOUND)
        audio, rate = audio_io.read(path, samples=math.ceil(seconds * facts.rate))
        playable = next((each for each in _MP3_RATES if each >= rate), _MP3_RATES[-1])
        mixed = audio if len(audio) <= 2 else audio.mean(axis=0, keepdims=True)
        with tempfile.TemporaryDirectory() as folder:
            audio_io.write(Path(folder) / "clip.mp3", audio_io.resample(mixed, rate, playable), playable)
            content = (Path(folder) / "clip.mp3").read_bytes()
    except UserError as error:
        return None, str(error)
    remark = f"{audio.shape[1] / rate:.3g} s"
    if facts.samples > audio.shape[1]:
        remark += f" of {facts.samples / rate:.4g} s"
    elif audio.shape[1] / rate < settings.clip_seconds:
        remark += f", then silence to {settings.clip_seconds:.3g} s"
    return content, remark + (f", {len(audio)} channels mixed" if len(audio) > 2 else "")


def hz_ticks(settings, closest=0.11):
    """(share of the height, label) of round frequencies on the mel axis; closest: their distance at least."""
    import librosa
    top = librosa.hz_to_mel(settings.sample_rate / 2)
    ticks = []
    for hertz in (digit * 10 ** power for power in range(1, 6) for digit in (1, 2, 5)):
        band = librosa.hz_to_mel(hertz) / top * (settings.mels + 1) - 1  # filter 0 is centred on 1 of mels + 1 steps
        height = (band + 0.5) / settings.mels
        if 0.02 < height < 0.99 and (not ticks or height - ticks[-1][0] > closest):
            ticks.append((height, f"{hertz} Hz" if hertz < 1000 else f"{hertz // 1000} kHz"))
    return ticks


def time_ticks(settings, frames):
    """(share of the width, label) of round times on a picture of so many frames."""
    from matplotlib.ticker import MaxNLocator
    times = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, frames * settings.hop / settings.sample_rate)
    places = [(time, (time * settings.sample_rate / settings.hop + 0.5) / frames) for time in times]
    return [(place, f"{time:g} s") for time, place in places if 0 <= place <= 0.96]
