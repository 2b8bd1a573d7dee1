"""train_network.py: trains, resumes bit for bit, and loses nothing."""

import csv
import importlib.util
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from conftest import ROOT, run_main, sine, spoil, tones, write

import panotti_models
import preprocess_data
import train_network
from audio_utils.data import preproc
from audio_utils.evaluation import mislabeled, plots
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference import checkpoint, device
from audio_utils.runtime.errors import UserError
from audio_utils.training import cross_validation, known_clips, learning_curve, transfer
from audio_utils.training.balance import Balance
from audio_utils.training.trainer import Trainer

SCRIPT = "train_network.py"
QUICK = ("--batch-size", 4, "--warm-up", 0, "--network", "small", "--epoch-clips", 1, "--validation-fraction", 0.2,
         "--fixed-epochs", 0, "--optimizer", "adamw",  # Muon's graphs take longer to trace
         "--precision", "float32")  # "auto" would check bfloat16 for each network and shape
PROCESS = (*QUICK, "--network", "vgg")  # "small" exists only in the process of the tests
TRAINING_CURVES = plots.training_curves
AUGMENTED = ("--frequency-warp", 0.2, "--time-mask", 0.15, "--frequency-mask", 0.15, "--mixup", 0.3,
             "--time-stretch", 0.2, "--optimizer", "muon")
PLATEAU = ("--min-delta", 1000, "--loss-target", 0, "--learning-rate", 1e-9)  # from epoch 1, on any processor
SIX_EPOCHS = (*PLATEAU, "--patience", 2, "--anneal-epochs", 3)

pytestmark = pytest.mark.usefixtures("without_curves", "small_network")


