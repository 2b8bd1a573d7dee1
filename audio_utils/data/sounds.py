"""The sounds of Samples/.

A sound is named by its class and its file, `class/file.wav`, in every split and in every report.
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from audio_utils.audio import audio_io, tags
from audio_utils.audio.tags import Step
from audio_utils.runtime.errors import UserError

SAMPLES = Path("Samples")
SPLITS = ("Train", "Val", "Test")  # Val: only in the user's own split
AUGMENTED = re.compile(r"_aug[1-9]\d*(?=_|$)")  # in the names of the copies that augment_data.py writes

_FOLDERS = {"train": "Train", "val": "Val", "valid": "Val", "validation": "Val", "test": "Test"}  # in an own split
_UNREADABLE = "can't be read; change its permissions (chmod -R u+rX)"
_NO_SOUND = "contains no sound; the class is left out"
_SYSTEM_NAMES = {"__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "lost+found", "thumbs.db", "ehthumbs.db",
                 "desktop.ini", "icon\r", "system volume information"}  # lower case; of macOS, Windows, Linux and NAS
_TEXT_NAMES = {"readme", "license", "licence", "copying", "authors", "changelog", "attribution"}  # without extension
# Extensions of what lies beside sounds and is none: annotations, text, tables, pictures, caches, programs
_NOT_AUDIO = {f".{each}" for each in """
    csv tsv txt md rst json jsonl geojson ndjson xml yaml yml toml ini cfg conf log html htm css rtf tex bib pdf doc
    docx odt xls xlsx ods ppt pptx textgrid lab eaf trs srt vtt phn wrd rttm stm ctm jams cue m3u m3u8 pls gpx kml sv
    svl png jpg jpeg jpe gif bmp tif tiff svg webp heic heif ico eps ps psd
    npy npz pkl pickle mat h5 hdf5 parquet feather db sqlite sql asd sfk pk peak reapeaks
    py pyc ipynb sh bat ps1 r m js md5 sha1 sha256 sfv lnk url""".split()}


class Sound(NamedTuple):
    """One file of Samples/."""
    class_name: str
    path: Path
    split: str | None = None  # one of SPLITS in the user's own split
    copy_of: str | None = None  # name of the recording of which it is an augmented copy; it may no longer exist
    by_name: bool = False  # it is a copy by its name alone, without a tag
    recording: str = ""  # that it was cut or rendered from, by its tag: `tags.first_recording`

    @property
    def name(self) -> str:
        return f"{self.class_name}/{self.path.name}"


class Skipped(NamedTuple):
    """A file or folder that is not used."""
    path: Path
    reason: str  # what follows its name in a sentence: "is empty; replace or remove it"

    @classmethod
    def of(cls, path: Path, sentence: str) -> "Skipped":
        """From a sentence that begins with the path, or with that of another file."""
        start = f"{path}: "
        name, _, reason = (path, "", sentence[len(start):]) if sentence.startswith(start) else sentence.partition(": ")
        return cls(Path(name), reason.rstrip("."))


def class_of(name: str) -> str:
    """The class in the name of a sound, "class/file.wav"."""
    return name.rpartition("/")[0]


# --- folders --------------------------------------------------------------------------------------------------------

def find_sounds(samples: str | Path) -> tuple[list[Sound], list[Skipped]]:
    """All sounds of the class folders, sorted by name, and the files and folders that are not used.

    If `samples` contains exactly the folders Train and Test, and perhaps Val, Valid or Validation (in any case), each
    with class folders, they are the user's own split. Hidden files, folders of the system (__MACOSX), annotations, text
    and pictures are ignored silently.
    Raises UserError if there is no sound.
    """
    samples = Path(samples)
    if not samples.is_dir():
        raise UserError(f"{samples}/: does not exist; create it, with a folder of sounds for each class.")
    skipped = []
    own = _own_split(samples)
    if own:
        sounds = [sound for split, folder in own.items() for sound in _find_in_classes(folder, split, skipped)]
        sounds = _without_untrained(sounds, own, skipped)
    else:
        sounds = _find_in_classes(samples, None, skipped)
    if not sounds:
        why = next((f" ({each.path.name} {each.reason})" for each in skipped if each.reason != _NO_SOUND), "")
        raise UserError(f"{samples}/: contains no folder with sounds{why}; create one for each class and put its "
                        "sounds there.")
    return mark_copies(sounds), skipped


def visible(folder: Path) -> list[Path]:
    """The entries of a folder that are neither hidden nor of the system, sorted by name."""
    return [Path(entry) for entry in _entries(folder)]


def _entries(folder: Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")
                       and entry.name.lower() not in _SYSTEM_NAMES), key=lambda entry: entry.name)


def _own_split(samples: Path) -> dict[str, Path] | None:
    """The folders of the user's own split, split → folder in the order of SPLITS; None if there is none."""
    try:
        folders = [Path(entry) for entry in _entries(samples) if _is_folder(entry)]
        found = {split: [path for path in folders if _FOLDERS.get(path.name.lower()) == split] for split in SPLITS}
        if not found["Train"] or sum(map(len, found.values())) < len(folders) or \
                not all(any(map(_is_folder, _entries(path))) for path in folders):
            return None
    except PermissionError as error:
        raise UserError(f"{error.filename}/: {_UNREADABLE}.") from None
    for paths in found.values():
        if len(paths) > 1:
            raise UserError(f"{samples}/: contains {' and '.join(f'{path.name}/' for path in paths)}, which are "
                            "the same split; merge them.")
    own = {split: paths[0] for split, paths in found.items() if paths}
    if "Test" not in own:
        raise UserError(_without_test(samples, own))
    return own


