"""What weights.hdf5 says, read and written without Keras; nothing in the file is ever run.

Keras's own part (model_config, model_weights) holds the best network, so that
`keras.saving.load_model("weights.hdf5")` opens it. The group "panotti" beside it holds
  about       JSON: network, class names, settings, the state of training, where the weights are
  scaling     mean and variance of each mel band
  last        the variables of the network after the last epoch, dropout's seeds among them
  optimizer   its variables
"""

import json
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from audio_utils.melgram import MelgramSettings
from audio_utils.safe_files import UserError

FORMAT_VERSION = 1  # of the group "panotti"
LONGEST_TEXT = 1 << 28  # bytes of JSON; more is no file of ours


class Scaling(NamedTuple):
    """Mean and variance of each mel band over the training clips; a part of the network."""
    mean: np.ndarray  # (mels,), dB
    variance: np.ndarray  # (mels,), dB²

    @classmethod
    def of(cls, melgrams):
        """From melgrams (clips, mels, frames, channels); the same figures for all channels keep their differences."""
        count = melgrams.size // melgrams.shape[1]
        mean = sum(clip.sum(axis=(1, 2), dtype=np.float64) for clip in melgrams) / count
        variance = sum(np.square(clip - mean[:, None, None]).sum(axis=(1, 2)) for clip in melgrams) / count
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


def write(path, trained, last, optimizer):
    """Add our group to a file in which Keras has written the best network; last, optimizer: lists of arrays."""
    about = trained._asdict() | {"format_version": FORMAT_VERSION, "settings": trained.settings.to_dict()}
    del about["scaling"]
    with h5py.File(path, "r+") as file:
        group = file.create_group("panotti")
        group["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        for name, arrays in (("scaling", trained.scaling), ("last", last), ("optimizer", optimizer)):
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
    texts = [trained.network, *trained.class_names, *trained.weights]
    if not all(isinstance(text, str) for text in texts) or len(set(trained.class_names)) < 2:
        raise ValueError("names")
    if not isinstance(trained.progress, dict) or not isinstance(trained.record, dict):
        raise TypeError("dictionaries")
    if not np.isfinite(trained.scaling).all() or trained.scaling.variance.min() <= 0:
        raise ValueError("scaling")


def read_best(path, trained, like):
    """The best network's weights; like: the arrays or variables they must match in number, shape and type."""
    with _reading(path) as file:
        return _matching(file, trained.weights, like)


def read_state(path, name, like):
    """The arrays "last" or "optimizer" of the state of training, matching `like`."""
    with _reading(path) as file:
        return _matching(file, [f"panotti/{name}/{i:05}" for i in range(len(file[f"panotti/{name}"]))], like)


def _matching(file, places, like):
    if len(places) != len(like):
        raise ValueError("number of arrays")
    return [_dataset(file, place, np.dtype(str(array.dtype)), tuple(array.shape))
            for place, array in zip(places, like, strict=True)]


def _dataset(file, place, dtype, shape):
    """An array of this type and shape (None: a text of any length) in the file itself; looked at before it is read."""
    found = file[place]
    if not isinstance(found, h5py.Dataset) or found.dtype != dtype or found.external or found.is_virtual:
        raise TypeError(place)
    if found.shape != shape and not (shape is None and found.ndim == 1 and found.size <= LONGEST_TEXT):
        raise ValueError(place)
    return found[...]


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
