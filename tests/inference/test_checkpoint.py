"""checkpoint.py: everything written is read again; an older file too, and an invalid one is one sentence."""

import json

import h5py
import numpy as np
import pytest
from networks import NAMES, SETTINGS

from audio_utils.data.clips import Clips
from audio_utils.data.standardization import Standardization
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime.errors import UserError

WEIGHTS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(4, np.float32)]
STATE = {name: [i + each for each in WEIGHTS] for i, name in enumerate(("last", "average", "optimizer"))}
STANDARDIZATION = Standardization(np.full(32, -40, np.float32), np.full(32, 400, np.float32))
CHECKPOINT = Checkpoint("vgg", NAMES, SETTINGS, {"constants": {"GROUP_BY": "_s\\d+$", "SEED": 3}, "complete": True},
                        STANDARDIZATION, {"epoch": 2, "step": 7}, ["model_weights/a", "model_weights/b"])


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "weights.hdf5"
    with h5py.File(path, "w") as file:
        for name, array in zip(CHECKPOINT.weights, WEIGHTS, strict=True):
            file[name] = array
        checkpoints.write(file, CHECKPOINT, **STATE)
    return path


def change_about(path, change):
    """Change the JSON of a file."""
    with h5py.File(path, "r+") as file:
        about = change(json.loads(file["panotti/about"][...].tobytes()))
        del file["panotti/about"]
        file["panotti/about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)


def require_equal(arrays, others):
    for one, other in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_everything_written_is_read_again(path):
    found = checkpoints.read(path)
    require_equal(found.standardization, STANDARDIZATION)
    assert found._replace(standardization=STANDARDIZATION) == CHECKPOINT
    assert found.preprocessing_constants == {"GROUP_BY": "_s\\d+$", "SEED": 3, "LONG_FILES": "beginning"}
    require_equal(checkpoints.read_best(path, found, WEIGHTS), WEIGHTS)
    for name, arrays in STATE.items():
        require_equal(checkpoints.read_state(path, name, WEIGHTS), arrays)


def test_the_mode_is_that_of_preprocessing_and_must_be_that_of_the_clips():
    def clips(multi_label):
        return Clips(np.zeros((0, *SETTINGS.shape), np.float32), np.zeros((0, 2), np.float32), [], NAMES, multi_label)

    single = CHECKPOINT  # and any file of an older version
    several = CHECKPOINT._replace(preprocessing={"constants": {"MULTI_LABEL": True}})
    assert (single.multi_label, several.multi_label) == (False, True)
    for checkpoint, mode in ((single, False), (several, True)):
        checkpoint.require_labels_of(clips(mode), "w")
        sentence = f"^w: was trained with MULTI_LABEL = {mode}, but Preproc/ was made with {not mode}; run preprocess_"
        with pytest.raises(UserError, match=sentence):
            checkpoint.require_labels_of(clips(not mode), "w")


def test_an_older_file_is_read_by_its_old_names(path):
    def older(about):
        constants = {"KEEP_TOGETHER": "_s\\d+$", "SEED": 3}
        about["record"] = about.pop("preprocessing") | {"constants": constants}
        about["progress"] = {"epoch": 2, "steps": 7}
        del about["training_state"]
        return about

    change_about(path, older)
    found = checkpoints.read(path)
    assert found.preprocessing == CHECKPOINT.preprocessing
    assert found.training_state == CHECKPOINT.training_state


@pytest.mark.parametrize("change", [
    {"format_version": 1}, {"class_names": ["one"]}, {"class_names": ["twice", "twice"]}, {"network": 3},
    {"settings": {}}, {"preprocessing": []}, {"preprocessing": {"constants": {"MULTI_LABEL": 1}}},
    {"training_state": None}, {"weights": "model_weights/a"}, {"new": 1}])
def test_invalid_metadata_is_one_sentence(path, change):
    change_about(path, lambda about: about | change)
    with pytest.raises(UserError, match=r"weights.hdf5: .*; .*\.$"):
        checkpoints.read(path)


def test_arrays_must_match_in_number_shape_and_type(path):
    found = checkpoints.read(path)
    for like in (WEIGHTS[:1], WEIGHTS[::-1], [each.astype(np.float64) for each in WEIGHTS]):
        with pytest.raises(UserError, match="weights.hdf5: is damaged"):
            checkpoints.read_best(path, found, like)


@pytest.mark.parametrize(("content", "message"), [(None, "does not exist; run train_network.py first."),
                                                  (b"text", "is damaged or not a weights file")])
def test_a_file_that_is_no_checkpoint_is_one_sentence(tmp_path, content, message):
    if content:
        (tmp_path / "weights.hdf5").write_bytes(content)
    with pytest.raises(UserError, match=message):
        checkpoints.read(tmp_path / "weights.hdf5")


def test_a_folder_instead_of_a_checkpoint_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=": is a folder; name the file in it that train_network.py has written, weigh"):
        checkpoints.read(tmp_path)


