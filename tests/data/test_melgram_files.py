"""melgram_files.py: melgrams on disk are indexed like an array of all, by an array of clips or an integer."""

import os

import numpy as np
import pytest

from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import melgram_files, preproc
from audio_utils.data.clips import Clips, one_hot
from audio_utils.data.melgram_files import MelgramFiles
from audio_utils.runtime.errors import UserError

SETTINGS = MelgramSettings(sample_rate=8000, clip_samples=100, channels=2, mels=3, window=20, fft=20, hop=50)
MELGRAMS = np.random.default_rng(1).normal(-40, 10, (5, *SETTINGS.shape)).astype(np.float32)
NAMES = [f"a/{i}.wav" for i in range(len(MELGRAMS))]


@pytest.fixture
def folder(tmp_path):
    for name, melgram in zip(NAMES, MELGRAMS, strict=True):
        path = preproc.melgram_path(tmp_path, "Train", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        preproc.write_melgram(path, melgram)
    return tmp_path


@pytest.fixture
def clips(folder):
    return preproc.load(folder, "Train", SETTINGS, max_bytes=MELGRAMS.nbytes - 1)[0]


def test_clips_that_take_more_than_the_limit_stay_on_disk_and_are_the_same(folder, clips):
    in_memory = preproc.load(folder, "Train", SETTINGS, max_bytes=MELGRAMS.nbytes)[0]
    assert isinstance(in_memory.melgrams, np.ndarray)
    assert (clips.on_disk, in_memory.on_disk) == (True, False)
    assert np.array_equal(in_memory.melgrams, MELGRAMS)
    assert clips.names == in_memory.names == NAMES
    assert clips.summaries.tobytes() == in_memory.summaries.tobytes()
    for name in ("shape", "dtype", "nbytes"):
        assert getattr(clips.melgrams, name) == getattr(MELGRAMS, name)
    assert len(clips.melgrams) == 5


@pytest.mark.parametrize("indices", [np.array([4, 0, 4]), np.array([], int), np.array([2], np.int32), np.array([-1]), 3,
                                     -2, np.int32(1)])
def test_melgrams_are_indexed_by_an_array_or_an_integer(clips, indices):
    found = clips.melgrams[indices]
    assert found.dtype == np.float32
    assert np.array_equal(found, MELGRAMS[indices])


def test_melgrams_are_iterated_over_in_order(clips):
    assert np.array_equal(list(clips.melgrams), MELGRAMS)


@pytest.mark.parametrize("indices", [(0, 0), (0,), slice(None), slice(0, 2), [0, 1], ..., None, True, 1.0, "0",
                                     np.array([True] * 5), np.array([0.0]), np.array([[0, 1]]), np.array(1)])
def test_any_other_index_is_refused(clips, indices):
    with pytest.raises(TypeError, match="melgrams on disk are indexed by an array of clips or an integer, not by"):
        clips.melgrams[indices]


@pytest.mark.parametrize("indices", [5, -6, np.array([0, 5])])
def test_an_index_out_of_range_is_refused(clips, indices):
    with pytest.raises(IndexError):
        clips.melgrams[indices]


def test_a_subset_stays_on_disk(clips):
    indices = np.array([3, 1])
    found = clips.subset(indices)
    expected = Clips(MELGRAMS, one_hot([0] * 5, 1), NAMES, ["a"]).subset(indices)
    assert isinstance(found.melgrams, MelgramFiles)
    assert found.names == expected.names == ["a/3.wav", "a/1.wav"]
    assert np.array_equal(found.melgrams[np.arange(2)], expected.melgrams)
    assert np.array_equal(found.targets, expected.targets)
    assert found.summaries.tobytes() == expected.summaries.tobytes()


def damage(path):
    """Values that the first check would have found, with the old date."""
    stat = path.stat()
    path.write_bytes(melgram_files.header(SETTINGS) + np.full(SETTINGS.shape, np.nan, np.float32).tobytes())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda path: path.unlink(), "can't be read any more (No such file or directory); run preprocess_data.py again."),
    (lambda path: preproc.write_melgram(path, MELGRAMS[0]), "has changed since the start; run the same command again."),
    (lambda path: path.write_bytes(b""), "has changed since the start; run the same command again."),
    (damage, "contains NaN or infinite values; run preprocess_data.py --overwrite to compute the melgrams again (the "
             "split is kept).")])
def test_a_file_that_is_gone_changed_or_damaged_is_one_sentence(folder, clips, change, sentence):
    path = preproc.melgram_path(folder, "Train", NAMES[2])
    os.utime(path, ns=(1, 1))
    clips.melgrams.modified_ns[2] = 1
    change(path)
    with pytest.raises(UserError) as error:
        clips.melgrams[np.array([1, 2])]
    assert str(error.value) == f"{path}: {sentence}"
    assert np.array_equal(clips.melgrams[np.array([1, 3])], MELGRAMS[[1, 3]])
