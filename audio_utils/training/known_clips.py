"""Which clips a network has been trained on: hashes in weights.hdf5 show the sounds that are new, gone or now tested.

From one run of training to the next, a clip is identified by its name and the mean of its melgram, so that another
recording of the same name is a new sound. In other data, it is identified by the content of its melgram alone: the
levels of eight groups of mel bands, so that it is found after it was renamed, moved or relabeled. Silent clips have no
content.
"""

import itertools
from pathlib import Path

import numpy as np

from audio_utils.data.clips import Clips
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.runtime.console import say

_STEPS_PER_DB = 5  # of the mean
_TOLERANCE_DB = 0.002  # another computer may round the melgram differently
# Two clips have the same content if all levels agree. If the levels of a group of bands have a standard deviation of
# 1 dB, one level of two different clips agrees with a probability of 0.014 (0.05 dB / 2 / sqrt(pi)), and all eight with
# about 1e-15. If most of each clip is padding, so that the standard deviation is 0.2 dB, it is 6e-10.
_LEVEL_STEPS_PER_DB = 20
_AT_LAST_EPOCH, _AT_ANY_EPOCH, _CONTENT, LABELS = range(4)  # the arrays of hashes; the last only with MULTI_LABEL


def report_changes(path: Path, clips: Clips, epoch: int, ended: bool) -> None:
    """Say how many sounds of Train are new, relabeled or gone since the last epoch; nothing for an older version.

    With MULTI_LABEL, a sound is relabeled if it has other labels.
    """
    known = checkpoints.read_clip_hashes(path, _AT_LAST_EPOCH)
    if known is None:
        return
    missing = known[~np.isin(known, np.concatenate(_both_hashes(clips)))]
    relabeled = 0 if clips.multi_label else int(_in_other_class(clips, missing).sum())
    new = int((~_in(clips, known)).sum()) - relabeled
    gone = len(missing) - relabeled
    since = "training ended" if ended else f"epoch {epoch}"
    if new:
        effect = ": --fresh starts anew, --continue trains on." if ended else \
            f"; {'it is' if new == 1 else 'they are'} trained on from now on, and the validation clips stay the same."
        say(f"{_sounds(new)} new since {since}{effect}")
    if clips.multi_label:
        before = checkpoints.read_clip_hashes(path, LABELS)
        relabeled = int((_in(clips, known) & ~np.isin(_label_hashes(clips), before)).sum())
    if relabeled:
        effect = ": --fresh starts anew, --continue trains on." if ended else "; the new one is used from now on."
        different = "a different set of labels" if clips.multi_label else "another class"
        say(f"{relabeled} sound{'s have' if relabeled > 1 else ' has'} {different} since {since}{effect}")
    if gone:
        say(f"{_sounds(gone)} gone since {since}; the network was trained on {'it' if gone == 1 else 'them'}: --fresh "
            "starts anew.")


def names_before(path: Path, clips: Clips) -> set[str]:
    """The names of the clips that were in Train at the last epoch; all names for a file of an older version."""
    known = checkpoints.read_clip_hashes(path, _AT_LAST_EPOCH)
    return {name for name, found in zip(clips.names, [True] * len(clips) if known is None else _in(clips, known),
                                        strict=True) if found}


def hashes(path: Path | None, clips: Clips, used: np.ndarray | None = None,
           start_from: str | None = None) -> list[np.ndarray]:
    """The arrays of hashes of the clips in Train, uint64: of those now, and of those now or in any epoch until now.

    The third array identifies by content those that the network was trained on or validated with. It is left out if the
    content of one is unknown, which was trained on with an older version and is gone. With MULTI_LABEL, the fourth
    identifies the clips now with their labels.
    path: the checkpoint that is continued. used: the indices of the clips for training and validation, None: all, as
    only cross-validation holds some out. start_from: the checkpoint that a new training starts from, whose clips are
    included.
    """
    now = _hashes(clips.names, _means(clips))
    content = np.unique(np.array([found for i in (range(len(clips)) if used is None else used)
                                  for found in _content_hashes(clips.summaries["bands_db"][i])[:1]], np.uint64))
    earlier = path or start_from
    before, content_before = (checkpoints.read_clip_hashes(earlier, array) if earlier else None
                              for array in (_AT_ANY_EPOCH, _CONTENT))
    by_name = [now, np.unique(now) if before is None else np.union1d(before, now)]
    if content_before is not None:
        content = np.union1d(content_before, content)
    if content_before is not None or clips.multi_label:  # no older version has MULTI_LABEL
        return [*by_name, content, *([_label_hashes(clips)] if clips.multi_label else ())]
    unknown = path and (before is None or not np.isin(before, np.concatenate(_both_hashes(clips))).all())
    return by_name if unknown else [*by_name, content]


