"""Clips and their one-hot targets."""

import numpy as np

from audio_utils.data.clips import Clips, one_hot


def test_one_hot_targets_are_float32_rows():
    targets = one_hot([2, 0], 3)
    assert targets.dtype == np.float32
    assert targets.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert one_hot([], 3).shape == (0, 3)


def test_labels_are_the_indices_of_the_classes():
    clips = Clips(np.zeros((2, 1, 1, 1), np.float32), one_hot([2, 0], 3), ["c/1.wav", "a/1.wav"], ["a", "b", "c"])
    assert len(clips) == 2
    assert clips.labels.tolist() == [2, 0]


def test_no_clips_have_no_labels_whatever_the_number_of_classes():
    for classes in (0, 3):
        clips = Clips(np.zeros((0, 1, 1, 1), np.float32), one_hot([], classes), [], ["a"] * classes)
        assert len(clips) == 0
        assert clips.labels.shape == (0,)
