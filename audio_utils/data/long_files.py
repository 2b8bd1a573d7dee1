"""The constant LONG_FILES: which sounds are cut into several clips, and into how many."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from audio_utils.audio import long_sounds
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.audio.long_sounds import ALL, BEGINNING, LOUDEST, MAX_CLIPS
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import checks
from audio_utils.data.checks import named
from audio_utils.data.index import Entry
from audio_utils.data.sound import Skipped, Sound, sound_of_clip
from audio_utils.runtime.command_line import Options
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError

_TOO_LONG = f"has a header that gives more than {MAX_CLIPS:,} clips; replace or remove it, or set a larger CLIP_SECONDS"


def check(options: Options) -> None:
    """Reject an invalid LONG_FILES, and one that needs a clip length if there is none."""
    long_sounds.check_mode(options.long_files)
    if options.long_files != BEGINNING and not options.clip_seconds:
        raise UserError(f"LONG_FILES is {options.long_files!r}, which needs the length of a clip; set CLIP_SECONDS "
                        "(--clip-seconds 3).")


def clip_seconds(options: Options) -> float | None:
    """The maximum length of a sound that has its own clip; None if only the beginning of long sounds is used."""
    return options.clip_seconds if options.long_files != BEGINNING else None


def cut(sounds: list[Sound], headers: Mapping[str, AudioInfo], current: Iterable[Sound],
        entries: Mapping[Sound, Entry], settings: MelgramSettings,
        mode: str) -> tuple[list[Sound], list[Skipped], dict[Sound, int]]:
    """(The sounds that can be used, the others, sound → number of clips of those that are cut into several).

    headers: file → AudioInfo of the sounds whose melgrams are not current. entries: of the index. mode: LONG_FILES.
    Says what is done with long sounds. Raises UserError if two clips have the same name.
    """
    counts = count_clips(headers, settings, mode)
    too_long = [Skipped(Path(file), _TOO_LONG) for file, count in counts.items() if count > MAX_CLIPS]
    refused = {str(each.path) for each in too_long}
    sounds = [sound for sound in sounds if sound.file not in refused] if refused else sounds
    clips = {sound: entries[sound].clips for sound in current if entries[sound].clips}
    clips |= {sound: counts[sound.file] for sound in sounds if sound.file in counts} if counts else {}
    require_distinct_names(sounds, clips)
    for sentence in checks.summarize(too_long):
        warn(sentence)
    for sentence in describe({file: header for file, header in headers.items() if file not in refused}, settings, mode):
        say(sentence)
    return sounds, too_long, clips


def count_clips(headers: Mapping[str, AudioInfo], settings: MelgramSettings, mode: str) -> dict[str, int]:
    """File → number of clips, of the sounds that are cut into several."""
    counts = {file: long_sounds.clip_count(header, settings) for file, header in headers.items()} if mode == ALL else {}
    return {file: count for file, count in counts.items() if count}


def expected_clips(sounds: Iterable[Sound], headers: Mapping[str, AudioInfo], entries: Mapping[Sound, Entry],
                   options: Options) -> dict[Sound, int]:
    """The approximate number of clips of each sound, before the settings are known; {} if each has one."""
    if options.long_files != ALL:
        return {}
    seconds = {file: header.samples / header.rate for file, header in headers.items()}
    return {sound: max(1, int(seconds[sound.file] / options.clip_seconds + 0.5)) if sound.file in seconds else
            max(1, entries[sound].clips) for sound in sounds}


def require_distinct_names(sounds: Iterable[Sound], clips: Mapping[Sound, int]) -> None:
    """Reject sounds that have the name of a clip of another one; clips: sound → number, of those that are cut."""
    cut = {(sound.split, sound.name): sound for sound in clips}
    for sound in sounds if cut else ():
        parent, number = sound_of_clip(sound.name) or ("", 0)
        other = cut.get((sound.split, parent))
        if other and number <= clips[other]:
            raise UserError(f"{sound.file}: has the same name as clip {number} of {other.path.name}; rename or remove "
                            "one of them.")


def describe(headers: Mapping[str, AudioInfo], settings: MelgramSettings, mode: str) -> Iterator[str]:
    """A sentence about the sounds that are longer than a clip, unless only their beginning is used."""
    long = {file: header for file, header in headers.items() if long_sounds.is_long(header, settings)}
    if not long or mode == BEGINNING:
        return
    start = f"{named(long)}: longer than {settings.clip_seconds:.4g} s; "
    if mode == LOUDEST:
        yield f"{start}the loudest part is used."
        return
    counts = count_clips(long, settings, mode)
    clips = len(long) - len(counts) + sum(counts.values())
    rest = sum(long_sounds.unused_seconds(header, settings) for header in long.values())
    text = f"{start}cut into {clips:,} clip{'s' * (clips > 1)}"
    yield text + (f"; {rest:,.1f} s at their ends, less than half a clip each, are left out." if rest >= 0.05 else ".")
