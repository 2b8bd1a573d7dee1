"""export_model.py: every format says what weights.hdf5 says; nothing is replaced or put in place that should not be."""

import json
import time

import numpy as np
import pytest
from conftest import tones

import panotti_models
import preprocess_data
from audio_utils import command_line, export_model
from audio_utils.melgram import MelgramSettings
from audio_utils.safe_files import UserError
from audio_utils.weights_file import Scaling, Trained

SCRIPT = "audio_utils/export_model.py"
SETTINGS = MelgramSettings.of(8000, 2000, 2, 32, 46.44, 11.61)
NAMES = ["low", "zwölf <3>"]

pytestmark = pytest.mark.skipif(panotti_models.keras.config.backend() != "tensorflow", reason="only TensorFlow exports")


def trained_network(folder, network="vgg", seed=1):
    """Write weights.hdf5 with a network of random weights and scaling, in a folder; returns the network."""
    panotti_models.keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    scaling = Scaling(rng.uniform(-60, -20, 32).astype(np.float32), rng.uniform(300, 600, 32).astype(np.float32))
    trained = Trained(network, NAMES, SETTINGS, {"constants": {}}, scaling, {}, [])
    model = panotti_models.build(network, SETTINGS.shape, 2, scaling)
    for variable in model.weights:  # batch normalization's averages too
        variable.assign_add(rng.normal(0, 0.02, variable.shape))
    model.weights[-2].assign(model.weights[-2] / 4)  # so that it is not quite sure of all
    model.compile("adam", "categorical_crossentropy")
    panotti_models.save(folder / "weights.hdf5", trained, model, *[model.get_weights()] * 2, model.optimizer)
    return model


@pytest.fixture
def export(tmp_path, monkeypatch, capsys):
    """Run the script in this process, in the test's folder; returns (status, what it printed, its complaints)."""
    def run(*flags):
        monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", [SCRIPT, *map(str, flags)])
        status = export_model.main()
        return (status, *capsys.readouterr())
    return run


def some_melgrams(count):
    """Noise, louder from clip to clip."""
    noise = np.random.default_rng(5).normal(-40, 15, (count, *SETTINGS.shape))
    return (noise + np.linspace(-20, 20, count)[:, None, None, None]).astype(np.float32)


def check_against(model, opened):
    for count in (1, 3):
        melgrams = some_melgrams(count)
        assert opened(melgrams) == pytest.approx(panotti_models.predict(model, melgrams), abs=1e-5)


@pytest.mark.parametrize("network", panotti_models.NETWORKS)
def test_exported_networks_say_the_same(export, tmp_path, network):
    """Read back here, any number of clips at a time, and not by what the script itself checks with."""
    model = trained_network(tmp_path, network)
    assert np.ptp(panotti_models.predict(model, some_melgrams(9))[:, 0]) > 0.005  # it does not say the same of all
    status, out, err = export("--formats", "saved_model,tflite")
    assert status == 0
    assert out.count("differ by") == 2
    check_against(model, export_model.open_saved_model(str(tmp_path / "export/panotti_saved_model")))
    check_against(model, export_model.open_tflite(str(tmp_path / "export/panotti.tflite")))
    assert "noise" in err  # there is no Test sound here
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == [
        "panotti.json", "panotti.tflite", "panotti_saved_model"]


def test_onnx_has_one_input_and_says_the_same(export, tmp_path):
    for package in export_model._FORMATS["onnx"].packages:
        pytest.importorskip(package)
    import onnxruntime
    model = trained_network(tmp_path)
    assert export("--formats", "onnx")[0] == 0
    session = onnxruntime.InferenceSession(tmp_path / "export/panotti.onnx")
    assert [each.name for each in session.get_inputs()] == ["melgrams"]
    check_against(model, export_model.open_onnx(str(tmp_path / "export/panotti.onnx")))


def test_class_names_and_settings_stand_beside_it(export, tmp_path):
    trained_network(tmp_path)
    export("--formats", "saved_model")
    about = json.loads((tmp_path / "export/panotti.json").read_text(encoding="utf-8"))
    assert about["class_names"] == NAMES
    assert MelgramSettings.from_dict(about["settings"], "panotti.json") == SETTINGS
    assert about["input_shape"] == [None, *SETTINGS.shape]
    assert about["formats"]["saved_model"]["max_difference"] < 1e-5


