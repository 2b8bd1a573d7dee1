"""Old names in settings.json and weights.hdf5 files, and their current names."""

from typing import Any

CONSTANTS = {"KEEP_TOGETHER": "GROUP_BY", "AVERAGING": "EMA_DECAY", "COOL_DOWN": "ANNEAL_EPOCHS",
             "NEGLIGIBLE": "MIN_DELTA", "MASKED_TIME": "TIME_MASK", "MASKED_BANDS": "FREQUENCY_MASK"}
CHECKPOINT = {"record": "preprocessing", "progress": "training_state"}
TRAINING_STATE = {"steps": "step", "averaged": "ema_updates", "marked_loss": "plateau_loss",
                  "marked_epoch": "plateau_epoch", "cooled_from": "decay_start", "cooled_until": "decay_end"}


def renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The same dictionary with the current names as keys."""
    return {names.get(name, name): value for name, value in values.items()}
