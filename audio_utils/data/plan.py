"""The plan of preprocessing: the settings, the split, and which melgrams are to be computed."""

import math
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from audio_utils.audio import audio_io, melgram
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import checks, index, preproc, split
from audio_utils.data.checks import named
from audio_utils.data.index import Entry
from audio_utils.data.matching import Matched, match, path_of
from audio_utils.data.sounds import Skipped, Sound, find_sounds, require_classes
from audio_utils.runtime import parallel
from audio_utils.runtime.command_line import Options
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError

MELGRAM_CONSTANTS = ("SAMPLE_RATE", "CLIP_SECONDS", "MONO", "MELS", "WINDOW_MS", "HOP_MS")
SPLIT_CONSTANTS = ("TEST_FRACTION", "SEED", "GROUP_BY")
_QUANTILE, _MAX_RATIO = 0.95, 4  # if the longest file is over 4 times the 95th percentile, that is the length
_PADDING_RATIO = 1.25  # of the longest file to the same quantile; above it, a message mentions the padding
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
    """The work that preprocessing has to do."""
    settings: MelgramSettings
    record: dict  # the content of settings.json
    clips: list[PlannedClip]
    entries: dict[PlannedClip, Entry]  # of the index; with settings "" if the melgram must be computed
    gone: list[Entry]  # those without a sound, and those of sounds that are left out
    moved: list[Entry]  # former entries of sounds that have another path now; their melgrams must be deleted
    skipped: list[Skipped]  # files that are not used

    @property
    def stale(self) -> list[PlannedClip]:
        """The clips without a current melgram."""
        return [clip for clip in self.clips if not self.entries[clip].settings]


def make_plan(options: Options, samples: str | Path, folder: str | Path | None = None,
              settings: MelgramSettings | None = None) -> Plan:
    """Compare the sounds with the melgrams that exist, and decide what is to be computed.

    folder: Preproc/, or None if the melgrams stay in memory. settings: then those of a network, if there is one.
    """
    samples = Path(samples)
    options = with_recorded(options, folder) if folder else options
    sounds, skipped = find_sounds(samples)
    stats = stats_of(sounds, skipped)
    melgrams = preproc.find_melgrams(folder) if folder else {}
    entries, moved = known_entries(folder, melgrams, any(sound.split for sound in sounds)) if folder else ({}, [])
    matched = match(list(stats), stats, samples, entries, options.jobs)
    previous = previous_settings(options, folder) if folder and not options.overwrite else settings
    current = {sound for sound, entry in matched.entries.items() if previous and is_current(entry, previous, melgrams)}
    sounds, headers = usable_sounds(list(stats), current, skipped, options)
    require_classes({sound.class_name for sound in sounds}, samples)
    settings = previous or choose_settings(headers, options)
    if not previous and not options.clip_seconds:
        warn_of_padding(headers, settings)
    warn_of_cuts(headers, settings, options, previous)
    clips = split_clips(sounds, matched.splits, options)
    used = {clip.sound for clip in clips}
    skipped += [Skipped(sound.path, "is an augmented copy of a Test sound") for sound in sounds if sound not in used]
    warn_of_gone(matched, entries, melgrams, options.prune)
    planned = {clip: planned_entry(clip, matched.entries.get(clip.sound), stats[clip.sound], samples,
                                   clip.sound in current) for clip in clips}
    left_out = [entry._replace(status=index.LEFT_OUT) for sound, entry in matched.entries.items() if sound not in used]
    return Plan(settings, record_of(settings, options), clips, planned, matched.gone + left_out, moved + matched.moved,
                skipped)


def usable_sounds(sounds: list[Sound], current: set[Sound], skipped: list[Skipped],
                  options: Options) -> tuple[list[Sound], dict[Path, AudioInfo]]:
    """The sounds that can be read, and the headers of those without a current melgram; reports their problems.

    The others are added to `skipped`.
    """
    headers, errors = read_headers([sound for sound in sounds if sound not in current], options.jobs)
    skipped += [Skipped.of(path, error) for path, error in errors.items()]
    sounds = [sound for sound in sounds if sound.path not in errors]
    findings = checks.check_headers(sounds, headers, None, options.sample_rate, options.mono) if headers else []
    for sentence in checks.summarize(skipped) + equal_stems(sounds) + findings:
        warn(sentence)
    return sounds, headers


def stats_of(sounds: list[Sound], skipped: list[Skipped]) -> dict[Sound, index.Stat]:
    """The status of each sound's file; those without one (it was just removed) are added to `skipped`."""
    stats = {}
    for sound in sounds:
        try:
            stats[sound] = index.Stat.of(sound.path)
        except OSError as error:
            skipped.append(Skipped(sound.path, f"{error.strerror}; check the file"))
    return stats


