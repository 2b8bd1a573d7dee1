"""resume.py: checkpoints that match or not, and the validation clips."""

from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pytest

import train_network
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data.clips import Clips
from audio_utils.data.split import Grouping
from audio_utils.data.standardization import Standardization
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime import command_line, safe_files, signals
from audio_utils.runtime.errors import UserError
from audio_utils.training import known_clips, resume
from audio_utils.training.state import COLUMNS, TrainingState


def split(names, state, resumed=False, fraction=0.2, own=(), known=(), **grouping):
    found = resume.train_val_split(names, state, set(known) if resumed else None, fraction, 1, Grouping(**grouping),
                                   own)
    return [[names[i] for i in indices] for indices in found]


def names(files=5, copies=("", "_aug1")):
    return [f"{label}/{n}{copy}.wav" for label in "ab" for n in range(files) for copy in copies]


def test_copies_of_validation_clips_are_kept_apart_from_training():
    training, validation, validation_copies = split(names(), TrainingState({}, held_out=["a/0.wav"]))
    assert validation_copies == [name.replace(".wav", "_aug1.wav") for name in validation]
    assert not {name.replace("_aug1", "") for name in training} & set(validation)
    assert sorted(training + validation + validation_copies) == sorted(set(names()) - {"a/0.wav", "a/0_aug1.wav"})


def test_copies_are_those_of_the_index_whatever_their_names():
    some = [*names(copies=("",)), "a/altered.wav", "a/site1_aug12.wav"]
    state = TrainingState({}, held_out=["a/0.wav"], validation=["a/1.wav", "b/1.wav", "a/site1_aug12.wav"])
    training, validation, copies = split(some, state, resumed=True, copy_of={"a/altered.wav": "a/1.wav"})
    assert set(validation) == {"a/1.wav", "b/1.wav", "a/site1_aug12.wav"}
    assert copies == ["a/altered.wav"]
    assert not set(training) & {*validation, *copies, "a/0.wav"}


def test_all_is_every_clip_once():
    state = TrainingState({}, held_out=["a/0.wav"])
    found = resume.train_val_split(names(), state, None, 0.2, 1, Grouping())
    assert sorted(found.all) == list(range(2, 20))


def test_a_resumed_run_keeps_its_validation_clips():
    state = TrainingState({})
    _, before, _ = split(names(copies=("",)), state)
    _, after, _ = split(names(files=9, copies=("",)), state, resumed=True, fraction=0.1)
    assert after == before == state.validation


def test_new_sounds_of_a_validation_group_validate_too():
    state = TrainingState({}, validation=["a/0_s1.wav", "b/0_s1.wav"])
    some = [f"{label}/{n}_s{part}.wav" for label in "ab" for n in range(5) for part in (1, 2)]
    training, validation, _ = split(some, state, resumed=True, group_by=r"_s\d+$")
    assert {"a/0_s1.wav", "a/0_s2.wav"} <= set(validation)
    assert not {name[:3] for name in training} & {name[:3] for name in validation}


@pytest.mark.parametrize("grouping", [{"group_by": r"_s\d+$"}, {"recordings": {
    f"{label}/{n}_s{part}.wav": f"{label}/{n}" for label in "ab" for n in range(5) for part in (1, 2, 3)}}])
def test_clips_that_were_trained_on_are_never_used_for_validation_even_if_groups_change(grouping):
    some = [f"{label}/{n}_s{part}.wav" for label in "ab" for n in range(5) for part in (1, 2)]
    state = TrainingState({})
    before = split(some, state)
    new = ["a/{}".format(before[1][0].partition("/")[2].replace("_s1", "_s3").replace("_s2", "_s3"))]
    after = split(some + new, state, resumed=True, known=some, **grouping)
    assert set(after[0]) == set(before[0])
    assert set(after[1]) == {*before[1], *new}


def test_old_files_are_put_away_under_todays_date(tmp_path):
    kept = []
    for content in "abc"[:2]:
        (tmp_path / "weights.hdf5").write_text(content)
        kept.append(resume.put_away(tmp_path / "weights.hdf5"))
    assert [path.read_text() for path in kept] == ["a", "b"]
    assert not (tmp_path / "weights.hdf5").exists()
    assert all(path.name.startswith("weights.2") for path in kept)
    assert np.unique(kept).size == 2


# --- what a resume can't apply ---------------------------------------------------------------------------------------

