"""weights.hdf5, read and written without Keras; nothing in the file is ever executed.

Keras's own part (model_config, model_weights) contains the best network, so that
`keras.saving.load_model("weights.hdf5")` opens it. The group "panotti" beside it contains
  about       JSON: network, class names, settings, training state, thresholds, background classes, the paths of the
              best network's weights
  scaling     mean and variance of each mel band
  last        the variables of the network after the last epoch, including the seeds of dropout
  average     the exponential moving average of its weights
  optimizer   the variables of the optimizer
  clips       hashes that identify the clips in Train: at the last epoch, at any epoch, and at any epoch by content
"""

import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from audio_utils.audio.long_sounds import BEGINNING
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import old_names, preproc
from audio_utils.data.clips import Clips
from audio_utils.data.standardization import Standardization
from audio_utils.evaluation import background, thresholds
from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UserError

WEIGHTS = Path("weights.hdf5")
FORMAT_VERSION = 2  # of the group "panotti"; in version 1 melgrams were standardized without level normalization
_TRAIN_AGAIN = "train again (train_network.py --fresh; the old file is kept)"
_ABOUT = "panotti/about"
_MODEL_CONFIG = b'{"class_name": "Functional", "config": {'
MAX_TEXT = 1 << 24  # bytes of JSON, enough for 200,000 validation clips; a longer text is not one of ours


class Checkpoint(NamedTuple):
    """A trained network, except for its arrays."""
    network: str  # its name in panotti_models.NETWORKS
    class_names: list[str]
    settings: MelgramSettings
    preprocessing: dict  # settings.json as it was, with the constants that determined the split
    standardization: Standardization
    training_state: dict  # epoch, best loss, counters, history
    weights: list[str]  # paths in the file of the best network's weights, in the order of model.weights
    quietest_db: float | None = None  # maximum of the quietest training melgram that is not silent; None: unknown
    trained_on_silence: bool = False  # whether a training clip was digital silence
    thresholds: dict = {}  # noqa: RUF012  on the classes' probabilities, see evaluation.thresholds; {}: none
    background_classes: list[str] = []  # noqa: RUF012  never reported; in the order of class_names

    @property
    def preprocessing_constants(self) -> dict:
        """Those constants of preprocess_data.py that led to the network's melgrams and split."""
        return {"LONG_FILES": BEGINNING} | self.preprocessing["constants"]  # older versions have no such constant

    @property
    def multi_label(self) -> bool:
        """Whether the network was trained with MULTI_LABEL, so that its probabilities are independent."""
        return self.preprocessing.get("constants", {}).get("MULTI_LABEL", False)

    def require_labels_of(self, clips: Clips, path: str | Path) -> None:
        """Reject clips with MULTI_LABEL for a network without it, and the reverse; path: of the weights."""
        if clips.multi_label != self.multi_label:
            raise UserError(f"{path}: was trained with MULTI_LABEL = {self.multi_label}, but {preproc.PREPROC}/ was "
                            f"made with {clips.multi_label}; run preprocess_data.py with the former value, or "
                            f"{_TRAIN_AGAIN}.")


class InMemory(h5py.File):
    """An HDF5 file in memory, for Keras and others to write to; `image` returns the bytes to write to the disk.

    HDF5 itself must not write to the disk: if that is full, HDF5 fails when it closes the file, and crashes when Python
    exits. `model.save` accepts the object as a path because of its str().
    """

    def __init__(self, name: str = WEIGHTS.name) -> None:
        super().__init__(name, "w", driver="core", backing_store=False)

    def __str__(self) -> str:
        return self.filename

    def image(self) -> bytes:
        """The content of the file."""
        self.flush()
        return self.id.get_file_image()


# --- writing --------------------------------------------------------------------------------------------------------