def known_entries(folder: str | Path, melgrams: dict, own_split: bool) -> tuple[dict[str, Entry], list[Entry]]:
    """The entries of the index, and those that are moved; melgrams of an older version are entered by their date."""
    entries, moved = index.read(folder)
    known = {(entry.split, entry.name) for entry in [*entries.values(), *moved]}
    settings = preproc.current_settings_id(folder)
    for (split_name, name), found in melgrams.items():
        if (split_name, name) not in known:
            path = f"{split_name}/{name}" if own_split else name
            stat = index.UNKNOWN_STAT._replace(mtime_ns=found.st_mtime_ns)
            entries.setdefault(path, Entry(path, split_name, index.USED, stat, index.UNKNOWN_CONTENT, settings))
    return entries, moved


def is_current(entry: Entry, settings: MelgramSettings, melgrams: dict) -> bool:
    """Whether the melgram of an entry exists and has these settings."""
    found = melgrams.get((entry.split, entry.name))
    return (entry.settings == index.settings_id(settings) and found is not None
            and found.st_size == preproc.melgram_file_bytes(settings))


def planned_entry(clip: PlannedClip, known: Entry | None, stat: index.Stat, samples: Path, current: bool) -> Entry:
    """The entry of a clip, with settings "" if its melgram must be computed."""
    known = known or Entry(path_of(clip.sound, samples), clip.split, index.USED, stat, index.UNKNOWN_CONTENT, "")
    return known._replace(split=clip.split, settings=known.settings if current and known.split == clip.split else "",
                          copy_of=clip.sound.copy_of or "")


def warn_of_gone(matched: Matched, entries: dict[str, Entry], melgrams: dict, prune: bool) -> None:
    """Say which melgrams have no sound any more, and whether they are used."""
    gone = [entry.path for entry in matched.gone if (entry.split, entry.name) in melgrams]
    if not gone or prune:
        return
    if matched.missing:
        used = sum(entry.status == index.USED for entry in entries.values())
        warn(f"{named(gone)}: {matched.missing} of {used} sounds are gone, perhaps with a disk that is not mounted; "
             "their melgrams are still used; if you deleted the sounds on purpose, --prune removes these melgrams.")
    else:
        warn(f"{named(gone)}: the sound is gone, so the melgram is left out; --prune deletes such melgrams.")


def record_of(settings: MelgramSettings, options: Options) -> dict:
    """The content of settings.json: the settings, the constants in force, and the constants in the script."""
    constants = {name: getattr(options, name.lower()) for name in MELGRAM_CONSTANTS + SPLIT_CONSTANTS}
    defaults = {name: options.defaults[name.lower()] for name in constants}
    return settings.to_dict() | {"constants": constants, "defaults": defaults}


# --- sounds ---------------------------------------------------------------------------------------------------------

def read_headers(sounds: list[Sound], jobs: int | None) -> tuple[dict[Path, AudioInfo], dict[Path, str]]:
    """(path → AudioInfo of the sounds that can be used, path → the problem with each of the others)."""
    found = dict(parallel.each(audio_io.info, [sound.path for sound in sounds], "Reading headers", jobs,
                               min_parallel=_HEADERS_PER_POOL))
    good = {sound.path: found[sound.path] for sound in sounds if isinstance(found[sound.path], AudioInfo)}
    return good, {path: str(error) for path, error in found.items() if path not in good}


def equal_stems(sounds: list[Sound]) -> list[str]:
    """A sentence about names that differ only in the extension."""
    stems = defaultdict(list)
    for sound in sounds:
        stems[sound.path.parent, sound.path.stem].append(sound.path)
    return [f"{paths[0]}: has the same name as {', '.join(path.name for path in paths[1:])} except for the extension; "
            "all are used, in the same split." for paths in stems.values() if len(paths) > 1]


def split_clips(sounds: list[Sound], assigned: dict[str, str], options: Options) -> list[PlannedClip]:
    """The clips of both splits; assigned: name → split of the sounds that stay in theirs."""
    if options.group_by and not any(re.search(options.group_by, sound.path.stem) for sound in sounds):
        warn(f"GROUP_BY is {options.group_by!r}, which matches no file name: nothing is grouped.")
    splits = split.split_sounds(sounds, assigned, options.test_fraction, options.seed, options.group_by)
    left_out = splits.count(None)
    if left_out:
        say(f"{left_out} augmented copies of Test sounds are left out.")
    return [PlannedClip(sound, its_split) for sound, its_split in zip(sounds, splits, strict=True) if its_split]


# --- settings -------------------------------------------------------------------------------------------------------

def with_recorded(options: Options, folder: str | Path) -> Options:
    """The constants in force: a flag, else a constant edited since the last run, else the value in settings.json.

    Prints the values that are taken from settings.json instead of the script.
    """
    if not (Path(folder) / preproc.SETTINGS).exists():
        return options
    record = preproc.read_settings(folder)[1]
    recorded = {name.lower(): value for name, value in record["constants"].items()
                if name in MELGRAM_CONSTANTS + SPLIT_CONSTANTS}
    defaults = recorded | {name.lower(): value for name, value in record.get("defaults", {}).items()}
    kept = {name: value for name, value in recorded.items() if name not in options.given
            and options.defaults[name] == defaults[name] and value != options.defaults[name]}
    if kept:
        values = ", ".join(f"{name.upper()} = {value!r}" for name, value in kept.items())
        say(f"{values}, as recorded in {Path(folder) / preproc.SETTINGS}; flags and edited constants override it.")
    return options.with_values(kept)


