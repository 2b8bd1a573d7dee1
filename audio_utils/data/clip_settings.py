"""The settings of preprocessing: from the constants, from settings.json, and from the headers of the sounds."""

import dataclasses
import math
from collections import Counter
from pathlib import Path

from audio_utils.audio import melgram
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.audio.long_sounds import BEGINNING
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import preproc
from audio_utils.data.checks import named
from audio_utils.runtime.command_line import Options
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError

MELGRAM_CONSTANTS = ("SAMPLE_RATE", "CLIP_SECONDS", "LONG_FILES", "MONO", "MELS", "WINDOW_MS", "HOP_MS")
SPLIT_CONSTANTS = ("TEST_FRACTION", "SEED", "GROUP_BY")
LABEL_CONSTANTS = ("MULTI_LABEL",)
_QUANTILE, _MAX_RATIO = 0.95, 4  # if the longest file is over 4 times the 95th percentile, use the latter
_PADDING_RATIO = 1.25  # of the longest file to the same quantile; above this ratio, a message mentions the padding


def record_of(settings: MelgramSettings, options: Options) -> dict:
    """The content of settings.json: the settings, the constants in force, and the constants in the script."""
    names = MELGRAM_CONSTANTS + SPLIT_CONSTANTS
    if options.multi_label or options.defaults["multi_label"]:  # otherwise, the file is as in older versions
        names += LABEL_CONSTANTS
    constants = {name: getattr(options, name.lower()) for name in names}
    defaults = {name: options.defaults[name.lower()] for name in constants}
    return settings.to_dict() | {"constants": constants, "defaults": defaults}


# --- constants ------------------------------------------------------------------------------------------------------

def with_recorded(options: Options, folder: str | Path) -> Options:
    """The constants in force: a flag, else a constant edited since the last run, else the value in settings.json.

    Prints the values that are taken from settings.json instead of the script. With OVERWRITE, a damaged
    settings.json is ignored.
    """
    path = Path(folder) / preproc.SETTINGS
    if not path.exists():
        return options
    try:
        return _with_values_of(preproc.read_settings(folder)[1], options, path)
    except UserError:
        if not options.overwrite:
            raise
        warn(f"{path}: can't be used and is replaced, with the current constants; the split is kept.")
        return options


def _with_values_of(record: dict, options: Options, path: Path) -> Options:
    recorded = {name.lower(): value for name, value in record["constants"].items()
                if name in MELGRAM_CONSTANTS + SPLIT_CONSTANTS + LABEL_CONSTANTS}
    defaults = recorded | {name.lower(): value for name, value in record.get("defaults", {}).items()}
    kept = {name: value for name, value in recorded.items() if name not in options.given
            and options.defaults[name] == defaults[name] and value != options.defaults[name]}
    try:
        changed = options.with_values(kept)
    except UserError as error:
        raise UserError(f"{path}: is damaged ({str(error).rstrip('.')}); {preproc.COMPUTE_AGAIN}.") from None
    if kept:
        values = ", ".join(f"{name.upper()} = {value!r}" for name, value in kept.items())
        say(f"{values}, as in the last run ({path}); a flag changes it.")
    return changed


def previous(options: Options, folder: str | Path, missing: int = 0) -> MelgramSettings | None:
    """The settings of the melgrams that exist, None if there are none or with OVERWRITE; rejects other constants.

    missing: number of sounds that are gone, perhaps because a disk is not mounted.
    """
    if not options.split_anew:
        _warn_of_kept_split(options, folder)
    path = Path(folder) / preproc.SETTINGS
    if options.overwrite or not path.exists():
        return None
    settings, record = preproc.read_settings(folder)
    constants = {"LONG_FILES": BEGINNING} | record["constants"]  # older versions have no such constant
    actual = {"SAMPLE_RATE": settings.sample_rate, "CLIP_SECONDS": settings.clip_seconds}
    for name in MELGRAM_CONSTANTS:
        now, before = getattr(options, name.lower()), constants.get(name)
        if now != before and now != actual.get(name, before):
            raise UserError(f"{path}: was made with {name} = {before}, now it is {now}; set it back, or use "
                            "--overwrite to compute all melgrams again (the split is kept).")
    return _of_this_version(settings, folder, 0 if options.prune else missing)


