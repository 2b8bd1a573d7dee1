"""finite.py: a loss or an array that became NaN or infinite."""

import numpy as np
import pytest

from audio_utils.training.finite import NotFiniteError, require_all_finite, require_finite


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(value):
    require_finite(3.0, "loss")
    with pytest.raises(NotFiniteError, match="^The loss became -?(nan|inf)$"):
        require_finite(value, "loss")
    require_all_finite({"weights": [np.zeros(3), np.zeros((2, 2), np.uint32)]})
    with pytest.raises(NotFiniteError, match="^The average became NaN or infinite$"):
        require_all_finite({"weights": [np.zeros(3)], "average": [np.zeros(3), np.array([[0, value]])]})