@pytest.fixture(scope="module")
def one_epoch(small_network, prepared, tmp_path_factory):
    """The same with a network trained for one epoch, to copy from."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("trained") / "work")
    return run_main(train_network, folder, *QUICK, "--epochs", 1)


@pytest.fixture
def trained(one_epoch, tmp_path):
    return shutil.copytree(one_epoch, tmp_path / "work")


def history(folder):
    return (folder / "history.csv").read_text()


def rows(folder):
    return list(csv.DictReader(history(folder).splitlines()))


def state(folder):
    return checkpoint.read(folder / "weights.hdf5").training_state


def thresholds(folder):
    return checkpoint.read(folder / "weights.hdf5").thresholds


def arrays(folder, group):
    """{name: bytes} of all arrays of a group of weights.hdf5."""
    found = {}

    def keep(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[...].tobytes()

    with h5py.File(folder / "weights.hdf5") as file:
        file[group].visititems(keep)
    return found


# --- training -------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_it_learns_and_reports(call, folder, monkeypatch):
    monkeypatch.setattr(plots, "training_curves", TRAINING_CURVES)
    out = call(train_network, folder, *QUICK, "--network", "residual", "--epochs", 8, "--loss-target", 0,
               "--ema-decay", 0, "--mixup", 0)
    assert "12 training clips, 4 validation clips, of 96 mels, 22 frames, 1 channel, in 2 classes." in out
    assert "(tensorflow, " in out
    assert out.count("\nepoch ") == 8
    assert "Done: EPOCHS (8) reached" in out
    assert re.search(r"\nValidation: loss .* \(95% interval .*\) of 4 validation clips.\nNow run eval", out)
    assert max(map(len, out[out.index("\nepoch "):out.index("Done")].splitlines())) <= 79
    assert [row["epoch"] for row in rows(folder)] == [str(i) for i in range(1, 9)]
    assert float(rows(folder)[-1]["loss"]) < 0.8 * float(rows(folder)[0]["loss"])  # it falls to some 0.001 of it
    assert (folder / "training_curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_without_preproc_it_is_the_same(call, trained, tmp_path):
    bare = shutil.copytree(trained / "Samples", tmp_path / "bare/Samples").parent
    out = call(train_network, bare, *QUICK, "--epochs", 1)
    assert history(bare) == history(trained)
    assert "16 melgrams of Samples/ computed in" in out
    assert not (bare / "Preproc").exists()


# --- the end of training --------------------------------------------------------------------------------------------

def validated(folder):
    """For each epoch, whether it has figures of validation."""
    return [row["val_loss"] != "" != row["val_accuracy"] for row in rows(folder)]


@pytest.mark.slow
def test_after_a_plateau_it_anneals_on_all_clips_keeps_the_last_network_and_stays_stopped(call, folder):
    out = call(train_network, folder, *QUICK, *SIX_EPOCHS, "--epochs", 4)
    assert ("The learning rate decays from here on, to 0 in epoch 6; the validation clips are now trained on too, so "
            "there is no validation loss.\nepoch    4 ") in out
    assert "Validation: no result, because the kept network was trained on the validation clips too; before" in out
    out = call(train_network, folder, *QUICK, *SIX_EPOCHS, "--no-finish-on-all")  # too late: they have been trained on
    assert ("Done: no improvement of the validation loss until epoch 3 (PATIENCE); the learning rate has decayed to 0 "
            "since then (ANNEAL_EPOCHS); epoch 6 is kept.") in out
    rates = [float(row["learning_rate"]) for row in rows(folder)]
    assert rates == pytest.approx([1e-9] * 4 + [1e-9 * (1 - (part / 3) ** 0.5) for part in (1, 2)])
    assert validated(folder) == [True] * 3 + [False] * 3
    assert (state(folder)["step"], state(folder)["best_epoch"]) == (3 * 12 / 4 + 3 * 16 / 4, 6)
    best, ema = (list(arrays(folder, group).values()) for group in ("model_weights", "panotti/average"))
    assert sorted(best) == sorted(ema)
    assert thresholds(folder)["source"] == "validation after epoch 3"
    again = call(train_network, folder, *QUICK, *SIX_EPOCHS)
    assert "\nepoch " not in again
    assert "Done" in again


@pytest.mark.slow
def test_with_few_validation_clips_the_epochs_are_fixed_announced_and_resumed(call, folder, tmp_path, tensorboard):
    """Also with BALANCE, from disk, and if only the resumed training writes scalars for TensorBoard."""
    flags = (*QUICK, "--fixed-epochs", 3, "--anneal-epochs", 2, "--balance", "sample")
    interrupted = shutil.copytree(folder, tmp_path / "interrupted")
    out = call(train_network, folder, *flags)
    assert ("Training ends after epoch 3: 4 validation clips are too few to show when it should (FIXED_EPOCHS); ^C"
            in out)
    assert "The learning rate decays after epoch 1, to 0 in epoch 3.\n" in out
    assert "The learning rate decays from here on, to 0 in epoch 3; the validation clips are now trained on too" in out
    assert "Done: all 3 epochs are complete (FIXED_EPOCHS); epoch 3 is kept." in out
    assert "12 training clips, 12 drawn per epoch, 4 validation clips" in out
    assert "BALANCE: all classes are drawn equally often; the validation loss is the mean over the classes (4 ef" in out
    assert validated(folder) == [True, False, False]
    for epochs in (1, 2, 2000):
        call(train_network, interrupted, *flags, "--epochs", epochs, "--memory-gb", 0, "--tensorboard", "a, b/é")
    assert (interrupted / "weights.hdf5").read_bytes() == (folder / "weights.hdf5").read_bytes()
    rows_of_history = [(int(row.pop("epoch")), float(row.pop("learning_rate")), row) for row in rows(folder)]
    for found, (epoch, rate, logs) in zip(tensorboard["a, b/é"], rows_of_history, strict=True):
        assert found == (epoch, {name: float(value) for name, value in logs.items() if value}, pytest.approx(rate))


@pytest.mark.slow
def test_without_finish_on_all_it_continues_to_validate(call, folder):
    call(train_network, folder, *QUICK, *SIX_EPOCHS, "--no_finish_on_all")
    assert validated(folder) == [True] * 6
    assert state(folder)["step"] == 6 * 12 / 4
    assert thresholds(folder)["source"] == f"validation after epoch {state(folder)['best_epoch']}"
    assert thresholds(folder)["clips"] == 4


@pytest.mark.slow
def test_sounds_in_val_validate_and_are_never_trained_on(call, folder, tmp_path):
    found = {}
    for name, frequency in (("one", 1000), ("other", 3000)):
        work = tmp_path / name
        for split in ("Train", "Test"):
            shutil.copytree(folder / "Samples", work / "Samples" / split)
        for each in ("low", "high"):
            write(work / f"Samples/Val/{each}/v.wav", sine(frequency, 0.25))
        out = call(train_network, work, *QUICK, *SIX_EPOCHS)
        assert "20 training clips, 2 validation clips of Val (never trained on), of 96 mels" in out
        assert validated(work) == [True] * 6
        found[name] = arrays(work, "panotti/last"), [row["val_loss"] for row in rows(work)]
    assert found["one"][0] == found["other"][0]
    assert found["one"][1] != found["other"][1]


@pytest.mark.slow
def test_below_the_loss_target_it_stops_without_annealing(call, folder):
    out = call(train_network, folder, *QUICK, *PLATEAU, "--loss-target", 100, "--patience", 3)
    assert "Done: the validation loss is below 100.0 (LOSS_TARGET) and no longer improves" in out
    assert out.count("\nepoch ") == 4  # the first one is an improvement


# --- resuming -------------------------------------------------------------------------------------------------------

@pytest.fixture
def pair(monkeypatch):
    """An ensemble that is built sooner than that of residual networks."""
    def network(x, classes):
        return panotti_models.layers.Average(dtype="float32")([panotti_models.vgg(x, classes) for _ in range(2)])

    monkeypatch.setitem(panotti_models.NETWORKS, "pair", network)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "stops"), [("hybrid", (3, 4)),
                                               pytest.param("vgg", (1, 3, 4), marks=pytest.mark.long),
                                               pytest.param("pair", (3, 4), marks=pytest.mark.long)])
def test_resumed_training_from_disk_equals_uninterrupted_training_in_memory_bit_for_bit(
        call, folder, tmp_path, pair, network, stops):
    other = shutil.copytree(folder, tmp_path / "other")
    shutil.rmtree(other / "Preproc/Test")  # it has no influence
    flags = (*QUICK, "--precision", "mixed_bfloat16", "--network", network, *PLATEAU, "--learning-rate", 1e-4,
             "--patience", 1, "--anneal-epochs", 2, *AUGMENTED)
    call(train_network, folder, *flags, "--epochs", 4)
    for epochs in stops:
        out = call(train_network, other, *flags, "--epochs", epochs, "--memory-gb", 0)
    assert out.startswith("Clips are read from Preproc/ (0.0 GB, MEMORY_GB 0.0).\n")
    assert "Continuing after epoch 3" in out
    rates = [float(row["learning_rate"]) for row in rows(folder)]
    assert rates[3] < rates[2] == rates[0]
    assert history(other) == history(folder)
    for group in ("model_weights", "panotti/last", "panotti/average", "panotti/optimizer"):
        assert arrays(other, group) == arrays(folder, group)
        assert len(arrays(folder, group)) > 5
    assert thresholds(other) == thresholds(folder)
    assert thresholds(folder)["source"] == "validation after epoch 2"


@pytest.mark.slow
def test_the_ema_of_the_weights_is_validated_and_kept_and_survives_a_resume_that_spoils_it(call, folder):
    call(train_network, folder, *QUICK, "--epochs", 3)
    assert state(folder)["ema_updates"] == 3  # 3 steps per epoch: only at their ends
    known = checkpoint.read("weights.hdf5")
    with h5py.File("weights.hdf5") as file:
        kept = [file[path][...] for path in known.weights]
        ema, last = ([each[...] for each in file[f"panotti/{name}"].values()] for name in ("average", "last"))
    if state(folder)["best_epoch"] == 3:
        assert all(np.array_equal(*pair) for pair in zip(kept, ema, strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(kept, last[:len(kept)], strict=True))
    best, score = arrays(folder, "model_weights"), state(folder)["best_loss"]
    with spoil(1e4):
        out = call(train_network, folder, *QUICK, "--epochs", 5, "--learning-rate", 0.001)
    assert f"LEARNING_RATE was {train_network.LEARNING_RATE} and is now 0.001." in out
    assert state(folder)["best_loss"] == score
    assert [row["val_loss"] > 5 for row in state(folder)["history"]] == [False] * 3 + [True] * 2
    assert arrays(folder, "model_weights") == best


@pytest.mark.slow
def test_validation_clips_stay_the_same_when_sounds_are_added(call, trained):
    before = state(trained)["validation"]
    tones(trained, files=16)
    call(preprocess_data, trained)
    call(train_network, trained, *QUICK, "--epochs", 2)
    assert state(trained)["validation"] == before
    assert len(before) == 4


@pytest.mark.slow
def test_fresh_keeps_the_old_weights_and_applies_another_seed_and_more_passes_over_few_clips(call, trained):
    old, first = (trained / "weights.hdf5").read_bytes(), history(trained)
    call(train_network, trained, *QUICK, "--epochs", 1, "--fresh", "--seed", 5)
    assert history(trained) != first
    out = call(train_network, trained, *QUICK, "--epochs", 1, "--fresh", "--epoch-clips", 40, "--background-classes",
               " high ")
    assert checkpoint.read(trained / "weights.hdf5").background_classes == ["high"]
    assert "BACKGROUND_CLASSES was" not in out
    assert "12 training clips, 4 times per epoch, 4 validation clips" in out
    assert state(trained)["step"] == 12
    kept = sorted(trained.glob("weights.2*.hdf5"))
    assert len(kept) == 2
    assert old in [path.read_bytes() for path in kept]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_training_with_the_last_good_weights(call, trained):
    before = (trained / "weights.hdf5").read_bytes()
    with spoil(np.nan, at="start"), pytest.raises(
            UserError, match="The loss became nan in epoch 2; weights.hdf5 is unchanged since the previous epoch"):
        call(train_network, trained, *QUICK, "--epochs", 9)
    assert (trained / "weights.hdf5").read_bytes() == before


@pytest.mark.slow
def test_a_melgram_that_is_gone_in_mid_epoch_stops_training_with_the_last_weights(call, trained, monkeypatch):
    def train_epoch(trainer):
        (trained / f"Preproc/Train/{trainer.clips.names[trainer.split.training[0]]}.npy").unlink()
        return right(trainer)

    right, before = Trainer._train_epoch, (trained / "weights.hdf5").read_bytes()
    monkeypatch.setattr(Trainer, "_train_epoch", train_epoch)
    with pytest.raises(UserError, match=r"^Preproc/Train/.*npy: can't be read any more \(No such file or directory\); "
                                        r"run preprocess_data.py again\.$"):
        call(train_network, trained, *QUICK, "--epochs", 2, "--memory-gb", 0)
    assert (trained / "weights.hdf5").read_bytes() == before


def rename_class(before, after):
    """Rename a class, and preprocess again, in the current folder."""
    os.rename(f"Samples/{before}", f"Samples/{after}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["preprocess_data.py"])
        preprocess_data.main()


@pytest.mark.parametrize(("change", "flags", "says"), [
    (lambda: None, ["--anneal-epochs", -1], "ANNEAL_EPOCHS is -1; set it to a whole number of at least 0"),
    (lambda: rename_class("low", "lower"), [],
     "has the classes high, low; now there are high, lower"),
    (lambda: None, ["--network", "residual"], "contains the network 'small', but NETWORK is 'residual'"),
    (lambda: shutil.rmtree("Preproc/Train/low"), ["--fresh"], "contains only one class (high)"),
    (lambda: os.remove("Preproc/settings.json"), [], "settings.json: does not exist; run preprocess_data.py first"),
    (lambda: None, ["--fresh", "--network", "lstm"], "NETWORK is 'lstm'; choose auto, residual"),
    (lambda: None, ["--epochs", "0"], "EPOCHS is 0"),
    (lambda: None, ["--start-from", "weights.hdf5"], "START_FROM is 'weights.hdf5', the file that this training"),
    (lambda: shutil.copy("weights.hdf5", "a b.hdf5"), ["--fresh", "--network", "vgg", "--start-from", "a b.hdf5"],
     "START_FROM: a b.hdf5 contains the network 'small', but NETWORK is 'vgg'; add --network small"),
    (lambda: None, ["--fresh", "--start-from", "gone"], "START_FROM is 'gone', which does not exist"),
    (lambda: None, ["--fresh", "--start-from", "Preproc"], "Preproc: is a folder; name the file in it"),
    (lambda: None, ["--precision", "float8"], "PRECISION is 'float8'"),
    (lambda: None, ["--background-classes", "low,noise", "--fresh", "--folds", "2"], "'noise' is not a class"),
    (lambda: None, ["--background-classes", "high,low", "--learning-curve"], "no class is left that is not background"),
    (lambda: None, ["--background-classes", "high,low"], "no class is left that is not background"),
    (lambda: None, ["--balance", "True"], "BALANCE is 'True'; choose none, sample or loss."),
    (lambda: None, ["--balance", "loss"], "weights.hdf5: was trained with BALANCE = 'none', and now it is 'loss'; set"),
    (lambda: None, ["--tensorboard", "history.csv"], "history.csv: is not a folder, but TENSORBOARD needs one"),
    (lambda: None, ["--optimizer", "sgd"], "OPTIMIZER is 'sgd'; choose muon or adamw"),
    (lambda: None, ["--fresh", "--continue"], "FRESH and CONTINUE are both set; choose one of them."),
    (lambda: None, ["--learning-curve", "--folds", "5"], "LEARNING_CURVE and FOLDS are both set; choose one of them."),
    (lambda: None, ["--learning-curve", "--continue"], "LEARNING_CURVE and CONTINUE are both set; choose one of"),
    (lambda: Path("weights.hdf5").write_bytes(b"rubbish"), [], "weights.hdf5: is damaged"),
    (lambda: Path("Preproc/settings.json").write_text('{"complete": false, "x'), [], "settings.json: is damaged")])
def test_a_misfit_is_refused_and_nothing_is_changed(call, trained, monkeypatch, change, flags, says):
    monkeypatch.chdir(trained)
    change()
    before = (trained / "weights.hdf5").read_bytes()
    with pytest.raises(UserError, match=re.escape(says)):
        call(train_network, trained, *QUICK, "--epochs", 3, *flags)
    assert (trained / "weights.hdf5").read_bytes() == before


def test_other_preprocessing_is_refused(call, trained):
    call(preprocess_data, trained, "--mels", 40, "--overwrite")
    with pytest.raises(UserError, match="has mels = 40, the network in weights.hdf5 was trained with 96"):
        call(train_network, trained, *QUICK, "--epochs", 3)


def test_incomplete_preprocessing_is_refused(call, folder):
    path = folder / "Preproc/settings.json"
    path.write_text(path.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(UserError, match="Preproc/: is not complete; run preprocess_data.py again"):
        call(train_network, folder)


@pytest.mark.slow
def test_new_sounds_after_the_end_are_reported_and_trained_on_with_continue(call, folder, tmp_path):
    flags = (*QUICK, *PLATEAU, "--learning-rate", 1e-4, "--patience", 1, "--anneal-epochs", 2)
    call(train_network, folder, *flags)  # 2 epochs, and 2 on all clips
    names = train_names(folder)
    for label, hertz in (("low", 300), ("high", 600)):
        for j in range(5):
            write(folder / f"Samples/{label}/new{j}.wav", sine(hertz, 0.25, level=0.15 + 0.1 * j))
    call(preprocess_data, folder)
    os.remove(folder / f"Preproc/Train/{names[-1]}.npy")
    count = len(set(train_names(folder)) - set(names))
    before = (folder / "weights.hdf5").read_bytes()
    out = call(train_network, folder, *flags, "--validation-fraction", 0.3)
    assert f"{count} sounds are new since training ended: --fresh starts anew, --continue trains on.\n" in out
    assert "1 sound is gone since training ended" in out
    assert "VALIDATION_FRACTION was 0.2 and is now 0.3: validation clips stay as they are; --fresh applies it.\n" in out
    assert "\nepoch " not in out
    assert (folder / "weights.hdf5").read_bytes() == before
    other = shutil.copytree(folder, tmp_path / "other")
    out = call(train_network, folder, *flags, "--continue")
    assert "Training had ended after epoch 4 and continues, for at most 2000 epochs (EPOCHS): on all clips" in out
    assert "Done: constant learning rate until epoch 5 (PATIENCE)" in out
    assert validated(folder) == [True] * 2 + [False] * 5
    assert [float(row["learning_rate"]) for row in rows(folder)[4:6]] == [1e-4, 1e-4]
    for epochs, flag in ((1, "--continue"), (2, "--no-continue"), (2000, "--continue")):
        resumed = call(train_network, other, *flags, "--epochs", epochs, flag)
    assert "new since" not in resumed
    assert history(other) == history(folder)
    for group in ("model_weights", "panotti/last", "panotti/average", "panotti/optimizer"):
        assert arrays(other, group) == arrays(folder, group)


@pytest.mark.slow
def test_weights_that_are_not_finite_are_not_saved_although_the_loss_is(call, trained, monkeypatch):
    before = (trained / "weights.hdf5").read_bytes()

    def spoil_moving_variance(trainer):
        variance = next(each for each in trainer.model.weights if "moving_variance" in each.path)
        variance.assign(np.full(variance.shape, np.nan))

    def spoil_optimizer(trainer):
        variable = trainer.optimizer.variables[-1]
        variable.assign(np.full(variable.shape, -np.inf))

    def spoil_average(trainer):
        trainer.ema.weights[3] = np.full_like(trainer.ema.weights[3], np.inf)

    monkeypatch.setattr("audio_utils.training.trainer.Trainer._train_epoch", lambda _: ({"loss": 1, "accuracy": 1}, 12))
    for name, spoil_part in (("weights", spoil_moving_variance), ("optimizer's state", spoil_optimizer),
                             ("average of the weights", spoil_average)):
        monkeypatch.setattr("audio_utils.training.trainer.Trainer._validate", lambda trainer, _on_all, part=spoil_part:
                            part(trainer) or SimpleNamespace(loss=0.5, accuracy=0.5))
        with pytest.raises(UserError, match=f"The {name} became NaN or infinite in epoch 2; weights.hdf5 is unchanged"):
            call(train_network, trained, *QUICK, "--epochs", 3)
        assert (trained / "weights.hdf5").read_bytes() == before


def change_state(folder, **changes):
    """Change the training state in weights.hdf5; a value None removes an entry."""
    with h5py.File(folder / "weights.hdf5", "r+") as file:
        about = json.loads(file["panotti/about"][...].tobytes())
        about["training_state"] = {name: value for name, value in (about["training_state"] | changes).items()
                                   if value is not None}
        del file["panotti/about"]
        file["panotti/about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)


@pytest.mark.slow
def test_a_checkpoint_of_another_backend_resumes_or_names_that_backend(call, trained):
    assert state(trained)["backend"] == "tensorflow"
    change_state(trained, backend="torch", precision="float32")
    with h5py.File(trained / "weights.hdf5", "r+") as file:
        seeds = [name for name, item in file["panotti/last"].items() if item.dtype == np.int64]
        for name in seeds:  # as torch stores them
            values = file[f"panotti/last/{name}"][...].astype(np.int32)
            del file[f"panotti/last/{name}"]
            file[f"panotti/last/{name}"] = values
    assert seeds
    out = call(train_network, trained, *QUICK, "--epochs", 2, "--precision", "mixed_bfloat16")
    assert "The backend was torch until epoch 1 and is now tensorflow" in out
    assert "The precision was float32 until epoch 1 and is now mixed_bfloat16" in out
    assert (state(trained)["epoch"], state(trained)["backend"]) == (2, "tensorflow")
    change_state(trained, backend="jax")
    with h5py.File(trained / "weights.hdf5", "r+") as file:
        del file["panotti/optimizer/00001"]
    with pytest.raises(UserError, match="weights.hdf5: was trained with the backend jax, and tensorflow can't continue "
                                        "it; set KERAS_BACKEND=jax, or use --fresh"):
        call(train_network, trained, *QUICK, "--epochs", 3)


@pytest.mark.slow
def test_a_file_without_the_newest_fields_is_continued(call, trained, tmp_path):
    new = shutil.copytree(trained, tmp_path / "new")
    checkpoint.update(new / "weights.hdf5", thresholds=thresholds(new) | {"source": "cross-validation with 5 folds"})
    change_state(trained, first_epoch=None, backend=None, precision=None)
    with h5py.File(trained / "weights.hdf5", "r+") as file:
        about = json.loads(file["panotti/about"][...].tobytes())
        del about["quietest_db"], about["trained_on_silence"], about["thresholds"]
        del about["training_state"]["constants"]["VALIDATION_FRACTION"]
        del file["panotti/about"], file["panotti/clips"]
        file["panotti/about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    for label in ("low", "high"):
        for j in range(6):
            write(trained / f"Samples/{label}/new{j}.wav", sine(450, 0.25, level=0.15 + 0.1 * j))
    call(preprocess_data, trained)
    shutil.rmtree(new / "Preproc")
    shutil.copytree(trained / "Preproc", new / "Preproc")
    assert "sounds are new" not in call(train_network, trained, *QUICK, "--epochs", 2)
    assert "sounds are new since epoch 1; they are trained on" in call(train_network, new, *QUICK, "--epochs", 2)
    for group in ("model_weights", "panotti/last", "panotti/average", "panotti/optimizer"):
        assert arrays(trained, group) == arrays(new, group)
    assert arrays(trained, "panotti/clips").items() <= arrays(new, "panotti/clips").items()
    found = checkpoint.read(trained / "weights.hdf5")
    assert found.quietest_db == checkpoint.read(new / "weights.hdf5").quietest_db
    if state(trained)["best_epoch"] == 2:
        assert found.thresholds == thresholds(new)


# --- START_FROM -----------------------------------------------------------------------------------------------------

@pytest.fixture
def _quick_start(monkeypatch):
    monkeypatch.setattr(transfer, "_NORMALIZATION_STEPS", 2)


@pytest.mark.slow
@pytest.mark.usefixtures("_quick_start")
def test_a_class_is_added_to_a_network_whose_clips_are_known_and_a_resume_without_its_file_is_exact(
        call, one_epoch, folder, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    start = shutil.copy(one_epoch / "weights.hdf5", tmp_path / "start, ü.hdf5")
    for j in range(10):
        write(folder / f"Samples/new/{j}.wav", sine(1200, 0.25, level=0.1 + 0.08 * j))
    call(preprocess_data, folder)
    other, flags = shutil.copytree(folder, tmp_path / "other"), (*QUICK, "--start-from", start)
    out = call(train_network, folder, *flags, "--epochs", 2)
    assert f"16 of 24 clips in Train were also in that of {start}; validation may be too optimistic." in out
    assert f"START_FROM: all layers but the last are those of {start}; the last one was fitted" in out
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "fit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            call(train_network, other, *flags, "--epochs", 1)
    assert not (other / "weights.hdf5").exists()
    call(train_network, other, *flags, "--epochs", 1)
    start.unlink()
    assert "START_FROM" not in call(train_network, other, *flags, "--epochs", 2)
    assert (other / "weights.hdf5").read_bytes() == (folder / "weights.hdf5").read_bytes()
    before, now = (checkpoint.read(each / "weights.hdf5") for each in (one_epoch, folder))
    assert now.class_names == ["high", "low", "new"]
    assert np.array_equal(now.standardization, before.standardization)
    clips = preproc.load(one_epoch / "Preproc", "Train", before.settings)[0]
    assert known_clips.trained_on(folder / "weights.hdf5", clips).all()


# --- cross-validation -----------------------------------------------------------------------------------------------

def fold_states(folder):
    """Fold → the state that its network was trained with."""
    return {path.parent.name: state(path.parent) for path in sorted(folder.glob("folds/*/weights.hdf5"))}


def train_names(folder):
    return preproc.load(folder / "Preproc", "Train", preproc.read_settings(folder / "Preproc")[0])[0].names


TWO_FOLDS = (*QUICK, "--folds", 2)


@pytest.fixture(scope="module")
def cross_validated(small_network, prepared, tmp_path_factory):
    """A folder with two folds of two epochs, to read and to copy from, and the output of the script."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("cross_validated") / "work")
    with redirect_stdout(io.StringIO()) as out:
        run_main(train_network, folder, *TWO_FOLDS, "--epochs", 2)
    return SimpleNamespace(folder=folder, out=out.getvalue())


