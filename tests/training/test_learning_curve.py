"""The learning curve trains on nested subsets, with the validation clips of an ordinary training."""

from argparse import Namespace

import numpy as np
import pytest

from audio_utils.data.clips import Clips, one_hot
from audio_utils.data.dataset import Dataset
from audio_utils.data.split import Grouping
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime.errors import UserError
from audio_utils.training import known_clips, learning_curve, resume
from audio_utils.training.state import TrainingState

OPTIONS = Namespace(seed=1, validation_fraction=0.2)
NAMES = [f"{name}/{i}.wav" for name in "ab" for i in range(20)]


def clips_of(names):
    """Clips of the classes a and b, whose melgrams are their number."""
    melgrams = np.arange(len(names), dtype=np.float32)[:, None, None, None] * np.ones((1, 4, 3, 1), np.float32)
    return Clips(melgrams, one_hot([name[0] == "b" for name in names], 2), names, ["a", "b"])


def dataset_of(own=()):
    return Dataset(None, {}, lambda split, class_names: (clips_of(list(own)), []), Grouping())


def test_validation_clips_are_those_of_an_ordinary_training():
    clips, state = clips_of(NAMES), TrainingState({})
    training, validation = learning_curve.choose_validation(OPTIONS, dataset_of(), clips)
    resume.train_val_split(NAMES, state, None, 0.2, 1, Grouping())
    assert validation.names == state.validation
    assert sorted(training + validation.names) == sorted(NAMES)
    assert validation.melgrams[:, 0, 0, 0].tolist() == [NAMES.index(name) for name in validation.names]


def test_the_users_own_validation_clips_are_used():
    own = ["a/x.wav", "b/y.wav"]
    training, validation = learning_curve.choose_validation(OPTIONS, dataset_of(own), clips_of(NAMES))
    assert (training, validation.names) == (NAMES, own)


@pytest.mark.parametrize(("files", "expected"), [
    (2, {"1/2": 1, "all": 2}), (3, {"1/4": 1, "1/2": 2, "all": 3}), (40, {"1/8": 5, "1/4": 10, "1/2": 20, "all": 40})])
def test_subsets_of_equal_size_are_left_out(files, expected):
    names = [f"{name}/{i}.wav" for name in "ab" for i in range(files)]
    subsets = learning_curve.choose_subsets(names, 1, Grouping())
    assert {fraction: len(subset) // 2 for fraction, subset in subsets.items()} == expected
    assert subsets["all"] == names


def test_one_training_clip_per_class_is_too_few():
    with pytest.raises(UserError, match="Preproc/Train: contains too few sounds for a learning curve; add more to"):
        learning_curve.choose_subsets(["a/0.wav", "b/0.wav"], 1, Grouping())


@pytest.mark.parametrize("changed", [
    {"held_out": ["a/0.wav"]}, {"validation": ["b/2.wav"]}, {"validation": None}, {"known": set(NAMES[1:])}, {}])
def test_a_network_of_other_sounds_is_refused(monkeypatch, changed):
    state = {"held_out": ["a/1.wav", "a/0.wav"], "validation": ["b/1.wav"]} | changed
    monkeypatch.setattr(known_clips, "names_before", lambda path, clips: state.pop("known", set(clips.names)))
    checkpoint = Checkpoint("vgg", ["a", "b"], None, {}, None, state, [])
    arguments = "learning_curve/all/weights.hdf5", checkpoint, clips_of(NAMES), ["a/0.wav", "a/1.wav"], ["b/1.wav"]
    if not changed:
        learning_curve.require_same_clips(*arguments)
        return
    with pytest.raises(UserError, match="all/weights.hdf5: was trained for a learning curve of other sounds; restore"):
        learning_curve.require_same_clips(*arguments)
