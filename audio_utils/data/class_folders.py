"""The class folders of Samples/: whether they are those that were preprocessed, and the names of new ones."""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from unicodedata import normalize

from audio_utils.data.checks import named
from audio_utils.data.sounds import SAMPLES, SYSTEM_NAMES, visible
from audio_utils.runtime.errors import UserError

_SPLIT_FOLDERS = {"train", "test", "val", "valid", "validation"}


def renamed_classes(class_names: Iterable[str], samples: Path = SAMPLES, melgrams: Path | None = None) -> str:
    """A sentence if class folders have other names than when they were preprocessed, else "".

    If folders are only missing (a disk that is not mounted) or only new, nothing is said. The same applies to those
    in `melgrams`, a folder of Preproc/ that is loaded and whose new classes are then reported.
    """
    folders = _folders(samples)
    if folders and all(folder.name.lower() in _SPLIT_FOLDERS for folder in folders):
        folders = [inner for folder in folders for inner in _folders(folder)]
    now, before = {folder.name for folder in folders if _has_entries(folder)}, set(class_names)
    new, gone = sorted(now - before - _names(melgrams)), sorted(before - now)
    if not new or not gone:
        return ""
    return (f"{samples}/: has {named(new)} instead of {named(gone)}; run preprocess_data.py, then train_network.py "
            "--fresh.")


def _folders(folder: Path) -> list[Path]:
    with suppress(OSError):  # a folder that can't be read; preprocess_data.py reports it
        return [path for path in visible(folder) if path.is_dir()]
    return []


def _names(folder: Path | None) -> set[str]:
    return {path.name for path in _folders(folder)} if folder else set()


def _has_entries(folder: Path) -> bool:
    with suppress(OSError):
        return bool(visible(folder))
    return True


# --- folders for labels ----------------------------------------------------------------------------------------------

class LabelFolders:
    """The class folders for labels: existing ones, or new ones with names that every file system allows."""

    def __init__(self, samples: Path = SAMPLES) -> None:
        """Raises UserError if the folder contains the user's own split."""
        self.samples = samples
        folders = _folders(samples)
        if folders and all(folder.name.lower() in _SPLIT_FOLDERS for folder in folders) \
                and any(map(_folders, folders)):
            raise UserError(f"{samples}/: contains your own split ({named(f'{each.name}/' for each in folders)}); cut "
                            "the clips in another folder, and move them here.")
        self._existing = {_plain(folder.name): folder.name for folder in folders}
        self._spelling = {name.casefold(): (name, f"{samples}/") for name in self._existing.values()}

    def name(self, label: str, file: Path) -> str:
        """The name of a label's class folder; file: that contains the label.

        Raises UserError if the name differs only in case from another one: on some file systems, both are the same.
        """
        name = folder_name(label)
        name = self._existing.get(_plain(name), name)
        other, where = self._spelling.setdefault(name.casefold(), (name, file))
        if name != other and name not in self._existing.values():
            raise UserError(f'{file}: the label "{name}" differs only in case from "{other}" in {where}; use one '
                            "spelling.")
        return name

    def exists(self, label: str) -> bool:
        """Whether a class folder for this label existed before."""
        return _plain(label) in self._existing


def folder_name(label: str) -> str:
    """The label, without slashes, control characters and leading dots, which class folders can't have."""
    name = re.sub(r"[/\\\x00-\x1f\x7f]|^\.+", "_", _plain(label))
    return f"_{name}" if name.lower() in SYSTEM_NAMES else name


def _plain(name: str) -> str:
    """The name in the Unicode normalization form NFC (macOS has its own), with single spaces."""
    return " ".join(normalize("NFC", name).split())
