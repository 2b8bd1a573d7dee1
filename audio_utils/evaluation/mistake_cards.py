"""The cards of report.html: melgram, audio and most probable classes of each clip with a wrong prediction."""

import math
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_utils.audio import audio_io, long_sounds, resampling
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.evaluation.label_scores import MultiLabelEvaluation, text_of
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.evaluation.panels import melgram_png, occlusion_png
from audio_utils.runtime.errors import UserError

MAX_SECONDS = 30  # of audio on one card, so that the page can be sent by email
MAX_CHANNELS = 8  # of a melgram on one card
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz


class Source(NamedTuple):
    """The part of a sound that a clip is of."""
    path: Path | None  # of the sound, None if it is not in Samples/
    number: int = 0  # of the clip; 0: the sound is not cut into several
    mode: str = long_sounds.BEGINNING  # LONG_FILES


def card(evaluation: Evaluation, i: int, melgram: np.ndarray, settings: MelgramSettings, source: Source,
         occlusion: np.ndarray | None = None) -> dict[str, Any]:
    """The content of clip i's card.

    melgram: (mels, shown frames, channels). occlusion: its map (mel blocks, time blocks), None if there is none.
    """
    name, probabilities, label = evaluation.names[i], evaluation.probabilities[i], evaluation.labels[i]
    top = [*np.argsort(-probabilities, kind="stable")[:3]]
    predicted = evaluation.class_names[top[0]]
    return {"name": name, "truth": evaluation.class_names[label], "predicted": predicted,
            "probabilities": [(evaluation.class_names[k], float(probabilities[k]), k == label)
                              for k in top + [label] * (label not in top)],
            "explained": predicted, "change": "falls", **_media(melgram, settings, source, occlusion)}


def label_card(evaluation: MultiLabelEvaluation, i: int, melgram: np.ndarray, settings: MelgramSettings, source: Source,
               occlusion: np.ndarray | None = None) -> dict[str, Any]:
    """The same with MULTI_LABEL: the missed, the extra and the found classes.

    occlusion: of `worst_class`; of a missed class, the increase of its probability is shown.
    """
    names, worst = evaluation.class_names, worst_class(evaluation, i)
    missed, extra, positive = evaluation.missed[i], evaluation.extra[i], evaluation.positives[i]
    shown = sorted(np.flatnonzero(missed | extra | positive), key=lambda k: -evaluation.probabilities[i, k])
    if missed[worst] and occlusion is not None:
        occlusion = -occlusion
    return {"name": evaluation.names[i], "truth": text_of(names, positive, separator=", "),
            "missed": text_of(names, missed, "", ", "), "extra": text_of(names, extra, "", ", "),
            "probabilities": [(names[k], float(evaluation.probabilities[i, k]), bool(positive[k])) for k in shown],
            "explained": names[worst], "change": "rises" if missed[worst] else "falls",
            **_media(melgram, settings, source, occlusion)}


def worst_class(evaluation: MultiLabelEvaluation, i: int) -> int:
    """The index of the missed or extra class whose probability is farthest from its threshold."""
    return int(evaluation.margins[i].argmax())


def _media(melgram: np.ndarray, settings: MelgramSettings, source: Source,
           occlusion: np.ndarray | None) -> dict[str, Any]:
    """The part of a card that is the same for all kinds of evaluations; arguments as in `card`."""
    channels = {1: ["melgram"], 2: ["left", "right"]}.get(settings.channels) \
        or [f"channel {n + 1}" for n in range(settings.channels)]
    audio, note = audio_of(source, settings) if source.path else (None, "the file is not in Samples/")
    return {"channels": [(title, melgram_png(melgram[:, :, n], melgram.max()))
                         for n, title in enumerate(channels[:MAX_CHANNELS])],
            "occlusion": None if occlusion is None else {"png": occlusion_png(occlusion), "points": _points(occlusion),
                                                         "blocks": occlusion.size},
            "audio": audio, "note": note}


def _points(occlusion: np.ndarray) -> int:
    """The largest decrease of the probability, in whole percentage points; 0 if it is less than one."""
    largest = 100 * float(occlusion.max())
    return round(largest) if largest >= 1 else 0


def audio_of(source: Source, settings: MelgramSettings) -> tuple[bytes | None, str]:
    """The part of a sound that the network analyzes, as MP3 for the page's player, and a note on it.

    Every browser plays MP3, which has one or two channels and a few sample rates. None if the file can't be read.
    """
    try:
        header = audio_io.info(source.path)
        seconds = min(settings.clip_seconds, MAX_SECONDS)
        start = long_sounds.start_of(source.path, settings, source.mode, source.number)
        if start >= header.samples:
            return None, f"{source.path} is shorter than when it was preprocessed"
        audio, rate = audio_io.read(source.path, start, math.ceil(seconds * header.rate))
        content = _mp3(audio if len(audio) <= 2 else audio.mean(axis=0, keepdims=True), rate)
    except UserError as error:
        return None, str(error)
    note = f"{audio.shape[1] / rate:.3g} s"
    if header.samples > audio.shape[1]:
        note += f" of {header.samples / rate:.4g} s" + (f", from {start / rate:.2f} s" if start else "")
    elif audio.shape[1] / rate < settings.clip_seconds:
        note += f", padded with silence to {settings.clip_seconds:.3g} s"
    return content, note + (f", {len(audio)} channels mixed to mono" if len(audio) > 2 else "")


def _mp3(audio: np.ndarray, rate: int) -> bytes:
    """float32 (channels, samples), one or two channels, as the content of an MP3 file."""
    mp3_rate = next((each for each in _MP3_RATES if each >= rate), _MP3_RATES[-1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp3"
        audio_io.write(path, resampling.resample(audio, rate, mp3_rate), mp3_rate)
        return path.read_bytes()


# --- the axes of the melgrams ---------------------------------------------------------------------------------------

def frames_to_show(melgrams: np.ndarray) -> int:
    """The number of frames of melgrams (clips, mels, frames, channels) up to the end of the longest sound.

    The frames after it are padding.
    """
    nonempty = [np.flatnonzero((melgram > melgram.min()).any(axis=(0, 2))) for melgram in melgrams]
    return max([1 + int(frames[-1]) for frames in nonempty if len(frames)], default=melgrams.shape[2])


def hz_ticks(settings: MelgramSettings, min_distance: float = 0.11) -> list[tuple[float, str]]:
    """(fraction of the height, label) of round frequencies on the mel axis."""
    ticks = []
    for hz in (digit * 10 ** power for power in range(1, 6) for digit in (1, 2, 5)):
        height = (settings.band_of_hz(hz) + 0.5) / settings.mels
        if 0.02 < height < 0.99 and (not ticks or height - ticks[-1][0] > min_distance):
            ticks.append((height, f"{hz} Hz" if hz < 1000 else f"{hz // 1000} kHz"))
    return ticks


def time_ticks(settings: MelgramSettings, frames: int) -> list[tuple[float, str]]:
    """(fraction of the width, label) of round times on a melgram with this number of frames."""
    from matplotlib.ticker import MaxNLocator
    times = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, frames * settings.hop / settings.sample_rate)
    ticks = [((time * settings.sample_rate / settings.hop + 0.5) / frames, f"{time:g} s") for time in times]
    return [(position, label) for position, label in ticks if 0 <= position <= 0.96]