@pytest.mark.slow
def test_cross_validation_tests_each_clip_once_with_a_network_not_trained_on_it(cross_validated):
    folder, out = cross_validated.folder, cross_validated.out
    states = fold_states(folder)
    assert list(states) == ["fold_1", "fold_2"]
    assert sorted(name for each in states.values() for name in each["held_out"]) == train_names(folder)
    assert not set(states["fold_1"]["held_out"]) & set(states["fold_1"]["validation"])
    scores = json.loads((folder / "folds/scores.json").read_text())
    accuracies = [fold["accuracy"] for fold in scores["folds"].values()]
    assert scores["files"] == 16
    assert scores["accuracy"] == pytest.approx(np.mean(accuracies))
    assert f"2 folds: mean accuracy {np.mean(accuracies):.2%}, from {min(accuracies):.2%}" in out
    assert "Fold 2: loss" in out
    assert (folder / "folds/confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    mistakes = list(csv.DictReader((folder / "folds/mistakes.csv").open(encoding="utf-8")))
    assert len(mistakes) == round(16 * (1 - scores["accuracy"]))
    likely_mislabeled = {row[0] for row in mislabeled.read(folder / "folds")}
    assert f"{mislabeled.FILE} ({len(likely_mislabeled)})" in out
    assert likely_mislabeled <= {row["file"] for row in mistakes}
    page = (folder / "folds/report.html").read_text()
    assert "2 folds: 16 files, each tested by a network that was not trained on it." in page
    assert page.count('alt="occlusion map of') + page.count("No occlusion map: if any one of") == len(mistakes)
    assert "folds/report.html: " in out
    assert not (folder / "weights.hdf5").exists()


@pytest.mark.slow
def test_cross_validation_resumes_from_disk_bit_for_bit(call, cross_validated, folder, tensorboard):
    call(train_network, folder, *TWO_FOLDS, "--epochs", 1)
    out = call(train_network, folder, *TWO_FOLDS, "--epochs", 2, "--memory-gb", 0, "--tensorboard", "tb")
    assert {name: [epoch for epoch, *_ in found] for name, found in tensorboard.items()} == {
        "tb/fold_1": [1, 2], "tb/fold_2": [1, 2]}
    assert out.count("Continuing after epoch 1") == 2
    for name in ("fold_1/weights.hdf5", "fold_2/weights.hdf5", "fold_2/history.csv", "scores.json", "mistakes.csv"):
        assert (folder / "folds" / name).read_bytes() == (cross_validated.folder / "folds" / name).read_bytes()


@pytest.mark.slow
def test_folds_of_other_sounds_are_refused_and_kept_and_sounds_in_no_fold_are_always_trained_on(
        call, cross_validated, one_epoch, tmp_path):
    folder = shutil.copytree(cross_validated.folder, tmp_path / "work")
    shutil.copy(one_epoch / "weights.hdf5", folder)
    weights = arrays(folder, "model_weights")
    with pytest.raises(UserError, match="fold_1/weights.hdf5: was trained for a fold of other sounds; restore FOLDS"):
        call(train_network, folder, *QUICK, "--epochs", 2, "--folds", 3)
    before = (folder / "folds/fold_1/weights.hdf5").read_bytes()
    out = call(train_network, folder, *QUICK, "--epochs", 1, "--folds", "[02]", "--fresh", "--background-classes",
               "low")
    kept, = folder.glob("folds.2*")
    assert (kept / "fold_1/weights.hdf5").read_bytes() == before
    tested = {fold: each["held_out"] for fold, each in fold_states(folder).items()}
    assert list(tested) == ["fold_0", "fold_2"]
    names = train_names(folder)
    in_folds = [name for name in names if Path(name).stem in "02"]
    assert sorted(name for held_out in tested.values() for name in held_out) == in_folds
    assert f"{len(names) - len(in_folds)} sounds are in no fold" in out
    scores = json.loads((folder / "folds/scores.json").read_text())
    low = sum(name.startswith("low/") for name in in_folds)
    assert scores["background"]["clips"] == low
    assert scores["background"]["min_probability"]["0"]["false_alarms"] == scores["classes"]["low"]["mistakes"]
    assert f"Background: {low} clips of low and {len(in_folds) - low} of other classes" in out
    assert checkpoint.read(folder / "folds/fold_2/weights.hdf5").background_classes == ["low"]
    assert checkpoint.read(folder / "weights.hdf5").background_classes == []
    assert thresholds(folder)["source"] == "cross-validation with 2 folds"
    assert thresholds(folder)["clips"] == len(in_folds)
    assert thresholds(folder) == json.loads((folder / "folds/scores.json").read_text())["thresholds"]
    assert arrays(folder, "model_weights") == weights
    out = call(train_network, folder, *QUICK, "--epochs", 1)
    assert "Thresholds for predict_class.py: from folds/scores.json" in out


# --- learning curve -------------------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.usefixtures("_quick_start")
def test_a_learning_curve_trains_on_nested_subsets_from_another_network_and_continues(call, folder, one_epoch,
                                                                                       monkeypatch):
    monkeypatch.setattr(learning_curve, "FRACTIONS", {"1/2": 1 / 2, "all": 1})
    out = call(train_network, folder, *QUICK, "--epochs", 1, "--learning-curve", "--start-from",
               one_epoch / "weights.hdf5")
    assert out.count("START_FROM: all layers but the last are those of ") == 2
    states = [state(folder / "learning_curve" / part) for part in ("1_2", "all")]
    half, everything = (set(train_names(folder)) - set(each["held_out"]) for each in states)
    assert len(half) == 6
    assert half < everything
    assert states[0]["validation"] == states[1]["validation"]
    assert set(states[0]["validation"]) == set(train_names(folder)) - everything
    assert "6 training clips, 4 validation clips, of" in out
    scores = json.loads((folder / "learning_curve/scores.json").read_text())
    assert [each["clips"] for each in scores["sizes"]] == [6, 12]
    assert scores["fingerprint"]["start_from"] == states[0]["start_from"]["digest"]
    assert [each["loss"] for each in scores["sizes"]] == [each["history"][0]["val_loss"] for each in states]
    assert scores["finding"] in out
    assert (folder / "learning_curve/learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "weights.hdf5").exists()
    out = call(train_network, folder, *QUICK, "--epochs", 2, "--learning-curve", "--memory-gb", 0,
               "--background-classes", "low")
    assert out.count("Continuing after epoch 1") == 2
    assert out.count('BACKGROUND_CLASSES was "" and is now "low"; learning_curve/') == 2
    for part in ("1_2", "all"):
        assert checkpoint.read(folder / "learning_curve" / part / "weights.hdf5").background_classes == ["low"]
    with pytest.raises(UserError, match="1_2/weights.hdf5: was trained for a learning curve of other sounds; restore"):
        call(train_network, folder, *QUICK, "--epochs", 2, "--learning-curve", "--seed", 2)


# --- GPU ------------------------------------------------------------------------------------------------------------

@pytest.fixture
def gpu(monkeypatch):
    """The processor, treated as a GPU."""
    monkeypatch.setattr(device, "on_gpu", lambda: True)
    monkeypatch.setattr(device, "compute_capability", lambda: 7.5)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["small", pytest.param("vgg", marks=pytest.mark.long),
                                     pytest.param("pair", marks=pytest.mark.long)])
def test_clips_in_gpu_memory_give_the_same_training_and_resume_bit_for_bit(call, folder, tmp_path, gpu, pair,
                                                                           monkeypatch, network):
    monkeypatch.setattr(Balance, "class_weights", np.float32([0.5, 2]))
    flags = (*QUICK, *AUGMENTED, "--network", network, "--epoch-clips", 50, "--learning-rate", 1e-4, "--balance",
             "loss", "--epochs")  # of 15 steps
    sent, other = (shutil.copytree(folder, tmp_path / name) for name in ("sent", "other"))
    call(train_network, sent, *flags, 2, "--gpu-clips-gb", 0)
    monkeypatch.setattr(panotti_models.keras.Model, "train_on_batch", None, raising=False)
    assert "(tensorflow, float32)" in call(train_network, folder, *flags, 2)
    for one, another in zip(rows(folder), rows(sent), strict=True):
        assert list(map(float, one.values())) == pytest.approx(list(map(float, another.values())), rel=0.01)
    assert state(folder)["step"] == 30
    assert state(folder)["ema_updates"] == 2 * 2 + 1 == state(sent)["ema_updates"]
    for epochs in (1, 2):
        call(train_network, other, *flags, epochs)
    assert history(other) == history(folder)
    assert (other / "weights.hdf5").read_bytes() == (folder / "weights.hdf5").read_bytes()


@pytest.mark.slow
def test_a_loss_on_a_gpu_that_is_not_finite_stops_training(call, folder, gpu):
    with spoil(np.nan, at="start"), pytest.raises(
            UserError, match="The loss became nan in epoch 1; lower LEARNING_RATE"):
        call(train_network, folder, *QUICK, "--epochs", 2)


# --- as a process ---------------------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "status"), [
    (signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)])
