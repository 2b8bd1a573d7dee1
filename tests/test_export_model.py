"""export_model.py: nothing is replaced unasked; panotti.json describes the exports."""

import json

import pytest
from conftest import tones
from networks import NAMES, SETTINGS, write_random_network

import panotti_models
import preprocess_data
from audio_utils import export_model
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import preproc
from audio_utils.inference import export as exports
from audio_utils.runtime import command_line
from audio_utils.runtime.errors import UserError

SCRIPT = "audio_utils/export_model.py"

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
    write_random_network(tmp_path)
    status, out, err = export("--formats", "saved_model")
    assert status == 0
    assert out.startswith("export/panotti_saved_model: probabilities of 32 clips of noise differ by at most ")
    assert err.endswith("The check uses noise instead.\n")
    about = json.loads((tmp_path / "export/panotti.json").read_text(encoding="utf-8"))
    assert about["class_names"] == NAMES
    assert MelgramSettings.from_dict(about["settings"], "panotti.json", "") == SETTINGS
    assert about["input_shape"] == [None, *SETTINGS.shape]
    assert about["formats"]["saved_model"]["max_difference"] < 1e-5
    before = (tmp_path / "export/panotti_saved_model/saved_model.pb").read_bytes()
    with pytest.raises(UserError, match="panotti_saved_model: already exists; add --overwrite to replace it."):
        export("--formats", "saved_model")
    assert export("--formats", "tflite")[0] == 0  # beside it
    assert set(json.loads((tmp_path / "export/panotti.json").read_text())["formats"]) == {"saved_model", "tflite"}
    write_random_network(tmp_path, seed=2)
    with pytest.raises(UserError, match="tflite: was exported from other weights; remove it, or add tflite"):
        export("--formats", "saved_model", "--overwrite")
    assert (tmp_path / "export/panotti_saved_model/saved_model.pb").read_bytes() == before
    (tmp_path / "export/panotti.tflite").unlink()
    assert export("--formats", "saved_model", "--overwrite")[0] == 0
    assert set(json.loads((tmp_path / "export/panotti.json").read_text())["formats"]) == {"saved_model"}
    assert not list((tmp_path / "export").glob(".unfinished-*"))


@pytest.mark.slow
def test_a_format_that_fails_is_named_and_the_others_are_exported(export, tmp_path, monkeypatch):
    write_random_network(tmp_path)
    broken = exports.Format(tmp_path / "export/panotti.onnx", "no such format", ("tensorflow",), None)
    monkeypatch.setitem(exports.FORMATS, "onnx", broken)
    status, out, err = export("--formats", "onnx,saved_model")
    assert status == 1
    assert "onnx: can't be exported (ValueError: " in err
    assert "panotti_saved_model: probabilities" in out


def test_missing_packages_are_named(export, tmp_path, monkeypatch):
    write_random_network(tmp_path)
    monkeypatch.setattr(exports.importlib.util, "find_spec", lambda name: name == "onnx" or None)
    status, _, err = export("--formats", "onnx")
    assert status == 1
    assert "onnx: needs tensorflow and tf2onnx and onnxruntime; pip install tensorflow tf2onnx onnxruntime" in err


@pytest.mark.slow
def test_it_checks_with_test_clips_and_suppresses_messages_of_the_converters(run, call, tmp_path):
    tones(tmp_path, NAMES, files=5, channels=2)
    call(preprocess_data, tmp_path, "--mels", 32)
    settings, _ = preproc.read_settings(tmp_path / "Preproc")
    assert settings == SETTINGS
    write_random_network(tmp_path)
    result = run(SCRIPT, "--formats", "tflite", KERAS_BACKEND="jax")  # it overrides the user's backend
    assert "export/panotti.tflite: probabilities of 2 Test clips differ by" in result.stdout
    assert not result.stderr


@pytest.mark.parametrize(("flags", "message"), [
    (["--formats", "caffe"], "FORMATS is 'caffe'; choose from saved_model, onnx, tflite, separated by commas."),
    (["--formats", ","], "FORMATS is ','"), (["--batch-size", "0"], "BATCH_SIZE is 0"),
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
    assert set(vars(options)) == {"formats", "tolerance", "batch_size", "overwrite"}
