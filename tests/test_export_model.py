"""export_model.py: nothing is replaced unasked; panotti.json describes the exports."""

import json
import re
import shutil
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, killed_at, names, sine, tones, write
from networks import NAMES, SETTINGS, require_same, write_random_network

import panotti_models
import preprocess_data
from audio_utils import export_model
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import preproc
from audio_utils.inference import export as exports
from audio_utils.inference.classifier import Classifier
from audio_utils.runtime import command_line
from audio_utils.runtime.errors import UserError

SCRIPT = "audio_utils/export_model.py"
ALL = ("--formats", "saved_model,onnx,tflite")

pytestmark = pytest.mark.skipif(panotti_models.keras.config.backend() != "tensorflow", reason="only TensorFlow exports")


@pytest.fixture
def export(tmp_path, monkeypatch, capsys):
    """Run the script in this process, in the test's folder; returns (status, stdout, stderr)."""
    def run(*flags):
        monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", [SCRIPT, *map(str, flags)])
        status = export_model.main()
        return (status, *capsys.readouterr())
    return run


@pytest.mark.slow
def test_exports_are_described_and_not_replaced_unasked(export, tmp_path):
    model = write_random_network(tmp_path)
    status, out, err = export("--formats", "saved_model")
    assert status == 0
    assert out.startswith("export/panotti_saved_model: probabilities of 32 clips of noise differ by at most ")
    assert err.endswith("The check uses noise instead.\n")
    about = json.loads((tmp_path / "export/panotti.json").read_text(encoding="utf-8"))
    assert about["class_names"] == NAMES
    assert about["background_classes"] == []
    assert MelgramSettings.from_dict(about["settings"], "panotti.json", "") == SETTINGS
    assert about["input_shape"] == [None, *SETTINGS.shape]
    assert about.pop("formats")["saved_model"]["max_difference"] < 1e-5
    inside = (tmp_path / "export/panotti_saved_model/assets.extra/panotti.json").read_text(encoding="utf-8")
    assert json.loads(inside) == about
    before = (tmp_path / "export/panotti_saved_model/saved_model.pb").read_bytes()
    status, out, _ = export("--formats", "saved_model")
    assert status == 0
    assert out.startswith("export/panotti_saved_model: already exists; probabilities of 32 clips of noise differ by")
    assert export("--formats", "tflite")[0] == 0  # beside it
    assert set(json.loads((tmp_path / "export/panotti.json").read_text())["formats"]) == {"saved_model", "tflite"}
    require_same(model, exports.open_saved_model("export/panotti_saved_model"))
    require_same(model, exports.open_tflite("export/panotti.tflite"))
    assert names(tmp_path / "export") == ["panotti.json", "panotti.tflite", "panotti_saved_model"]
    write_random_network(tmp_path, seed=2)
    with pytest.raises(UserError, match="tflite: may be from other weights, or for another input; remove it, or add"):
        export("--formats", "saved_model", "--overwrite")
    with pytest.raises(UserError, match="_saved_model: was exported from other weights, or for another input; add "):
        export("--formats", "saved_model,tflite")
    assert (tmp_path / "export/panotti_saved_model/saved_model.pb").read_bytes() == before
    (tmp_path / "export/panotti.tflite").unlink()
    assert export("--formats", "saved_model", "--overwrite")[0] == 0
    assert set(json.loads((tmp_path / "export/panotti.json").read_text())["formats"]) == {"saved_model"}
    assert not list((tmp_path / "export").glob(".unfinished-*"))


@pytest.mark.slow
def test_a_format_that_fails_is_named_and_the_others_are_exported(export, tmp_path, monkeypatch):
    write_random_network(tmp_path)
    broken = exports.Format(tmp_path / "export/panotti.onnx", "no such format", ("tensorflow",), None, None)
    monkeypatch.setitem(exports.FORMATS, "onnx", broken)
    status, out, err = export("--formats", "onnx,saved_model")
    assert status == 1
    assert "onnx: can't be exported (ValueError: " in err
    assert "panotti_saved_model: probabilities" in out


class Model:
    """Its exports contain its only probability."""

    def __init__(self, probability):
        self.probability = probability

    def export(self, path, **_):
        Path(path).write_text(str(self.probability))

    @staticmethod
    def open(path):
        probability = float(Path(path).read_text())
        return lambda melgrams: np.full((len(melgrams), len(NAMES)), probability)


