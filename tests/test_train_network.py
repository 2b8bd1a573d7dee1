"""train_network.py: learns, goes on to the bit where it was stopped, and loses nothing."""

import csv
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT, spoil, tones

import panotti_models
import preprocess_data
import train_network
from audio_utils import dataset, weights_file
from audio_utils.progress import Progress
from audio_utils.safe_files import UserError

SCRIPT = "train_network.py"
QUICK = ("--batch-size", 4, "--warm-up", 0, "--network", "vgg", "--epoch-clips", 1, "--validation-fraction", 0.2)
UNVARIED = ("--averaging", 0, "--mixup", 0, "--masked-bands", 0, "--masked-time", 0)  # learns a little at once
SOON_DONE = ("--learning-rate", 1e-9, "--patience", 2, "--negligible", 0.5, "--cool-down", 3)  # after 6 epochs
EVERYTHING_VARIED = ("--frequency-warp", 0.2, "--masked-time", 0.15, "--masked-bands", 0.15, "--mixup", 0.3)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with Samples/ and Preproc/ to copy from."""
    folder = tones(tmp_path_factory.mktemp("prepared"))
    subprocess.run([sys.executable, str(ROOT / "preprocess_data.py")], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def folder(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "work")


def history(folder):
    return (folder / "history.csv").read_text()


def arrays(folder, group):
    """{name: bytes} of all arrays of a group of weights.hdf5."""
    found = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[...].tobytes()

    with h5py.File(folder / "weights.hdf5") as file:
        file[group].visititems(keep)
    return found


def test_learns_and_says_what_it_does(call, folder):
    out = call(train_network, folder, *QUICK, "--network", "residual", "--epochs", 12, "--negligible", 0, *UNVARIED)
    assert "12 clips to train on, 4 to validate, of 96 mels, 22 frames, 1 channel, in 2 classes." in out
    assert "(tensorflow, " in out
    assert out.count("clips/s") == 12
    assert "Done: 12 epochs (EPOCHS)" in out
    assert "Test: loss" in out
    assert re.search(r"accuracy (75|100).00% of 4 clips", out)
    rows = list(csv.DictReader(history(folder).splitlines()))
    assert [row["epoch"] for row in rows] == [str(i) for i in range(1, 13)]
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[0]["loss"])
    assert (folder / "training_curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def pair(monkeypatch):
    """An ensemble as any other, but sooner made than that of residual networks."""
    def network(x, classes):
        return panotti_models.layers.Average(dtype="float32")([panotti_models.vgg(x, classes) for _ in range(2)])

    monkeypatch.setitem(panotti_models.NETWORKS, "pair", network)


@pytest.mark.parametrize("network", ["residual", "vgg", "pair"])
def test_resumed_training_is_training_never_stopped_bit_for_bit(call, folder, tmp_path, pair, network):
    other = shutil.copytree(folder, tmp_path / "other")
    flags = (*QUICK, "--network", network, "--learning-rate", 1e-4, "--patience", 1, "--negligible", 0.3,
             "--cool-down", 2, *EVERYTHING_VARIED)
    call(train_network, folder, *flags, "--epochs", 4)
    for epochs in (1, 3, 4):
        out = call(train_network, other, *flags, "--epochs", epochs)
    assert "Going on after epoch 3" in out
    rates = [float(row["learning_rate"]) for row in csv.DictReader(history(folder).splitlines())]
    assert rates[3] < rates[2] == rates[0]
    assert history(other) == history(folder)
    for group in ("model_weights", "panotti/last", "panotti/average", "panotti/optimizer"):
        assert arrays(other, group) == arrays(folder, group)
        assert len(arrays(folder, group)) > 5


def test_without_preproc_it_is_the_same(call, folder, tmp_path):
    bare = shutil.copytree(folder / "Samples", tmp_path / "bare/Samples").parent
    call(train_network, folder, *QUICK, "--epochs", 1)
    out = call(train_network, bare, *QUICK, "--epochs", 1)
    assert history(bare) == history(folder)
    assert "16 melgrams of Samples/ computed in" in out
    assert "reading takes about" in out
    assert not (bare / "Preproc").exists()


def test_another_seed_is_another_training(call, folder):
    call(train_network, folder, *QUICK, "--epochs", 1)
    first = history(folder)
    call(train_network, folder, *QUICK, "--epochs", 1, "--seed", 5, "--fresh")
    assert history(folder) != first


def test_stops_by_itself_and_stays_stopped(call, folder):
    out = call(train_network, folder, *QUICK, *SOON_DONE)
    assert ("Done: validation no longer improved in epoch 3 (PATIENCE), and since then the learning rate has come down "
            "to 0 (COOL_DOWN), epoch 6 is kept.") in out
    rates = [float(row["learning_rate"]) for row in csv.DictReader(history(folder).splitlines())]
    assert rates == pytest.approx([1e-9] * 4 + [1e-9 * (1 - (part / 3) ** 0.5) for part in (1, 2)])
    again = call(train_network, folder, *QUICK, *SOON_DONE)
    assert "clips/s" not in again
    assert "Done" in again


def validated(folder):
    """For each epoch, whether it has figures of validation."""
    return [row["val_loss"] != "" != row["val_accuracy"] for row in csv.DictReader(history(folder).splitlines())]


def test_at_the_end_what_validated_is_trained_on_too_and_the_last_network_kept(call, folder):
    out = call(train_network, folder, *QUICK, *SOON_DONE, "--epochs", 4)
    assert "on all clips, those of validation too, up to epoch 6" in out
    call(train_network, folder, *QUICK, *SOON_DONE, "--no-finish-on-all")  # too late: they can validate no more
    assert validated(folder) == [True] * 3 + [False] * 3
    progress = weights_file.read(folder / "weights.hdf5").progress
    assert (progress["steps"], progress["best_epoch"]) == (3 * 12 / 4 + 3 * 16 / 4, 6)
    best, average = (list(arrays(folder, group).values()) for group in ("model_weights", "panotti/average"))
    assert sorted(best) == sorted(average)


def test_copies_of_what_validates_are_trained_on_when_it_is():
    names = [f"{label}/{n}{copy}.wav" for label in "ab" for n in range(5) for copy in ("", "_aug1")]
    dealt = train_network.deal(names, Progress({}, held_out=["a/0.wav"]), None, 0.2, 1, "")
    training, validation, copies = ([names[i] for i in places] for places in dealt)
    assert copies == [name.replace(".wav", "_aug1.wav") for name in validation]
    assert not {name.replace("_aug1", "") for name in training} & set(validation)
    assert sorted(training + validation + copies) == sorted(set(names) - {"a/0.wav", "a/0_aug1.wav"})


def test_what_validates_may_go_on_validating(call, folder):
    call(train_network, folder, *QUICK, *SOON_DONE, "--no-finish-on-all")
    assert validated(folder) == [True] * 6
    assert weights_file.read(folder / "weights.hdf5").progress["steps"] == 6 * 12 / 4


def test_stops_soon_where_nothing_is_left_to_improve(call, folder):
    out = call(train_network, folder, *QUICK, "--learning-rate", 1e-9, "--negligible", 100, "--patience", 3)
    assert "Done: the validation loss is below 100.0 (NEGLIGIBLE), nothing is left to improve" in out
    assert out.count("clips/s") == 4  # the first counts as better than nothing


def test_the_best_network_survives_a_resume_that_spoils_it(call, folder):
    call(train_network, folder, *QUICK, "--epochs", 6)
    best, score = arrays(folder, "model_weights"), weights_file.read(folder / "weights.hdf5").progress["best_loss"]
    with spoil(1e4):
        out = call(train_network, folder, *QUICK, "--epochs", 8, "--learning-rate", 0.001)
    assert "LEARNING_RATE was 0.002 and is now 0.001." in out
    progress = weights_file.read(folder / "weights.hdf5").progress
    assert progress["best_loss"] == score
    assert [row["val_loss"] > 5 for row in progress["history"]] == [False] * 6 + [True] * 2
    assert arrays(folder, "model_weights") == best


def test_fresh_keeps_the_old_weights(call, folder):
    call(train_network, folder, *QUICK, "--epochs", 1)
    old = (folder / "weights.hdf5").read_bytes()
    call(train_network, folder, *QUICK, "--epochs", 1, "--fresh")
    call(train_network, folder, *QUICK, "--epochs", 1, "--fresh")
    kept = sorted(folder.glob("weights.2*.hdf5"))
    assert len(kept) == 2
    assert old in [path.read_bytes() for path in kept]


def test_a_loss_that_is_no_number_stops_training_with_the_last_good_weights(call, folder):
    call(train_network, folder, *QUICK, "--epochs", 1)
    before = (folder / "weights.hdf5").read_bytes()
    with spoil(np.nan, at="start"), pytest.raises(
            UserError, match="The loss became nan in epoch 2; weights.hdf5 is as the epoch before left it"):
        call(train_network, folder, *QUICK, "--epochs", 9)
    assert (folder / "weights.hdf5").read_bytes() == before


def test_a_small_set_is_passed_over_several_times_an_epoch(call, folder):
    out = call(train_network, folder, *QUICK, "--epochs", 1, "--epoch-clips", 40)
    assert "12 clips to train on, 4 times an epoch, 4 to validate" in out
    assert weights_file.read("weights.hdf5").progress["steps"] == 12


def test_what_is_validated_and_kept_is_the_average_of_the_weights(call, folder):
    call(train_network, folder, *QUICK, "--epochs", 2)
    trained = weights_file.read("weights.hdf5")
    assert trained.progress["averaged"] == 2  # 3 steps an epoch: at their ends only
    assert trained.progress["best_epoch"] == 2
    with h5py.File("weights.hdf5") as file:
        best = [file[place][...] for place in trained.weights]
        average = [each[...] for each in file["panotti/average"].values()]
        last = [each[...] for each in file["panotti/last"].values()]
    assert all(np.array_equal(*pair) for pair in zip(best, average, strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(best, last[:len(best)], strict=True))


# --- cross-validation -----------------------------------------------------------------------------------------------

def fold_names(folder):
    """Fold → the names (held out, validated on, that a weights file was trained with)."""
    return {path.parent.name: weights_file.read(path).progress for path in sorted(folder.glob("folds/*/weights.hdf5"))}


def test_cross_validation_tests_each_clip_once_by_a_network_that_never_had_it(call, folder):
    out = call(train_network, folder, *QUICK, "--epochs", 2, "--folds", 2)
    progress = fold_names(folder)
    assert list(progress) == ["fold_1", "fold_2"]
    tested = [name for each in progress.values() for name in each["held_out"]]
    clips, _ = preprocess_data.open_data().load("Train")
    assert sorted(tested) == clips.names
    assert not set(progress["fold_1"]["held_out"]) & set(progress["fold_1"]["validation"])
    scores = json.loads((folder / "folds/scores.json").read_text())
    accuracies = [fold["accuracy"] for fold in scores["folds"].values()]
    assert scores["files"] == 16
    assert scores["accuracy"] == pytest.approx(np.mean(accuracies))
    assert f"2 folds: mean accuracy {np.mean(accuracies):.2%}, from {min(accuracies):.2%}" in out
    assert "Fold 2: loss" in out
    assert (folder / "folds/confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    mistakes = list(csv.DictReader((folder / "folds/mistakes.csv").open(encoding="utf-8")))
    assert len(mistakes) == round(16 * (1 - scores["accuracy"]))
    assert not (folder / "weights.hdf5").exists()


def test_sounds_in_no_fold_are_trained_on_by_all(call, folder):
    clips, _ = dataset.load(folder / "Preproc", "Train", dataset.read_settings(folder / "Preproc")[0])
    places = sorted({Path(name).stem for name in clips.names})
    out = call(train_network, folder, *QUICK, "--epochs", 1, "--folds", f"[{places[0]}{places[1]}]")
    in_folds = [name for name in clips.names if Path(name).stem in places[:2]]
    tested = {fold: progress["held_out"] for fold, progress in fold_names(folder).items()}
    assert list(tested) == [f"fold_{place}" for place in places[:2]]
    assert sorted(name for held_out in tested.values() for name in held_out) == in_folds
    assert f"{len(clips) - len(in_folds)} sounds are in no fold" in out


def test_cross_validation_goes_on_to_the_bit(call, folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    flags = (*QUICK, "--folds", 2)
    call(train_network, folder, *flags, "--epochs", 2)
    call(train_network, other, *flags, "--epochs", 1)
    out = call(train_network, other, *flags, "--epochs", 2)
    assert out.count("Going on after epoch 1") == 2
    for name in ("fold_1/weights.hdf5", "fold_2/weights.hdf5", "fold_2/history.csv", "scores.json", "mistakes.csv"):
        assert (other / "folds" / name).read_bytes() == (folder / "folds" / name).read_bytes()


def test_folds_of_other_sounds_are_refused_and_kept(call, folder):
    call(train_network, folder, *QUICK, "--epochs", 1, "--folds", 2)
    with pytest.raises(UserError, match="folds/fold_1/weights.hdf5: was trained for a fold of other sounds; set FOLDS"):
        call(train_network, folder, *QUICK, "--epochs", 2, "--folds", 3)
    before = (folder / "folds/fold_1/weights.hdf5").read_bytes()
    call(train_network, folder, *QUICK, "--epochs", 1, "--folds", 3, "--fresh")
    kept, = folder.glob("folds.2*")
    assert (kept / "fold_1/weights.hdf5").read_bytes() == before
    assert len(fold_names(folder)) == 3


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_batch_normalization_in_one_kernel_is_what_keras_spells_out(precision):
    keras = panotti_models.keras
    batch = np.random.default_rng(1).normal(3, 2, (8, 20, 30, 4)).astype(np.float32)
    found = []
    for speed_up in (lambda model: None, panotti_models.speed_up):
        keras.utils.set_random_seed(1)
        inputs = keras.Input(batch.shape[1:])
        outputs = keras.layers.BatchNormalization(momentum=0.9, dtype=precision)(inputs)
        model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(outputs))
        speed_up(model)
        model.compile("sgd", "mse")
        losses = [model.train_on_batch(batch, batch[..., :2] ** 2) for _ in range(3)]
        found.append([losses, *panotti_models.arrays(model.weights), panotti_models.predict(model, batch)])
    tolerance = 1e-3 if precision == "float32" else 0.04  # bfloat16 has 8 bits
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, tolerance, tolerance)


@pytest.fixture
def gpu(monkeypatch):
    """The processor, taken for a GPU."""
    monkeypatch.setattr(panotti_models, "on_gpu", lambda: True)
    monkeypatch.setattr(panotti_models, "compute_capability", lambda: 7.5)


@pytest.mark.parametrize("network", ["vgg", "pair"])
def test_with_the_clips_on_a_gpu_it_learns_the_same(call, folder, tmp_path, gpu, pair, monkeypatch, network):
    flags = (*QUICK, *EVERYTHING_VARIED, "--network", network, "--epoch-clips", 50, "--learning-rate", 1e-4,
             "--epochs", 2)  # of 15 steps
    fed = shutil.copytree(folder, tmp_path / "fed")
    call(train_network, fed, *flags, "--gpu-clips-gb", 0)
    monkeypatch.setattr(panotti_models.keras.Model, "train_on_batch", None, raising=False)
    assert "(tensorflow, float32)" in call(train_network, folder, *flags)
    for one, other in zip(*(csv.DictReader(history(each).splitlines()) for each in (folder, fed)), strict=True):
        assert list(map(float, one.values())) == pytest.approx(list(map(float, other.values())), rel=0.01)
    progress = weights_file.read(folder / "weights.hdf5").progress
    assert progress["steps"] == 30
    assert progress["averaged"] == 2 * 2 + 1 == weights_file.read(fed / "weights.hdf5").progress["averaged"]


def test_with_the_clips_on_a_gpu_it_resumes_to_the_bit(call, folder, tmp_path, gpu):
    other = shutil.copytree(folder, tmp_path / "other")
    flags = (*QUICK, *EVERYTHING_VARIED, "--epoch-clips", 50)
    call(train_network, folder, *flags, "--epochs", 3)
    for epochs in (1, 3):
        call(train_network, other, *flags, "--epochs", epochs)
    assert history(other) == history(folder)
    assert (other / "weights.hdf5").read_bytes() == (folder / "weights.hdf5").read_bytes()


def test_a_loss_on_a_gpu_that_is_no_number_stops_training(call, folder, gpu):
    with spoil(np.nan, at="start"), pytest.raises(
            UserError, match="The loss became nan in epoch 1; weights.hdf5 is as the epoch before left it"):
        call(train_network, folder, *QUICK, "--epochs", 2)


@pytest.mark.parametrize(("said", "capability", "precision"), [
    ("9.0\n", 9.0, "mixed_bfloat16"), ("9.0\n7.5\n", 7.5, "float32"), ("", 0, "float32"),
    ("[N/A]\n", 0, "float32"), (None, 0, "float32")])
def test_a_gpu_computes_in_bfloat16_where_it_has_it(tmp_path, monkeypatch, said, capability, precision):
    if said is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ntest \"$1\" = --query-gpu=compute_cap && printf '{said}'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin" if said is not None else str(tmp_path))
    monkeypatch.setattr(panotti_models, "on_gpu", lambda: True)
    assert panotti_models.compute_capability() == capability
    assert panotti_models.best_precision() == precision


def test_keras_opens_the_file(call, folder):
    call(train_network, folder, *QUICK, "--epochs", 2)
    clips, _ = preprocess_data.open_data().load("Test")
    trained = weights_file.read("weights.hdf5")
    ours = panotti_models.predict(panotti_models.load("weights.hdf5", trained), clips.melgrams)
    theirs = panotti_models.keras.saving.load_model("weights.hdf5", compile=False).predict(clips.melgrams, verbose=0)
    assert np.abs(ours - theirs).max() < 0.02  # bfloat16, where that was trained with
    assert trained.class_names == ["high", "low"]


@pytest.mark.parametrize(("change", "flags", "says"), [
    (lambda: None, ["--cool-down", -1], "COOL_DOWN is -1; set it to a whole number of at least 0"),
    (lambda: os.rename("Preproc/Train/low", "Preproc/Train/lower"), [],
     "knows the classes high, low; now there are high, lower"),
    (lambda: None, ["--network", "residual"], "holds the network 'vgg', NETWORK is 'residual'"),
    (lambda: shutil.rmtree("Preproc/Train/low"), ["--fresh"], "holds one class only (high)"),
    (lambda: os.remove("Preproc/settings.json"), [], "settings.json: is not here; run preprocess_data.py first"),
    (lambda: None, ["--fresh", "--network", "lstm"], "NETWORK is 'lstm'; choose one of"),
    (lambda: None, ["--epochs", "0"], "EPOCHS is 0"),
    (lambda: None, ["--precision", "float8"], "PRECISION is 'float8'"),
    (lambda: Path("weights.hdf5").write_bytes(b"rubbish"), [], "weights.hdf5: is damaged"),
    (lambda: Path("Preproc/settings.json").write_text('{"complete": false, "x'), [], "settings.json: is damaged")])
def test_what_does_not_fit_is_refused_and_nothing_is_touched(call, folder, change, flags, says):
    call(train_network, folder, *QUICK, "--epochs", 1)
    change()
    before = (folder / "weights.hdf5").read_bytes()
    with pytest.raises(UserError, match=says.replace("(", r"\(").replace(")", r"\)")):
        call(train_network, folder, *QUICK, "--epochs", 3, *flags)
    assert (folder / "weights.hdf5").read_bytes() == before


def test_other_preprocessing_is_refused(call, folder):
    call(train_network, folder, *QUICK, "--epochs", 1)
    call(preprocess_data, folder, "--mels", 40, "--overwrite")
    with pytest.raises(UserError, match="has mels = 40, the network in weights.hdf5 was trained with 96"):
        call(train_network, folder, *QUICK, "--epochs", 3)


def test_unfinished_preprocessing_is_refused(call, folder):
    path = folder / "Preproc/settings.json"
    path.write_text(path.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(UserError, match="Preproc/: is not finished; run preprocess_data.py again"):
        call(train_network, folder)


def test_validation_stays_where_it_was_when_sounds_are_added(call, folder):
    call(train_network, folder, *QUICK, "--epochs", 1)
    before = weights_file.read("weights.hdf5").progress["validation"]
    tones(folder, files=16)
    call(preprocess_data, folder)
    call(train_network, folder, *QUICK, "--epochs", 2)
    after = weights_file.read("weights.hdf5").progress["validation"]
    assert after == before
    assert len(after) == 4


@pytest.mark.parametrize("shape", [(96, 173, 1), (96, 1, 1), (1, 1, 1), (5, 7, 8), (20, 2000, 2), (96, 13, 2)])
@pytest.mark.parametrize("network", panotti_models.NETWORKS)
def test_networks_take_every_shape(network, shape):
    model = panotti_models.build(network, shape, 3, model_scaling(shape[0]))
    melgrams = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    probabilities = panotti_models.predict(model, melgrams, 2)
    assert probabilities.shape == (5, 3)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def model_scaling(mels):
    """One that changes nothing."""
    return weights_file.Scaling(np.zeros(mels, np.float32), np.ones(mels, np.float32))


def after_layer(model, name, melgrams):
    """What comes out of the first layer of a kind."""
    layer = next(layer for layer in model.layers if layer.name.startswith(name))
    return panotti_models.keras.Model(model.inputs, layer.output).predict(melgrams, verbose=0)


def test_scaling_is_a_part_of_the_network():
    melgrams = np.random.default_rng(0).normal(-40, 15, (20, 8, 9, 2)).astype(np.float32)
    scaling = weights_file.Scaling.of(melgrams)
    below = melgrams - melgrams.max(axis=(1, 2, 3), keepdims=True)
    assert np.allclose(scaling.mean, below.mean(axis=(0, 2, 3)), atol=1e-4)
    assert np.allclose(scaling.variance, below.var(axis=(0, 2, 3)), rtol=1e-4)
    scaled = after_layer(panotti_models.build("vgg", (8, 9, 2), 2, scaling), "normalization", melgrams)
    assert np.abs(scaled.mean(axis=(0, 2, 3))).max() < 1e-4
    assert np.abs(scaled.std(axis=(0, 2, 3)) - 1).max() < 1e-3


def test_the_residual_network_sees_the_differences_of_the_channels():
    scaling = weights_file.Scaling(np.zeros(8, np.float32), np.full(8, 4, np.float32))
    model = panotti_models.build("residual", (8, 9, 3), 2, scaling)
    melgrams = np.random.default_rng(0).normal(size=(5, 8, 9, 3)).astype(np.float32)
    found = after_layer(model, "concatenate", melgrams)
    below = melgrams - melgrams.max(axis=(1, 2, 3), keepdims=True)
    assert np.allclose(found[..., :3], below / 2, atol=1e-5)
    assert np.allclose(found[..., 3:], (melgrams[..., 1:] - melgrams[..., :1]) / 2, atol=1e-5)


def test_the_residual_network_sees_changes_and_heights():
    scaling = weights_file.Scaling(np.zeros(8, np.float32), np.full(8, 4, np.float32))
    model = panotti_models.build("residual", (8, 9, 1), 2, scaling)
    melgrams = np.random.default_rng(0).normal(-40, 15, (5, 8, 9, 1)).astype(np.float32)
    first = next(layer for layer in model.layers if getattr(layer, "kernel_size", None) == (5, 5))
    below, change, height = np.moveaxis(panotti_models.keras.Model(model.inputs, first.input).predict(
        melgrams, verbose=0), -1, 0)
    assert np.allclose(below, (melgrams[..., 0] - melgrams.max(axis=(1, 2, 3))[:, None, None]) / 2, atol=1e-5)
    assert np.allclose(change, below - below.mean(axis=2, keepdims=True), atol=1e-4)
    assert np.allclose(height, np.sqrt(3) * np.linspace(-1, 1, 8)[:, None], atol=1e-6)


def test_the_modulation_network_sees_at_which_rate_each_band_goes_up_and_down():
    model = panotti_models.build("modulation", (24, 256, 2), 2, model_scaling(24))
    melgrams = np.full((1, 24, 256, 2), -20, np.float32)
    melgrams[0, 8:16, :, 1] += 5 * np.sin(2 * np.pi * 9 * np.arange(256) / 64)[None]
    found = after_layer(model, "stft_spectrogram", melgrams)[0, 2:-2]
    found = found.reshape(-1, 3, 2, 33)  # (times, bands, channels, rates)
    assert (found[:, 1, 1].argmax(axis=1) == 9).all()
    assert np.allclose(found[:, 1, 1, 9], np.log(5 * 32 / 2), atol=0.1)  # half of the window's sum
    assert found[:, [0, 0, 1, 2, 2], [0, 1, 0, 0, 1]].max() < -5  # elsewhere nothing moves


@pytest.mark.parametrize("network", panotti_models.NETWORKS)
def test_how_loud_a_recording_is_changes_nothing(network):
    melgrams = np.random.default_rng(0).normal(-40, 15, (6, 20, 30, 2)).astype(np.float32)
    model = panotti_models.build(network, melgrams.shape[1:], 3, weights_file.Scaling.of(melgrams))
    louder = melgrams + np.array([-30, -5, 0, 1, 10, 25], np.float32)[:, None, None, None]
    assert np.allclose(panotti_models.predict(model, louder), panotti_models.predict(model, melgrams), atol=1e-5)


def test_an_ensemble_says_the_mean_of_networks_that_differ():
    melgrams = np.random.default_rng(0).normal(-40, 15, (6, 20, 30, 1)).astype(np.float32)
    model = panotti_models.build("ensemble", melgrams.shape[1:], 3, weights_file.Scaling.of(melgrams))
    said = panotti_models.members(model).predict(melgrams, verbose=0)
    assert said.shape == (6, 3, 3)
    assert np.allclose(said.mean(axis=1), panotti_models.predict(model, melgrams), atol=1e-6)
    assert all(np.abs(said[:, one] - said[:, other]).max() > 0.05 for one, other in ((0, 1), (0, 2), (1, 2)))
    for network in ("residual", "vgg"):
        assert panotti_models.members(panotti_models.build(network, (20, 30, 1), 3, model_scaling(20))) is None


def test_each_network_of_an_ensemble_is_trained_by_itself():
    keras, rng = panotti_models.keras, np.random.default_rng(0)
    melgrams, truth = rng.normal(-40, 15, (6, 20, 30, 1)).astype(np.float32), np.eye(3)[[0, 1, 2, 0, 1, 2]]
    found = []
    for last_is in (1, -1):
        keras.utils.set_random_seed(1)
        model = panotti_models.build("ensemble", melgrams.shape[1:], 3, model_scaling(20))
        members = panotti_models.members(model)
        first, _, last = (each for each in model.layers if getattr(each, "units", 0) == 3)
        last.kernel.assign(last_is * last.kernel.numpy())
        before = first.kernel.numpy()
        members.compile("adamw", "categorical_crossentropy", run_eagerly=True)
        members.train_on_batch(melgrams, np.repeat(truth[:, None], 3, axis=1))
        assert np.abs(first.kernel.numpy() - before).max() > 0.0005
        found.append((first.kernel.numpy(), last.kernel.numpy()))
    assert np.allclose(found[0][0], found[1][0], atol=1e-6)
    assert not np.allclose(np.abs(found[0][1]), np.abs(found[1][1]), atol=1e-4)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_it_says_what_was_kept(run, folder, number, status):
    command = [sys.executable, str(ROOT / SCRIPT), *map(str, QUICK), "--patience", "1000"]
    process = subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)
    for line in process.stdout:
        if line.startswith("epoch    3"):
            break
    process.send_signal(number)
    start = time.monotonic()
    _, stderr = process.communicate(timeout=10)
    assert time.monotonic() - start < 4  # 2 where the machine has nothing else to do
    assert process.returncode == status
    assert stderr.strip().startswith("Stopped. weights.hdf5 holds the best network so far (epoch ")
    assert stderr.strip().count("\n") == 0
    done = weights_file.read(folder / "weights.hdf5").progress["epoch"]
    assert f"the state after epoch {done}; the same command goes on" in stderr
    assert done >= 3


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(run, folder, backend):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    out = run(SCRIPT, *QUICK, "--epochs", 3, cwd=folder, KERAS_BACKEND=backend).stdout
    assert f"({backend}, float32)" in out
    assert out.count("clips/s") == 3
    assert "accuracy" in run("eval_network.py", cwd=folder, KERAS_BACKEND=backend).stdout
    resumed = run(SCRIPT, *QUICK, "--epochs", 4, cwd=folder, KERAS_BACKEND=backend).stdout
    assert "Going on after epoch 3" in resumed