def test_an_image_in_memory_is_the_file(tmp_path):
    with checkpoints.InMemory() as file:
        file["a"] = WEIGHTS[0]
        (tmp_path / "copy.hdf5").write_bytes(file.image())
    with h5py.File(tmp_path / "copy.hdf5") as file:
        np.testing.assert_array_equal(file["a"][...], WEIGHTS[0])


def test_a_file_without_the_newest_fields_is_read(path):
    new = ("quietest_db", "trained_on_silence", "thresholds", "background_classes")
    change_about(path, lambda about: {name: value for name, value in about.items() if name not in new})
    found = checkpoints.read(path)
    assert found._replace(standardization=STANDARDIZATION) == CHECKPOINT
    assert checkpoints.read_clip_hashes(path) is None


def everything(path):
    """{name: bytes of the array or None, attributes} of all but our JSON."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: (
            item[...].tobytes() if isinstance(item, h5py.Dataset) else None, dict(item.attrs))}))
    del found["panotti/about"]
    return found


def test_thresholds_are_replaced_and_everything_else_stays(path):
    before = everything(path)
    for threshold in (0.25, 0.1 + 0.2):
        made = {"source": "x", "clips": 3, "classes": {name: {"positives": 1, "max_f1": threshold, "precision_90": None}
                                                       for name in NAMES}}
        checkpoints.update(path, thresholds=made)
        found = checkpoints.read(path)
        assert found.thresholds == made
        assert found._replace(standardization=STANDARDIZATION, thresholds={}) == CHECKPOINT
        assert everything(path) == before
    content = path.read_bytes()
    checkpoints.update(path, thresholds=made)
    assert path.read_bytes() == content


@pytest.mark.parametrize("damaged", [[], {"source": "x"}, {"source": "x", "clips": 3, "classes": {"other": {}}}])
def test_invalid_thresholds_are_one_sentence(path, damaged):
    change_about(path, lambda about: about | {"thresholds": damaged})
    with pytest.raises(UserError, match=r"weights.hdf5: is damaged .*\.$"):
        checkpoints.read(path)


@pytest.mark.parametrize("change", [
    {"background_classes": ["other"]}, {"background_classes": NAMES}, {"background_classes": NAMES[0]},
    {"quietest_db": "low"}, {"quietest_db": True}, {"quietest_db": float("nan")}, {"trained_on_silence": 1}])
def test_invalid_fields_are_one_sentence(path, change):
    change_about(path, lambda about: about | change)
    with pytest.raises(UserError, match="weights.hdf5: is damaged"):
        checkpoints.read(path)


def test_clip_names_are_stored_as_hashes(path):
    names = ["a/1.wav", "ä/\udcff.wav"]
    with h5py.File(path, "r+") as file:
        file["panotti/clips/00000"] = checkpoints.name_hashes(names)
    assert np.array_equal(checkpoints.read_clip_hashes(path), checkpoints.name_hashes(names))
    assert len(set(checkpoints.name_hashes([*names, "a/2.wav"]))) == 3
    assert checkpoints.name_hashes([]).shape == (0,)


@pytest.mark.parametrize("stored", [np.int32, np.int64, np.uint32])  # of torch, TensorFlow, JAX
@pytest.mark.parametrize("wanted", [np.int32, np.int64, np.uint32])
def test_seeds_of_another_backend_are_converted(path, stored, wanted):
    with h5py.File(path, "r+") as file:
        file["panotti/seeds/00000"] = np.array([7, 2 ** 30], stored)
    [found] = checkpoints.read_state(path, "seeds", [np.zeros(2, wanted)])
    assert found.dtype == wanted
    assert found.tolist() == [7, 2 ** 30]


def test_integers_that_do_not_fit_are_refused(path):
    with h5py.File(path, "r+") as file:
        file["panotti/seeds/00000"] = np.array([2 ** 31], np.int64)
    with pytest.raises(UserError, match="is damaged"):
        checkpoints.read_state(path, "seeds", [np.zeros(1, np.int32)])
