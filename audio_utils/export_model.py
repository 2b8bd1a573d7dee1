"""Write the trained network in formats that other programs read, and check that it still says the same.

Reads   weights.hdf5, Preproc/Test (or the Test part of Samples/ where nothing is preprocessed) to check with
Writes  export/panotti_saved_model/    TensorFlow's own; for TensorFlow Serving too
        export/panotti.onnx            ONNX Runtime, for programs in C, C#, Java, JavaScript, Rust …
        export/panotti.tflite          LiteRT, once TensorFlow Lite: telephones, Raspberry Pi
        export/panotti.json            class names, and the settings of the melgrams that it takes

    python audio_utils/export_model.py
    python audio_utils/export_model.py --formats saved_model,tflite
    pip install onnx tf2onnx onnxruntime          # needed for onnx

Each takes melgrams float32 (clips, mels, frames, channels) in dB, as audio_utils/melgram.py makes them, and gives
probabilities (clips, classes). None is put in its place before it gave the same ones as weights.hdf5.
"""

import hashlib
import importlib.util
import io
import os
import shutil
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder; a script knows only its own
from audio_utils import command_line  # first of all: it answers ^C from here on

# isort: split
import numpy as np

import eval_network
from audio_utils import safe_files, weights_file
from audio_utils.command_line import say, warn
from audio_utils.safe_files import UserError

FORMATS = "saved_model,onnx,tflite"  # any of these, with commas between them
TOLERANCE = 0.0001                   # by which probabilities may differ, at most
BATCH_SIZE = 64                      # clips at a time in the check
OVERWRITE = False                    # True: replace what was exported before

_WEIGHTS, _EXPORT = Path("weights.hdf5"), Path("export")
_JSON = _EXPORT / "panotti.json"
_MADE_UP = 32  # melgrams of noise to check with, where there is no Test sound


def main():
    options = command_line.parse(globals())
    formats = check(options)
    command_line.on_stop("Stopped; what was exported is in its place, run it again for the rest.")
    trained = weights_file.read(_WEIGHTS)
    done = already_there(formats, options.overwrite)
    able = [name for name in formats if is_able(name)]
    status = int(able != formats)
    if not able:
        return status
    melgrams, what = melgrams_to_check(trained)
    model, wanted = listen(trained, melgrams, options.batch_size)
    for name in able:
        try:
            difference = export(name, model, melgrams, wanted, options)
        except UserError as error:
            warn(str(error))
            status = 1
            continue
        done[name] = {"file": _FORMATS[name].path.name, "max_difference": difference}
        safe_files.write_json(_JSON, about(trained) | {"formats": done})
        say(f"{_FORMATS[name].path}: probabilities of {what} differ by {difference:.1g} at most.")
    return status


# --- before the work ------------------------------------------------------------------------------------------------

def check(options):
    """The formats asked for, in order; refuse constants and flags that mean nothing."""
    command_line.check_number(options, "batch_size", int, 1)
    command_line.check_number(options, "tolerance", float, 0)
    formats = [name.strip() for name in options.formats.split(",")]
    if len(set(formats)) < len(formats) or not set(formats) <= set(_FORMATS):
        raise UserError(f"FORMATS is {options.formats!r}; name some of {', '.join(_FORMATS)}, commas between them.")
    return formats


def already_there(formats, overwrite):
    """What panotti.json says of the formats exported before, where they are of the same weights.

    Refuses to replace anything unasked, and to leave another network's export under the new class names.
    """
    before = safe_files.read_json(_JSON, "audio_utils/export_model.py") if _JSON.exists() else {}
    same = before.get("weights_sha256") == digest()
    for name, each in _FORMATS.items():
        if each.path.exists() and name in formats and not overwrite:
            raise UserError(f"{each.path}: is there already; add --overwrite to replace it.")
        if each.path.exists() and name not in formats and not same:
            raise UserError(f"{each.path}: is of other weights; remove it, or add {name} to FORMATS.")
    return before.get("formats", {}) if same else {}


def digest():
    return hashlib.sha256(_WEIGHTS.read_bytes()).hexdigest()


def is_able(name):
    """Whether the packages for a format are installed; says which are not."""
    missing = [package for package in _FORMATS[name].packages if importlib.util.find_spec(package) is None]
    if missing:
        warn(f"{name}: needs {' and '.join(missing)}; pip install {' '.join(missing)}, then give --formats {name}.")
    return not missing


