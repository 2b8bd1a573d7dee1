"""TENSORBOARD: the scalars of history.csv for TensorBoard, written by Keras's callback.

The trainer's loop calls the callback at the end of each epoch, as Keras's `fit` does. The epochs that the folder
contains are read first: a resumed run adds the others, also one that a killed run trained and did not write.
"""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audio_utils.data.preproc import PREPROC
from audio_utils.data.sounds import SAMPLES
from audio_utils.runtime import safe_files
from audio_utils.runtime.console import warn
from audio_utils.runtime.errors import UserError

_PACKAGES = ("tensorflow", "tensorboard")  # TensorFlow writes the files with any backend of Keras
_TRAINING, _VALIDATION = "train", "validation"  # the callback's folders
_FILES = "events.out.tfevents.*"
_FIRST, _LAST = "epoch_loss", "epoch_learning_rate"  # of the scalars that the callback writes for an epoch


# --- checks before anything is read ---------------------------------------------------------------------------------

def check(folder: object, fresh: bool) -> None:
    """Raise UserError unless TENSORBOARD is "", or a folder that can be written to, and the packages are installed.

    fresh: FRESH, with which the folder must not contain the scalars of another training.
    """
    if not isinstance(folder, str):
        raise UserError(f'TENSORBOARD is {folder!r}; set it to the name of a folder, as a text, or to "".')
    if not folder:
        return
    path = Path(folder)
    for data in (SAMPLES, PREPROC):
        if path.resolve().is_relative_to(data.resolve()):
            raise UserError(f"TENSORBOARD is {folder!r}; {data}/ is for sounds, so choose another folder.")
    for name in (_TRAINING, _VALIDATION):
        _require_writable(path / name)
    if fresh and any(each for pattern in (_TRAINING, f"*/{_TRAINING}") for each in path.glob(f"{pattern}/{_FILES}")):
        raise _of_another_training(path)
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise UserError(f"TENSORBOARD needs {' and '.join(missing)}, not installed in {sys.executable}; "
                        f"pip install {' '.join(missing)}.")


def _require_writable(folder: Path) -> None:
    """Raise UserError or OSError unless the folder exists, or can be made, and files can be written to it."""
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise UserError(f"{existing}: is not a folder, but TENSORBOARD needs one of this name; choose another name.")
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        error.filename = str(existing)
        raise


def _of_another_training(folder: Path) -> UserError:
    return UserError(f"{folder}: contains the scalars of another training; choose another folder for TENSORBOARD "
                     "(tensorboard --logdir shows all within one).")


# --- during training ------------------------------------------------------------------------------------------------

class Scalars:
    """The scalars of one training.

    parent: TENSORBOARD; if it is "", or another process writes the files, nothing is written. name: of the subfolder,
    or "". model: the compiled one. history: of the training state; its epochs that are not in the folder are written
    now. Raises UserError if the folder contains other epochs.
    """

    def __init__(self, parent: str, name: str, model: Any, history: list[dict[str, Any]]) -> None:
        self.callback = None
        if not parent or not safe_files.writes():
            return
        from panotti_models import keras
        folder = Path(parent, name)
        self.written = _losses(folder)
        losses = {row["epoch"]: np.float32(row["loss"]) for row in history}
        if not self.written.items() <= losses.items():
            raise _of_another_training(folder)
        self.callback = keras.callbacks.TensorBoard(folder, write_graph=False)
        self.callback.set_model(model)
        self.write(history)

    def write(self, history: list[dict[str, Any]]) -> None:
        """Write the epochs that have not been written, each at the step that is its number.

        If this is no longer possible, it is said once, and training goes on.
        """
        try:
            for row in history if self.callback else ():
                if row["epoch"] not in self.written:
                    self._write_epoch(**row)
                    self.written[row["epoch"]] = np.float32(row["loss"])
        except Exception as error:  # TensorFlow's errors are not OSErrors
            reason = " ".join(str(error).split())[:120]
            warn(f"{self.callback.log_dir}: TENSORBOARD can't write any more ({reason}); when you run the same command "
                 "again, the missing epochs are added.")
            self.callback = None

    def _write_epoch(self, epoch: int, learning_rate: float, **logs: float | None) -> None:
        """The callback takes the learning rate from the optimizer, which gets another one before the next step."""
        from audio_utils.inference.network import assign
        assign([self.callback.model.optimizer.learning_rate], [learning_rate])
        self.callback.on_epoch_end(epoch, {name: value for name, value in logs.items() if value is not None})
        for writer in reversed(self.callback._writers.values()):  # they are flushed every two minutes only
            writer.flush()


def _losses(folder: Path) -> dict[int, np.float32]:
    """Epoch → training loss of the epochs that a folder contains completely."""
    found = {_FIRST: {}, _LAST: {}}
    for event in _events(folder / _TRAINING):
        for value in event.summary.value:
            if value.tag in found:
                found[value.tag][event.step] = _scalar(value.tensor)
    return {epoch: loss for epoch, loss in found[_FIRST].items() if epoch in found[_LAST]}


def _events(folder: Path) -> Iterator[Any]:
    """The events of all files of a folder; of a damaged file, those before the damage."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    for path in sorted(folder.glob(_FILES)):
        yield from EventFileLoader(str(path)).Load()


def _scalar(tensor: Any) -> np.float32:
    from tensorboard.util import tensor_util
    return np.float32(tensor_util.make_ndarray(tensor))