@pytest.fixture
def probability(tmp_path, monkeypatch):
    """A function that sets the network's probabilities; weights.hdf5 is another one from then on."""
    write_random_network(tmp_path)

    def set_to(value):
        with (tmp_path / "weights.hdf5").open("ab") as file:
            file.write(b"x")
        monkeypatch.setattr(exports, "load", lambda path, checkpoint, melgrams, *_: (
            Model(value), np.full((len(melgrams), len(NAMES)), value)))

    for name in exports.FORMATS:
        path = Path(f"export/panotti.{name}")
        monkeypatch.setitem(exports.FORMATS, name, exports.Format(path, "", (), Model.open, lambda *_: None))
    set_to(0.25)
    return set_to


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("before", ["nothing", "one of these weights", "other weights", "panotti.json of others"])
def test_a_run_killed_at_any_write_is_completed_by_the_same_command(export, tmp_path, probability, before):
    """Stopped at each renaming or deletion of a file."""
    folder, flags = tmp_path / "export", [*ALL, *["--overwrite"] * (before == "other weights")]
    folder.mkdir()
    if before == "one of these weights":
        export("--formats", "onnx")
    elif before != "nothing":
        export(*ALL)
        probability(0.75)
    if before.startswith("panotti.json"):
        for path in folder.glob("panotti.[!j]*"):
            path.unlink()
    first = shutil.copytree(folder, tmp_path / "first")
    assert export(*flags)[0] == 0
    expected = content(folder)
    assert len(expected) == 4
    for stop_at in range(100):
        shutil.rmtree(folder)
        shutil.copytree(first, folder)
        with killed_at(stop_at), suppress(KeyboardInterrupt):
            export(*flags)
            break
        assert export(*flags)[0] == 0
        assert content(folder) == expected, stop_at
    assert 5 < stop_at < 99


def test_an_export_with_other_probabilities_is_kept_unless_overwrite(export, tmp_path, probability):
    (tmp_path / "export").mkdir()
    for name, mine in (("onnx", "0.75"), ("tflite", "mine")):
        (tmp_path / f"export/panotti.{name}").write_text(mine)
    status, out, err = export(*ALL)
    assert (status, out.count("\n")) == (1, 1)
    assert err.splitlines()[-2:] == [
        f"export/panotti.{name}: already exists, with other probabilities; add --overwrite to replace it."
        for name in ("onnx", "tflite")]
    about = json.loads((tmp_path / "export/panotti.json").read_text(encoding="utf-8"))
    assert set(about["formats"]) == {"saved_model"}
    assert (tmp_path / "export/panotti.tflite").read_text() == "mine"
    assert export(*ALL, "--overwrite")[0] == 0
    assert {content(tmp_path / "export")[f"panotti.{name}"] for name in exports.FORMATS} == {b"0.25"}


@pytest.mark.parametrize(("flags", "ending"), [((), "run the same command again for the others."),
                                               (("--overwrite",), "run the same command again.")])
def test_after_a_stop_the_sentence_says_what_the_same_command_does(export, monkeypatch, probability, flags, ending):
    sentences = []
    monkeypatch.setattr(export_model.signals, "on_stop", sentences.append)
    export(*flags)
    assert sentences == [f"Stopped. Finished exports are kept; {ending}"]


def test_missing_packages_are_named(export, tmp_path, monkeypatch):
    write_random_network(tmp_path)
    monkeypatch.setattr(exports.importlib.util, "find_spec", lambda name: name == "onnx" or None)
    status, _, err = export("--formats", "onnx")
    assert status == 1
    assert "onnx: needs tensorflow and tf2onnx and onnxruntime; pip install tensorflow tf2onnx onnxruntime" in err


def test_a_default_export_needs_only_the_packages_of_requirements_txt():
    names = export_model.chosen_formats(export_model.FORMATS)
    assert {package for name in names for package in exports.FORMATS[name].packages} == {"tensorflow"}
    assert set(exports.FORMATS) - set(names) == {"onnx"}


def test_melgrams_are_checked_on_the_test_clips(export, call, tmp_path, probability):
    tones(tmp_path, NAMES, files=5, channels=2)
    call(preprocess_data, tmp_path, "--mels", 32)
    settings, _ = preproc.read_settings(tmp_path / "Preproc")
    assert settings == SETTINGS
    assert "export/panotti.tflite: probabilities of 2 Test clips differ by at most 0.\n" in export()[1]


