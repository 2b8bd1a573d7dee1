"""MULTI_LABEL from labels.csv to predictions: training that was interrupted is exact, and all outputs list classes."""

import csv
import json
import shutil

import numpy as np
import pytest
from conftest import run_main, sine, write

import eval_network
import predict_class
import preprocess_data
import train_network
from audio_utils import export_model
from audio_utils.data import annotations, preproc
from audio_utils.evaluation import drawing, label_plots, plots
from audio_utils.inference import checkpoint, network
from audio_utils.runtime.errors import UserError
from audio_utils.training import fold_thresholds

QUICK = ("--network", "small", "--batch-size", 4, "--warm-up", 0, "--epoch-clips", 1, "--precision", "float32",
         "--optimizer", "adamw", "--fixed-epochs", 3, "--anneal-epochs", 2, "--mixup", 0.3)
HZ = {"high": 1200, "low": 300, "mid": 600}

pytestmark = [pytest.mark.usefixtures("without_curves", "small_network"), pytest.mark.slow]


def mixture(names, seconds):
    return sum((sine(HZ[name], seconds, level=0.2) for name in names), np.zeros((1, round(8000 * seconds)), np.float32))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Short mixtures and two recordings of four clips each, with their labels, preprocessed."""
    folder, rows = tmp_path_factory.mktemp("labeled"), []
    for i in range(20):
        names = [name for bit, name in enumerate(HZ) if i >> bit & 1]
        write(folder / f"Samples/mix/{i}.wav", mixture(names, 1 if i < 2 else 0.25) + i / 1e5)
        rows.append(f"{i}.wav,{';'.join(names)}\n")
    (folder / "Samples/labels.csv").write_text("file,labels\n" + "".join(rows))
    return run_main(preprocess_data, folder, "--multi-label", "--mels", 16, "--clip-seconds", 0.25, "--long-files",
                    "all", "--jobs", 1)


@pytest.fixture(scope="module")
def trained(small_network, prepared, tmp_path_factory):
    """The same, trained for a validated epoch and two others on all clips."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audio_utils.evaluation.plots.training_curves", lambda path, _history: path.touch())
        folder = shutil.copytree(prepared, tmp_path_factory.mktemp("trained") / "work")
        return run_main(train_network, folder, *QUICK)


@pytest.fixture
def work(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "work")


def test_training_that_was_interrupted_and_reads_from_disk_ends_with_the_same_bytes(call, prepared, trained, tmp_path):
    interrupted = shutil.copytree(prepared, tmp_path / "interrupted")
    call(train_network, interrupted, *QUICK, "--epochs", 1)
    out = call(train_network, interrupted, *QUICK, "--memory-gb", 0)
    assert (interrupted / "weights.hdf5").read_bytes() == (trained / "weights.hdf5").read_bytes()
    assert "MULTI_LABEL: accuracy is the fraction of clips with all classes right, at a threshold of 0.5." in out
    found = checkpoint.read(trained / "weights.hdf5")
    assert found.multi_label
    assert found.class_names == list(HZ)
    assert found.thresholds["source"] == "validation after epoch 1"
    validated = sum(each["positives"] for each in found.thresholds["classes"].values())
    assert found.thresholds["clips"] < validated + 2  # several classes of a clip count


def test_predictions_list_all_classes_and_labels_may_overlap(call, work):
    write(work / "long.wav", mixture(["low"], 1))

    def predict(*flags):
        return call(predict_class, work, "long.wav", "--jobs", 1, *flags)
    every = predict("--min-probability", 1e-6, "--top-k", 1)
    assert all(f"{name} " in every for name in HZ)
    assert predict("--min-probability", 1, "--labels").startswith("long.wav: none of these (")
    assert (work / "long.wav.labels.txt").read_text() == ""
    for line in predict("--min-probability", 1e-6, "--json").splitlines():
        found = json.loads(line)
        assert (found["class"], found["classes"]) == ("high,low,mid", list(HZ))
    table = predict("--min-probability", 1e-6, "--csv", "--labels", "--raven", "--overwrite")
    row, = csv.DictReader(table.splitlines())
    assert row["class"] == "high,low,mid"
    assert row["probability"] == max(row[f"p_{name}"] for name in HZ)
    for ending in ("labels.txt", "selections.txt"):
        labels = annotations.read(work / f"long.wav.{ending}")
        assert [(each.start, each.end, each.text) for each in labels] == [(0, 1, name) for name in HZ]


def test_exports_contain_the_mode_and_the_thresholds(work, monkeypatch):
    monkeypatch.chdir(work)
    about = export_model.metadata(checkpoint.read("weights.hdf5"), "melgram")
    assert "independent" in about["multi_label"]
    assert about["thresholds"] == dict.fromkeys(HZ, 0.5)  # with few validation clips


@pytest.mark.long
def test_an_export_of_audio_has_independent_probabilities(call, work):
    out = call(export_model, work, "--formats", "tflite", "--input", "audio")
    assert "panotti.tflite: probabilities of 20 sounds of Samples/ differ by at most" in out


