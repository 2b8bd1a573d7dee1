"""The exponential moving average of a network's weights, which is validated and saved."""

from dataclasses import dataclass

import numpy as np

from audio_utils.training.state import TrainingState


@dataclass
class EMA:
    """weights = decay · weights + (1 - decay) · new weights; the first updates form their plain mean.

    Polyak and Juditsky, SIAM J. Control Optim. 30, 1992.
    """
    decay: float
    every: int  # steps between updates
    weights: list[np.ndarray]  # in the order of model.weights

    def is_due(self, state: TrainingState, steps: int) -> bool:
        """Whether the next `steps` steps reach a multiple of `every`."""
        return (state.step + steps) // self.every > state.step // self.every

    def update(self, state: TrainingState, weights: list[np.ndarray]) -> None:
        """Include new weights in the average."""
        decay = min(self.decay, state.ema_updates / (1 + state.ema_updates))
        self.weights = [decay * average + (1 - decay) * new
                        for average, new in zip(self.weights, weights, strict=True)]
        state.ema_updates += 1
