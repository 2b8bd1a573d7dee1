"""The levels of clips: digital silence, and sounds far quieter than all training clips.

The network ignores the absolute level, so it assigns silence and faint noise to some class.
"""

import numpy as np

from audio_utils.audio.melgram import SILENT_DB
from audio_utils.inference.checkpoint import Checkpoint

SILENCE, VERY_QUIET = "silence", "very quiet"  # statuses
MAX_DIFFERENCE_DB = 20  # below the quietest training clip


def include(checkpoint: Checkpoint, levels: np.ndarray) -> Checkpoint:
    """The checkpoint, with these levels of training clips added; levels: the maximum of each melgram, in dB."""
    audible = levels[levels > SILENT_DB].tolist()
    if checkpoint.quietest_db is not None:
        audible.append(checkpoint.quietest_db)
    return checkpoint._replace(quietest_db=min(audible, default=None),
                               trained_on_silence=checkpoint.trained_on_silence or bool((levels <= SILENT_DB).any()))


def status(melgram: np.ndarray, checkpoint: Checkpoint) -> str:
    """SILENCE, VERY_QUIET or "" for a melgram (mels, frames, channels), relative to the network's training clips."""
    level = melgram.max()
    if level <= SILENT_DB:
        return "" if checkpoint.trained_on_silence else SILENCE
    quietest = checkpoint.quietest_db
    return VERY_QUIET if quietest is not None and level < quietest - MAX_DIFFERENCE_DB else ""
