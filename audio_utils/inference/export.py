"""Export a trained network to other formats, and check it against the original; needs TensorFlow as the backend."""

import importlib.util
import io
import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime import environment, safe_files
from audio_utils.runtime.errors import UserError

EXPORT = Path("export")
METADATA = "panotti.json"  # in SavedModel and TFLite; in ONNX, the metadata "panotti"
Predict = Callable[[np.ndarray], np.ndarray]  # melgrams or audio → probabilities


class Reference(NamedTuple):
    """Inputs for the check of an export, and the probabilities of weights.hdf5."""
    inputs: np.ndarray  # float32 (clips, mels, frames, channels) in dB, or audio (clips, channels, samples)
    probabilities: np.ndarray  # (clips, classes)
    batch_size: int  # clips
    tolerance: float  # maximum difference of the probabilities


# --- the formats ----------------------------------------------------------------------------------------------------

def open_saved_model(path: str) -> Predict:
    import tensorflow as tf
    loaded = tf.saved_model.load(path)
    return lambda inputs: loaded.serve(tf.constant(inputs)).numpy()


def open_onnx(path: str) -> Predict:
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (model_input,) = session.get_inputs()
    return lambda inputs: session.run(None, {model_input.name: inputs})[0]


def open_tflite(path: str) -> Predict:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf
        Interpreter = tf.lite.Interpreter  # deprecated; TensorFlow will remove it
    interpreter = Interpreter(path)
    (model_input,), (model_output,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(inputs: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(model_input["index"], inputs.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(model_input["index"], inputs)
        interpreter.invoke()
        return interpreter.get_tensor(model_output["index"])

    return predict


def describe_saved_model(path: Path, text: str) -> None:
    """In the folder for files that the model itself does not use."""
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / METADATA).write_text(text, encoding="utf-8")


def describe_onnx(path: Path, text: str) -> None:
    import onnx
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {Path(METADATA).stem: text})
    onnx.save(model, path)


def describe_tflite(path: Path, text: str) -> None:
    """As a zip archive after the model, as TensorFlow Lite's own metadata library does it; interpreters ignore it."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(METADATA), text)


class Format(NamedTuple):
    """A format, and how it is written and read."""
    path: Path
    keras_name: str  # for model.export
    packages: tuple[str, ...]  # needed to write and check it
    open: Callable[[str], Predict]  # from its path
    describe: Callable[[Path, str], None]  # adds JSON

    @property
    def missing_packages(self) -> list[str]:
        return [package for package in self.packages if importlib.util.find_spec(package) is None]


FORMATS = {"saved_model": Format(EXPORT / "panotti_saved_model", "tf_saved_model", ("tensorflow",), open_saved_model,
                                 describe_saved_model),
           "tflite": Format(EXPORT / "panotti.tflite", "litert", ("tensorflow",), open_tflite, describe_tflite),
           "onnx": Format(EXPORT / "panotti.onnx", "onnx", ("tensorflow", "onnx", "tf2onnx", "onnxruntime"), open_onnx,
                          describe_onnx)}


# --- the network ----------------------------------------------------------------------------------------------------

def load(path: str | Path, checkpoint: Checkpoint, melgrams: np.ndarray, batch_size: int,
         takes_audio: bool = False) -> tuple[Any, np.ndarray]:
    """(model that can be exported, probabilities of the original for the melgrams).

    takes_audio: the model's input is audio (clips, channels, samples), not melgrams.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the only backend that can write all formats
    from audio_utils.inference import melgram_layers, network
    model = network.load(path, checkpoint)
    _hold_arrays(model)
    exportable = melgram_layers.with_audio_input(model, checkpoint.settings) if takes_audio else _renamed_input(model)
    exportable(np.zeros((1, *exportable.input_shape[1:]), np.float32))  # Keras exports only a model that was called
    return exportable, network.predict(model, melgrams, batch_size)


def _renamed_input(model: Any) -> Any:
    """The same model; the exports' input is named "melgrams"."""
    import keras
    melgrams = keras.Input(model.input_shape[1:], name="melgrams")
    return keras.Model(melgrams, model(melgrams), name=model.name)


def _hold_arrays(model: Any) -> None:
    """Replace the tensors in Normalization layers by arrays: tf2onnx 1.17 would make them inputs of the model."""
    import keras
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)


# --- the export -----------------------------------------------------------------------------------------------------

def export(name: str, model: Any, metadata: dict[str, Any], reference: Reference) -> float:
    """Write one format if its probabilities are as expected; returns the maximum difference.

    model: from `load`. metadata: is added to the file. Raises UserError if the conversion fails or a difference exceeds
    the tolerance.
    """
    target = FORMATS[name]
    update = f"update {' and '.join(target.packages)}"
    target.path.parent.mkdir(exist_ok=True)
    with replacing(target.path) as unfinished:
        try:
            with _quiet():
                model.export(str(unfinished), format=target.keras_name, verbose=False)
                target.describe(unfinished, json.dumps(metadata))
            found = difference(target, unfinished, reference)
        except Exception as error:  # of one of four third-party packages
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(f"{name}: can't be exported ({reason}); {update}, or remove it from FORMATS.") from error
        if not found <= reference.tolerance:
            raise UserError(f"{name}: is not exported, because its probabilities differ by {found:.1g}; {update}, "
                            "or raise TOLERANCE.")
    return found


def check(name: str, reference: Reference) -> float:
    """The same for a format that exists, which is not changed."""
    path, found = FORMATS[name].path, np.nan
    with suppress(Exception):  # of a third-party package: it is damaged, or for inputs of another shape
        found = difference(FORMATS[name], path, reference)
    if not found <= reference.tolerance:
        raise UserError(f"{path}: already exists, with other probabilities; add --overwrite to replace it.")
    return found


def difference(target: Format, path: Path, reference: Reference) -> float:
    """The maximum difference of the probabilities of an export from the expected ones."""
    inputs, size = reference.inputs, reference.batch_size
    with _quiet():
        predict = target.open(str(path))
        found = [predict(inputs[start:start + size]) for start in range(0, len(inputs), size)]
    return float(np.abs(np.concatenate(found) - reference.probabilities).max())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Like safe_files.replacing, for a folder (a path without a suffix) too."""
    if path.suffix:
        with safe_files.replacing(path) as unfinished:
            yield unfinished
        return
    unfinished, old = (path.with_name(f"{safe_files.UNFINISHED}{prefix}{path.name}") for prefix in ("", "old-"))
    for remains in (unfinished, old):
        shutil.rmtree(remains, ignore_errors=True)
    try:
        yield unfinished
        if path.exists():
            path.rename(old)
        unfinished.rename(path)
    finally:
        for remains in (unfinished, old):
            shutil.rmtree(remains, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the converters' messages."""
    with warnings.catch_warnings(), environment.quiet_backend(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