def test_nothing_is_replaced_unasked_nor_left_under_other_class_names(export, tmp_path):
    trained_network(tmp_path)
    export("--formats", "saved_model")
    before = (tmp_path / "export/panotti_saved_model/saved_model.pb").read_bytes()
    with pytest.raises(UserError, match="panotti_saved_model: is there already; add --overwrite"):
        export("--formats", "saved_model")
    assert export("--formats", "tflite")[0] == 0  # beside it
    assert set(json.loads((tmp_path / "export/panotti.json").read_text())["formats"]) == {"saved_model", "tflite"}
    model = trained_network(tmp_path, "residual")
    with pytest.raises(UserError, match="tflite: is of other weights; remove it, or add tflite"):
        export("--formats", "saved_model", "--overwrite")
    assert (tmp_path / "export/panotti_saved_model/saved_model.pb").read_bytes() == before
    (tmp_path / "export/panotti.tflite").unlink()
    assert export("--formats", "saved_model", "--overwrite")[0] == 0
    check_against(model, export_model.open_saved_model(str(tmp_path / "export/panotti_saved_model")))
    assert set(json.loads((tmp_path / "export/panotti.json").read_text())["formats"]) == {"saved_model"}
    assert not list((tmp_path / "export").glob(".unfinished-*"))


def test_a_format_that_fails_is_named_and_the_others_are_exported(export, tmp_path, monkeypatch):
    trained_network(tmp_path)
    broken = export_model.Format(tmp_path / "export/panotti.onnx", "no such format", ("tensorflow",), None)
    monkeypatch.setitem(export_model._FORMATS, "onnx", broken)
    status, out, err = export("--formats", "onnx,saved_model")
    assert status == 1
    assert "onnx: can't be exported (ValueError: " in err
    assert "panotti_saved_model: probabilities" in out


def test_a_network_that_says_something_else_is_not_put_in_place(export, tmp_path, monkeypatch):
    model = trained_network(tmp_path)
    export("--formats", "saved_model")
    listen = export_model.listen
    monkeypatch.setattr(export_model, "listen", lambda *arguments: (listen(*arguments)[0], 0.5))
    status, out, err = export("--formats", "saved_model", "--overwrite")
    assert status == 1
    assert "saved_model: is not exported, as its probabilities differ by 0." in err
    assert not out
    check_against(model, export_model.open_saved_model(str(tmp_path / "export/panotti_saved_model")))
    assert not list((tmp_path / "export").glob(".unfinished-*"))


def test_packages_that_are_missing_are_asked_for_by_name(export, tmp_path, monkeypatch):
    trained_network(tmp_path)
    monkeypatch.setattr(export_model.importlib.util, "find_spec", lambda name: name == "onnx" or None)
    status, _, err = export("--formats", "onnx")
    assert status == 1
    assert "onnx: needs tensorflow and tf2onnx and onnxruntime; pip install tensorflow tf2onnx onnxruntime" in err


def test_as_a_user_runs_it(run, call, tmp_path):
    """On Test sounds, from another folder, and no word of the converters' own."""
    tones(tmp_path, NAMES, files=5, channels=2)
    call(preprocess_data, tmp_path, "--mels", 32)
    settings, _ = preprocess_data.dataset.read_settings(tmp_path / "Preproc")
    assert settings == SETTINGS
    trained_network(tmp_path)
    result = run(SCRIPT, "--formats", "tflite", KERAS_BACKEND="jax")  # whatever the user's own backend
    assert "export/panotti.tflite: probabilities of 2 Test clips differ by" in result.stdout
    assert not result.stderr


@pytest.mark.parametrize(("flags", "message"), [
    (["--formats", "caffe"], "FORMATS is 'caffe'; name some of saved_model, onnx, tflite"),
    (["--formats", ","], "FORMATS is ','"), (["--batch-size", "0"], "BATCH_SIZE is 0"),
    (["--tolerance", "-1"], "TOLERANCE is -1"), ([], "weights.hdf5: is not here; run train_network.py first.")])
def test_mistakes_are_one_sentence_and_quick(run, flags, message):
    start = time.monotonic()
    result = run(SCRIPT, *flags, status=1)
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert time.monotonic() - start < 2


def test_every_constant_is_a_flag():
    options = command_line.parse(vars(export_model), argv=[])
    assert set(vars(options)) == {"formats", "tolerance", "batch_size", "overwrite"}
