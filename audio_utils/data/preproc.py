"""Preproc/: settings.json, skipped.csv and a .npy file for each melgram."""

import csv
import io
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import numpy as np
from tqdm import tqdm

from audio_utils.audio.long_sounds import BEGINNING, MODES
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import index, melgram_files, multi_label, old_names, summary
from audio_utils.data.checks import named
from audio_utils.data.clips import Clips, one_hot
from audio_utils.data.index import Entry
from audio_utils.data.melgram_files import COMPUTE_AGAIN, SCRIPT, MelgramFiles
from audio_utils.data.sounds import SPLITS, Skipped, class_of, visible
from audio_utils.data.split import Grouping
from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UserError

PREPROC = Path("Preproc")
SETTINGS, SKIPPED = "settings.json", "skipped.csv"
MAX_MELGRAM_BYTES = 1 << 31  # settings for larger melgrams are a mistake, or damaged


# --- settings.json --------------------------------------------------------------------------------------------------

def read_settings(preproc: str | Path) -> tuple[MelgramSettings, dict]:
    """The MelgramSettings, and all of settings.json as a dictionary."""
    path = Path(preproc) / SETTINGS
    if not path.is_file():
        raise UserError(f"{path}: does not exist; run {SCRIPT} first.")
    values = safe_files.read_json(path, COMPUTE_AGAIN)
    settings = MelgramSettings.from_dict(values, path, COMPUTE_AGAIN)
    values["constants"] = _constants(values.get("constants", {}))
    if values["constants"] is None or not isinstance(values.get("defaults", {}), dict):
        raise UserError(f"{path}: is damaged; {COMPUTE_AGAIN}.")
    if settings.bytes > MAX_MELGRAM_BYTES:
        raise UserError(f"{path}: describes melgrams of {settings.bytes / 1e9:.0f} GB each; {COMPUTE_AGAIN}.")
    return settings, values


def usable_settings(preproc: str | Path) -> tuple[MelgramSettings, dict] | None:
    """The result of `read_settings`, or None if settings.json does not exist or can't be used."""
    with suppress(UserError):
        return read_settings(preproc)
    return None


def _constants(values: object) -> dict | None:
    """The constants of preprocess_data.py with their current names; None if they are not valid."""
    try:
        values = old_names.renamed(values, old_names.CONSTANTS)
        re.compile(values.get("GROUP_BY", ""))
    except (AttributeError, TypeError, re.error, RecursionError, OverflowError):
        return None
    valid = values.get("LONG_FILES", BEGINNING) in MODES and isinstance(values.get("MULTI_LABEL", False), bool)
    return values if valid else None


def write_settings(preproc: str | Path, values: dict) -> None:
    """Write settings.json, unless it contains these values already."""
    path, before = Path(preproc) / SETTINGS, None
    with suppress(FileNotFoundError, UserError):
        before = safe_files.read_json(path, COMPUTE_AGAIN)
    if before != values:
        safe_files.write_json(path, values)


def is_complete(preproc: str | Path) -> bool:
    """Whether the last run of preprocessing has finished."""
    usable = usable_settings(preproc)
    return bool(usable and usable[1].get("complete"))


def mark_incomplete(preproc: str | Path) -> None:
    """Record that the melgrams do not match the settings yet; does nothing if settings.json can't be used."""
    if usable := usable_settings(preproc):
        write_settings(preproc, usable[1] | {"complete": False})


# --- melgrams -------------------------------------------------------------------------------------------------------

def melgram_path(preproc: str | Path, split: str, name: str) -> Path:
    """The file for the melgram of the sound `name` ("class/file.wav")."""
    return Path(preproc) / split / (name + ".npy")


def find_melgrams(preproc: str | Path) -> dict[tuple[str, str], int]:
    """The melgrams that exist: {(split, name): size in bytes}."""
    found, sizes = {}, {}
    for split in SPLITS:
        for folder in _folders(Path(preproc) / split):
            for entry in _scan(folder):
                if entry.name.endswith(".npy") and not entry.name.startswith(".") and entry.is_file():
                    size = entry.stat().st_size
                    found[split, f"{folder.name}/{entry.name[:-len('.npy')]}"] = sizes.setdefault(size, size)
    return found


def _folders(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.is_dir()] if folder.is_dir() else []


