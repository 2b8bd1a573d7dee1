"""Checks for values that became NaN or infinite."""

import math

import numpy as np


class NotFiniteError(Exception):
    """A loss or a weight became NaN or infinite."""


def require_finite(loss: float, name: str) -> None:
    """Raise NotFiniteError for a loss."""
    if not math.isfinite(loss):
        raise NotFiniteError(f"The {name} became {loss}")


def require_all_finite(groups: dict[str, list[np.ndarray]]) -> None:
    """Raise NotFiniteError for groups of arrays; the keys are their names."""
    for name, arrays in groups.items():
        if not all(np.isfinite(array).all() for array in arrays):
            raise NotFiniteError(f"The {name} became NaN or infinite")
