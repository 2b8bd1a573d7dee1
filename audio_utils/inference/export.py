"""Export a trained network to other formats, and check it against the original; needs TensorFlow as the backend."""

import importlib.util
import io
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audio_utils.data.standardization import Standardization
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime import environment, safe_files
from audio_utils.runtime.errors import UserError

EXPORT = Path("export")
Predict = Callable[[np.ndarray], np.ndarray]  # melgrams → probabilities


# --- the formats ----------------------------------------------------------------------------------------------------

def open_saved_model(path: str) -> Predict:
    import tensorflow as tf
    loaded = tf.saved_model.load(path)
    return lambda melgrams: loaded.serve(tf.constant(melgrams)).numpy()


def open_onnx(path: str) -> Predict:
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (model_input,) = session.get_inputs()
    return lambda melgrams: session.run(None, {model_input.name: melgrams})[0]


def open_tflite(path: str) -> Predict:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf
        Interpreter = tf.lite.Interpreter  # deprecated; TensorFlow will remove it
    interpreter = Interpreter(path)
    (model_input,), (model_output,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(melgrams: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(model_input["index"], melgrams.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(model_input["index"], melgrams)
        interpreter.invoke()
        return interpreter.get_tensor(model_output["index"])

    return predict


class Format(NamedTuple):
    """A format, and how it is written and read."""
    path: Path
    keras_name: str  # for model.export
    packages: tuple[str, ...]  # needed to write and check it
    open: Callable[[str], Predict]  # from its path

    @property
    def missing_packages(self) -> list[str]:
        return [package for package in self.packages if importlib.util.find_spec(package) is None]


FORMATS = {"saved_model": Format(EXPORT / "panotti_saved_model", "tf_saved_model", ("tensorflow",), open_saved_model),
           "onnx": Format(EXPORT / "panotti.onnx", "onnx", ("tensorflow", "onnx", "tf2onnx", "onnxruntime"), open_onnx),
           "tflite": Format(EXPORT / "panotti.tflite", "litert", ("tensorflow",), open_tflite)}


# --- the network ----------------------------------------------------------------------------------------------------

def load(path: str | Path, checkpoint: Checkpoint, melgrams: np.ndarray, batch_size: int) -> tuple[Any, np.ndarray]:
    """(model that can be exported, probabilities of the original for the melgrams)."""
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the only backend that can write all formats
    from audio_utils.inference import network
    model = network.load(path, checkpoint)
    exportable = _without_normalization_layer(model, checkpoint.standardization)
    exportable(melgrams[:1])  # Keras exports only a model that has been called
    return exportable, network.predict(model, melgrams, batch_size)


def _without_normalization_layer(model: Any, standardization: Standardization) -> Any:
    """The same network without its first Normalization layer, which tf2onnx 1.17 exports with extra inputs."""
    import keras
    normalization = next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
    before = keras.Model(model.input, normalization.input)
    after = keras.Model(normalization.output, model.output, name=model.name)
    inputs = keras.Input(model.input_shape[1:], name="melgrams")
    mean, deviation = (each[:, None, None] for each in (standardization.mean, np.sqrt(standardization.variance)))
    return keras.Model(inputs, after((before(inputs) - mean) / deviation))


# --- the export -----------------------------------------------------------------------------------------------------

def export(name: str, model: Any, melgrams: np.ndarray, expected: np.ndarray, batch_size: int,
           tolerance: float) -> float:
    """Write one format if its probabilities are as expected; returns the maximum difference.

    model, expected: from `load`. Raises UserError if the conversion fails or a difference exceeds the tolerance.
    """
    target = FORMATS[name]
    update = f"update {' and '.join(target.packages)}"
    target.path.parent.mkdir(exist_ok=True)
    with replacing(target.path) as unfinished:
        try:
            with _quiet():
                model.export(str(unfinished), format=target.keras_name, verbose=False)
            found = difference(target, unfinished, melgrams, expected, batch_size)
        except Exception as error:  # of one of four third-party packages
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(f"{name}: can't be exported ({reason}); {update}, or remove it from FORMATS.") from error
        if not found <= tolerance:
            raise UserError(f"{name}: is not exported, because its probabilities differ by {found:.1g}; {update}, "
                            "or raise TOLERANCE.")
    return found


def check(name: str, melgrams: np.ndarray, expected: np.ndarray, batch_size: int, tolerance: float) -> float:
    """The same for a format that exists, which is not changed."""
    path, found = FORMATS[name].path, np.nan
    with suppress(Exception):  # of a third-party package: it is damaged, or for melgrams of another shape
        found = difference(FORMATS[name], path, melgrams, expected, batch_size)
    if not found <= tolerance:
        raise UserError(f"{path}: already exists, with other probabilities; add --overwrite to replace it.")
    return found


def difference(target: Format, path: Path, melgrams: np.ndarray, expected: np.ndarray, batch_size: int) -> float:
    """The maximum difference of the probabilities of an export from the expected ones."""
    with _quiet():
        predict = target.open(str(path))
        found = [predict(melgrams[start:start + batch_size]) for start in range(0, len(melgrams), batch_size)]
    return float(np.abs(np.concatenate(found) - expected).max())


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