def _scan(folder: Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def melgram_file_bytes(settings: MelgramSettings) -> int:
    """The size of a melgram's .npy file."""
    return len(melgram_files.header(settings)) + settings.bytes


def write_melgram(path: Path, melgram: np.ndarray) -> None:
    """Write one melgram as a plain .npy."""
    content = io.BytesIO()  # np.save's own message about a full disk gives a number of bytes, but no reason
    np.save(content, melgram, allow_pickle=False)
    with safe_files.replacing(path) as unfinished:
        unfinished.write_bytes(content.getbuffer())


# --- the index ------------------------------------------------------------------------------------------------------

def current_settings_id(preproc: str | Path) -> str:
    """The id of the settings in settings.json, "" if there are none that can be used."""
    usable = usable_settings(preproc)
    return index.settings_id(usable[0]) if usable else ""


def used_melgrams(preproc: str | Path, split: str, settings: MelgramSettings) -> tuple[list[str], list[str]]:
    """The names of the melgrams of a split that the index has in use, and a sentence about the others.

    Without an index, all melgrams are used.
    """
    names = [name for found_split, name in find_melgrams(preproc) if found_split == split]
    if not index.exists(preproc):
        return names, []
    entries = sorted(index.read(preproc)[0].values(), key=lambda entry: entry.status == index.USED)  # it has priority
    entries = {name: entry for entry in entries if entry.split == split for name in entry.clip_names}
    settings_id = index.settings_id(settings)
    gone = [name for name in names if name in entries and entries[name].status == index.LEFT_OUT]
    used = [name for name in names if name in entries and index.is_used(entries[name], settings_id)]
    unknown = sorted(set(names) - set(used) - set(gone))
    folder, warnings = Path(preproc) / split, []
    if gone:
        warnings.append(f"{named(gone)}: the sound is gone, so its melgram is not used; {SCRIPT} --prune deletes such "
                        "melgrams.")
    if unknown:
        warnings.append(f"{named(unknown)}: melgrams that the index does not have in {folder}/; left out; run "
                        f"{SCRIPT} again.")
    return used, warnings


def grouping(preproc: str | Path, group_by: str, has_labels: bool = False) -> Grouping:
    """The groups that preprocessing kept in one split: by GROUP_BY, and by the copies and recordings in the index.

    has_labels: whether to include the labels of the clips, with MULTI_LABEL.
    """
    labels = multi_label.by_name(multi_label.read(preproc)) if has_labels else {}
    if not index.exists(preproc):
        return Grouping(group_by, labels=labels)
    return grouping_of(index.read(preproc)[0].values(), group_by, labels)[0]


def grouping_of(entries: Iterable[Entry], group_by: str,
                labels: Mapping[str, multi_label.Labels] = MappingProxyType({})) -> tuple[Grouping, list[str]]:
    """The same from entries, and the classes that have too few recordings to keep the clips of each together.

    labels: of the clips, with MULTI_LABEL.
    """
    entries = sorted((entry for entry in entries if entry.status == index.USED),
                     key=lambda entry: entry.split == "Train")  # it has priority
    copy_of = {entry.name: entry.copy_of for entry in entries if entry.copy_of}
    sound_of = {name: entry.name for entry in entries if entry.clips for name in entry.clip_names}
    recordings = index.recordings(entries)
    if labels:
        labels = labels | {sound: labels[clip] for clip, sound in sound_of.items() if clip in labels}
    return Grouping(group_by, copy_of, recordings, sound_of, labels).relaxed(
        {name for entry in entries for name in entry.clip_names})


def write_skipped(preproc: str | Path, skipped: list[Skipped]) -> None:
    """Write skipped.csv, a line for each file that is not used, unless it holds them already."""
    path, text = Path(preproc) / SKIPPED, io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "reason"])
    table.writerows(sorted((str(each.path), each.reason) for each in skipped))
    content = text.getvalue().encode(errors="surrogateescape")
    if not path.exists() or path.read_bytes() != content:
        safe_files.write_bytes(path, content)


# --- Preproc/ → clips -----------------------------------------------------------------------------------------------

