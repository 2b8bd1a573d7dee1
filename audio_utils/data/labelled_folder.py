"""A folder of labelled sounds, with a folder for each class as in Samples/, that a network is evaluated on."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from audio_utils.audio import long_sounds
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import checks, compute, long_files, multi_label, preproc
from audio_utils.data.checks import named
from audio_utils.data.clips import Clips
from audio_utils.data.headers import read_headers
from audio_utils.data.sound import clip_names
from audio_utils.data.sounds import Skipped, Sound, find_sounds
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError


class LabelledFolder(NamedTuple):
    """The sounds of a folder."""
    folder: Path  # that contains the class folders
    clips: Clips
    paths: dict[str, Path]  # name of a clip → file
    skipped: list[Skipped]  # files that are not used


def load(folder: Path, settings: MelgramSettings, class_names: list[str], jobs: int | None,
         mode: str = long_sounds.BEGINNING, has_labels: bool = False) -> LabelledFolder:
    """The sounds of these classes, with melgrams computed in memory; reports the others.

    Augmented copies are not used. If the folder contains the user's own split, only the sounds of Test are used.
    mode: LONG_FILES, as the network was trained. has_labels: with MULTI_LABEL; then the labels are
    those in labels.csv and in the names of the folders. Raises UserError if there is no sound.
    """
    found, skipped = _find_sounds(folder, has_labels)
    labels = _labels_of(found, skipped, class_names, folder) if has_labels else None
    sounds = _only_test(found if labels is None else list(labels), folder)
    folder = sounds[0].path.parents[1]
    for sentence in checks.summarize(skipped):
        warn(sentence)
    sounds = _of_network(_with_names_of(class_names, sounds), skipped, class_names, folder) if labels is None else \
        _without_copies(sounds, skipped)
    headers, unusable = _read_headers(sounds, settings, jobs)
    for sentence in [*checks.summarize(unusable), *_conversions(headers, settings, mode)]:
        warn(sentence)
    sounds, too_long, counts = long_files.cut([sound for sound in sounds if sound.file in headers], headers, (), {},
                                              settings, mode)
    sounds = {sound: counts.get(sound, 0) for sound in sounds}
    names = class_names if labels is None else sorted({sound.class_name for sound in sounds})
    clips, problems = compute.clips_of(sounds, settings, names, jobs, mode)
    found = [Skipped.of(sound.path, sentence) for sound, sentence in problems.items()]
    for sentence in checks.summarize(found):
        warn(sentence)
    if not len(clips):
        raise UserError(f"{folder}/: contains no sound that can be used; add sounds, or name another folder.")
    of_clip = {name: sound for sound, count in sounds.items() for name in clip_names(sound.name, count)}
    paths = {name: sound.path for name, sound in of_clip.items()}
    used = {paths[name] for name in clips.names}
    if labels is not None:
        clips = _with_labels(clips, [labels[of_clip[name]] for name in clips.names], class_names)
    return LabelledFolder(folder, clips, paths, skipped + unusable + too_long
                          + [each for each in found if each.path not in used])


def _find_sounds(folder: Path, has_labels: bool) -> tuple[list[Sound], list[Skipped]]:
    """The sounds of the folder; raises UserError if it does not exist, or contains melgrams."""
    if folder.is_file():
        raise UserError(f"{folder}: is a file; name a folder that contains a folder of sounds for each class.")
    if not folder.is_dir():
        raise UserError(f"{folder}/: does not exist; name a folder that contains a folder of sounds for each class.")
    if (folder / preproc.SETTINGS).is_file():
        raise UserError(f"{folder}/: contains melgrams; name the folder of their sounds.")
    return find_sounds(folder, multi_label=has_labels)


def _only_test(sounds: list[Sound], folder: Path) -> list[Sound]:
    """The same sounds or, if the folder contains the user's own split, those of its Test."""
    if not sounds[0].split:
        return sounds
    test = [sound for sound in sounds if sound.split == "Test"]
    if not test:
        raise UserError(f"{folder}/: contains no sounds in Test/; add some, or name another folder.")
    others = {sound.path.parents[1] for sound in sounds if sound.split != "Test"}
    if others:
        say(f"{folder}/: contains {named(f'{path.name}/' for path in sorted(others))} and "
            f"{test[0].path.parents[1].name}/; only the sounds of the latter are used.")
    return test


def _with_names_of(class_names: list[str], sounds: list[Sound]) -> list[Sound]:
    """The sounds, with a class name in another Unicode normalization form (macOS has its own) as the network has it."""
    found = {sound.class_name for sound in sounds}
    same = {normalize("NFC", name): name for name in class_names if name not in found}
    return [sound if sound.class_name in class_names else
            sound._replace(class_name=same.get(normalize("NFC", sound.class_name), sound.class_name))
            for sound in sounds]