def write(target: h5py.File | str | Path, checkpoint: Checkpoint, **state: list[np.ndarray]) -> None:
    """Add our group to a file (open, or its path) in which Keras has written the best network.

    state: the lists of arrays `last`, `average` and `optimizer`.
    """
    about = checkpoint._asdict() | {"format_version": FORMAT_VERSION, "settings": checkpoint.settings.to_dict()}
    del about["standardization"]
    with nullcontext(target) if isinstance(target, h5py.File) else h5py.File(target, "r+") as file:
        group = file.create_group("panotti")
        group["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        for name, arrays in {"scaling": checkpoint.standardization, **state}.items():
            for i, array in enumerate(arrays):
                group[f"{name}/{i:05}"] = array


def update(path: str | Path, **fields: Any) -> None:
    """Replace fields of the metadata in a file; everything else stays the same. Raises UserError as `read` does."""
    checkpoint = read(path)
    if all(getattr(checkpoint, name) == value for name, value in fields.items()):
        return
    with _reading(path) as file:
        about = json.loads(_dataset(file, _ABOUT, np.uint8, None).tobytes())
    content = io.BytesIO(Path(path).read_bytes())
    with h5py.File(content, "r+") as file:
        del file[_ABOUT]
        file[_ABOUT] = np.frombuffer(json.dumps(about | fields).encode(), np.uint8)
    safe_files.write_bytes(path, content.getvalue())


def name_hashes(names: Iterable[str]) -> np.ndarray:
    """uint64 (names,): a hash of each text; a million names would make the JSON too long."""
    digests = b"".join(blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


# --- reading --------------------------------------------------------------------------------------------------------

def read(path: str | Path) -> Checkpoint:
    """The network's metadata. Raises UserError if the file does not exist, is damaged or is not one of ours."""
    with _reading(path) as file:
        text = _dataset(file, _ABOUT, np.uint8, None)
        about = old_names.renamed(json.loads(text.tobytes()), old_names.CHECKPOINT)
        version = about.pop("format_version")
        if version > FORMAT_VERSION:
            raise UserError(f"{path}: was written by a newer version of Panotti; update Panotti, or {_TRAIN_AGAIN}.")
        if version != FORMAT_VERSION:
            raise ValueError("format_version")
        settings = MelgramSettings.from_dict(about["settings"], path, _TRAIN_AGAIN)
        standardization = Standardization(
            *(_dataset(file, f"panotti/scaling/{i:05}", np.float32, (settings.mels,)) for i in range(2)))
        checkpoint = Checkpoint(**about | {"settings": settings, "standardization": standardization})
        _check(checkpoint)
        return _with_new_names(checkpoint)


def _check(checkpoint: Checkpoint) -> None:
    lists = [[checkpoint.network], checkpoint.class_names, checkpoint.weights]
    if not all(isinstance(each, list) and all(isinstance(text, str) for text in each) for each in lists):
        raise TypeError("names")
    if not 2 <= len(set(checkpoint.class_names)) == len(checkpoint.class_names):
        raise ValueError("class names")
    if not isinstance(checkpoint.training_state, dict) or not isinstance(checkpoint.preprocessing, dict):
        raise TypeError("dictionaries")
    if not isinstance(checkpoint.preprocessing.setdefault("constants", {}), dict):
        raise TypeError("constants")
    if not isinstance(checkpoint.multi_label, bool):
        raise TypeError("MULTI_LABEL")
    quietest = checkpoint.quietest_db
    if not (quietest is None or (isinstance(quietest, float) and np.isfinite(quietest))):
        raise TypeError("quietest_db")
    if not isinstance(checkpoint.trained_on_silence, bool):
        raise TypeError("trained_on_silence")
    if checkpoint.settings.bytes > preproc.MAX_MELGRAM_BYTES:
        raise ValueError("size of a melgram")
    if not np.isfinite(checkpoint.standardization).all() or checkpoint.standardization.variance.min() <= 0:
        raise ValueError("standardization")
    thresholds.check(checkpoint.thresholds, checkpoint.class_names)
    background.check_names(checkpoint.background_classes, checkpoint.class_names)


def _with_new_names(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with the current names instead of those of an older version."""
    constants = old_names.renamed(checkpoint.preprocessing["constants"], old_names.CONSTANTS)
    state = old_names.renamed(checkpoint.training_state, old_names.TRAINING_STATE)
    if isinstance(state.get("constants"), dict):
        state["constants"] = old_names.renamed(state["constants"], old_names.CONSTANTS)
    return checkpoint._replace(preprocessing=checkpoint.preprocessing | {"constants": constants}, training_state=state)


def read_best(path: str | Path, checkpoint: Checkpoint, like: list[Any]) -> list[np.ndarray]:
    """The best network's weights; like: arrays or variables that they must match in number, shape and type."""
    with _reading(path) as file:
        return _matching(file, checkpoint.weights, like)


def read_model_config(path: str | Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Keras's description of the layers. Raises UserError if there is none, or if its melgrams have another shape.

    The text is found by its first words: HDF5 can loop forever when it reads a damaged text of variable length.
    """
    with _reading(path):
        content = Path(path).read_bytes()
        start = content.index(_MODEL_CONFIG)
        text = content[start:content.index(b"\0", start, start + MAX_TEXT)].decode(errors="replace")
        config = json.JSONDecoder().raw_decode(text)[0]["config"]  # ignores what follows the text in the file
        if config["layers"][0]["config"]["batch_shape"] != [None, *checkpoint.settings.shape]:
            raise ValueError("shape of the melgrams")
        return config


def read_state(path: str | Path, name: str, like: list[Any]) -> list[np.ndarray]:
    """The arrays "last", "average" or "optimizer", matching `like`."""
    with _reading(path) as file:
        return _matching(file, [f"panotti/{name}/{i:05}" for i in range(len(_find(file, f"panotti/{name}")))], like)


def read_clip_hashes(path: str | Path, array: int = 0) -> np.ndarray | None:
    """The hashes of the clips in Train: 0: at the last epoch, 1: at any epoch, 2: at any epoch, by content alone.

    None in a file of an older version.
    """
    with _reading(path) as file:
        if "clips" not in _find(file, "panotti") or f"{array:05}" not in _find(file, "panotti/clips"):
            return None
        return _dataset(file, f"panotti/clips/{array:05}", np.uint64, None)


def _matching(file: h5py.File, paths: list[str], like: list[Any]) -> list[np.ndarray]:
    if len(paths) != len(like):
        raise ValueError("number of arrays")
    return [_array_like(file, path, array) for path, array in zip(paths, like, strict=True)]


def _array_like(file: h5py.File, path: str, like: Any) -> np.ndarray:
    """An array of the shape and type of another; integers are converted, as each backend has its own type of seeds."""
    dtype, stored = np.dtype(str(like.dtype)), getattr(_find(file, path), "dtype", None)
    both_integer = dtype.kind in "iu" and getattr(stored, "kind", "") in ("i", "u")
    array = _dataset(file, path, stored if both_integer else dtype, tuple(like.shape))
    converted = array.astype(dtype)
    if (converted != array).any():
        raise ValueError(path)
    return converted


def _dataset(file: h5py.File, path: str, dtype: Any, shape: tuple | None) -> np.ndarray:
    """An array of this type and shape (None: a text of any length), checked before it is read.

    It must be stored in the file itself and contiguously, as ours are: chunks can expand when they are decompressed,
    and an array without stored bytes can declare any size.
    """
    found = _find(file, path)
    if not isinstance(found, h5py.Dataset) or found.dtype != dtype:
        raise TypeError(path)
    if found.shape != shape and not (shape is None and found.ndim == 1 and found.size <= MAX_TEXT):
        raise ValueError(path)
    if found.external or found.is_virtual or found.chunks or found.id.get_storage_size() != found.nbytes:
        raise ValueError(path)
    array = found[...]
    if not np.isfinite(array).all():
        raise ValueError(f"{path} contains NaN or infinite values")
    return array


def _find(file: h5py.File, path: str) -> Any:
    """The object at a path of hard links only: other kinds of links can lead to other files."""
    found = file
    for name in path.split("/"):
        if not isinstance(found, h5py.Group) or not isinstance(found.get(name, getlink=True), h5py.HardLink):
            raise KeyError(path)
        found = found[name]
    return found


@contextmanager
def _reading(path: str | Path) -> Iterator[h5py.File]:
    """Open the file; any problem with its content becomes one sentence."""
    if Path(path).is_dir():
        raise UserError(f"{path}: is a folder; name the file in it that train_network.py has written, {WEIGHTS}.")
    if not Path(path).is_file():
        raise UserError(f"{path}: does not exist; run train_network.py first.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except PermissionError:
        raise UserError(f"{path}: can't be read; change its permissions.") from None
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise UserError(f"{path}: is damaged or not a weights file of this version of Panotti ({error}); "
                        f"{_TRAIN_AGAIN}.") from None
