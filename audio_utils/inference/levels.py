"""The levels of clips: digital silence, and sounds far quieter than all training clips.

The network ignores the absolute level, so it assigns silence and faint noise to some class.
"""

from collections.abc import Iterable

import numpy as np

from audio_utils.audio.melgram import AMIN
from audio_utils.inference.checkpoint import Checkpoint

SILENCE, VERY_QUIET = "silence", "very quiet"  # statuses
MAX_DIFFERENCE_DB = 20  # below the quietest training clip
_SILENT_DB = 10 * np.log10(AMIN) + 1e-3  # a melgram at its floor, as of samples that are all 0 or below 24 bits


def include(checkpoint: Checkpoint, melgrams: Iterable[np.ndarray]) -> Checkpoint:
    """The checkpoint with the levels of these training clips (mels, frames, channels) besides those that it has."""
    levels = np.array([melgram.max() for melgram in melgrams])
    audible = levels[levels > _SILENT_DB].tolist()
    if checkpoint.quietest_db is not None:
        audible.append(checkpoint.quietest_db)
    return checkpoint._replace(quietest_db=min(audible, default=None),
                               trained_on_silence=checkpoint.trained_on_silence or bool((levels <= _SILENT_DB).any()))


def status(melgram: np.ndarray, checkpoint: Checkpoint) -> str:
    """SILENCE, VERY_QUIET or "" for a melgram (mels, frames, channels), relative to the network's training clips."""
    level = melgram.max()
    if level <= _SILENT_DB:
        return "" if checkpoint.trained_on_silence else SILENCE
    quietest = checkpoint.quietest_db
    return VERY_QUIET if quietest is not None and level < quietest - MAX_DIFFERENCE_DB else ""
