"""What weights.hdf5 says, read and written without Keras; nothing in the file is ever run.

Keras's own part (model_config, model_weights) holds the best network, so that
`keras.saving.load_model("weights.hdf5")` opens it. The group "panotti" beside it holds
  about       JSON: network, class names, settings, the state of training, where the weights are
  scaling     mean and variance of each mel band
  last        the variables of the network after the last epoch, dropout's seeds among them
  average     the moving average of its weights
  optimizer   its variables
"""

import json
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from audio_utils import dataset
from audio_utils.melgram import MelgramSettings
from audio_utils.safe_files import UserError

FORMAT_VERSION = 2  # of the group "panotti"; in 1 the scaling was of melgrams as they are
LONGEST_TEXT = 1 << 24  # bytes of JSON, enough for 200,000 clips to validate with; more is no file of ours


class Scaling(NamedTuple):
    """Mean and variance of each mel band over the training clips; a part of the network."""
    mean: np.ndarray  # (mels,), dB above the loudest place of the clip
    variance: np.ndarray  # (mels,), dB²

    @classmethod
    def of(cls, melgrams, places=None):
        """From melgrams (clips, mels, frames, channels), or those at `places`.

        All channels have the same figures, which keeps their differences.
        """
        places = range(len(melgrams)) if places is None else places
        count = len(places) * melgrams[0, 0].size
        mean = sum((melgrams[i] - melgrams[i].max()).sum(axis=(1, 2), dtype=np.float64) for i in places) / count
        variance = sum(np.square(melgrams[i] - melgrams[i].max() - mean[:, None, None]).sum(axis=(1, 2))
                       for i in places) / count
        return cls(mean.astype(np.float32), np.maximum(variance, 1e-3).astype(np.float32))


class Trained(NamedTuple):
    """A trained network, but for its weights."""
    network: str  # its name in panotti_models.NETWORKS
    class_names: list
    settings: MelgramSettings
    record: dict  # settings.json as it was: what the split came from too
    scaling: Scaling
    progress: dict  # of training: epoch, best score, counters, history
    weights: list  # where in the file the best network's weights are, in the order of model.weights


class InMemory(h5py.File):
    """An HDF5 file in memory, for Keras and others to write to; `image` is the bytes that belong on the disk.

    HDF5 itself must not write to a disk that may be full: it fails while it closes the file, and again, with a crash,
    while Python ends. `model.save` takes this for a path, by what str() gives.
    """

    def __init__(self, name="weights.hdf5"):
        super().__init__(name, "w", driver="core", backing_store=False)

    def __str__(self):
        return self.filename

    def image(self):
        self.flush()
        return self.id.get_file_image()


def write(target, trained, **state):
    """Add our group to a file (open, or its path) in which Keras has written the best network.

    state: the lists of arrays last, average and optimizer.
    """
    about = trained._asdict() | {"format_version": FORMAT_VERSION, "settings": trained.settings.to_dict()}
    del about["scaling"]
    with nullcontext(target) if isinstance(target, h5py.File) else h5py.File(target, "r+") as file:
        group = file.create_group("panotti")
        group["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        for name, arrays in {"scaling": trained.scaling, **state}.items():
            for i, array in enumerate(arrays):
                group[f"{name}/{i:05}"] = array


def read(path):
    """What the file says of its network, as Trained."""
    with _reading(path) as file:
        text = _dataset(file, "panotti/about", np.uint8, None)
        about = json.loads(text.tobytes())
        if about.pop("format_version") != FORMAT_VERSION:
            raise ValueError("format_version")
        settings = MelgramSettings.from_dict(about["settings"], path)
        scaling = Scaling(*(_dataset(file, f"panotti/scaling/{i:05}", np.float32, (settings.mels,)) for i in range(2)))
        trained = Trained(**about | {"settings": settings, "scaling": scaling})
        _check(trained)
        return trained


def _check(trained):
    lists = [[trained.network], trained.class_names, trained.weights]
    if not all(isinstance(each, list) and all(isinstance(text, str) for text in each) for each in lists):
        raise TypeError("names")
    if not 2 <= len(set(trained.class_names)) == len(trained.class_names):
        raise ValueError("class names")
    if not isinstance(trained.progress, dict) or not isinstance(trained.record, dict):
        raise TypeError("dictionaries")
    if not isinstance(trained.record.setdefault("constants", {}), dict):
        raise TypeError("constants")
    if trained.settings.bytes > dataset.MOST_BYTES:
        raise ValueError("size of a melgram")
    if not np.isfinite(trained.scaling).all() or trained.scaling.variance.min() <= 0:
        raise ValueError("scaling")


def read_best(path, trained, like):
    """The best network's weights; like: the arrays or variables they must match in number, shape and type."""
    with _reading(path) as file:
        return _matching(file, trained.weights, like)


def read_state(path, name, like):
    """The arrays "last", "average" or "optimizer" of the state of training, matching `like`."""
    with _reading(path) as file:
        return _matching(file, [f"panotti/{name}/{i:05}" for i in range(len(_found(file, f"panotti/{name}")))], like)


def _matching(file, places, like):
    if len(places) != len(like):
        raise ValueError("number of arrays")
    return [_dataset(file, place, np.dtype(str(array.dtype)), tuple(array.shape))
            for place, array in zip(places, like, strict=True)]


def _dataset(file, place, dtype, shape):
    """An array of this type and shape (None: a text of any length); looked at before it is read.

    It must lie in the file itself and in one piece, as ours do: what is in chunks can swell when it is unpacked, and
    what the file does not hold the bytes of is declared only.
    """
    found = _found(file, place)
    if not isinstance(found, h5py.Dataset) or found.dtype != dtype:
        raise TypeError(place)
    if found.shape != shape and not (shape is None and found.ndim == 1 and found.size <= LONGEST_TEXT):
        raise ValueError(place)
    if found.external or found.is_virtual or found.chunks or found.id.get_storage_size() != found.nbytes:
        raise ValueError(place)
    array = found[...]
    if not np.isfinite(array).all():
        raise ValueError(f"{place} holds values that are not numbers")
    return array


def _found(file, place):
    """What is at a place, on a way of plain links: other kinds lead to other files."""
    found = file
    for name in place.split("/"):
        if not isinstance(found, h5py.Group) or not isinstance(found.get(name, getlink=True), h5py.HardLink):
            raise KeyError(place)
        found = found[name]
    return found


@contextmanager
def _reading(path):
    """Open the file; whatever is wrong with what is in it becomes one sentence."""
    if not Path(path).is_file():
        raise UserError(f"{path}: is not here; run train_network.py first.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except PermissionError:
        raise UserError(f"{path}: may not be read; change its permissions.") from None
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise UserError(f"{path}: is damaged or no weights of this version of Panotti ({error}); "
                        "move it away and train anew.") from None