BEFORE = {"VALIDATION_FRACTION": 0.1, "SEED": 1, "WARM_UP": 200, "PATIENCE": 8, "ANNEAL_EPOCHS": 16, "BATCH_SIZE": 16,
          "FINISH_ON_ALL": True, "OPTIMIZER": "adamw", "FIXED_EPOCHS": 32}
EPOCH = dict.fromkeys(COLUMNS, 0.5)


@pytest.mark.parametrize(("name", "now", "state", "says"), [
    ("VALIDATION_FRACTION", 0.3, {}, ": validation clips stay as they are; --fresh applies it"),
    ("SEED", 2, {}, ": validation clips and initial weights stay as they are, only the order of the clips changes; "
                    "--fresh applies it"),
    ("WARM_UP", 300, {"step": 250}, ""), ("WARM_UP", 300, {"step": 300}, ": the warm-up is over; --fresh applies it"),
    ("PATIENCE", 9, {}, ""), ("ANNEAL_EPOCHS", 20, {}, ""), ("BATCH_SIZE", 8, {"decay_end": 7}, ""),
    ("PATIENCE", 9, {"decay_end": 7}, ": the learning rate decays to 0 in epoch 7 as before; --fresh applies it"),
    ("ANNEAL_EPOCHS", 9, {"decay_end": 7}, ": the learning rate decays to 0 in epoch 7 as before; --fresh applies it"),
    ("OPTIMIZER", "muon", {}, ": the optimizer stays as it is; --fresh applies it"),
    ("FIXED_EPOCHS", 9, {}, ": it applies when training begins; --fresh applies it"),
    ("FINISH_ON_ALL", False, {"history": [EPOCH]}, ""),
    ("FINISH_ON_ALL", False, {"history": [EPOCH | {"val_loss": None}]},
     ": the validation clips have been trained on already; --fresh applies it")])
def test_a_changed_constant_that_is_not_applied_is_reported_in_each_run(capsys, name, now, state, says):
    sentence = f"{name} was {BEFORE[name]} and is now {now}{says}.\n"
    state = TrainingState(BEFORE, **state)
    state.constants = resume.report_changed_constants(state, BEFORE | {name: now})
    assert capsys.readouterr().out == sentence
    resume.report_changed_constants(state, BEFORE | {name: now})
    assert capsys.readouterr().out == (sentence if says else "")


def test_constants_that_an_older_version_did_not_record_are_not_reported(capsys):
    before = {name: value for name, value in BEFORE.items() if name != "VALIDATION_FRACTION"}
    assert resume.report_changed_constants(TrainingState(before), BEFORE) == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("ended", [False, True])
def test_background_classes_can_be_changed_at_any_time_and_are_stored_at_once(tmp_path, capsys, ended):
    path, constants = tmp_path / "weights.hdf5", {"EPOCHS": 1}
    settings = MelgramSettings.of(8000, 2000, 1, 8, 46.44, 11.61)
    state = TrainingState(constants, epoch=int(ended), history=[EPOCH] * ended)
    standardization = Standardization(np.zeros(8, np.float32), np.ones(8, np.float32))
    with h5py.File(path, "w") as file:
        checkpoints.write(file, Checkpoint("vgg", list("abc"), settings, {}, standardization, asdict(state), []),
                          clips=known_clips.hashes(None, Clips(np.zeros((0, 8, 9, 1)), None, [], list("abc"))))
    clips = Clips(np.zeros((0, 8, 9, 1)), None, [], list("abc"))
    for text, now, says in (("", [], ""), ("c", ["c"], 'BACKGROUND_CLASSES was "" and is now "c"'), (" c", ["c"], ""),
                            ("b", ["b"], 'BACKGROUND_CLASSES was "c" and is now "b"')):
        options = command_line.constants(train_network, {"NETWORK": "vgg", "EPOCHS": 1, "BACKGROUND_CLASSES": text})
        resume.initial_state(path, checkpoints.read(path), options, clips, [], constants)
        assert capsys.readouterr().out == (says and f"{says}; {path} contains the new value.\n")
        assert checkpoints.read(path).background_classes == now


