"""Sounds on which the exports that take audio are checked."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from audio_utils.audio import audio_io, dc_offset, melgram
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.audio.resampling import fix_length
from audio_utils.data import index
from audio_utils.data.matching import path_of, prefix_of
from audio_utils.data.preproc import PREPROC
from audio_utils.data.sounds import SAMPLES, find_sounds
from audio_utils.runtime.console import warn
from audio_utils.runtime.errors import UserError, sentence

_MAX_SOUNDS, _MAX_BYTES = 100, 1 << 28
_NOISE_CLIPS, _NOISE = 32, 1e-3  # noise: relative to the amplitude of a tone


class ExportClips(NamedTuple):
    """Inputs of the exports, and the melgrams that predict_class.py computes of them."""
    inputs: np.ndarray  # float32 (clips, channels, samples), or the melgrams
    melgrams: np.ndarray  # float32 (clips, mels, frames, channels), dB
    description: str


def of_samples(settings: MelgramSettings, class_names: list[str] | None) -> ExportClips:
    """Sounds of these classes in Samples/, spread over all of them; or tones in noise if there are none.

    class_names: None for all sounds, as with MULTI_LABEL, where folders are not classes.
    """
    try:
        clips = [clip for path in _spread(_paths(class_names), settings) if (clip := _read(path, settings))]
        problem = f"{SAMPLES}/: contains no sound of the network's classes that can be read."
    except UserError as error:
        clips, problem = [], str(error)
    description = f"{len(clips)} sound{'s' * (len(clips) != 1)} of {SAMPLES}/"
    if not clips:
        warn(f"{problem} The check uses tones in noise instead.")
        clips = [clip_of(audio, settings) for audio in _tones(settings)]
        description = f"{len(clips)} tones in noise"
    return ExportClips(*map(np.stack, zip(*clips, strict=True)), description)


def _paths(class_names: list[str] | None) -> list[Path]:
    entries, prefix = index.read(PREPROC)[0], prefix_of(SAMPLES)
    sounds, _ = find_sounds(SAMPLES, lambda file: entries.get(path_of(file, prefix)))
    return [sound.path for sound in sounds if class_names is None or sound.class_name in class_names]


def _spread(paths: list[Path], settings: MelgramSettings) -> list[Path]:
    """As many as there is memory for, at equal distances."""
    size = 4 * settings.channels * settings.clip_samples + settings.bytes
    count = max(1, min(_MAX_SOUNDS, _MAX_BYTES // size, len(paths)))
    return [paths[i * len(paths) // count] for i in range(count)] if paths else []


def _read(path: Path, settings: MelgramSettings) -> tuple[np.ndarray, np.ndarray] | None:
    """The beginning of a file, as `clip_of`; None, with a message, if it can't be read."""
    try:
        audio, header = audio_io.read_seconds(path, settings.clip_seconds + melgram.RESAMPLING_MARGIN)
        return clip_of(melgram.conform(audio, header.rate, settings, path), settings)
    except (UserError, OSError) as error:
        warn(sentence(error))
        return None


def clip_of(audio: np.ndarray, settings: MelgramSettings) -> tuple[np.ndarray, np.ndarray]:
    """(input of an export, melgram) of audio (channels, samples) at the sample rate, no longer than a clip."""
    is_padded = settings.removes_dc and audio.shape[1] < settings.clip_samples
    padded = fix_length(dc_offset.remove(audio) if is_padded else audio, settings.clip_samples)
    return padded, melgram.melgram(audio, settings)


def _tones(settings: MelgramSettings) -> np.ndarray:
    """Clips of tones at random frequencies and levels, with faint noise: (clips, channels, samples)."""
    rng = np.random.default_rng(1)
    shape = (_NOISE_CLIPS, settings.channels, 1)
    radians = np.pi * rng.uniform(0, 1, shape) * np.arange(settings.clip_samples)
    tones = np.sin(radians) + _NOISE * rng.standard_normal(radians.shape)
    return (tones * rng.uniform(0.01, 1, shape)).astype(np.float32)
