"""Find the sounds that were cut or rendered from one recording, by their tags or, without tags, by their names.

A recording is identified by its digest and size, as in the tags of its clips; without tags, by the name that its clips
share: "class/stem" for stem_s1.wav, stem_s2.wav and so on. Sounds of equal content are one recording too.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from audio_utils.audio import audio_io, tags
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.data.index import Entry
from audio_utils.data.sound import Sound
from audio_utils.runtime.errors import UserError

_CLIP = re.compile(r"(.+)_s(\d+)")  # the name of a clip, without extension


def find_recordings(sounds: list[Sound], entries: dict[Sound, Entry], headers: dict[str, AudioInfo],
                    equal: Iterable[list[Sound]] = ()) -> dict[Sound, str]:
    """Sound → recording, for the clips of recordings, and for a recording that is itself among the sounds.

    entries: of the index. Sounds that were once recognized as clips by their names remain clips if others are gone.
    headers: those that have been read already. equal: groups of new and other sounds with equal content.
    """
    found = {sound: recording for sound in sounds if (recording := sound.recording or _known(sound, entries))}
    for name, clips in _series(sounds):
        if not all(clip in found for clip in clips) and _have_one_rate(clips, headers):
            others = {found[clip] for clip in clips if clip in found}
            recording = others.pop() if len(others) == 1 else name
            found |= {clip: found.get(clip) or recording for clip in clips}
    if found:
        found |= _originals([sound for sound in sounds if sound not in found], set(found.values()), entries)
        found |= _twins([sound for sound in sounds if sound not in found], found, entries)
    for group in equal:
        recording = max(found.get(sound, "") for sound in group) or _identity(group[0], entries.get(group[0]))
        found |= {sound: found.get(sound) or recording for sound in group}
    return {sound: recording for sound, recording in found.items() if recording}


def _known(sound: Sound, entries: dict[Sound, Entry]) -> str:
    """The recording of a sound in the index, if it is the sound itself, or if the name of the clip still agrees."""
    entry = entries.get(sound)
    if not entry or not entry.recording:
        return ""
    clip = _CLIP.fullmatch(sound.stem)
    is_itself = entry.recording == f"{entry.content.digest}-{entry.stat.size}"
    return entry.recording if is_itself or (clip and entry.recording.endswith(f"/{clip[1]}")) else ""


def _twins(sounds: list[Sound], found: dict[Sound, str], entries: dict[Sound, Entry]) -> dict[Sound, str]:
    """The sounds that have the recording of a clip in the index because their content is equal: they stay with it."""
    twins = {sound: entry for sound in sounds
             if (entry := entries.get(sound)) and entry.recording and entry.content.digest}
    of_clips = {(entries[sound].content, recording) for sound, recording in found.items() if sound in entries} \
        if twins else ()
    return {sound: entry.recording for sound, entry in twins.items() if (entry.content, entry.recording) in of_clips}


# --- names ----------------------------------------------------------------------------------------------------------

def _series(sounds: list[Sound]) -> Iterator[tuple[str, list[Sound]]]:
    """Complete series of clips, named as by split_audio.py: (name of the recording, clips).

    In the user's own split, clips of the same name in two folders belong to two recordings.
    """
    clips = [sound for sound in sounds if not sound.copy_of and _CLIP.fullmatch(sound.stem)]
    for series in _grouped(clips, _name_of_recording):
        parts = [series] if _is_complete(series) else _grouped(series, lambda sound: sound.split)
        for part in filter(_is_complete, parts):
            folder = f"{part[0].split}/" if len(parts) > 1 else ""
            yield f"{folder}{part[0].class_name}/{_name_of_recording(part[0])[1]}", part


def _grouped(sounds: list[Sound], key: Callable[[Sound], object]) -> list[list[Sound]]:
    groups = defaultdict(list)
    for sound in sounds:
        groups[key(sound)].append(sound)
    return list(groups.values())


def _name_of_recording(sound: Sound) -> tuple[str, str, str]:
    return sound.class_name, _CLIP.fullmatch(sound.stem)[1], os.path.splitext(sound.file)[1]


def _is_complete(clips: list[Sound]) -> bool:
    """Whether clips are numbered 1, 2 … without a gap, all without leading zeros or all with equally many digits."""
    numbers = [_CLIP.fullmatch(clip.stem)[2] for clip in clips]
    count, digits = len(numbers), len(numbers[0])
    return count > 1 and set(numbers) in ({f"{i}" for i in range(1, count + 1)},
                                          {f"{i:0{digits}}" for i in range(1, count + 1)})


def _have_one_rate(clips: Iterable[Sound], headers: dict[str, AudioInfo]) -> bool:
    """Whether the clips that can be read have the same sample rate."""
    rates = set()
    for clip in clips:
        with suppress(UserError):
            rates.add((headers.get(clip.file) or audio_io.info(clip.file)).rate)
    return len(rates) <= 1


# --- the recordings themselves --------------------------------------------------------------------------------------

def _originals(sounds: list[Sound], recordings: set[str], entries: dict[Sound, Entry]) -> dict[Sound, str]:
    """The sounds that are themselves one of these recordings, found by size and digest."""
    sizes = {int(recording.rpartition("-")[2]) for recording in recordings if recording and "/" not in recording}
    found = {sound: _identity(sound, entries.get(sound)) for sound in sounds if sound.stat.size in sizes}
    return {sound: recording for sound, recording in found.items() if recording in recordings}


def _identity(sound: Sound, entry: Entry | None) -> str:
    """The digest and size of a sound; from the index, if it contains the digest."""
    size = sound.stat.size
    if entry and entry.recording.endswith(f"-{size}"):
        return entry.recording
    digest = entry.content.digest if entry else ""
    with suppress(OSError):
        return f"{digest if digest and '-' not in digest else tags.digest_of(sound.file)}-{size}"
    return ""
