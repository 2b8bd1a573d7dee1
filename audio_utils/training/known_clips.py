"""Which clips a network has been trained on: hashes in weights.hdf5 show the sounds that are new, gone or now tested.

From one run of training to the next, a clip is identified by its name and the mean of its melgram, so that another
recording of the same name is a new sound. In other data, it is identified by the content of its melgram alone: the
levels of eight groups of mel bands, so that it is found after it was renamed, moved or relabeled. Silent clips have no
content.
"""

import itertools
from pathlib import Path

import numpy as np

from audio_utils.audio.melgram import SILENT_DB
from audio_utils.data.clips import Clips
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.runtime.console import say

_STEPS_PER_DB = 5  # of the mean
_TOLERANCE_DB = 0.002  # another computer may round the melgram differently
# Two clips have the same content if all levels agree. If the levels of a group of bands have a standard deviation of
# 1 dB, one level of two different clips agrees with a probability of 0.014 (0.05 dB / 2 / sqrt(pi)), and all eight with
# about 1e-15. If most of each clip is padding, so that the standard deviation is 0.2 dB, it is 6e-10.
_LEVELS = 8
_LEVEL_STEPS_PER_DB = 20
_AT_LAST_EPOCH, _AT_ANY_EPOCH, _CONTENT = range(3)  # the arrays of hashes


def report_changes(path: Path, clips: Clips, epoch: int, ended: bool) -> None:
    """Say how many sounds of Train are new or gone since the last epoch; nothing for a file of an older version."""
    known = checkpoints.read_clip_hashes(path, _AT_LAST_EPOCH)
    if known is None:
        return
    new = int((~_in(clips, known)).sum())
    gone = int((~np.isin(known, np.concatenate(_both_hashes(clips)))).sum())
    since = "training ended" if ended else f"epoch {epoch}"
    if new:
        effect = ": --fresh starts anew, --continue trains on." if ended else \
            f"; {'it is' if new == 1 else 'they are'} trained on from now on, and the validation clips stay the same."
        say(f"{_sounds(new)} new since {since}{effect}")
    if gone:
        say(f"{_sounds(gone)} gone since {since}; the network was trained on {'it' if gone == 1 else 'them'}: --fresh "
            "starts anew.")


def names_before(path: Path, clips: Clips) -> set[str]:
    """The names of the clips that were in Train at the last epoch; all names for a file of an older version."""
    known = checkpoints.read_clip_hashes(path, _AT_LAST_EPOCH)
    return {name for name, found in zip(clips.names, [True] * len(clips) if known is None else _in(clips, known),
                                        strict=True) if found}


def hashes(path: Path | None, clips: Clips, used: np.ndarray | None = None) -> list[np.ndarray]:
    """The arrays of hashes of the clips in Train, uint64: of those now, and of those now or in any epoch until now.

    The third array identifies by content those that the network was trained on or validated with. It is left out if the
    content of one is unknown, which was trained on with an older version and is gone.
    path: the checkpoint that is continued. used: the indices of the clips for training and validation, None: all, as
    only cross-validation holds some out.
    """
    now = _hashes(clips)
    content = np.unique(np.array([found for i in (range(len(clips)) if used is None else used)
                                  for found in _content_hashes(_levels(clips.melgrams[i]))[:1]], np.uint64))
    before, content_before = (checkpoints.read_clip_hashes(path, array) if path else None
                              for array in (_AT_ANY_EPOCH, _CONTENT))
    by_name = [now, np.unique(now) if before is None else np.union1d(before, now)]
    if content_before is not None:
        return [*by_name, np.union1d(content_before, content)]
    unknown = path and (before is None or not np.isin(before, np.concatenate(_both_hashes(clips))).all())
    return by_name if unknown else [*by_name, content]


# --- other data -----------------------------------------------------------------------------------------------------

def trained_on(path: str | Path, clips: Clips) -> np.ndarray | None:
    """bool (clips,): whether each clip was in Train in any epoch; None, unknown, for a file of an older version.

    Clips are identified by their content, or by name and mean if the file has no hashes of the content.
    """
    content = checkpoints.read_clip_hashes(path, _CONTENT)
    if content is not None:
        return np.array([np.isin(_content_hashes(levels), content).any() for levels in map(_levels, clips.melgrams)],
                        bool)
    known = checkpoints.read_clip_hashes(path, _AT_ANY_EPOCH)
    return None if known is None else _in(clips, known)


# --- hashes ---------------------------------------------------------------------------------------------------------

def _in(clips: Clips, known: np.ndarray) -> np.ndarray:
    """bool (clips,): whether each clip is among those with these hashes."""
    low, high = (np.isin(each, known) for each in _both_hashes(clips))
    return low | high


def _both_hashes(clips: Clips) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of the clips with the mean a little lower, and a little higher."""
    return _hashes(clips, -_TOLERANCE_DB), _hashes(clips, _TOLERANCE_DB)


def _hashes(clips: Clips, offset_db: float = 0) -> np.ndarray:
    means = (float(melgram.mean(dtype=np.float64)) + offset_db for melgram in clips.melgrams)
    return checkpoints.name_hashes(f"{name} {round(_STEPS_PER_DB * mean)}"
                                   for name, mean in zip(clips.names, means, strict=True))


def _levels(melgram: np.ndarray) -> np.ndarray:
    """The levels of groups of mel bands: float64 (_LEVELS,), dB; fewer if there are fewer bands; none of silence.

    Means, with weights that depend on time and channel: with equal weights, a sound from the left and one from the
    right would have the same levels.
    """
    mels, frames, channels = melgram.shape
    if melgram.max() <= SILENT_DB:
        return np.zeros(0)
    weights = np.outer(np.linspace(1, 2, frames), np.arange(1, channels + 1))
    bands = np.einsum("mfc,fc->m", melgram, weights / weights.sum())
    return np.array([group.mean() for group in np.array_split(bands, min(_LEVELS, mels))])


def _content_hashes(levels: np.ndarray) -> np.ndarray:
    """uint64: the hash of levels, then those of levels that another computer may round differently; none of silence."""
    rounded = [dict.fromkeys(round(_LEVEL_STEPS_PER_DB * (level + offset_db))
                             for offset_db in (0, -_TOLERANCE_DB, _TOLERANCE_DB)) for level in levels]
    combinations = itertools.product(*rounded) if rounded else ()
    return checkpoints.name_hashes(" ".join(map(str, each)) for each in combinations)


def _sounds(count: int) -> str:
    return f"{count} sounds are" if count > 1 else "1 sound is"
