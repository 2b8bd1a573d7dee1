"""Which clips a network has been trained on: hashes in weights.hdf5 show the sounds that are new, gone or now in Test.

A clip is identified by its name and the mean of its melgram, so that another recording of the same name is a new sound.
"""

from pathlib import Path

import numpy as np

from audio_utils.data.clips import Clips
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.runtime.console import say

_STEPS_PER_DB = 5  # of the mean
_TOLERANCE_DB = 0.002  # another computer may round the melgram differently


def report_changes(path: Path, clips: Clips, epoch: int, ended: bool) -> None:
    """Say how many sounds of Train are new or gone since the last epoch; nothing for a file of an older version."""
    known = checkpoints.read_clip_hashes(path)
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
    known = checkpoints.read_clip_hashes(path)
    return {name for name, found in zip(clips.names, [True] * len(clips) if known is None else _in(clips, known),
                                        strict=True) if found}


def hashes(path: Path | None, clips: Clips) -> list[np.ndarray]:
    """Hashes of the clips in Train: now, and now or in any epoch of the checkpoint at `path`; uint64 (clips,) each."""
    now = _hashes(clips)
    before = checkpoints.read_clip_hashes(path, any_epoch=True) if path else None
    return [now, np.union1d(now[:0] if before is None else before, now)]


def report_test_sounds(path: Path, test: Clips) -> None:
    """Say if Test sounds were in Train in any epoch; nothing for a file of an older version."""
    known = checkpoints.read_clip_hashes(path, any_epoch=True)
    if known is None:
        return
    found = np.flatnonzero(_in(test, known))
    if len(found):
        say(f"{_sounds(len(found))} in Test and {'was' if len(found) == 1 else 'were'} in Train before, such as "
            f"{test.names[found[0]]}, so the score is too high; --fresh starts anew.")


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


def _sounds(count: int) -> str:
    return f"{count} sounds are" if count > 1 else "1 sound is"