def test_stopped_it_names_what_is_kept(folder, number, status):
    command = [sys.executable, str(ROOT / SCRIPT), *map(str, PROCESS), "--patience", "1000"]
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
    assert stderr.strip().startswith("Stopped. weights.hdf5 contains the best network so far (epoch ")
    assert stderr.strip().count("\n") == 0
    done = state(folder)["epoch"]
    assert f"the state after epoch {done}; the same command continues" in stderr
    assert done >= 3


@pytest.mark.long
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(run, folder, backend):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    out = run(SCRIPT, *PROCESS, "--epochs", 3, cwd=folder, KERAS_BACKEND=backend).stdout
    assert f"({backend}, float32)" in out
    assert out.count("\nepoch ") == 3
    assert "accuracy" in run("eval_network.py", cwd=folder, KERAS_BACKEND=backend).stdout
    resumed = run(SCRIPT, *PROCESS, "--epochs", 4, cwd=folder, KERAS_BACKEND=backend).stdout
    assert "Continuing after epoch 3" in resumed


@pytest.mark.parametrize(("script", "flags"), [
    (SCRIPT, ()), ("eval_network.py", ()), ("predict_class.py", ("Samples/low/0.wav",))])
def test_a_backend_that_does_not_exist_is_one_sentence_in_every_script(run, trained, script, flags):
    before = (trained / "weights.hdf5").read_bytes()
    result = run(script, *flags, *(QUICK if script == SCRIPT else ()), cwd=trained, status=1, KERAS_BACKEND="nonsense")
    assert result.stderr.startswith("KERAS_BACKEND: the backend is 'nonsense', which Panotti does not support; pip ")
    assert result.stderr.count("\n") == 1
    assert (trained / "weights.hdf5").read_bytes() == before