def _of_network(sounds: list[Sound], skipped: list[Skipped], class_names: list[str], folder: Path) -> list[Sound]:
    """The sounds of the network's classes, without augmented copies; reports the others and adds them to `skipped`."""
    found, known = {sound.class_name for sound in sounds}, set(class_names)
    if not found & known:
        raise UserError(f"{folder}/: has the class{'es' * (len(found) > 1)} {named(sorted(found))}, but the network "
                        f"has {named(class_names)}; rename the folders, or name another one.")
    others = [sound for sound in sounds if sound.class_name not in known]
    if others:
        warn(f"{named(sorted(found - known))}: not {'a class' if len(found - known) == 1 else 'classes'} of the "
             f"network; {_sounds(others)} left out.")
    skipped += [Skipped(sound.path, "is not of a class of the network") for sound in others]
    return _without_copies([sound for sound in sounds if sound.class_name in known], skipped)


def _labels_of(sounds: list[Sound], skipped: list[Skipped], class_names: list[str],
               folder: Path) -> dict[Sound, multi_label.Labels]:
    """The labels of the sounds; those that the network does not have are reported and ignored."""
    labels, unlisted = multi_label.of_sounds(sounds, folder)
    skipped += unlisted
    found = {label for each in labels.values() for label in each}
    if not found & set(class_names):
        has = f"the label{'s' * (len(found) > 1)} {named(sorted(found))}" if found else "no labels"
        raise UserError(f"{folder}/: has {has}, but the network has {named(class_names)}; correct "
                        f"{folder / multi_label.LABELS}, or name another folder.")
    if unknown := sorted(found - set(class_names)):
        warn(f"{folder}/: has labels that the network was not trained on, which are ignored: {named(unknown)}.")
    return labels


def _with_labels(clips: Clips, labels: list[multi_label.Labels], class_names: list[str]) -> Clips:
    """The clips with these labels as targets, for the classes of the network."""
    return replace(clips, targets=multi_label.targets(labels, class_names), class_names=class_names, multi_label=True)


def _without_copies(sounds: list[Sound], skipped: list[Skipped]) -> list[Sound]:
    """The sounds that are no augmented copies; reports the others and adds them to `skipped`."""
    copies = [sound for sound in sounds if sound.copy_of]
    if copies:
        say(f"{len(copies)} augmented {'copies are' if len(copies) > 1 else 'copy is'} left out.")
    skipped += [Skipped(sound.path, "is an augmented copy") for sound in copies]
    return [sound for sound in sounds if not sound.copy_of]


def _sounds(sounds: list[Sound]) -> str:
    return f"{len(sounds)} sounds are" if len(sounds) > 1 else "1 sound is"


def _read_headers(sounds: list[Sound], settings: MelgramSettings,
                  jobs: int | None) -> tuple[dict[str, AudioInfo], list[Skipped]]:
    """(file → AudioInfo of the sounds that can be used, the others)."""
    headers, errors, _ = read_headers(sounds, jobs)
    unusable = [Skipped.of(Path(file), error) for file, error in errors.items()]
    if settings.channels == 1:  # all are mixed
        return headers, unusable
    wide = {file for file, header in headers.items() if header.channels > settings.channels}
    unusable += [Skipped(Path(file), f"has more channels than the network ({settings.channels}) and is left out")
                 for file in sorted(wide)]
    return {file: header for file, header in headers.items() if file not in wide}, unusable


def _conversions(headers: dict[str, AudioInfo], settings: MelgramSettings, mode: str) -> Iterator[str]:
    """A sentence each about the sounds of which only the beginning is used, are mixed, or have too few channels."""
    cut = [path for path, header in headers.items() if long_sounds.is_long(header, settings)]
    if cut and mode == long_sounds.BEGINNING:
        yield (f"{named(cut)}: longer than the network's clips of {settings.clip_seconds:.4g} s; only the beginning "
               "is used; split long recordings with audio_utils/split_audio.py.")
    mixed = [path for path, header in headers.items() if header.channels > settings.channels]
    if mixed:
        yield f"{named(mixed)}: more channels than the network's one; mixed to mono."
    narrow = [path for path, header in headers.items() if header.channels < settings.channels]
    if narrow:
        yield (f"{named(narrow)}: fewer channels than the network's {settings.channels}; mono is repeated in each "
               "channel, otherwise the missing channels are silent.")
