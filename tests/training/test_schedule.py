"""The learning-rate schedule."""

from argparse import Namespace

import pytest

from audio_utils.training.schedule import LearningRateSchedule, learning_rate_for
from audio_utils.training.state import TrainingState


def rate(schedule, fraction=0.0, **state):
    return schedule(TrainingState({}, **state), fraction)


@pytest.mark.parametrize(("scale", "batch_size", "expected"), [
    (False, 64, 0.004), (True, 16, 0.004), (True, 64, 0.008), (True, 4, 0.002)])
def test_the_rate_is_scaled_with_the_square_root_of_the_batch_size(scale, batch_size, expected):
    options = Namespace(learning_rate=0.004, scale_rate=scale, batch_size=batch_size)
    assert learning_rate_for(options) == pytest.approx(expected, rel=1e-12)
    assert scale or learning_rate_for(options) == 0.004


def test_the_rate_rises_linearly_in_the_warm_up():
    schedule = LearningRateSchedule(0.5, 4)
    assert [rate(schedule, step=step) for step in range(6)] == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    assert rate(LearningRateSchedule(0.5, 0)) == 0.5


def test_the_rate_decays_as_one_minus_the_square_root():
    schedule = LearningRateSchedule(2.0, 0)
    decay = {"decay_start": 10, "decay_end": 14}
    assert [rate(schedule, epoch=epoch, **decay) for epoch in (10, 11, 14)] == [2, 1, 0]
    assert rate(schedule, 0.5, epoch=10, **decay) == pytest.approx(2 * (1 - 0.125 ** 0.5))


def test_without_decay_the_rate_is_constant():
    schedule = LearningRateSchedule(2.0, 0)
    assert rate(schedule, 0.9, epoch=500, step=10_000) == 2


def test_before_a_decay_that_is_already_planned_the_rate_is_constant():
    schedule = LearningRateSchedule(0.1, 0)
    for decay_end in (5, 9):  # 5: without annealing
        planned = TrainingState({}, epoch=2, decay_start=5, decay_end=decay_end)
        assert schedule(planned, 0.5) == 0.1
