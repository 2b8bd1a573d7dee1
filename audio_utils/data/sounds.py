"""The sounds of Samples/.

A sound is named by its class and its file, `class/file.wav`, in every split and in every report.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from audio_utils.runtime.errors import UserError

SAMPLES = Path("Samples")
SPLITS = ("Train", "Test")


class Sound(NamedTuple):
    """One file of Samples/."""
    class_name: str
    path: Path
    split: str | None = None  # "Train" or "Test" where the user's own split has it

    @property
    def name(self) -> str:
        return f"{self.class_name}/{self.path.name}"


def class_of(name: str) -> str:
    """The class in the name of a sound, "class/file.wav"."""
    return name.rpartition("/")[0]


def find_sounds(samples: str | Path) -> tuple[list[Sound], list[str]]:
    """All files of the class folders, sorted by name, and a sentence on each file or folder that is ignored.

    If `samples` holds exactly the folders Train and Test, each with class folders, they are the user's own split.
    Hidden files (.DS_Store) are ignored silently. Raises UserError where there is no sound.
    """
    samples = Path(samples)
    if not samples.is_dir():
        raise UserError(f"{samples}/: does not exist; create it, with a folder of sounds for each class.")
    ignored = []
    if _is_own_split(samples):
        sounds = [sound for split in SPLITS for sound in _find_in_classes(samples / split, split, ignored)]
    else:
        sounds = _find_in_classes(samples, None, ignored)
    if not sounds:
        raise UserError(f"{samples}/: holds no folder with sounds; create one for each class and put its sounds there.")
    return sounds, ignored


def _is_own_split(samples: Path) -> bool:
    folders = [path for path in visible(samples) if path.is_dir()]
    return sorted(path.name for path in folders) == sorted(SPLITS) and all(
        any(inner.is_dir() for inner in visible(folder)) for folder in folders)


def visible(folder: Path) -> list[Path]:
    """The entries of a folder that are not hidden, sorted by name."""
    return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)


def _find_in_classes(folder: Path, split: str | None, ignored: list[str]) -> list[Sound]:
    sounds = []
    for entry in visible(folder):
        if not entry.is_dir():
            if entry.name != "README.md":
                ignored.append(f"{entry}: is beside the class folders and is not used; move it into one.")
            continue
        inside = visible(entry)
        ignored += [f"{path}/: is a folder inside a class and is not used; move its sounds up into {entry}/."
                    for path in inside if path.is_dir()]
        files = [path for path in inside if not path.is_dir()]
        if not files:
            ignored.append(f"{entry}/: holds no sound; the class is left out.")
        sounds += [Sound(entry.name, path, split) for path in files]
    return sounds


def require_classes(class_names: Iterable[str], folder: str | Path) -> None:
    """Refuse fewer than two classes."""
    class_names = sorted(class_names)
    if len(class_names) < 2:
        found = f"only one class ({class_names[0]})" if class_names else "no class with sounds"
        raise UserError(f"{folder}/: holds {found}; at least two folders of sounds are needed.")