def previous_settings(options: Options, folder: str | Path) -> MelgramSettings | None:
    """The settings of the melgrams that exist, None if there are none; rejects constants that differ."""
    path = Path(folder) / preproc.SETTINGS
    if not path.exists():
        return None
    settings, record = preproc.read_settings(folder)
    actual = {"SAMPLE_RATE": settings.sample_rate, "CLIP_SECONDS": settings.clip_seconds}
    for name in MELGRAM_CONSTANTS:
        now, before = getattr(options, name.lower()), record["constants"].get(name)
        if now != before and now != actual.get(name, before):
            raise UserError(f"{path}: was made with {name} = {before}, now it is {now}; set it back, or use "
                            "--overwrite to compute all melgrams again (the split stays).")
    for name in SPLIT_CONSTANTS:
        now, before = getattr(options, name.lower()), record["constants"].get(name)
        if now != before:
            warn(f"{name} was {before!r} and is now {now!r}: it applies to new files; files already assigned stay "
                 f"where they are; delete {folder}/ to split again.")
    return settings


def choose_settings(headers: dict[Path, AudioInfo], options: Options) -> MelgramSettings:
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


def _samples_at(rate: int, header: AudioInfo) -> int:
    """The length of a sound at another rate, rounded up; in integers, as 220544 / 44100 * 44100 < 220544."""
    return -(-header.samples * rate // header.rate)


def _lengths(headers: dict[Path, AudioInfo], rate: int) -> tuple[int, int]:
    """In samples at a rate: the 95% quantile of the sounds' lengths, and the maximum."""
    lengths = sorted(_samples_at(rate, header) for header in headers.values())
    return lengths[math.ceil(_QUANTILE * len(lengths)) - 1], lengths[-1]


def _require_feasible(settings: MelgramSettings, headers: dict[Path, AudioInfo]) -> None:
    """Reject melgrams that are too large for memory, or outside of the limits of MelgramSettings.from_dict."""
    if settings.bytes > preproc.MAX_MELGRAM_BYTES:
        longest = max(headers, key=lambda path: headers[path].samples / headers[path].rate)
        raise UserError(f"{longest}: is the longest sound; with {settings.clip_seconds:.4g} s each melgram would "
                        f"take {settings.bytes / 1e9:.1f} GB; remove it, or set CLIP_SECONDS (--clip-seconds 5).")
    for name, (lowest, highest) in melgram.LIMITS.items():
        if not lowest <= getattr(settings, name) <= highest:
            raise UserError(f"These constants make {name} = {getattr(settings, name)}; lower SAMPLE_RATE, WINDOW_MS, "
                            f"HOP_MS or CLIP_SECONDS to bring it to at most {highest}.")


# --- warnings -------------------------------------------------------------------------------------------------------

def warn_of_cuts(headers: dict[Path, AudioInfo], settings: MelgramSettings, options: Options,
                 previous: MelgramSettings | None) -> None:
    """Report the sounds that are longer, or have more channels, than the settings; not if a constant asks for that."""
    again = " --overwrite" if previous else ""
    cut = [path for path, header in headers.items()
           if _samples_at(settings.sample_rate, header) > settings.clip_samples]
    if cut and not options.clip_seconds:
        longest = max(headers[path].samples / headers[path].rate for path in cut)
        warn(f"{named(cut)}: longer than {settings.clip_seconds:.4g} s; only the beginning is used; "
             f"to use more, set CLIP_SECONDS (--clip-seconds {math.ceil(longest * 100) / 100:g}{again}), "
             f"or split long recordings with audio_utils/split_audio.py.")
    wide = [path for path, header in headers.items() if header.channels > settings.channels]
    if wide and not options.mono and settings.channels == 1:
        warn(f"{named(wide)}: more channels than the mono sounds preprocessed before; mixed to mono; "
             "use --overwrite to keep the channels.")


def warn_of_padding(headers: dict[Path, AudioInfo], settings: MelgramSettings) -> None:
    """Warn if a few long sounds make all melgrams much longer; settings: as chosen from the sounds."""
    samples = _lengths(headers, settings.sample_rate)
    usual, longest = (each / settings.sample_rate for each in samples)
    if settings.clip_seconds > _PADDING_RATIO * usual:
        long = named(path for path, header in headers.items()
                     if _samples_at(settings.sample_rate, header) > samples[0])
        warn(f"{long}: longer than {usual:.4g} s; {_QUANTILE:.0%} of the sounds are not, and are padded with "
             f"silence to {longest:.4g} s; if the beginning of the long ones is enough, preprocess_data.py "
             f"--clip-seconds {math.ceil(usual * 100) / 100:g} makes melgrams {longest / usual:.1f} times smaller, "
             "and training faster.")
