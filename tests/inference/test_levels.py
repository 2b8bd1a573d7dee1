"""levels.py: silence, and sounds far quieter than all training clips."""

import numpy as np
import pytest
from conftest import sine
from networks import NAMES, SETTINGS

from audio_utils.audio.melgram import melgram
from audio_utils.data.standardization import Standardization
from audio_utils.inference import levels
from audio_utils.inference.checkpoint import Checkpoint

STANDARDIZATION = Standardization(np.zeros(32, np.float32), np.ones(32, np.float32))
CHECKPOINT = Checkpoint("vgg", NAMES, SETTINGS, {"constants": {}}, STANDARDIZATION, {}, [])


def tone(level):
    return melgram(sine(440, 0.25, 8000, 2, level), SETTINGS)


def including(checkpoint, *tones):
    return levels.include(checkpoint, np.array([tone(level).max() for level in tones]))


def test_the_quietest_clip_and_silence_are_recorded_separately():
    found = including(CHECKPOINT, 0.5, 0.01, 0.1)
    assert found.quietest_db == pytest.approx(tone(0.01).max())
    assert found.trained_on_silence is False
    found = including(CHECKPOINT, 0.5, 0)
    assert found.quietest_db == pytest.approx(tone(0.5).max())
    assert found.trained_on_silence is True
    found = including(CHECKPOINT, 0)
    assert (found.quietest_db, found.trained_on_silence) == (None, True)


def test_clips_of_an_earlier_run_still_count():
    before = including(CHECKPOINT, 0.01, 0)
    assert including(before, 0.5) == before
    assert including(before, 0.001).quietest_db == pytest.approx(tone(0.001).max())


@pytest.mark.parametrize(("trained", "level", "status"), [
    ([0.5], 0, "silence"), ([0.5, 0], 0, ""), ([0], 0, ""), ([], 0, "silence"),  # []: an older file
    ([0.5], 0.051, ""), ([0.5], 0.049, "very quiet"), ([0.5, 0.1], 0.011, ""), ([0.5, 0.1], 0.009, "very quiet"),
    ([0.5, 0], 0.01, "very quiet"), ([0], 1e-5, ""), ([], 1e-5, ""), ([0.5], 1e-5, "very quiet"),
    ([0.5], 1e-9, "silence")])
def test_the_status_depends_on_the_quietest_training_clip(trained, level, status):
    assert levels.status(tone(level), including(CHECKPOINT, *trained)) == status