def test_training_reports_other_labels_and_refuses_other_classes_or_the_other_mode(call, work, monkeypatch):
    labels, before = work / "Preproc/labels.csv", (work / "weights.hdf5").read_bytes()
    with open(labels, newline="") as file:
        header, *rows = csv.reader(file)
    rows[next(i for i, row in enumerate(rows) if row[0].startswith("Train/") and "low" in row[1])][1] = "mid"
    rewrite(labels, [header, *rows])
    out = call(train_network, work, *QUICK)
    assert "1 sound has a different set of labels since training ended: --fresh starts anew, --continue trains" in out
    rewrite(labels, [header, *([file, each.replace("low", "deep")] for file, each in rows)])
    with pytest.raises(UserError, match="has the classes high, low, mid; now there are deep, high, mid; use --fresh"):
        train_network.main()
    settings = work / "Preproc/settings.json"
    settings.write_text(settings.read_text().replace('"MULTI_LABEL": true', '"MULTI_LABEL": false'))
    with pytest.raises(UserError, match="was trained with MULTI_LABEL = True, but Preproc/ was made with False; run "):
        train_network.main()
    assert (work / "weights.hdf5").read_bytes() == before


def rewrite(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def without_plots(monkeypatch):
    """Empty files and elements instead: drawing takes most of the script's time."""
    monkeypatch.setattr(plots, "roc_curves", lambda path, *_: path.touch())
    for name in ("precision_recall_curves", "label_errors"):
        monkeypatch.setattr(label_plots, name, lambda path, *_: path.touch())
    monkeypatch.setattr(drawing, "svg", lambda *_: "<svg></svg>")


@pytest.mark.usefixtures("without_plots")
def test_evaluation_writes_scores_mistakes_and_the_report_of_test_and_of_another_folder(call, work):
    out = call(eval_network, work, "--report-clips", 1)
    scores = json.loads((work / "scores.json").read_text())
    with open(work / "mistakes.csv", newline="") as file:
        mistakes = list(csv.DictReader(file))
    assert scores["exact_match"] == pytest.approx(1 - len(mistakes) / scores["files"])
    assert sum(each["missed"] for each in scores["classes"].values()) == sum(
        len(list(filter(None, row["missed"].split(";")))) for row in mistakes)
    assert "roc_curves.png, precision_recall_curves.png, label_errors.png.\n" in out
    assert f"shows {min(1, len(mistakes))} of {len(mistakes)} mistakes" in out
    assert "Threshold 0.5 for classes with fewer than 10 validation clips: high, low, mid." in out
    assert "<h2 id=\"wrong\">Missed and extra classes</h2>" in (work / "report.html").read_text()
    for hz, name in ((900, "x/new"), (1500, "x/old"), (2100, "deep,mid/a")):
        write(work / f"new/{name}.wav", sine(hz, 0.25))
    (work / "new/labels.csv").write_text("file,labels\nnew.wav,low;high\nold.wav,\n")
    out = call(eval_network, work, "--samples", "new", "--report-clips", 0)
    scores = json.loads((work / "eval_new/scores.json").read_text())
    assert [each["files"] for each in scores["classes"].values()] == [1, 1, 1]
    assert (scores["files"], scores["files_without_labels"], scores["samples"]) == (3, 1, "new")
    (work / "new/labels.csv").write_text("file,labels\nnew.wav,other\nold.wav,\na.wav,\n")
    with pytest.raises(UserError, match=r"new/: has the label other, but the network has high, low, mid; correct new"):
        eval_network.main()


@pytest.mark.usefixtures("without_plots")
def test_folds_choose_thresholds_for_the_weights_and_list_labels_to_check(call, work, monkeypatch):
    monkeypatch.setattr(eval_network, "REPORT_CLIPS", 1)
    out = call(train_network, work, *QUICK, "--folds", 2, "--fixed-epochs", 1)
    scores = json.loads((work / "folds/scores.json").read_text())
    with open(work / "Preproc/labels.csv", newline="") as file:
        train = [row for row in csv.reader(file) if row[0].startswith("Train/")]
    assert scores["files"] == sum(each["files"] for each in scores["folds"].values()) == len(train)
    for name, each in scores["classes"].items():
        assert each["files"] == sum(name in row[1].split(",") for row in train)
    assert "weights.hdf5: now contains the thresholds of cross-validation, for predict_class.py.\n" in out
    assert checkpoint.read(work / "weights.hdf5").thresholds == scores["thresholds"]
    assert "Missed and extra classes" in (work / "folds/report.html").read_text()
    rewrite(work / "Preproc/labels.csv", [["file", "labels"], *([file, each.replace("low", "mid") if i else each]
                                                                for i, (file, each) in enumerate(train))])
    assert fold_thresholds.read(work / "folds/scores.json", "small", *_settings_and_clips(work)) == {}


def _settings_and_clips(work):
    settings, _ = preproc.read_settings(work / "Preproc")
    return settings, preproc.load(work / "Preproc", "Train", settings, has_labels=True)[0]


@pytest.mark.long
def test_an_ensemble_is_trained_with_sigmoids(call, prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "work")
    call(train_network, folder, *QUICK, "--network", "ensemble", "--fixed-epochs", 1)
    found = checkpoint.read(folder / "weights.hdf5")
    model = network.load(folder / "weights.hdf5", found)
    probabilities = network.predict(model, np.random.default_rng(1).normal(-40, 15, (3, *found.settings.shape)))
    assert not np.allclose(probabilities.sum(axis=1), 1, atol=0.01)