def test_validation_clips_that_are_gone_for_some_time_come_back_as_such(capsys):
    state, some = TrainingState({}), names(copies=("",))
    _, before, _ = split(some, state)
    capsys.readouterr()
    _, fewer, _ = split([name for name in some if name != before[0]], state, resumed=True)
    assert fewer == before[1:]
    assert capsys.readouterr().out.startswith(f"1 of {len(before)} validation clips are gone, such as {before[0]};")
    _, after, _ = split(some, state, resumed=True)
    assert after == before
    with pytest.raises(UserError, match="none of the validation clips any more; restore those sounds, or use --fresh"):
        split([name for name in some if name not in before], state, resumed=True)


def test_clips_of_val_validate_instead_of_clips_of_train(capsys):
    state, own = TrainingState({}), ["a/v1.wav", "a/v2.wav"]
    some = names(copies=("",))
    first = split(some, state, own=own)
    assert first == [some, [], []]
    assert (state.validation, state.own_validation) == (own, True)
    assert split(some, state, resumed=True, own=own) == first
    assert capsys.readouterr().out == ""
    split(some, state, resumed=True, own=["a/v1.wav", "a/v3.wav", "a/v4.wav"])
    assert capsys.readouterr().out == ("3 validation clips of Val are new or gone since the last epoch; the validation "
                                       "loss is now that of the 3 clips in Val.\n")
    with pytest.raises(UserError, match="Preproc/Val: contains none of the validation clips any more; restore those"):
        split(some, state, resumed=True)


def test_the_test_clips_of_a_fold_are_not_trained_on_even_with_val():
    some = names(copies=("",))
    assert split(some, TrainingState({}, held_out=some[:2]), own=["a/v.wav"])[0] == some[2:]


def test_val_that_is_new_in_a_resumed_training_is_refused():
    state, some = TrainingState({}), names(copies=("",))
    split(some, state)
    with pytest.raises(UserError, match="Preproc/Val: is new; training began with validation clips of Train; use "
                                        "--fresh to start over"):
        split(some, state, resumed=True, own=["a/v1.wav"])


def test_too_few_sounds_for_validation_are_refused():
    with pytest.raises(UserError, match="contains too few sounds for validation; add more to each class"):
        split(["a/1.wav", "b/1.wav"], TrainingState({}))


@pytest.mark.parametrize(("exists", "fresh", "sentence"), [
    (False, False, "the same command starts again."),
    (True, True, "weights.hdf5 is unchanged; the same command starts again."),
    (True, False, "weights.hdf5 is unchanged; the same command continues.")])
def test_stopped_in_the_first_epoch_only_an_existing_file_is_called_unchanged(tmp_path, monkeypatch, exists, fresh,
                                                                              sentence):
    monkeypatch.chdir(tmp_path)
    path, sentences = Path("weights.hdf5"), []
    monkeypatch.setattr(signals, "on_stop", sentences.append)
    monkeypatch.setattr("audio_utils.inference.checkpoint.read", Path.exists)
    if exists:
        path.touch()
    assert bool(resume.read_checkpoint(path, fresh)) is (exists and not fresh)
    assert sentences == [f"Stopped before the first epoch was complete; {sentence}"]


# --- arithmetic ------------------------------------------------------------------------------------------------------

def test_a_change_of_backend_precision_or_devices_is_said_once(capsys):
    state = TrainingState({})
    resume.record_arithmetic(state, "jax", "float32", 2)
    assert capsys.readouterr().out == ""
    state.epoch = 3
    resume.record_arithmetic(state, "jax", "float32", 2)
    assert capsys.readouterr().out == ""
    resume.record_arithmetic(state, "jax", "mixed_bfloat16", 4)
    assert capsys.readouterr().out == (
        "The precision was float32 until epoch 3 and is now mixed_bfloat16; the results may differ slightly from "
        "training with one.\nThe number of devices was 2 until epoch 3 and is now 4; the results may differ slightly "
        "from training with one.\n")
    assert (state.backend, state.precision, state.devices) == ("jax", "mixed_bfloat16", 4)


# --- processes -------------------------------------------------------------------------------------------------------

def test_a_process_that_does_not_write_puts_nothing_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("weights.hdf5").touch()
    with monkeypatch.context() as patch:
        patch.setattr(safe_files, "_writer", safe_files.Writer(discards=True))
        kept = resume.put_away(Path("weights.hdf5"))
        safe_files.make_folder(tmp_path / "folds/fold_1")
        safe_files.write_text("history.csv", "")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.hdf5"]
    assert resume.put_away(Path("weights.hdf5")) == kept
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
