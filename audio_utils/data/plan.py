"""The plan of preprocessing: the settings, the split, and which melgrams are to be computed."""

import math
import re
from argparse import Namespace
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from audio_utils.audio import audio_io, melgram
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import checks, preproc, split
from audio_utils.data.checks import named
from audio_utils.data.sounds import Sound, find_sounds, require_classes
from audio_utils.runtime import parallel
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError

MELGRAM_CONSTANTS = ("SAMPLE_RATE", "CLIP_SECONDS", "MONO", "MELS", "WINDOW_MS", "HOP_MS")
SPLIT_CONSTANTS = ("TEST_FRACTION", "SEED", "GROUP_BY")
_QUANTILE, _MAX_RATIO = 0.95, 4  # if the longest file is over 4 times as long as 95% of them, that length is used
_PADDING_RATIO = 1.25  # of the longest to the same quantile, above which a message mentions the padding
_HEADERS_PER_POOL = 4000  # headers; with fewer, starting processes takes longer than reading them


class PlannedClip(NamedTuple):
    """A clip that is, or will be, in Preproc/."""
    sound: Sound
    split: str  # "Train" or "Test"

    @property
    def name(self) -> str:
        return self.sound.name

    @property
    def path(self) -> Path:
        return self.sound.path


class Plan(NamedTuple):
    """What preprocessing has to do."""
    settings: MelgramSettings
    record: dict  # the content of settings.json
    clips: list[PlannedClip]
    stale: list[PlannedClip]  # those without a current melgram
    orphans: list[tuple[str, str]]  # (split, name) of melgrams without a sound
    existing: list[tuple[str, str]]  # (split, name) of all melgrams


def make_plan(options: Namespace, samples: str | Path, folder: str | Path | None = None,
              settings: MelgramSettings | None = None) -> Plan:
    """Compare the sounds with the melgrams that exist, and decide what is to be computed.

    options: the constants of preprocess_data.py. folder: Preproc/, or None if the melgrams stay in memory; then
    `settings` are those of a network, if there is one.
    """
    sounds, warnings = find_sounds(samples)
    melgrams = preproc.find_melgrams(folder) if folder else {}
    previous = previous_settings(options, folder) if folder and not options.overwrite else settings
    times = {name: found.st_mtime_ns for (_, name), found in melgrams.items()} if previous else {}
    changed = [sound for sound in sounds if sound.name not in times or times[sound.name] != modified_ns(sound)]
    headers, errors = read_headers(changed, options.jobs)
    sounds = [sound for sound in sounds if sound.path not in errors]
    findings = checks.check_headers(sounds, headers) if headers else []  # about new sounds
    for sentence in warnings + list(errors.values()) + equal_stems(sounds) + findings:
        warn(sentence)
    require_classes({sound.class_name for sound in sounds}, samples)
    settings = previous or choose_settings(headers, options)
    if not previous and not options.clip_seconds:
        warn_of_padding(headers, settings)
    warn_of_cuts(headers, settings, options, previous)
    clips = split_clips(sounds, melgrams, options)
    stale = [clip for clip in clips if options.overwrite or not previous or not preproc.is_current(
        melgrams.get((clip.split, clip.name)), modified_ns(clip.sound), settings)]
    planned = {(clip.split, clip.name) for clip in clips}
    orphans = [key for key in melgrams if key not in planned]
    return Plan(settings, record_of(settings, options), clips, stale, orphans, list(melgrams))


def record_of(settings: MelgramSettings, options: Namespace) -> dict:
    """The content of settings.json: the settings, and the constants that led to them."""
    constants = {name: getattr(options, name.lower()) for name in MELGRAM_CONSTANTS + SPLIT_CONSTANTS}
    return settings.to_dict() | {"constants": constants}


# --- sounds ---------------------------------------------------------------------------------------------------------

def modified_ns(sound: Sound) -> int | None:
    """The modification time of a sound's file in ns; None if it can't be read (a dangling link)."""
    try:
        return sound.path.stat().st_mtime_ns
    except OSError:
        return None


def read_headers(sounds: list[Sound], jobs: int | None) -> tuple[dict[Path, AudioInfo], dict[Path, str]]:
    """(path → AudioInfo of the sounds that can be used, path → the problem with each of the others)."""
    found = dict(parallel.each(audio_io.info, [sound.path for sound in sounds], "Reading headers", jobs,
                               fewest=_HEADERS_PER_POOL))
    good = {sound.path: found[sound.path] for sound in sounds if isinstance(found[sound.path], AudioInfo)}
    return good, {path: str(error) for path, error in found.items() if path not in good}


def equal_stems(sounds: list[Sound]) -> list[str]:
    """A sentence on names that differ only in the extension."""
    stems = defaultdict(list)
    for sound in sounds:
        stems[sound.path.parent, sound.path.stem].append(sound.path)
    return [f"{paths[0]}: has the same name as {', '.join(path.name for path in paths[1:])} except for the extension; "
            "all are used, in the same split." for paths in stems.values() if len(paths) > 1]


def split_clips(sounds: list[Sound], melgrams: dict, options: Namespace) -> list[PlannedClip]:
    """The clips of both splits; those with melgrams stay in theirs."""
    if options.group_by and not any(re.search(options.group_by, sound.path.stem) for sound in sounds):
        warn(f"GROUP_BY is {options.group_by!r}, which matches no file's name: nothing is grouped.")
    assigned = {name: its_split for its_split, name in melgrams}
    splits = split.split_sounds(sounds, assigned, options.test_fraction, options.seed, options.group_by)
    left_out = splits.count(None)
    if left_out:
        say(f"{left_out} augmented copies of Test sounds are left out.")
    return [PlannedClip(sound, its_split) for sound, its_split in zip(sounds, splits, strict=True) if its_split]


