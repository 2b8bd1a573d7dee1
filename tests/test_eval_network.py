"""eval_network.py: true scores, mistakes by name, pictures that hold few and many classes."""

import csv
import json
import shutil

import numpy as np
import pytest
from conftest import sine, tones, write

import eval_network
import preprocess_data
import train_network
from audio_utils import plots
from audio_utils.evaluation import Evaluation, roc_curves, score
from audio_utils.safe_files import UserError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A trained network of three classes that makes mistakes; in it a class without Test sounds."""
    folder = tones(tmp_path_factory.mktemp("prepared"), ("A & <b>", "Ä“$x$”", "c"), files=12)
    shutil.rmtree(folder / "Samples/c")
    write(folder / "Samples/c/only.wav", sine(900, 0.25))
    for i in range(3):  # sounds of the one class that lie in the other
        write(folder / f"Samples/Ä“$x$”/odd{i}.wav", sine(300, 0.25, level=0.3 + 0.1 * i))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["preprocess_data.py", "--test-fraction", "0.5"])
        preprocess_data.main()
        patch.setattr("sys.argv", ["train_network.py", "--network", "vgg", "--epochs", "8", "--batch-size", "4",
                                   "--warm-up", "0", "--epoch-clips", "1"])
        train_network.main()
    return folder


@pytest.fixture
def folder(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "work")


def test_scores_are_what_the_mistakes_say(call, folder):
    out = call(eval_network, folder)
    scores = json.loads((folder / "scores.json").read_text())
    mistakes = list(csv.DictReader((folder / "mistakes.csv").open(encoding="utf-8")))
    classes = scores["classes"]
    assert list(classes) == ["A & <b>", "c", "Ä“$x$”"]
    assert [classes[name]["files"] for name in classes] == [6, 0, 8]
    assert sum(each["mistakes"] for each in classes.values()) == len(mistakes)
    assert scores["accuracy"] == pytest.approx(1 - len(mistakes) / 14)
    assert classes["c"]["auc"] is None
    assert scores["macro_auc"] == pytest.approx(np.mean([classes[name]["auc"] for name in ("A & <b>", "Ä“$x$”")]))
    assert "no Test sounds" in out
    for row in mistakes:
        assert row["file"].startswith(row["should_be"] + "/")
        assert f"{row['file']}: should be {row['should_be']} but came out as {row['came_out_as']}" in out
        assert float(row["probability"]) >= float(row["probability_of_truth"])
    assert [row["probability"] for row in mistakes] == sorted((row["probability"] for row in mistakes), reverse=True)
    for name in ("roc_curves.png", "confusion_matrix.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_batch_size_changes_nothing(call, folder):
    results = []
    for size in (1, 5, 64):
        call(eval_network, folder, "--batch-size", size)
        results.append(json.loads((folder / "scores.json").read_text()))
    for other in results[1:]:
        assert other["classes"] == results[0]["classes"]
        assert other["loss"] == pytest.approx(results[0]["loss"], rel=1e-5)


def test_without_preproc_it_scores_the_same(call, folder):
    call(eval_network, folder)
    before = json.loads((folder / "scores.json").read_text())
    shutil.rmtree(folder / "Preproc")
    out = call(eval_network, folder)
    assert "14 melgrams of Samples/ computed" in out
    assert json.loads((folder / "scores.json").read_text()) == before


@pytest.mark.parametrize(("change", "says"), [
    (lambda folder: (folder / "weights.hdf5").unlink(), "weights.hdf5: is not here; run train_network.py first"),
    (lambda folder: (folder / "weights.hdf5").write_bytes(b"HDF?" * 99), "weights.hdf5: is damaged"),
    (lambda folder: shutil.rmtree(folder / "Preproc/Test"), "Preproc/Test: holds no clip of the network's classes"),
    (lambda folder: (folder / "Preproc/settings.json").unlink(), "settings.json: is not here")])
def test_what_is_missing_is_named(call, folder, change, says):
    change(folder)
    with pytest.raises(UserError, match=says):
        call(eval_network, folder)


def test_perfect_and_hopeless_scores():
    labels = np.array([0, 0, 1, 1, 2])
    for order, accuracy, auc in (([0, 1, 2], 1, 1), ([1, 2, 0], 0, (1 / 6 + 1 / 3 + 1 / 4) / 3)):
        probabilities = (np.eye(3, dtype=np.float32)[:, order] * 0.97 + 0.01)[labels]
        evaluation = Evaluation(list("abcde"), ["x", "y", "z"], labels, probabilities)
        scores = score(evaluation, roc_curves(evaluation))
        assert scores["accuracy"] == accuracy
        assert scores["macro_auc"] == pytest.approx(auc)
        assert evaluation.loss == pytest.approx(-np.log(0.98 if accuracy else 0.01), rel=1e-3)


@pytest.mark.parametrize("classes", [1, 2, 50])
def test_pictures_with_few_and_many_classes(tmp_path, classes):
    rng = np.random.default_rng(0)
    names = [f"class number {i} with a long name" if i % 7 == 0 else f"{i}" for i in range(classes)]
    false = np.linspace(0, 1, 50)
    plots.roc_curves(tmp_path / "roc.png", {name: (false, false ** rng.uniform(0.01, 0.5), rng.uniform(0.9, 1))
                                            for name in names}, 0.95)
    plots.roc_curves(tmp_path / "none.png", {}, None)
    plots.confusion_matrix(tmp_path / "confusion.png", rng.integers(0, 3, (classes, classes)), names)
    assert {path.name for path in tmp_path.iterdir()} == {"roc.png", "none.png", "confusion.png"}
