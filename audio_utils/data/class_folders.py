"""Compare the class folders of Samples/ with the preprocessed classes, without reading a sound."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from audio_utils.data.checks import named
from audio_utils.data.sounds import SAMPLES, visible

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
