"""eval_network.py: scores and mistakes agree, all files are written, user mistakes are found before Keras starts."""

import csv
import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import names, sine, tones, write

import eval_network
import preprocess_data
from audio_utils.data import labelled_folder, preproc
from audio_utils.data.clips import Clips
from audio_utils.data.standardization import Standardization
from audio_utils.evaluation import drawing, plots
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference import checkpoint
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime.errors import UserError
from audio_utils.training import known_clips

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


def predict_randomly(_checkpoint, clips, _batch_size, _weights):
    return Evaluation.of(clips, np.random.default_rng(1).dirichlet(np.ones(3), len(clips)).astype(np.float32))


@pytest.fixture
def without_keras(monkeypatch):
    """The whole script except for the network."""
    monkeypatch.setattr(eval_network, "evaluate", predict_randomly)
    monkeypatch.setattr(eval_network, "occlusion_of", lambda *_: None)


@pytest.fixture
def without_plots(monkeypatch):
    """Empty files and elements instead: drawing takes most of the script's time."""
    for name in ("roc_curves", "confusion_matrix"):
        monkeypatch.setattr(plots, name, lambda path, *_: path.touch())
    monkeypatch.setattr(drawing, "svg", lambda *_: "<svg></svg>")


@pytest.mark.usefixtures("without_keras", "without_plots")
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
    assert re.search(r"\nc +0 +0 +0.0% +- +- +-\n", out)
    for row in mistakes:
        assert row["file"].startswith(row["should_be"] + "/")
        assert f"{row['file']}: should be {row['should_be']} but came out as {row['came_out_as']}" in out
        assert float(row["probability"]) >= float(row["probability_of_truth"])
    assert [row["probability"] for row in mistakes] == sorted((row["probability"] for row in mistakes), reverse=True)


@pytest.mark.usefixtures("without_keras", "without_plots")
def test_thresholds_are_applied_and_not_chosen(call, folder):
    made = {"source": "validation after epoch 3", "clips": 8, "classes": {
        name: {"positives": 4, "max_f1": 0.4, "precision_90": None} for name in CLASSES}}
    checkpoint.update(folder / "weights.hdf5", thresholds=made)
    before = (folder / "weights.hdf5").read_bytes()
    out = call(eval_network, folder)
    scores = json.loads((folder / "scores.json").read_text())
    assert ("\nThresholds from validation after epoch 3 (8 clips) are too uncertain to show; train_network.py "
            "--folds 5 gives better thresholds.\n") in out
    assert (folder / "weights.hdf5").read_bytes() == before
    assert scores["thresholds"] == made
    for each in scores["classes"].values():
        assert each["thresholds"]["uncertain"] is True
        assert each["thresholds"]["max_f1"]["threshold"] == 0.4
        assert each["thresholds"]["precision_90"] is None
    assert scores["classes"]["c"]["thresholds"]["max_f1"]["recall"] is None
    assert "Chosen from validation after epoch 3 (8 clips)" in (folder / "report.html").read_text()


@pytest.mark.usefixtures("without_keras", "without_plots")
def test_false_alarms_of_background_are_counted_with_and_without_thresholds(call, folder, monkeypatch):
    monkeypatch.setattr("audio_utils.evaluation.report.write", lambda *_: "")
    made = {"source": "validation after epoch 3", "clips": 80, "classes": {
        name: {"positives": 40, "max_f1": 0.0, "precision_90": 1.0} for name in CLASSES}}
    checkpoint.update(folder / "weights.hdf5", thresholds=made, background_classes=[CLASSES[0]])
    out = call(eval_network, folder)
    scores = json.loads((folder / "scores.json").read_text())
    found = scores["background"]
    mistakes = scores["classes"][CLASSES[0]]["mistakes"]
    assert (found["classes"], found["clips"], found["other_clips"]) == ([CLASSES[0]], 6, 6)
    assert [at["false_alarms"] for at in found["min_probability"].values()] == [mistakes, mistakes, 0]
    assert f"\nBackground: 6 clips of {CLASSES[0]} and 6 of other classes, 0.25 s each.\nmin-prob" in out
    rows = out[out.index("90% precision\n"):out.index("\nBackground")].splitlines()
    assert [row.split()[0] for row in rows[1:4]] == ["class", "c", "Ä“$x$”"]  # no threshold of the background class


