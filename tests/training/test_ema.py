"""The exponential moving average of the weights."""

import numpy as np

from audio_utils.training.ema import EMA
from audio_utils.training.state import TrainingState


def averages(decay, values):
    ema, state = EMA(decay, 10, [np.zeros(1)]), TrainingState({})
    found = []
    for value in values:
        ema.update(state, [np.array([value], float)])
        found.append(float(ema.weights[0][0]))
    assert state.ema_updates == len(values)
    return found


def test_the_first_updates_form_the_plain_mean():
    assert np.allclose(averages(0.99, [4, 2, 6]), [4, 3, 4])


def test_later_updates_decay():
    assert np.allclose(averages(0.5, [4, 2, 6, 6]), [4, 3, 4.5, 5.25])


def test_a_decay_of_0_keeps_the_last_weights():
    assert averages(0, [4, 2, 6]) == [4, 2, 6]


def test_an_update_is_due_at_each_multiple():
    ema = EMA(0.9, 10, [])
    due = [steps for steps in range(1, 41) if ema.is_due(TrainingState({}, step=steps - 1), 1)]
    assert due == [10, 20, 30, 40]
    assert ema.is_due(TrainingState({}, step=15), 10)
    assert not ema.is_due(TrainingState({}, step=11), 5)
