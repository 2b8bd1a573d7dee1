"""Find the sounds of Samples/, and which of them are augmented copies."""

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from audio_utils.audio import audio_io, tags
from audio_utils.audio.tags import Step
from audio_utils.data.index import USED, Entry
from audio_utils.data.sound import SPLITS, Skipped, Sound, Stat
from audio_utils.runtime.errors import UserError

SAMPLES = Path("Samples")
AUGMENTED = re.compile(r"_aug[1-9]\d*(?=_|$)")  # in the names of the copies that augment_data.py writes
SYSTEM_NAMES = {"__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "lost+found", "thumbs.db", "ehthumbs.db",
                "desktop.ini", "icon\r", "system volume information"}  # lower case; of macOS, Windows, Linux and NAS

_FOLDERS = {"train": "Train", "val": "Val", "valid": "Val", "validation": "Val", "test": "Test"}  # in an own split
_UNREADABLE = "can't be read; change its permissions (chmod -R u+rX)"
_NO_SOUND = "contains no sound; the class is left out"
_TEXT_NAMES = {"readme", "license", "licence", "copying", "authors", "changelog", "attribution"}  # without extension
# Extensions of what lies beside sounds and is none: annotations, text, tables, pictures, caches, programs
_NOT_AUDIO = {f".{each}" for each in """
    csv tsv txt md rst json jsonl geojson ndjson xml yaml yml toml ini cfg conf log html htm css rtf tex bib pdf doc
    docx odt xls xlsx ods ppt pptx textgrid lab eaf trs srt vtt phn wrd rttm stm ctm jams cue m3u m3u8 pls gpx kml sv
    svl png jpg jpeg jpe gif bmp tif tiff svg webp heic heif ico eps ps psd
    npy npz pkl pickle mat h5 hdf5 parquet feather db sqlite sql asd sfk pk peak reapeaks
    py pyc ipynb sh bat ps1 r m js md5 sha1 sha256 sfv lnk url""".split()}


def class_of(name: str) -> str:
    """The class in the name of a sound, "class/file.wav"."""
    return name.rpartition("/")[0]


# --- folders --------------------------------------------------------------------------------------------------------

def find_sounds(samples: str | Path,
                entry_of: Callable[[str], Entry | None] = lambda _: None,
                multi_label: bool = False) -> tuple[list[Sound], list[Skipped]]:
    """All sounds of the class folders, sorted by name, and the files and folders that are not used.

    If `samples` contains exactly the folders Train and Test, and perhaps Val, Valid or Validation (in any case), each
    with class folders, they are the user's own split. Hidden files, folders of the system (__MACOSX), annotations, text
    and pictures are ignored silently.
    entry_of: file → its index.Entry, or None; a file that has not changed and had no tag is not opened.
    multi_label: whether folders of Test may differ from those of Train.
    Raises UserError if there is no sound.
    """
    samples = Path(samples)
    if not samples.is_dir():
        raise UserError(f"{samples}/: does not exist; create it, with a folder of sounds for each class.")
    skipped = []
    own = _own_split(samples)
    if own:
        sounds = [sound for split, folder in own.items()
                  for sound in _find_in_classes(folder, split, skipped, entry_of)]
        sounds = sounds if multi_label else _without_untrained(sounds, own, skipped)
    else:
        sounds = _find_in_classes(samples, None, skipped, entry_of)
    if not sounds:
        why = next((f" ({each.path.name} {each.reason})" for each in skipped if each.reason != _NO_SOUND), "")
        raise UserError(f"{samples}/: contains no folder with sounds{why}; create one for each class and put its "
                        "sounds there.")
    return mark_copies(sounds, entry_of), skipped


def visible(folder: Path) -> list[Path]:
    """The entries of a folder that are neither hidden nor of the system, sorted by name."""
    return [Path(entry) for entry in _entries(folder)]


def _entries(folder: Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")
                       and entry.name.lower() not in SYSTEM_NAMES), key=lambda entry: entry.name)


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


def _find_in_classes(folder: Path, split: str | None, skipped: list[Skipped],
                     entry_of: Callable[[str], Entry | None]) -> list[Sound]:
    sounds = []
    for entry in _entries(folder):
        if _is_folder(entry):
            sounds += _find_in_class(Path(entry), split, skipped, entry_of)
        elif may_be_audio(entry.name):
            skipped.append(Skipped(Path(entry), "is not in a class folder and is not used; move it into one"))
    return sounds