# --- settings -------------------------------------------------------------------------------------------------------

def previous_settings(options: Namespace, folder: str | Path) -> MelgramSettings | None:
    """The settings of the melgrams that exist, None if there are none; refuses constants that differ."""
    path = Path(folder) / preproc.SETTINGS
    if not path.exists():
        return None
    settings, record = preproc.read_settings(folder)
    actual = {"SAMPLE_RATE": settings.sample_rate, "CLIP_SECONDS": settings.clip_seconds}
    for name in MELGRAM_CONSTANTS:
        now, before = getattr(options, name.lower()), record["constants"].get(name)
        if now != before and now != actual.get(name, before):
            raise UserError(f"{path}: was made with {name} = {before}, now it is {now}; set it back, or give "
                            "--overwrite to compute all melgrams again (the split stays).")
    for name in SPLIT_CONSTANTS:
        now, before = getattr(options, name.lower()), record["constants"].get(name)
        if now != before:
            warn(f"{name} was {before!r} and is now {now!r}: it applies to new files; files already assigned stay "
                 f"where they are; remove {folder}/Train and {folder}/Test to split anew.")
    return settings


def choose_settings(headers: dict[Path, AudioInfo], options: Namespace) -> MelgramSettings:
    """Settings from the constants and, where these are None, from the sounds."""
    rates = Counter(header.rate for header in headers.values())
    rate = options.sample_rate or max(rates, key=lambda each: (rates[each], each))
    usual, longest = _lengths(headers, rate)
    longest = usual if longest > _MAX_RATIO * usual else longest
    samples = round(options.clip_seconds * rate) if options.clip_seconds else longest
    channels = 1 if options.mono else max(header.channels for header in headers.values())
    settings = MelgramSettings.of(rate, samples, channels, options.mels, options.window_ms, options.hop_ms)
    _require_feasible(settings, headers)
    return settings


def _lengths(headers: dict[Path, AudioInfo], rate: int) -> tuple[int, int]:
    """In samples at a rate: the 95% quantile of the sounds' lengths, and the maximum."""
    lengths = sorted(math.ceil(header.samples * rate / header.rate) for header in headers.values())
    return lengths[math.ceil(_QUANTILE * len(lengths)) - 1], lengths[-1]


def _require_feasible(settings: MelgramSettings, headers: dict[Path, AudioInfo]) -> None:
    """Refuse melgrams that no machine has memory for, or that the settings' own reader would refuse."""
    if settings.bytes > preproc.MAX_MELGRAM_BYTES:
        longest = max(headers, key=lambda path: headers[path].samples / headers[path].rate)
        raise UserError(f"{longest}: is the longest sound; with {settings.clip_seconds:.4g} s each melgram would "
                        f"take {settings.bytes / 1e9:.1f} GB; remove it, or set CLIP_SECONDS (--clip-seconds 5).")
    for name, (lowest, highest) in melgram.LIMITS.items():
        if not lowest <= getattr(settings, name) <= highest:
            raise UserError(f"These constants make {name} = {getattr(settings, name)}; lower SAMPLE_RATE, WINDOW_MS, "
                            f"HOP_MS or CLIP_SECONDS to bring it to at most {highest}.")


# --- warnings -------------------------------------------------------------------------------------------------------

def warn_of_cuts(headers: dict[Path, AudioInfo], settings: MelgramSettings, options: Namespace,
                 previous: MelgramSettings | None) -> None:
    """Name the sounds that are longer, or have more channels, than the settings; not if a constant asks for that."""
    again = " --overwrite" if previous else ""
    cut = [path for path, header in headers.items()
           if math.ceil(header.samples * settings.sample_rate / header.rate) > settings.clip_samples]
    if cut and not options.clip_seconds:
        longest = max(headers[path].samples / headers[path].rate for path in cut)
        warn(f"{named(cut)}: longer than {settings.clip_seconds:.4g} s; only the beginning is used; "
             f"for more set CLIP_SECONDS (--clip-seconds {math.ceil(longest * 100) / 100:g}{again}), "
             f"or split long recordings with audio_utils/split_audio.py.")
    wide = [path for path, header in headers.items() if header.channels > settings.channels]
    if wide and not options.mono and settings.channels == 1:
        warn(f"{named(wide)}: more channels than the mono sounds preprocessed before; mixed to mono; "
             "give --overwrite to keep the channels.")


def warn_of_padding(headers: dict[Path, AudioInfo], settings: MelgramSettings) -> None:
    """Say if a few long sounds make all melgrams much longer; settings: as they were chosen from the sounds."""
    usual, longest = (samples / settings.sample_rate for samples in _lengths(headers, settings.sample_rate))
    if settings.clip_seconds > _PADDING_RATIO * usual:
        long = named(path for path, header in headers.items() if header.samples > usual * header.rate)
        warn(f"{long}: longer than {usual:.4g} s, the length of {_QUANTILE:.0%} of the sounds, which are padded with "
             f"silence to {longest:.4g} s; if the beginning of the long ones is enough, preprocess_data.py "
             f"--clip-seconds {math.ceil(usual * 100) / 100:g} makes melgrams {longest / usual:.1f} times smaller, "
             "and training faster.")
