"""The learning rate: warm-up, constant, and a final decay to 0."""

import math
from argparse import Namespace
from dataclasses import dataclass

from audio_utils.training.state import TrainingState

REFERENCE_BATCH_SIZE = 16  # clips


def learning_rate_for(options: Namespace) -> float:
    """LEARNING_RATE for the batch size: with SCALE_RATE, proportional to its square root.

    Malladi et al., "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms", NeurIPS 2022, section 4.
    """
    if not options.scale_rate:
        return options.learning_rate
    return options.learning_rate * math.sqrt(options.batch_size / REFERENCE_BATCH_SIZE)


@dataclass(frozen=True)
class LearningRateSchedule:
    """Linear warm-up, then constant until the validation loss reaches a plateau, then decay as 1 - √x.

    Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", NeurIPS 2024, section 3.
    """
    learning_rate: float
    warmup_steps: int

    def __call__(self, state: TrainingState, epoch_fraction: float) -> float:
        """The learning rate of the next step, when this fraction of the epoch's steps is done."""
        warmup = min(1, (state.step + 1) / max(1, self.warmup_steps))
        return self.learning_rate * warmup * self.decay(state, epoch_fraction)

    def decay(self, state: TrainingState, epoch_fraction: float) -> float:
        """The factor of the final decay, 1 before it begins."""
        if not state.decay_end:
            return 1.0
        elapsed = max(0, state.epoch + epoch_fraction - state.decay_start)
        return 1 - math.sqrt(elapsed / max(1, state.decay_end - state.decay_start))