def _without_test(samples: Path, own: dict[str, Path]) -> str:
    """A sentence about a split without Test."""
    if "Val" in own:
        return f"{own['Val']}/: is beside {own['Train'].name}/, but there is no Test/; rename it to Test."
    return (f"{own['Train']}/: there is no Test/ beside it; move its class folders up into {samples}/, "
            "or create Test/ with folders of the same names.")


def _is_folder(entry: os.DirEntry) -> bool:
    with suppress(OSError):  # a link to itself
        return entry.is_dir()
    return False


def _find_in_classes(folder: Path, split: str | None, skipped: list[Skipped]) -> list[Sound]:
    sounds = []
    for entry in _entries(folder):
        if _is_folder(entry):
            sounds += _find_in_class(Path(entry), split, skipped)
        elif may_be_audio(entry.name):
            skipped.append(Skipped(Path(entry), "is not in a class folder and is not used; move it into one"))
    return sounds


def _find_in_class(folder: Path, split: str | None, skipped: list[Skipped]) -> list[Sound]:
    try:
        entries = _entries(folder)
    except OSError as error:
        skipped.append(Skipped(folder, _UNREADABLE if isinstance(error, PermissionError) else
                               f"can't be read ({error.strerror})"))
        return []
    sounds = []
    for entry in entries:
        if _is_folder(entry):
            skipped.append(Skipped(Path(entry), "is a folder inside a class and is not used; move its sounds up into "
                                                "the class folder"))
        elif entry.is_symlink() and not os.path.exists(entry):
            skipped.append(Skipped(Path(entry), "is a link to a file that does not exist; fetch the file (git annex "
                                                "get), or remove the link"))
        elif may_be_audio(entry.name):
            sounds.append(Sound(folder.name, Path(entry), split))
    if not sounds:
        skipped.append(Skipped(folder, _NO_SOUND))
    return sounds


def may_be_audio(name: str) -> bool:
    """Whether a file of this name is not an annotation, text, a picture or the like."""
    stem, extension = os.path.splitext(name.lower())
    return extension not in _NOT_AUDIO and (extension or stem not in _TEXT_NAMES)


def _without_untrained(sounds: list[Sound], own: dict[str, Path], skipped: list[Skipped]) -> list[Sound]:
    """The sounds, except those of classes without sounds in Train; own: split → folder."""
    trained = {sound.class_name for sound in sounds if sound.split == "Train"}
    untrained = {(sound.split, sound.class_name) for sound in sounds if sound.class_name not in trained}
    skipped += [Skipped(own[split] / name, "is a class without sounds in Train and is left out; add sounds of it there")
                for split, name in sorted(untrained)]
    return [sound for sound in sounds if sound.class_name in trained]