@pytest.mark.slow
def test_without_a_home_folder_and_with_an_old_keras_json_the_training_is_the_same(run, call, folder):
    call(train_network, folder, *PROCESS, "--epochs", 1)
    before = rows(folder)
    (folder / "keras").mkdir()
    (folder / "keras/keras.json").write_text(
        '{"backend": "theano", "image_data_format": "channels_first", "floatx": "float64", "epsilon": 0.5}')
    result = run(SCRIPT, *PROCESS, "--epochs", 1, "--fresh", cwd=folder, HOME="/nonexistent",
                 KERAS_BACKEND="tensorflow", KERAS_HOME=folder / "keras")
    assert result.stderr == ""
    for name in ("loss", "val_loss"):
        assert float(rows(folder)[0][name]) == pytest.approx(float(before[0][name]), rel=1e-3)


def test_a_class_that_is_renamed_before_preprocessing_is_named(call, trained, monkeypatch, capsys):
    (trained / "Samples/low").rename(trained / "Samples/deep")
    monkeypatch.chdir(trained)
    monkeypatch.setattr("audio_utils.training.resume.initial_state", lambda *_: pytest.fail("enough", pytrace=False))
    with pytest.raises(pytest.fail.Exception, match="enough"):
        call(train_network, trained, *QUICK, "--epochs", 1)
    assert ("Samples/: has deep instead of low; run preprocess_data.py, then train_network.py --fresh."
            in capsys.readouterr().err)


def test_folds_with_sounds_of_one_class_have_no_macro_auc(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("folds").mkdir()
    results = {fold: Evaluation([f"a/{fold}.wav"], ["a", "b"], np.array([0]), np.array([[0.9, 0.1]], np.float32))
               for fold in "12"}
    scores = cross_validation.write_scores(results, {}, trained_on={"trained_on": 1, "trained_on_are_scored": True})
    assert scores["macro_auc"] is None
    said = capsys.readouterr()
    assert ("(95% interval 34.24% to 100.00%).\nNo macro AUC: it requires clips of two classes in the folds.\n"
            in said.out)
    assert said.err == "1 of 2 clips were in the Train set of START_FROM, so the scores are too high.\n"
    directions = {fold: result._replace(class_names=["e0a0", "e0a90"]) for fold, result in results.items()}
    assert cross_validation.write_scores(directions, {})["directions"]["mean_angular_error_deg"] == 0
    out = capsys.readouterr().out
    assert "\nMean angular error 0.0° (chance: 45.0°); front-back confusions: 0 of 0 errors" in out
    assert "confusion_matrix.png, directions.png.\n" in out
    assert Path("folds/directions.png").exists()