def _of_this_version(settings: MelgramSettings, folder: str | Path, missing: int) -> MelgramSettings:
    """The settings in the current version, so that old melgrams are computed again; not while sounds are missing."""
    if settings.format_version == melgram.FORMAT_VERSION:
        return settings
    if missing:
        say(f"{folder}/: contains melgrams of an earlier version; they stay in use until the {missing} missing sounds "
            "are back, or --prune removes their melgrams.")
        return settings
    say(f"{folder}/: contains melgrams of an earlier version, which are computed again; the split is kept.")
    return dataclasses.replace(settings, format_version=melgram.FORMAT_VERSION)


def _warn_of_kept_split(options: Options, folder: str | Path) -> None:
    """Report constants of the split that have changed: they do not apply to sounds that are already assigned."""
    usable = preproc.usable_settings(folder)
    if not usable:
        return
    constants = usable[1]["constants"]
    for name in SPLIT_CONSTANTS:
        now, before = getattr(options, name.lower()), constants.get(name)
        if now != before:
            warn(f"{name} was {before!r} and is now {now!r}: it applies to new files; files already assigned stay "
                 "where they are; --split-anew assigns all again.")


# --- sounds ---------------------------------------------------------------------------------------------------------

def choose(headers: dict[str, AudioInfo], options: Options) -> MelgramSettings:
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


def _lengths(headers: dict[str, AudioInfo], rate: int) -> tuple[int, int]:
    """In samples at a rate: the 95% quantile of the sounds' lengths, and the maximum."""
    lengths = sorted(_samples_at(rate, header) for header in headers.values())
    return lengths[math.ceil(_QUANTILE * len(lengths)) - 1], lengths[-1]


def _require_feasible(settings: MelgramSettings, headers: dict[str, AudioInfo]) -> None:
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

def warn_of_changes(headers: dict[str, AudioInfo], settings: MelgramSettings, options: Options, chosen: bool) -> None:
    """Report the sounds that are padded much, cut or mixed, unless a constant asks for that.

    chosen: whether the settings were chosen from these sounds.
    """
    if chosen and not options.clip_seconds:
        _warn_of_padding(headers, settings)
    cut = [path for path, header in headers.items()
           if _samples_at(settings.sample_rate, header) > settings.clip_samples]
    if cut and not options.clip_seconds:
        longest = max(headers[path].samples / headers[path].rate for path in cut)
        warn(f"{named(cut)}: longer than {settings.clip_seconds:.4g} s; only the beginning is used; "
             f"to use more, set CLIP_SECONDS (--clip-seconds {math.ceil(longest * 100) / 100:g} "
             "--overwrite), or split long recordings with audio_utils/split_audio.py.")
    wide = [path for path, header in headers.items() if header.channels > settings.channels]
    if wide and not options.mono and settings.channels == 1:
        warn(f"{named(wide)}: more channels than the mono sounds preprocessed before; mixed to mono; "
             "use --overwrite to keep the channels.")


def _warn_of_padding(headers: dict[str, AudioInfo], settings: MelgramSettings) -> None:
    """Warn if a few long sounds make all melgrams much longer."""
    samples = _lengths(headers, settings.sample_rate)
    usual, longest = (each / settings.sample_rate for each in samples)
    if settings.clip_seconds > _PADDING_RATIO * usual:
        long = named(path for path, header in headers.items()
                     if _samples_at(settings.sample_rate, header) > samples[0])
        warn(f"{long}: longer than {usual:.4g} s; the other {_QUANTILE:.0%} of the sounds are padded with "
             f"silence to {longest:.4g} s; if the beginning of the long ones is enough, preprocess_data.py "
             f"--clip-seconds {math.ceil(usual * 100) / 100:g} --overwrite makes melgrams {longest / usual:.1f} times "
             "smaller, and training faster.")