def about(trained):
    """What whoever uses the network must know."""
    return {"network": trained.network, "class_names": trained.class_names, "settings": trained.settings.to_dict(),
            "input": "melgrams in dB, float32 (clips, mels, frames, channels): audio_utils/melgram.py",
            "input_shape": [None, *trained.settings.shape],
            "output": "probabilities, float32 (clips, classes), in the order of class_names",
            "weights_sha256": digest()}


# --- the work -------------------------------------------------------------------------------------------------------

def melgrams_to_check(trained):
    """(melgrams, what they are): of the Test sounds, or, where there are none, of noise."""
    try:
        melgrams = eval_network.load_test(trained).melgrams
        return melgrams, f"{len(melgrams)} Test clips"
    except UserError as error:
        warn(f"{error} The check is made with noise instead.")
    noise = np.random.default_rng(1).standard_normal((_MADE_UP, *trained.settings.shape), np.float32)
    mean, variance = (each[:, None, None] for each in trained.scaling)
    return mean + np.sqrt(variance) * noise, f"{_MADE_UP} clips of noise"


def listen(trained, melgrams, batch_size):
    """(The network, its own probabilities). TensorFlow is the one backend that can write all formats."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import panotti_models
    model = panotti_models.load(_WEIGHTS, trained)
    plain = with_plain_scaling(model, trained.scaling)
    plain(melgrams[:1])  # Keras exports only what was called
    return plain, panotti_models.predict(model, melgrams, batch_size)


def with_plain_scaling(model, scaling):
    """The same network without a Normalization layer, whose mean and variance tf2onnx 1.17 makes two more inputs."""
    import keras
    normalization = next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
    before_it = keras.Model(model.input, normalization.input)
    after_it = keras.Model(normalization.output, model.output, name=model.name)
    inputs = keras.Input(model.input_shape[1:], name="melgrams")
    mean, deviation = scaling.mean[:, None, None], np.sqrt(scaling.variance)[:, None, None]  # (mels, frames, channels)
    return keras.Model(inputs, after_it((before_it(inputs) - mean) / deviation))


def export(name, model, melgrams, wanted, options):
    """Write one format, check it, put it in its place. Returns by how much its probabilities differ at most."""
    _EXPORT.mkdir(exist_ok=True)
    with replacing(_FORMATS[name].path) as unfinished:
        try:
            with quiet():
                model.export(str(unfinished), format=_FORMATS[name].of_keras, verbose=False)
                predict = _FORMATS[name].opened(str(unfinished))
                found = [predict(melgrams[start:start + options.batch_size])
                         for start in range(0, len(melgrams), options.batch_size)]
        except Exception as error:  # of one of four packages of other people's
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(f"{name}: can't be exported ({reason}); update {' and '.join(_FORMATS[name].packages)}, "
                            "or leave it out of FORMATS.") from error
        difference = float(np.abs(np.concatenate(found) - wanted).max())
        if not difference <= options.tolerance:
            raise UserError(f"{name}: is not exported, as its probabilities differ by {difference:.1g}; "
                            f"update {' and '.join(_FORMATS[name].packages)}, or raise TOLERANCE.")
    return difference


@contextmanager
def replacing(path):
    """As safe_files.replacing, for a folder too."""
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
def quiet():
    """Keep from the user what the converters say."""
    import panotti_models
    with warnings.catch_warnings(), panotti_models.silence(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


# --- the formats ----------------------------------------------------------------------------------------------------

def open_saved_model(path):
    import tensorflow as tf
    loaded = tf.saved_model.load(path)
    return lambda melgrams: loaded.serve(tf.constant(melgrams)).numpy()


def open_onnx(path):
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    return lambda melgrams: session.run(None, {taken.name: melgrams})[0]


def open_tflite(path):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf
        Interpreter = tf.lite.Interpreter  # which TensorFlow means to do without one day
    interpreter = Interpreter(path)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(melgrams):
        interpreter.resize_tensor_input(taken["index"], melgrams.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], melgrams)
        interpreter.invoke()
        return interpreter.get_tensor(given["index"])

    return predict


class Format(NamedTuple):
    """How a network is written in a format, and read again."""
    path: Path
    of_keras: str  # its name in model.export
    packages: tuple  # that making and checking it take
    opened: object  # path → function from melgrams to probabilities


_FORMATS = {"saved_model": Format(_EXPORT / "panotti_saved_model", "tf_saved_model", ("tensorflow",), open_saved_model),
          "onnx": Format(_EXPORT / "panotti.onnx", "onnx", ("tensorflow", "onnx", "tf2onnx", "onnxruntime"), open_onnx),
          "tflite": Format(_EXPORT / "panotti.tflite", "litert", ("tensorflow",), open_tflite)}


if __name__ == "__main__":
    command_line.run(main)
