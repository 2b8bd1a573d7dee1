"""start_from.py: START_FROM is checked before Keras is imported, recorded, and not needed to continue."""

import dataclasses
import os
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pytest

from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data.clips import Clips, one_hot
from audio_utils.data.standardization import Standardization
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime.errors import UserError
from audio_utils.training import known_clips, start_from
from audio_utils.training.state import TrainingState

SETTINGS = MelgramSettings.of(8000, 2000, 2, 32, 46.44, 11.61)
NAMES = ["a", "b"]


def clips(numbers):
    """A clip of noise for each number."""
    melgrams = [np.random.default_rng(each).normal(-40, 15, SETTINGS.shape) for each in numbers]
    melgrams = np.array(melgrams, np.float32).reshape(-1, *SETTINGS.shape)
    return Clips(melgrams, one_hot([each % 2 for each in numbers], 2),
                 [f"{NAMES[each % 2]}/{each}.wav" for each in numbers], NAMES)


def write(path, trained_on=(), started=None, hashes=None):
    """Write a checkpoint without a network, which was trained on these clips."""
    standardization = Standardization(np.full(32, -30, np.float32), np.ones(32, np.float32))
    state = TrainingState({}, start_from=started or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        checkpoints.write(file, Checkpoint("vgg", NAMES, SETTINGS, {}, standardization, asdict(state), []),
                          clips=known_clips.hashes(None, clips(trained_on)) if hashes is None else hashes)
    return str(path)


@pytest.fixture(autouse=True)
def start(tmp_path, monkeypatch):
    """The path of the other network, "other/weights.hdf5", trained on clips 1 to 3."""
    monkeypatch.chdir(tmp_path)
    return write(Path("other/weights.hdf5"), (1, 2, 3))


# --- checks ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("link", [os.symlink, os.link, None])
@pytest.mark.parametrize(("folder", "own"), [("", "weights.hdf5"), ("folds", "folds/fold_1, ü/weights.hdf5")])
def test_the_file_that_this_training_writes_is_refused_also_through_links(folder, own, link):
    write(Path(own))
    path = "link.hdf5" if link else own
    if link:
        link(own, path)
    with pytest.raises(UserError, match="START_FROM is .*, the file that this training writes; --continue trains it"):
        start_from.check(path, Path(folder), fresh=False)


@pytest.mark.parametrize(("path", "folder"), [("", ""), ("other/weights.hdf5", ""), ("gone.hdf5", ""),
                                              ("weights.hdf5", "folds"), ("folds/1/weights.hdf5", "")])
def test_other_files_are_accepted_and_one_that_is_gone_too_since_it_may_not_be_needed(path, folder):
    write(Path("weights.hdf5"))
    write(Path("folds/1/weights.hdf5"))
    start_from.check(path, Path(folder), fresh=False)


@pytest.mark.parametrize(("folder", "fresh"), [("", True), ("folds", False)])
def test_a_file_that_is_gone_is_refused_at_once_if_training_begins(folder, fresh):
    write(Path("weights.hdf5"))
    with pytest.raises(UserError, match="START_FROM is 'gone.hdf5', which does not exist"):
        start_from.check("gone.hdf5", Path(folder), fresh)


def test_a_path_that_is_no_text_is_refused():
    with pytest.raises(UserError, match=r'START_FROM is None; set it to the path of .*, such as "other/weights.hdf5"'):
        start_from.check(None, Path(), fresh=False)


def test_a_file_that_does_not_exist_or_is_damaged_is_named(start):
    with pytest.raises(UserError, match="START_FROM is 'gone.hdf5', which does not exist; set it to the weights.hdf5"):
        start_from.begin("gone.hdf5", clips([1]))
    with pytest.raises(UserError, match="other: is a folder; name the file in it"):
        start_from.begin("other", clips([1]))
    Path(start).write_bytes(b"rubbish")
    with pytest.raises(UserError, match=f"^{start}: is damaged"):
        start_from.require_compatible(Namespace(start_from=start, network="vgg"), SETTINGS)


@pytest.mark.parametrize(("change", "says"), [
    ({"sample_rate": 16000}, "sample_rate = 8000, but here it is 16000; run preprocess_data.py --sample-rate 8000 "),
    ({"mels": 40}, "mels = 32, but here it is 40; run preprocess_data.py --mels 32 --overwrite, or start from another"),
    ({"window": 400}, "window = 372, but here it is 400; run preprocess_data.py --window-ms 46.5 --overwrite"),
    ({"hop": 80}, "hop = 93, but here it is 80; run preprocess_data.py --hop-ms 11.625 --overwrite"),
    ({"channels": 1}, "channels = 2, but here it is 1; use sounds with 2 channels, or start"),
    ({"format_version": 1}, "format_version = 2, but here it is 1; ")])
def test_other_melgrams_are_refused_by_name(start, change, says):
    with pytest.raises(UserError, match=f"START_FROM: {start} was trained on melgrams with {says}"):
        start_from.require_compatible(Namespace(start_from=start, network="vgg"),
                                      dataclasses.replace(SETTINGS, **change))


def test_the_remedies_give_the_same_window_and_hop():
    again = MelgramSettings.of(8000, 2000, 2, 32, 46.5, 11.625)
    assert again == SETTINGS


def test_another_network_is_refused_by_name_and_another_length_is_not(start):
    start_from.require_compatible(Namespace(start_from=start, network="vgg"),
                                  dataclasses.replace(SETTINGS, clip_samples=9000))
    with pytest.raises(UserError, match="contains the network 'vgg', but NETWORK is 'residual'; add --network vgg, or"):
        start_from.require_compatible(Namespace(start_from=start, network="residual"), SETTINGS)


# --- the training state ---------------------------------------------------------------------------------------------

def test_the_path_and_digest_are_recorded_and_clips_that_were_trained_on_are_counted(start, capsys):
    record = start_from.begin(start, clips([3, 4]))
    assert record == {"path": start, "digest": start_from.digest(start)}
    assert capsys.readouterr().out == (
        f"1 of 2 clips in Train were also in that of {start}; validation may be too optimistic.\n")
    start_from.begin(start, clips([4]))
    assert capsys.readouterr().out == ""
    assert start_from.begin("", clips([3])) == {}


def test_a_network_that_does_not_record_its_clips_by_content_is_refused():
    path = write(Path("old.hdf5"), hashes=known_clips.hashes(None, clips([1]))[:2])
    with pytest.raises(UserError, match="old.hdf5 is of an older version, which did not record the sounds that it was"):
        start_from.begin(path, clips([1]))


def test_a_changed_start_is_reported_but_the_same_file_elsewhere_or_gone_is_not(start, capsys):
    state = TrainingState({}, start_from=start_from.begin(start, clips([4])))
    same = Path(start).rename("moved, and 'renamed'.hdf5")
    for path in (start, str(same)):
        start_from.report_change(state, path)
        assert capsys.readouterr().out == ""
    for path, says in (("", 'is now "": it applies when training begins; --fresh applies it.\n'),
                       ("new.hdf5", 'is now "new.hdf5": it applies when')):
        start_from.report_change(state, path)
        assert f'START_FROM was "{start}" and {says}' in capsys.readouterr().out
    write(Path(start), (5,))
    start_from.report_change(state, start)
    assert capsys.readouterr().out == (f"START_FROM: {start} has changed since training began, which has no effect; "
                                       "--fresh applies it.\n")
    start_from.report_change(TrainingState({}), "")
    assert capsys.readouterr().out == ""


def test_the_standardization_is_that_of_the_other_network(start):
    own = checkpoints.read(start)._replace(standardization=None)
    assert start_from.inherit_standardization(TrainingState({}), own).standardization is None
    found = start_from.inherit_standardization(TrainingState({}, start_from={"path": start}), own).standardization
    assert (found.mean == -30).all()


@pytest.mark.parametrize("entry", [None, "text", 3])
def test_a_damaged_or_missing_record_is_none(start, entry):
    changed = checkpoints.read(start)
    changed.training_state["start_from"] = entry
    assert start_from.of_checkpoint(changed) == {}


def test_folds_count_the_tested_clips_that_were_trained_on(start):
    tested = {"1": [3, 4], "2": [5]}
    record = {"path": start, "digest": "d"}
    results = {fold: Evaluation(clips(numbers).names, NAMES, np.zeros(len(numbers), int), np.zeros((len(numbers), 2)))
               for fold, numbers in tested.items()}
    for started, known in ((record, 1), ({}, 0)):
        weights = {}
        for fold, others in (("1", [5]), ("2", [3, 4])):
            path = weights[fold] = Path(f"folds/{fold}/weights.hdf5")
            write(path, started=started, hashes=known_clips.hashes(None, clips(others), start_from=start))
        found, scores = start_from.of_folds(weights, results, clips([3, 4, 5]))
        assert found == started
        assert scores == ({"trained_on": known, "trained_on_are_scored": True} if started else {})
    assert start_from.warning({"files": 3, "trained_on": 1, "trained_on_are_scored": True}) == (
        "1 of 3 clips were in the Train set of START_FROM, so the scores are too high.")
    assert start_from.warning({"files": 3}) == ""