def test_an_export_for_another_input_is_not_replaced_unasked(export, tmp_path, probability):
    export()
    with pytest.raises(UserError, match="saved_model: was exported from other weights, or for another input; add --"):
        export("--input", "audio")
    status, out, err = export("--input", "audio", "--overwrite")
    assert status == 0
    assert err == "Samples/: does not exist; create it, with a folder of sounds for each class. The check uses tones " \
        "in noise instead.\n"
    assert "export/panotti.tflite: probabilities of 32 tones in noise differ by at most 0.\n" in out
    about = json.loads((tmp_path / "export/panotti.json").read_text(encoding="utf-8"))
    assert about["input_shape"] == [None, SETTINGS.channels, SETTINGS.clip_samples]
    assert about["input"].startswith("audio, float32 (clips, channels, samples), at settings.sample_rate; ")


def example(*files):
    """Run the example of audio_utils/README.md as it is written there; TensorFlow contains LiteRT's interpreter too."""
    text = (ROOT / "audio_utils/README.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^    import json, sys, zipfile\n(?:    .*\n|\n(?=    ))*", text, re.MULTILINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["example.py", *files])
        try:
            import ai_edge_litert  # noqa: F401
        except ImportError:
            import tensorflow as tf
            patch.setitem(sys.modules, "ai_edge_litert", SimpleNamespace())
            patch.setitem(sys.modules, "ai_edge_litert.interpreter", SimpleNamespace(Interpreter=tf.lite.Interpreter))
        exec(textwrap.dedent(code), {})


@pytest.mark.slow
def test_an_export_of_audio_predicts_as_predict_class_does_without_the_suite(run, capsys, monkeypatch, tmp_path):
    """It suppresses messages of the converter, and overrides the user's backend."""
    tones(tmp_path, NAMES, files=5, channels=2)
    write_random_network(tmp_path)
    result = run(SCRIPT, "--input", "audio", "--formats", "tflite", KERAS_BACKEND="jax")
    assert result.stdout.startswith("export/panotti.tflite: probabilities of 10 sounds of Samples/ differ by at most ")
    assert not result.stderr
    monkeypatch.chdir(tmp_path)
    short = sine(700, 0.1, channels=1, level=0.01) + np.float32(0.3)  # mono, with a DC offset
    files = ["Samples/low/0.wav", write("short.wav", short), write("long.wav", sine(800, 0.3, channels=2))]
    example(*files)
    classifier = Classifier("weights.hdf5")
    expected = [classifier.classify_file(files[0]), classifier.classify_file(files[1]),
                classifier.classify(sine(800, 0.25, channels=2), 8000)]
    assert capsys.readouterr().out.splitlines() == [f"{file} {segment.name} {segment.probabilities.max():.1%}"
                                                    for file, [segment] in zip(files, expected, strict=True)]
    write("other.wav", short, 11025)
    with pytest.raises(SystemExit, match="other.wav: resample it to 8000 Hz."):
        example("other.wav")


@pytest.mark.parametrize(("flags", "message"), [
    (["--formats", "caffe"], "FORMATS is 'caffe'; choose from saved_model, tflite, onnx, separated by commas."),
    (["--formats", ","], "FORMATS is ','"), (["--input", "wav"], "INPUT is 'wav'; set it to melgram or audio."),
    (["--batch-size", "0"], "BATCH_SIZE is 0"),
    (["--tolerance", "-1"], "TOLERANCE is -1"), ([], "weights.hdf5: does not exist; run train_network.py first.")])
def test_mistakes_are_one_sentence(export, flags, message):
    with pytest.raises(UserError) as error:
        export(*flags)
    assert str(error.value).startswith(message)


def test_mistakes_are_found_before_keras_is_imported(run):
    result = run(SCRIPT, status=1, KERAS_BACKEND="none")
    assert result.stderr == "weights.hdf5: does not exist; run train_network.py first.\n"


def test_every_constant_is_a_flag():
    options = command_line.parse(vars(export_model), argv=[])
    assert set(vars(options)) == {"input", "formats", "tolerance", "batch_size", "overwrite"}
