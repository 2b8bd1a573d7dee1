"""eval_network.py: scores and mistakes agree, all files are written, user mistakes are found before Keras starts."""

import csv
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import sine, tones, write

import eval_network
import preprocess_data
from audio_utils.data import preproc
from audio_utils.data.standardization import Standardization
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference import checkpoint
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime.errors import UserError

CLASSES = ["A & <b>", "c", "Ä“$x$”"]


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory):
    """Preproc/ with three classes, one of them without test files, and the metadata of a network in weights.hdf5."""
    folder = tones(tmp_path_factory.mktemp("preprocessed"), ("A & <b>", "Ä“$x$”"), files=12)
    write(folder / "Samples/c/only.wav", sine(900, 0.25))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["preprocess_data.py", "--test-fraction", "0.5"])
        preprocess_data.main()
    settings, preprocessing = preproc.read_settings(folder / "Preproc")
    standardization = Standardization(np.zeros(settings.mels, np.float32), np.ones(settings.mels, np.float32))
    with h5py.File(folder / "weights.hdf5", "w") as file:
        checkpoint.write(file, Checkpoint("vgg", CLASSES, settings, preprocessing, standardization, {}, []))
    return folder


@pytest.fixture
def folder(preprocessed, tmp_path):
    return shutil.copytree(preprocessed, tmp_path / "work")


def predict_randomly(_checkpoint, clips, _batch_size):
    return Evaluation.of(clips, np.random.default_rng(1).dirichlet(np.ones(3), len(clips)).astype(np.float32))


@pytest.fixture
def without_keras(monkeypatch):
    """The whole script except for the network."""
    monkeypatch.setattr(eval_network, "evaluate", predict_randomly)


@pytest.mark.usefixtures("without_keras")
def test_scores_agree_with_the_mistakes(call, folder):
    out = call(eval_network, folder)
    scores = json.loads((folder / "scores.json").read_text())
    mistakes = list(csv.DictReader((folder / "mistakes.csv").open(encoding="utf-8")))
    classes = scores["classes"]
    assert list(classes) == CLASSES
    assert [classes[name]["files"] for name in classes] == [6, 0, 6]
    assert sum(each["mistakes"] for each in classes.values()) == len(mistakes) > 0
    assert scores["accuracy"] == pytest.approx(1 - len(mistakes) / 12)
    assert classes["c"]["auc"] is None
    assert scores["macro_auc"] == pytest.approx(np.mean([classes[name]["auc"] for name in ("A & <b>", "Ä“$x$”")]))
    assert "no test files" in out
    for row in mistakes:
        assert row["file"].startswith(row["should_be"] + "/")
        assert f"{row['file']}: should be {row['should_be']} but came out as {row['came_out_as']}" in out
        assert float(row["probability"]) >= float(row["probability_of_truth"])
    assert [row["probability"] for row in mistakes] == sorted((row["probability"] for row in mistakes), reverse=True)


@pytest.mark.usefixtures("without_keras")
def test_plots_and_report_are_written(call, folder):
    out = call(eval_network, folder, "--report-clips", 1)
    for name in ("roc_curves.png", "confusion_matrix.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert "report.html: " in out
    assert out.endswith("Open report.html in a browser, or add --open.\n")
    assert "The 1 most confident of " in (folder / "report.html").read_text()


def test_the_report_is_opened_in_the_browser_with_open(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    opened = []
    for found in (True, False):
        monkeypatch.setattr("webbrowser.open", lambda uri, found=found: opened.append(uri) or found)
        eval_network.show_report(True)
    assert opened == [(tmp_path / "report.html").as_uri()] * 2
    assert tuple(capsys.readouterr()) == ("", "report.html: no browser was found; open it in one.\n")


def test_the_table_of_classes_has_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    each = {"files": 12345, "mistakes": 1234, "auc": 0.99999}
    classes = {f"{'a long name of a class ' * 4}{i}": each for i in range(3)}
    classes["c"] = {"files": 0, "mistakes": 0, "auc": None}
    eval_network.say_scores({"classes": classes, "macro_auc": 0.99999, "loss": 12.34567, "accuracy": 1, "files": 9999})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 79
    assert [line.split()[-1] for line in lines[1:6]] == ["AUC", "0.9999", "0.9999", "0.9999", "files"]


@pytest.mark.slow
@pytest.mark.usefixtures("without_keras")
def test_scores_are_the_same_without_preproc(call, folder):
    call(eval_network, folder)
    before = json.loads((folder / "scores.json").read_text())
    shutil.rmtree(folder / "Preproc")
    out = call(eval_network, folder)
    assert "12 melgrams of Samples/ computed" in out
    assert json.loads((folder / "scores.json").read_text()) == before


@pytest.mark.slow
def test_batch_size_does_not_change_the_scores(call, folder):
    import panotti_models
    from audio_utils.inference import network
    from audio_utils.training import checkpointing
    found = checkpoint.read(folder / "weights.hdf5")
    model = panotti_models.build("vgg", found.settings.shape, len(CLASSES), found.standardization)
    weights = network.arrays(model.weights)
    checkpointing.save(folder / "weights.hdf5", found, model, weights, weights, panotti_models.keras.optimizers.SGD())
    results = []
    for size in (1, 5, 64):
        call(eval_network, folder, "--batch-size", size)
        results.append(json.loads((folder / "scores.json").read_text()))
    for other in results[1:]:
        assert other["classes"] == results[0]["classes"]
        assert other["loss"] == pytest.approx(results[0]["loss"], rel=1e-5)


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda folder: (folder / "weights.hdf5").unlink(), "weights.hdf5: does not exist; run train_network.py first"),
    (lambda folder: (folder / "weights.hdf5").write_bytes(b"HDF?" * 99), "weights.hdf5: is damaged"),
    (lambda folder: shutil.rmtree(folder / "Preproc/Test"), "Preproc/Test: contains no clip of the network's classes"),
    (lambda folder: (folder / "Preproc/settings.json").unlink(), "settings.json: does not exist")])
def test_missing_files_are_named_before_keras_starts(call, folder, monkeypatch, change, sentence):
    monkeypatch.setattr(eval_network, "evaluate", lambda *_: pytest.fail("the network is loaded"))
    change(folder)
    with pytest.raises(UserError, match=sentence):
        call(eval_network, folder)
    assert not Path("scores.json").exists()
