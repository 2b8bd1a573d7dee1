"""Preproc/: settings.json and a .npy file for each melgram."""

import functools
import io
import os
import re
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import old_names
from audio_utils.data.clips import Clips, one_hot
from audio_utils.data.sounds import SPLITS, class_of, visible
from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UserError

PREPROC = Path("Preproc")
SETTINGS = "settings.json"
MAX_MELGRAM_BYTES = 1 << 31  # settings for larger melgrams are a mistake, or damaged
_SCRIPT = "preprocess_data.py"


# --- settings.json --------------------------------------------------------------------------------------------------

def read_settings(preproc: str | Path) -> tuple[MelgramSettings, dict]:
    """The MelgramSettings, and all of settings.json as a dictionary."""
    path = Path(preproc) / SETTINGS
    if not path.is_file():
        raise UserError(f"{path}: does not exist; run {_SCRIPT} first.")
    values = safe_files.read_json(path, _SCRIPT)
    values["constants"] = _constants(values.get("constants", {}))
    if values["constants"] is None:
        raise UserError(f"{path}: is damaged; delete it and run {_SCRIPT} again.")
    settings = MelgramSettings.from_dict(values, path)
    if settings.bytes > MAX_MELGRAM_BYTES:
        raise UserError(f"{path}: describes melgrams of {settings.bytes / 1e9:.0f} GB each; "
                        f"delete it and run {_SCRIPT} again.")
    return settings, values


def _constants(values: object) -> dict | None:
    """The constants of preprocess_data.py by today's names; None where they are something else."""
    try:
        values = old_names.renamed(values, old_names.CONSTANTS)
        re.compile(values.get("GROUP_BY", ""))
    except (AttributeError, TypeError, re.error, RecursionError, OverflowError):
        return None
    return values


def write_settings(preproc: str | Path, values: dict) -> None:
    """Write settings.json, unless it holds these values already."""
    path = Path(preproc) / SETTINGS
    if not path.exists() or safe_files.read_json(path, _SCRIPT) != values:
        safe_files.write_json(path, values)


# --- melgrams -------------------------------------------------------------------------------------------------------

def melgram_path(preproc: str | Path, split: str, name: str) -> Path:
    """The file for the melgram of the sound `name` ("class/file.wav")."""
    return Path(preproc) / split / (name + ".npy")


def find_melgrams(preproc: str | Path) -> dict[tuple[str, str], os.stat_result]:
    """The melgrams that exist: {(split, name): os.stat_result}."""
    found = {}
    for split in SPLITS:
        for folder in _folders(Path(preproc) / split):
            for entry in _scan(folder):
                if entry.name.endswith(".npy") and not entry.name.startswith(".") and entry.is_file():
                    found[split, f"{folder.name}/{entry.name[:-len('.npy')]}"] = entry.stat()
    return found


def _folders(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.is_dir()] if folder.is_dir() else []


def _scan(folder: Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def is_current(found: os.stat_result | None, sound_time_ns: int, settings: MelgramSettings) -> bool:
    """Whether a melgram's file (None: there is none) belongs to a sound modified at that time."""
    size = len(_header(settings)) + settings.bytes
    return found is not None and found.st_mtime_ns == sound_time_ns and found.st_size == size


@functools.lru_cache
def _header(settings: MelgramSettings) -> bytes:
    """The first bytes of a melgram's .npy file."""
    file = io.BytesIO()
    npy_format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": settings.shape})
    return file.getvalue()


def invalidate(preproc: str | Path) -> None:
    """Make all melgrams look out of date."""
    for split, name in find_melgrams(preproc):
        os.utime(melgram_path(preproc, split, name), ns=(1, 1))  # 0 is the date of every sound in some archives


def write_melgram(path: Path, melgram: np.ndarray, sound_time_ns: int) -> None:
    """Write one melgram as a plain .npy with the modification time of its sound, which marks it as current."""
    content = io.BytesIO()  # np.save's own message about a full disk gives a number of bytes, but no reason
    np.save(content, melgram, allow_pickle=False)
    with safe_files.replacing(path) as unfinished:
        unfinished.write_bytes(content.getbuffer())
        os.utime(unfinished, ns=(sound_time_ns, sound_time_ns))


# --- Preproc/ → clips -----------------------------------------------------------------------------------------------

def load(preproc: str | Path, split: str, settings: MelgramSettings,
         class_names: list[str] | None = None) -> tuple[Clips, list[str]]:
    """All melgrams of a split as Clips, and a sentence on each file that can't be used.

    class_names: the classes of a network, in its order; other classes are left out.
    """
    warnings = []
    folder = Path(preproc) / split
    names = [name for found_split, name in find_melgrams(preproc) if found_split == split]
    known = list(class_names) if class_names is not None else sorted({class_of(name) for name in names})
    index = {name: i for i, name in enumerate(known)}
    for unknown in sorted({class_of(name) for name in names} - set(known)):
        warnings.append(f"{folder / unknown}/: is not a class of the network and is left out; train anew to add it.")
    names = [name for name in names if class_of(name) in index]
    melgrams = np.empty((len(names), *settings.shape), np.float32)
    good = []
    for name in names:
        path = f"{folder}{os.sep}{name}.npy"  # a Path for each would take a fifth of the time
        try:
            _read_into(path, _header(settings), melgrams[len(good)])
            good.append(name)
        except UserError as error:
            warnings.append(str(error))
        except OSError as error:
            warnings.append(f"{path}: can't be read ({error.strerror}).")
    targets = one_hot([index[class_of(name)] for name in good], len(known))
    return Clips(melgrams[:len(good)], targets, good, known), warnings


def _read_into(path: str, header: bytes, melgram: np.ndarray) -> None:
    """Fill `melgram` from a .npy that must begin with the bytes `header`: nothing is parsed or unpickled."""
    with open(path, "rb", buffering=0) as file:
        if file.read(len(header)) != header or file.readinto(memoryview(melgram).cast("B")) < melgram.nbytes:
            raise UserError(f"{path}: is not a melgram of shape {melgram.shape}; delete it and run {_SCRIPT} again.")
    if not np.isfinite(melgram.sum()):
        raise UserError(f"{path}: holds NaN or infinite values; delete it and run {_SCRIPT} again.")