def require_classes(class_names: Iterable[str], folder: str | Path) -> None:
    """Reject fewer than two classes."""
    class_names = sorted(class_names)
    if len(class_names) < 2:
        found = f"only one class ({class_names[0]})" if class_names else "no class with sounds"
        raise UserError(f"{folder}/: contains {found}; at least two folders of sounds are needed.")


# --- augmented copies -----------------------------------------------------------------------------------------------

def mark_copies(sounds: list[Sound]) -> list[Sound]:
    """The sounds, with `recording` from their tags, and with `copy_of` and `by_name` of augmented copies.

    Files tagged by augment_data.py are copies. Without a tag (it was written by an older version) a file named _aug<N>
    is a copy only if its recording is there, with the same sample rate and channel count.
    """
    paths = {sound.name: sound.path for sound in sounds}
    parents, by_name, lost, recordings = {}, set(), {}, {}
    for sound in sounds:
        steps, parent = tags.read(sound.path), parent_of(sound.name)
        recordings[sound.path] = tags.first_recording(steps)
        if step := tags.copied(steps):
            source = f"{sound.class_name}/{step.source}"
            candidates = [source, parent] if steps[0].tool == tags.AUGMENT else [parent, source]  # or a copy was split
            parents[sound.path] = next((name for name in candidates if name in paths), source)
            if parents[sound.path] not in paths:
                lost[sound.path] = step
        elif parent in paths and _may_be_named_copy(steps) and is_same_format(sound.path, paths[parent]):
            parents[sound.path] = parent
            by_name.add(sound.path)
    parents |= _find_by_content(lost, sounds)
    chains = {sound.name: parents[sound.path] for sound in sounds if sound.path in parents}
    sounds = [sound._replace(recording=recordings[sound.path]) if recordings[sound.path] else sound for sound in sounds]
    return [sound._replace(copy_of=_recording(chains, parents[sound.path]), by_name=sound.path in by_name)
            if sound.path in parents else sound for sound in sounds]


def _may_be_named_copy(steps: tuple[Step, ...]) -> bool:
    """Whether the name of a file decides if it is a copy: it has no tag, or is a clip of a file named like a copy."""
    return all(step.tool == tags.SPLIT for step in steps) and (not steps or parent_of(steps[-1].source) is not None)


def is_copy_on_disk(path: Path) -> bool:
    """Whether a file is an augmented copy, by its tag, or by its name and the file beside it."""
    steps, parent = tags.read(path), parent_of(path.name)
    return tags.copied(steps) is not None or (
        parent is not None and _may_be_named_copy(steps) and path.with_name(parent).is_file()
        and is_same_format(path, path.with_name(parent)))


def parent_of(name: str) -> str | None:
    """The name of the recording of which a file is a copy by its name, None if it is not named _aug<N>."""
    class_name, slash, file = name.rpartition("/")
    stem, extension = os.path.splitext(file)
    found = list(AUGMENTED.finditer(stem))
    return class_name + slash + stem[:found[-1].start()] + stem[found[-1].end():] + extension if found else None


def is_same_format(path: Path, other: Path) -> bool:
    """Whether two files have the same sample rate and channel count, or one of them is no audio."""
    try:
        one, two = audio_io.info(path), audio_io.info(other)
    except UserError:
        return True
    return (one.rate, one.channels) == (two.rate, two.channels)


def _find_by_content(lost: dict[Path, Step], sounds: list[Sound]) -> dict[Path, str]:
    """Path of a copy → recording, of recordings that were moved or renamed after they were copied."""
    wanted = {(step.size, step.digest) for step in lost.values()}
    sizes, names = {size for size, _ in wanted}, {}
    for sound in sounds if wanted else ():
        with suppress(OSError):
            size = os.stat(sound.path).st_size
            if size in sizes:
                names[size, tags.digest_of(sound.path)] = sound.name
    return {path: names[step.size, step.digest] for path, step in lost.items() if (step.size, step.digest) in names}


def _recording(parents: dict[str, str], name: str) -> str:
    """The name at the end of a chain of copies that begins with this one; parents: copy → recording."""
    passed = set()
    while name in parents and name not in passed:
        passed.add(name)
        name = parents[name]
    return name