@pytest.mark.usefixtures("without_keras", "without_plots")
def test_classes_that_are_directions_get_angular_errors(call, folder, monkeypatch):
    monkeypatch.setattr(eval_network, "evaluate", lambda *arguments: predict_randomly(*arguments)._replace(
        class_names=["e0a0", "noise", "e0a180"]))  # as if the folders had these names
    found = checkpoint.read(folder / "weights.hdf5")._replace(background_classes=["noise"])
    monkeypatch.setattr(eval_network.checkpoints, "read", lambda _: found)
    out = call(eval_network, folder, "--report-clips", 0)
    found = json.loads((folder / "scores.json").read_text())["directions"]
    assert found["files"] + found["files_as_background"] == 12
    assert found["mean_angular_error_deg"] == pytest.approx(180 * found["errors"] / found["files"])
    assert found["errors"] == found["front_back_confusions"] > 0
    sentence = f"Mean angular error {found['mean_angular_error_deg']:.1f}° (chance: 90.0°); front-back confusions: "
    assert f"\n{sentence}{found['errors']} of {found['errors']} errors, " in out
    assert "confusion_matrix.png, directions.png.\n" in out
    assert (folder / "directions.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text()
    assert f'<p class="finding">{sentence}' in page
    assert page.count('href="#directions"') == 1


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
        eval_network.show_report(Path("report.html"), True)
    assert opened == [(tmp_path / "report.html").as_uri()] * 2
    assert tuple(capsys.readouterr()) == ("", "report.html: no browser was found; open it in one.\n")


@pytest.mark.slow
@pytest.mark.usefixtures("without_keras", "without_plots")
def test_scores_are_the_same_without_preproc(call, folder):
    call(eval_network, folder)
    before = json.loads((folder / "scores.json").read_text())
    shutil.rmtree(folder / "Preproc")
    out = call(eval_network, folder)
    assert "12 melgrams of Samples/ computed" in out
    assert json.loads((folder / "scores.json").read_text()) == before


@pytest.mark.slow
@pytest.mark.usefixtures("without_plots", "small_network")
def test_batch_size_does_not_change_the_scores(call, folder):
    import panotti_models
    from audio_utils.inference import network
    from audio_utils.training import checkpointing
    found = checkpoint.read(folder / "weights.hdf5")
    model = panotti_models.build("small", found.settings.shape, len(CLASSES), found.standardization)
    weights = network.arrays(model.weights)
    checkpointing.save(folder / "weights.hdf5", found, model, weights, weights, panotti_models.keras.optimizers.SGD())
    results = []
    for size in (1, 5, 64):
        call(eval_network, folder, "--batch-size", size, "--report-clips", 0)
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


# --- another network, another folder --------------------------------------------------------------------------------

FILES = ["confusion_matrix.png", "mistakes.csv", "report.html", "roc_curves.png", "scores.json", "skipped.csv"]


@pytest.fixture
def other(folder):
    """The name of a folder with sounds of two of the network's classes and of another one."""
    for hz, name in ((500, "A & <b>"), (700, "Ä“$x$”"), (900, "other")):
        for i in range(4):
            write(folder / f"my sounds é/{name}/{i}.wav", sine(hz, 0.25, level=0.1 + 0.2 * i))
    return "my sounds é"


@pytest.mark.usefixtures("without_keras", "without_plots")
def test_a_folder_of_sounds_is_scored_into_a_folder_of_its_own(call, folder, other, capsys, monkeypatch):
    monkeypatch.setattr(preprocess_data, "JOBS", "tcp://127.0.0.1:1")  # for other scripts; melgrams are computed here
    shutil.rmtree(folder / "Preproc")
    out = call(eval_network, folder, "--samples", other)
    assert names(folder) == ["Samples", "eval_my sounds é", "my sounds é", "weights.hdf5"]
    assert names(folder / f"eval_{other}") == FILES
    scores = json.loads((folder / f"eval_{other}/scores.json").read_text())
    assert [scores["classes"][name]["files"] for name in CLASSES] == [4, 0, 4]
    assert (scores["weights"], scores["samples"], scores["trained_on"]) == ("weights.hdf5", other, None)
    with (folder / f"eval_{other}/skipped.csv").open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == [f"{other}/other/{i}.wav" for i in range(4)]
    assert (f"Written to eval_{other}/: scores.json, mistakes.csv, roc_curves.png, confusion_matrix.png, "
            "skipped.csv.") in out
    assert out.endswith(f"Open eval_{other}/report.html in a browser, or add --open.\n")
    page = (folder / f"eval_{other}/report.html").read_text()
    assert f"<dt>Test files</dt><dd>all sounds of {other}/</dd>" in page
    assert f"<h1>{other}: " in page
    assert page.count("<audio ") == sum(each["mistakes"] for each in scores["classes"].values()) > 0
    assert "does not record the sounds that it was trained on" in page
    assert ">Train<" not in page


@pytest.mark.usefixtures("without_keras", "without_plots")
def test_another_network_is_named_in_the_scores_and_the_report(call, folder):
    (folder / "weights.hdf5").rename(folder / "old.hdf5")
    call(eval_network, folder, "--weights", "old.hdf5")
    scores = json.loads((folder / "scores.json").read_text())
    assert (scores["weights"], scores["samples"], scores["trained_on"]) == ("old.hdf5", "Test", None)
    assert "vgg (old.hdf5)" in (folder / "report.html").read_text()
    assert not list(folder.glob("eval_*"))


@pytest.mark.usefixtures("without_keras", "without_plots")
def test_sounds_that_were_trained_on_are_not_scored(call, folder, other):
    found = checkpoint.read(folder / "weights.hdf5")
    clips = labelled_folder.load(folder / other, found.settings, CLASSES, 1).clips
    trained = Clips(clips.melgrams[:3], None, ["x"] * 3, CLASSES)
    with h5py.File(folder / "weights.hdf5", "w") as file:
        checkpoint.write(file, found, clips=known_clips.hashes(None, trained))
    out = call(eval_network, folder, "--samples", other)
    assert "3 of 8 sounds were in the network's Train set, such as A & <b>/0.wav; they are left out of the s" in out
    scores = json.loads((folder / f"eval_{other}/scores.json").read_text())
    assert (scores["files"], scores["trained_on"], scores["trained_on_are_scored"]) == (5, 3, False)
    assert "except 3 that the network was trained on</dd>" in (folder / f"eval_{other}/report.html").read_text()


@pytest.mark.parametrize(("samples", "output"), [
    ("", "."), ("a/b", "eval_b"), ("a/b/", "eval_b"), (".", "eval_work"), ("a/..", "eval_work"), ("link", "eval_b"),
    ("/", "eval_root"), ("é ü", "eval_é ü"), ("loop", "eval_loop")])
def test_the_output_folder_is_named_after_the_folder_of_sounds(tmp_path, monkeypatch, samples, output):
    (tmp_path / "work/a/b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    Path("link").symlink_to("a/b")
    Path("loop").symlink_to("loop")
    assert eval_network.output_folder(samples) == Path(output)


def test_a_file_in_place_of_the_output_folder_is_named_before_keras_starts(call, folder, other):
    (folder / f"eval_{other}").touch()
    with pytest.raises(UserError, match=f"eval_{other}: is a file, but the results need a folder of this name; rename"):
        call(eval_network, folder, "--samples", other)
