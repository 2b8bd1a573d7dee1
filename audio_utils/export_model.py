"""Export the trained network to formats that other programs read, and check that its predictions are the same.

Reads   weights.hdf5 and, for the check, Preproc/Test (or the test files of Samples/ if nothing is preprocessed); with
        --input audio, up to 100 sounds of Samples/
Writes  export/panotti_saved_model/    TensorFlow's own format, also for TensorFlow Serving
        export/panotti.tflite          LiteRT, formerly TensorFlow Lite: phones, Raspberry Pi
        export/panotti.onnx            ONNX Runtime, for programs in C, C#, Java, JavaScript, Rust …
        export/panotti.json            class names, background classes, settings of the melgrams; with MULTI_LABEL, the
                                       thresholds; also in each export

    python audio_utils/export_model.py
    python audio_utils/export_model.py --input audio
    pip install onnx tf2onnx onnxruntime          # needed for onnx
    python audio_utils/export_model.py --formats onnx,tflite

Each takes melgrams, float32 (clips, mels, frames, channels) in dB, as audio_utils/audio/melgram.py computes them, and
returns probabilities (clips, classes). With --input audio, the melgram is part of the export, which takes audio at the
network's sample rate, float32 (clips, channels, samples); audio_utils/README.md has an example.

An export is written only if its probabilities agree with those of weights.hdf5. One that exists is checked and kept, so
after ^C or a crash the same command exports the rest.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
import hashlib
from argparse import Namespace
from typing import Any

import numpy as np

import preprocess_data
from audio_utils.data import dataset
from audio_utils.evaluation import label_scores
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference import export, export_clips
from audio_utils.inference.checkpoint import WEIGHTS, Checkpoint
from audio_utils.inference.export import Reference
from audio_utils.inference.export_clips import ExportClips
from audio_utils.runtime import command_line, safe_files, signals
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError

INPUT = "melgram"               # "audio": the exports contain the melgram, and take audio of the length of a clip
FORMATS = "saved_model,tflite"  # any of saved_model, tflite, onnx, separated by commas
TOLERANCE = 0.0001              # maximum difference of the probabilities
BATCH_SIZE = 64                 # melgrams; for the check, in which audio is processed clip by clip
OVERWRITE = False               # True: replace existing exports

_LIMITS = {"BATCH_SIZE": Limits(int, 1), "TOLERANCE": Limits(float, 0)}
_JSON = export.EXPORT / export.METADATA
_NOISE_CLIPS = 32  # for the check if there are no Test clips
_INPUTS = {
    "melgram": "melgrams in dB, float32 (clips, mels, frames, channels): audio_utils/audio/melgram.py",
    "audio": "audio, float32 (clips, channels, samples), at settings.sample_rate; if a sound is shorter, subtract the "
             "mean of each channel, then pad it with zeros"}


def main() -> int:
    options = command_line.parse(globals(), _LIMITS)
    names = chosen_formats(options.formats)
    if options.input not in _INPUTS:
        raise UserError(f"INPUT is {options.input!r}; set it to {' or '.join(_INPUTS)}.")
    signals.on_stop("Stopped. Finished exports are kept; run the same command again"
                    f"{'' if options.overwrite else ' for the others'}.")
    checkpoint = checkpoints.read(WEIGHTS)
    about = metadata(checkpoint, options.input)
    exported = previous_exports(names, about, options.overwrite)
    possible = [name for name in names if has_packages(name)]
    done = export_all(possible, checkpoint, about, exported, options) if possible else []
    return int(done != names)


def export_all(names: list[str], checkpoint: Checkpoint, about: dict[str, Any], exported: dict[str, dict],
               options: Namespace) -> list[str]:
    """Write the formats, or check those that exist; returns the names of those that are in place.

    about: the metadata. exported: those in panotti.json.
    """
    takes_audio = options.input == "audio"
    folders = None if checkpoint.multi_label else checkpoint.class_names
    clips = export_clips.of_samples(checkpoint.settings, folders) if takes_audio else melgrams_to_check(checkpoint)
    model, expected = export.load(WEIGHTS, checkpoint, clips.melgrams, options.batch_size, takes_audio)
    reference = Reference(clips.inputs, expected, 1 if takes_audio else options.batch_size, options.tolerance)
    kept = [name for name in names if export.FORMATS[name].path.exists() and not options.overwrite]
    exported = {name: each for name, each in exported.items() if name in kept or name not in names}
    if _JSON.exists():  # after a crash, it must not describe exports that were replaced
        write_description(about, exported)
    done = []
    for name in names:
        path = export.FORMATS[name].path
        try:
            difference = (export.check(name, reference) if name in kept else
                          export.export(name, model, about, reference))
        except UserError as error:
            warn(str(error))
            continue
        done.append(name)
        exported[name] = {"file": path.name, "max_difference": difference}
        write_description(about, exported)
        say(f"{path}: {'already exists; ' * (name in kept)}probabilities of {clips.description} differ by at most "
            f"{difference:.1g}.")
    return done


def chosen_formats(formats: str) -> list[str]:
    """The names in FORMATS, in order."""
    names = [name.strip() for name in formats.split(",")]
    if len(set(names)) < len(names) or not set(names) <= set(export.FORMATS):
        raise UserError(f"FORMATS is {formats!r}; choose from {', '.join(export.FORMATS)}, separated by commas.")
    return names


def previous_exports(names: list[str], about: dict[str, Any], overwrite: bool) -> dict[str, dict]:
    """The formats in panotti.json, if they were exported from the same weights, for the same input.

    Raises UserError if another export would be replaced without OVERWRITE, or would remain.
    """
    before = safe_files.read_json(_JSON, "remove it and run export_model.py again") if _JSON.exists() else {}
    same = all(before.get(key) == about[key] for key in ("weights_sha256", "input_shape"))
    for name, path in ((name, each.path) for name, each in export.FORMATS.items() if each.path.exists()):
        if name in names and before and not same and not overwrite:
            raise UserError(f"{path}: was exported from other weights, or for another input; add --overwrite to "
                            "replace it.")
        if name not in names and not (same and name in before.get("formats", {})):
            raise UserError(f"{path}: may be from other weights, or for another input; remove it, or add {name} to "
                            "FORMATS.")
    return before.get("formats", {}) if same else {}


def weights_sha256() -> str:
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()


def has_packages(name: str) -> bool:
    """Whether the packages for a format are installed; prints the missing ones."""
    missing = export.FORMATS[name].missing_packages
    if missing:
        warn(f"{name}: needs {' and '.join(missing)}; pip install {' '.join(missing)}, then use --formats {name}.")
    return not missing


def melgrams_to_check(checkpoint: Checkpoint) -> ExportClips:
    """The melgrams of the Test clips, or of noise if there are none."""
    try:
        constants = command_line.constants(preprocess_data, checkpoint.preprocessing_constants)
        clips = dataset.open_dataset(constants, checkpoint.settings).load("Test", checkpoint.class_names)
        problem = "There are no Test clips."
    except UserError as error:
        clips, problem = [], str(error)
    if len(clips):
        return ExportClips(clips.melgrams, clips.melgrams, f"{len(clips)} Test clips")
    warn(f"{problem} The check uses noise instead.")
    noise = np.random.default_rng(1).standard_normal((_NOISE_CLIPS, *checkpoint.settings.shape), np.float32)
    mean, variance = (each[:, None, None] for each in checkpoint.standardization)
    melgrams = mean + np.sqrt(variance) * noise
    return ExportClips(melgrams, melgrams, f"{_NOISE_CLIPS} clips of noise")


def write_description(about: dict[str, Any], formats: dict[str, dict]) -> None:
    """Write panotti.json."""
    safe_files.write_json(_JSON, about | {"formats": formats})


def metadata(checkpoint: Checkpoint, its_input: str) -> dict[str, Any]:
    """The content of panotti.json, except for the formats; it is added to each export."""
    settings = checkpoint.settings
    shape = settings.shape if its_input == "melgram" else (settings.channels, settings.clip_samples)
    return {"network": checkpoint.network, "class_names": checkpoint.class_names,
            "background_classes": checkpoint.background_classes,
            "settings": settings.to_dict(), "input": _INPUTS[its_input], "input_shape": [None, *shape],
            "output": "probabilities, float32 (clips, classes), in the order of class_names",
            "weights_sha256": weights_sha256(), **labeling(checkpoint)}


def labeling(checkpoint: Checkpoint) -> dict[str, Any]:
    """How to predict classes with MULTI_LABEL, {} without it."""
    if not checkpoint.multi_label:
        return {}
    lowest = label_scores.decision_thresholds(0, checkpoint.thresholds, checkpoint.class_names, WEIGHTS)
    return {"multi_label": "the probabilities are independent; a class is predicted if its probability is at least its "
                           "threshold",
            "thresholds": dict(zip(checkpoint.class_names, lowest.tolist(), strict=True))}


if __name__ == "__main__":
    script.run(main)