def _find_in_class(folder: Path, split: str | None, skipped: list[Skipped],
                   entry_of: Callable[[str], Entry | None]) -> list[Sound]:
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
        elif (is_audio := may_be_audio(entry.name)) or entry.is_symlink():
            file = f"{folder}{os.sep}{entry.name}"
            stat = _stat_of(entry, entry_of(file), skipped)
            if stat and is_audio:
                sounds.append(Sound(folder.name, file, split, stat=stat))
    if not sounds:
        skipped.append(Skipped(folder, _NO_SOUND))
    return sounds


def _stat_of(entry: os.DirEntry, known: Entry | None, skipped: list[Skipped]) -> Stat | None:
    """The status of a file, the same object as in the index if equal; None if it is gone or a link to nothing."""
    try:
        stat = Stat.from_result(entry.stat())
    except OSError as error:
        skipped.append(Skipped(Path(entry), "is a link to a file that does not exist; fetch the file (git annex get), "
                                            "or remove the link" if entry.is_symlink() else
                                            f"{error.strerror}; check the file"))
        return None
    return known.stat if known and known.stat == stat else stat


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

def mark_copies(sounds: list[Sound], entry_of: Callable[[str], Entry | None] = lambda _: None) -> list[Sound]:
    """The sounds, with `recording` from their tags, and with `copy_of` and `by_name` of augmented copies.

    Files tagged by augment_data.py are copies. Without a tag (it was written by an older version) a file named _aug<N>
    is a copy only if its recording is there, with the same sample rate and channel count.
    """
    candidates = [(sound, steps, parent) for sound in sounds for steps in [_steps(sound, entry_of(sound.file))]
                  for parent in [parent_of(sound.name) if "_aug" in sound.file else None] if steps or parent]
    if not candidates:
        return sounds
    files = {sound.name: sound.file for sound in sounds}
    parents, by_name, lost, recordings = {}, set(), {}, {}  # keys: files
    for sound, steps, parent in candidates:
        recordings[sound.file] = tags.first_recording(steps) if steps else ""
        if step := tags.copied(steps):
            source = f"{sound.class_name}/{step.source}"
            names = [source, parent] if steps[0].tool == tags.AUGMENT else [parent, source]  # or a copy was split
            parents[sound.file] = next((name for name in names if name in files), source)
            if parents[sound.file] not in files:
                lost[sound.file] = step
        elif parent in files and _may_be_named_copy(steps) and is_same_format(sound.file, files[parent]):
            parents[sound.file] = parent
            by_name.add(sound.file)
    parents |= _find_by_content(lost, sounds)
    chains = {sound.name: parents[sound.file] for sound in sounds if sound.file in parents}

    def marked(sound: Sound) -> Sound:
        if sound.file in parents:
            sound = sound._replace(copy_of=_recording(chains, parents[sound.file]), by_name=sound.file in by_name)
        return sound._replace(recording=recordings[sound.file]) if recordings.get(sound.file) else sound

    return [marked(sound) for sound in sounds]


def _steps(sound: Sound, entry: Entry | None) -> tuple[Step, ...]:
    """The steps in a file's tag. If its melgram is newer, the entry shows whether it has a tag."""
    is_known = entry and entry.stat == sound.stat and entry.status == USED and entry.settings
    return () if is_known and not entry.copy_of and entry.recording == "" else tags.read(sound.file)


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


def is_same_format(path: str | Path, other: str | Path) -> bool:
    """Whether two files have the same sample rate and channel count, or one of them is no audio."""
    try:
        one, two = audio_io.info(path), audio_io.info(other)
    except UserError:
        return True
    return (one.rate, one.channels) == (two.rate, two.channels)


def _find_by_content(lost: dict[str, Step], sounds: list[Sound]) -> dict[str, str]:
    """File of a copy → recording, of recordings that were moved or renamed after they were copied."""
    wanted = {(step.size, step.digest) for step in lost.values()}
    sizes, names = {size for size, _ in wanted}, {}
    for sound in sounds if wanted else ():
        if sound.stat.size in sizes:
            with suppress(OSError):
                names[sound.stat.size, tags.digest_of(sound.file)] = sound.name
    return {file: names[step.size, step.digest] for file, step in lost.items() if (step.size, step.digest) in names}


def _recording(parents: dict[str, str], name: str) -> str:
    """The name at the end of a chain of copies that begins with this one; parents: copy → recording."""
    passed = set()
    while name in parents and name not in passed:
        passed.add(name)
        name = parents[name]
    return name
