"""Clips: the melgrams that a network trains on or is tested with, and their classes."""

from typing import NamedTuple

import numpy as np


class Clips(NamedTuple):
    """Training or test clips, in the order of their names."""
    melgrams: np.ndarray  # float32 (clips, mels, frames, channels), dB; indexed by an array of clips
    targets: np.ndarray  # float32 (clips, classes), one-hot
    names: list[str]  # "class/file.wav"
    class_names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> np.ndarray:
        """int64 (clips,): the index of each clip's class."""
        return self.targets.argmax(axis=1) if len(self) else np.zeros(0, np.int64)


def one_hot(labels: list[int], classes: int) -> np.ndarray:
    """float32 (clips, classes) from the indices of classes."""
    return np.eye(classes, dtype=np.float32)[np.array(labels, np.int64)]
