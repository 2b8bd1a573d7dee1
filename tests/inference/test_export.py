"""export.py: every format gives the probabilities of weights.hdf5, or is not put in place."""

import dataclasses
import json

import numpy as np
import pytest
from networks import NAMES, SETTINGS, melgrams, require_same, write_random_network

import panotti_models
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference import export, export_clips
from audio_utils.inference.export import Format, Reference
from audio_utils.runtime.errors import UserError

pytestmark = pytest.mark.skipif(panotti_models.keras.config.backend() != "tensorflow", reason="only TensorFlow exports")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export_formats(*names):
    checked = melgrams(7)
    model, expected = export.load("weights.hdf5", checkpoints.read("weights.hdf5"), checked, 3)
    return [export.export(name, model, {}, Reference(checked, expected, 3, 1e-4)) for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name if name == "hybrid" else pytest.param(name, marks=pytest.mark.long)
                                  for name in panotti_models.NETWORKS])  # contains residual; vgg: test_export_model.py
def test_exported_networks_predict_the_same(folder, name):
    model = write_random_network(folder, name)
    assert max(export_formats("saved_model", "tflite")) < 1e-5
    require_same(model, export.open_saved_model("export/panotti_saved_model"))
    require_same(model, export.open_tflite("export/panotti.tflite"))
    assert sorted(path.name for path in (folder / "export").iterdir()) == ["panotti.tflite", "panotti_saved_model"]


@pytest.mark.long
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", panotti_models.NETWORKS)
def test_exports_that_take_audio_predict_the_same(folder, name, channels):
    settings = dataclasses.replace(SETTINGS, channels=channels)
    write_random_network(folder, name, settings=settings)
    audio, melgrams, _ = export_clips.of_samples(settings, NAMES)
    model, expected = export.load("weights.hdf5", checkpoints.read("weights.hdf5"), melgrams, 8, takes_audio=True)
    for each in ("saved_model", "tflite"):
        assert export.export(each, model, {}, Reference(audio, expected, 3, 1e-4)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("takes_audio", [False, True])
def test_onnx_has_one_input_and_predicts_the_same(folder, takes_audio):
    for package in export.FORMATS["onnx"].packages:
        pytest.importorskip(package)
    import onnxruntime
    write_random_network(folder, "residual")
    audio, melgrams, _ = export_clips.of_samples(SETTINGS, NAMES)
    model, expected = export.load("weights.hdf5", checkpoints.read("weights.hdf5"), melgrams, 8, takes_audio)
    reference = Reference(audio if takes_audio else melgrams, expected, 3, 1e-4)
    assert export.export("onnx", model, {"class_names": NAMES}, reference) < 1e-4
    session = onnxruntime.InferenceSession("export/panotti.onnx")
    assert [each.name for each in session.get_inputs()] == ["audio" if takes_audio else "melgrams"]
    assert json.loads(session.get_modelmeta().custom_metadata_map["panotti"]) == {"class_names": NAMES}


def stub_format(monkeypatch, folder, name, probabilities):
    """Replace a format by one that writes a file and gives these probabilities."""
    class Model:
        def export(self, path, format, verbose):
            with open(path, "w") as file:
                file.write("new")

    stub = Format(folder / f"export/{name}.stub", "stub", ("tensorflow",), lambda path: lambda melgrams: probabilities,
                  lambda path, text: None)
    monkeypatch.setitem(export.FORMATS, name, stub)
    return Model(), stub.path


def test_a_format_with_other_probabilities_is_not_put_in_place(folder, monkeypatch):
    model, path = stub_format(monkeypatch, folder, "onnx", np.full((2, 2), 0.5))
    assert export.export("onnx", model, {}, Reference(melgrams(2), np.full((2, 2), 0.5), 2, 1e-4)) == 0
    path.write_text("old")
    for expected in (0.4, np.nan):
        with pytest.raises(UserError, match="onnx: is not exported, because its probabilities differ by"):
            export.export("onnx", model, {}, Reference(melgrams(2), np.full((2, 2), expected), 2, 1e-4))
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(folder):
    path = folder / "saved"
    for content in ("old", "new"):
        with export.replacing(path) as unfinished:
            unfinished.mkdir()
            (unfinished / content).touch()
    assert [each.name for each in path.iterdir()] == ["new"]
    with pytest.raises(FileNotFoundError), export.replacing(path) as unfinished:
        (unfinished / "fails because its folder does not exist").touch()
    assert [each.name for each in path.iterdir()] == ["new"]
    assert list(folder.iterdir()) == [path]