def load(preproc: str | Path, split: str, settings: MelgramSettings, class_names: list[str] | None = None,
         max_bytes: float = math.inf, has_labels: bool = False) -> tuple[Clips, list[str]]:
    """All melgrams of a split as Clips, and a sentence about each file that can't be used.

    class_names: the classes of a network, in its order; other classes are left out. max_bytes: melgrams that take more
    memory are only checked, and stay on disk. has_labels: with MULTI_LABEL, whether labels.csv has the classes.
    """
    folder = Path(preproc) / split
    names, warnings = used_melgrams(preproc, split, settings)
    if has_labels:
        return _load_labeled(folder, names, settings, class_names, max_bytes, warnings)
    known = list(class_names) if class_names is not None else sorted({class_of(name) for name in names})
    index_of = {name: i for i, name in enumerate(known)}
    for unknown in sorted({class_of(name) for name in names} - set(known)):
        add = "" if (Path(preproc) / "Train" / unknown).is_dir() else "put some of its sounds into Train and "
        warnings.append(f"{folder / unknown}/: is not a class of the network and is left out; to add it, {add}run "
                        "train_network.py --fresh.")
    names = [name for name in names if class_of(name) in index_of]
    melgrams, good = _load_melgrams(folder, names, settings, max_bytes, warnings)
    return Clips(melgrams, one_hot([index_of[class_of(name)] for name in good], len(known)), good, known), warnings


def _load_labeled(folder: Path, names: list[str], settings: MelgramSettings, class_names: list[str] | None,
                  max_bytes: float, warnings: list[str]) -> tuple[Clips, list[str]]:
    """The same with MULTI_LABEL; a clip keeps those of its labels that the network has."""
    labels = dict(zip(names, multi_label.of_clips(folder.parent, folder.name, names), strict=True))
    found = {label for each in labels.values() for label in each}
    known = list(class_names) if class_names is not None else sorted(found)
    if unknown := sorted(found - set(known)):
        trained = {label for name, each in multi_label.read(folder.parent).items() if name.startswith("Train/")
                   for label in each}
        add = "" if trained.issuperset(unknown) else "put some of their sounds into Train and "
        warnings.append(f"{folder}/: has labels that the network was not trained on, which are ignored: "
                        f"{named(unknown)}; to add them, {add}run train_network.py --fresh.")
    melgrams, good = _load_melgrams(folder, names, settings, max_bytes, warnings)
    return Clips(melgrams, multi_label.targets([labels[name] for name in good], known), good, known, True), warnings


def _load_melgrams(folder: Path, names: list[str], settings: MelgramSettings, max_bytes: float,
                   warnings: list[str]) -> tuple[np.ndarray | MelgramFiles, list[str]]:
    """The melgrams, in memory if they fit, and the names of those that can be used."""
    load_melgrams = _check if len(names) * settings.bytes > max_bytes else _read
    return load_melgrams(str(folder), names, settings, warnings)


def _read(folder: str, names: list[str], settings: MelgramSettings, warnings: list[str]) -> tuple[np.ndarray, list]:
    """The melgrams in one array, and the names of those that can be used; adds a sentence about each other one."""
    melgrams, good = np.empty((len(names), *settings.shape), np.float32), []
    for name in names:
        if _try_to_read(melgrams[len(good)], folder, name, settings, warnings) is not None:
            good.append(name)
    return melgrams[:len(good)], good


def _check(folder: str, names: list[str], settings: MelgramSettings,
           warnings: list[str]) -> tuple[MelgramFiles, list[str]]:
    """The same for melgrams that stay on disk: each is read once, for the check and for its summary."""
    melgram, good, modified_ns = np.empty(settings.shape, np.float32), [], []

    def summaries() -> Iterator[tuple]:
        for name in tqdm(names, "Checking", unit=" clips", disable=None, leave=False, delay=2):
            changed_ns = _try_to_read(melgram, folder, name, settings, warnings)
            if changed_ns is not None:
                good.append(name)
                modified_ns.append(changed_ns)
                yield summary.of(melgram)

    found = np.fromiter(summaries(), summary.dtype(settings.mels))
    return MelgramFiles(folder, good, settings, np.array(modified_ns, np.int64), found), good


def _try_to_read(melgram: np.ndarray, folder: str, name: str, settings: MelgramSettings,
                 warnings: list[str]) -> int | None:
    """When the file was last changed; None, and one more warning, if it can't be used."""
    path = melgram_files.melgram_path(folder, name)
    try:
        return melgram_files.read_into(melgram, path, melgram_files.header(settings))
    except UserError as error:
        warnings.append(str(error))
    except OSError as error:
        warnings.append(f"{path}: can't be read ({error.strerror}).")
    return None