# --- other data -----------------------------------------------------------------------------------------------------

def trained_on(path: str | Path, clips: Clips) -> np.ndarray | None:
    """bool (clips,): whether each clip was in Train in any epoch; None, unknown, for a file of an older version.

    Clips are identified by their content, or by name and mean if the file has no hashes of the content.
    """
    content = checkpoints.read_clip_hashes(path, _CONTENT)
    if content is not None:
        return np.array([np.isin(_content_hashes(levels), content).any() for levels in clips.summaries["bands_db"]],
                        bool)
    known = checkpoints.read_clip_hashes(path, _AT_ANY_EPOCH)
    return None if known is None else _in(clips, known)


def records_content(path: str | Path) -> bool:
    """Whether a file contains the hashes by content; files of older versions do not."""
    return checkpoints.read_clip_hashes(path, _CONTENT) is not None


def have_same_content(clips: Clips, others: Clips) -> np.ndarray:
    """bool (clips,): whether each clip has the same content as one of the others."""
    levels, other_levels = clips.summaries["bands_db"], others.summaries["bands_db"]
    known = np.concatenate([np.zeros(0, np.uint64), *(_content_hashes(each)[:1] for each in other_levels)])
    return np.array([np.isin(_content_hashes(each), known).any() for each in levels], bool)


# --- hashes ---------------------------------------------------------------------------------------------------------

def _in(clips: Clips, known: np.ndarray) -> np.ndarray:
    """bool (clips,): whether each clip is among those with these hashes."""
    low, high = (np.isin(each, known) for each in _both_hashes(clips))
    return low | high


def _in_other_class(clips: Clips, known: np.ndarray) -> np.ndarray:
    """bool (clips,): whether each clip, with another class, is among those with these hashes."""
    found, means = np.zeros(len(clips), bool), _means(clips) if len(known) else []
    for class_name in clips.class_names if len(known) else ():
        names = [f"{class_name}/{name.partition('/')[2]}" for name in clips.names]
        for offset_db in (-_TOLERANCE_DB, _TOLERANCE_DB):
            found |= np.isin(_hashes(names, means, offset_db), known)
    return found


def _both_hashes(clips: Clips) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of the clips with the mean a little lower, and a little higher."""
    means = _means(clips)
    return _hashes(clips.names, means, -_TOLERANCE_DB), _hashes(clips.names, means, _TOLERANCE_DB)


def _means(clips: Clips) -> list[float]:
    """The mean of each melgram in dB."""
    return clips.summaries["mean_db"].tolist()


def _hashes(names: list[str], means: list[float], offset_db: float = 0) -> np.ndarray:
    return checkpoints.name_hashes(f"{name} {round(_STEPS_PER_DB * (mean + offset_db))}"
                                   for name, mean in zip(names, means, strict=True))


def _label_hashes(clips: Clips) -> np.ndarray:
    """uint64 (clips,): of the names of the clips and their labels."""
    return checkpoints.name_hashes(f"{name} {','.join(clips.class_names[i] for i in np.flatnonzero(row))}"
                                   for name, row in zip(clips.names, clips.targets, strict=True))


def _content_hashes(levels: np.ndarray) -> np.ndarray:
    """uint64: the hash of levels, then those of levels that another computer may round differently; none of silence.

    levels: of groups of mel bands, (groups,), in dB; NaN for silence.
    """
    if np.isnan(levels).all():
        return np.zeros(0, np.uint64)
    rounded = [dict.fromkeys(round(_LEVEL_STEPS_PER_DB * (level + offset_db))
                             for offset_db in (0, -_TOLERANCE_DB, _TOLERANCE_DB)) for level in levels]
    return checkpoints.name_hashes(" ".join(map(str, each)) for each in itertools.product(*rounded))


def _sounds(count: int) -> str:
    return f"{count} sounds are" if count > 1 else "1 sound is"
