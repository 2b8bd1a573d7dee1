"""The .npy files of melgrams, and an array of melgrams that are read from them as they are indexed."""

import functools
import io
import math
import os
from collections.abc import Iterator

import numpy as np
from numpy.lib import format as npy_format

from audio_utils.audio.melgram import MelgramSettings
from audio_utils.runtime.errors import UserError

SCRIPT = "preprocess_data.py"
COMPUTE_AGAIN = f"run {SCRIPT} --overwrite to compute the melgrams again (the split is kept)"


@functools.lru_cache
def header(settings: MelgramSettings) -> bytes:
    """The first bytes of a melgram's .npy file."""
    file = io.BytesIO()
    npy_format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": settings.shape})
    return file.getvalue()


def read_into(melgram: np.ndarray, path: str, first_bytes: bytes, modified_ns: int | None = None) -> int:
    """Fill `melgram` from a .npy that must begin with first_bytes: nothing is parsed or unpickled.

    Returns the time of the file's last change. Raises UserError if it is not such a file, contains NaN or infinite
    values, or was not last changed at `modified_ns`.
    """
    with open(path, "rb", buffering=0) as file:
        stat = os.fstat(file.fileno())
        if modified_ns not in (None, stat.st_mtime_ns):
            raise UserError(f"{path}: has changed since the start; run the same command again.")
        if stat.st_size != len(first_bytes) + melgram.nbytes:
            raise UserError(f"{path}: is not a melgram of shape {melgram.shape}; run {SCRIPT} again.")
        content = memoryview(melgram).cast("B")
        if file.read(len(first_bytes)) != first_bytes or file.readinto(content) < melgram.nbytes:
            raise UserError(f"{path}: is not a melgram of shape {melgram.shape}; {COMPUTE_AGAIN}.")
    if not np.isfinite(melgram.sum()):
        raise UserError(f"{path}: contains NaN or infinite values; {COMPUTE_AGAIN}.")
    return stat.st_mtime_ns


class MelgramFiles:
    """Melgrams of one folder that stay on disk: indexed by an array of clips, or by one integer.

    names: of the clips, "class/file.wav". modified_ns: int64 (clips,), when each file was last changed. summaries: of
    the clips, from summary.of. Indexing raises UserError if a file is gone, damaged or changed.
    """
    dtype = np.dtype(np.float32)

    def __init__(self, folder: str, names: list[str], settings: MelgramSettings, modified_ns: np.ndarray,
                 summaries: np.ndarray) -> None:
        self.folder, self.names, self.settings = folder, names, settings
        self.modified_ns, self.summaries = modified_ns, summaries
        self.shape = (len(names), *settings.shape)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, indices: np.ndarray | int) -> np.ndarray:
        if isinstance(indices, int | np.integer) and not isinstance(indices, bool):
            return self[np.array([indices])][0]
        if not isinstance(indices, np.ndarray) or indices.dtype.kind not in "iu" or indices.ndim != 1:
            raise TypeError(f"melgrams on disk are indexed by an array of clips or an integer, not by {indices!r}")
        melgrams = np.empty((len(indices), *self.shape[1:]), self.dtype)
        for melgram, i in zip(melgrams, indices, strict=True):
            self._read(melgram, i)
        return melgrams

    def _read(self, melgram: np.ndarray, i: int) -> None:
        path = melgram_path(self.folder, self.names[i])
        try:
            read_into(melgram, path, header(self.settings), self.modified_ns[i])
        except OSError as error:
            raise UserError(f"{path}: can't be read any more ({error.strerror}); run {SCRIPT} again.") from None

    def subset(self, indices: np.ndarray) -> "MelgramFiles":
        """The melgrams at `indices`, on disk too."""
        return MelgramFiles(self.folder, [self.names[i] for i in indices], self.settings, self.modified_ns[indices],
                            self.summaries[indices])


def melgram_path(folder: str, name: str) -> str:
    """The file of a clip, as text: a Path for each would take a fifth of the time to load all."""
    return f"{folder}{os.sep}{name}.npy"
