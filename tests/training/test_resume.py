"""Where training starts: checkpoints that fit or not, and the validation clips."""

import numpy as np

from audio_utils.training import resume
from audio_utils.training.state import TrainingState


def split(names, state, resumed=False, fraction=0.2, group_by=""):
    found = resume.train_val_split(names, state, resumed, fraction, 1, group_by)
    return [[names[i] for i in indices] for indices in found]


def names(files=5, copies=("", "_aug1")):
    return [f"{label}/{n}{copy}.wav" for label in "ab" for n in range(files) for copy in copies]


def test_copies_of_validation_clips_are_kept_apart_from_training():
    training, validation, validation_copies = split(names(), TrainingState({}, held_out=["a/0.wav"]))
    assert validation_copies == [name.replace(".wav", "_aug1.wav") for name in validation]
    assert not {name.replace("_aug1", "") for name in training} & set(validation)
    assert sorted(training + validation + validation_copies) == sorted(set(names()) - {"a/0.wav", "a/0_aug1.wav"})


def test_all_is_every_clip_once():
    state = TrainingState({}, held_out=["a/0.wav"])
    found = resume.train_val_split(names(), state, False, 0.2, 1, "")
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


def test_old_files_are_put_away_under_todays_date(tmp_path):
    kept = []
    for content in "abc"[:2]:
        (tmp_path / "weights.hdf5").write_text(content)
        kept.append(resume.put_away(tmp_path / "weights.hdf5"))
    assert [path.read_text() for path in kept] == ["a", "b"]
    assert not (tmp_path / "weights.hdf5").exists()
    assert all(path.name.startswith("weights.2") for path in kept)
    assert np.unique(kept).size == 2
