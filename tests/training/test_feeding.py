"""Feeding batches to a network."""

import threading
from argparse import Namespace

import numpy as np
import pytest

from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import preproc
from audio_utils.data.clips import Clips, one_hot
from audio_utils.runtime.errors import UserError
from audio_utils.training.augmentation import Augmenter
from audio_utils.training.feeding import DeviceFeed, HostFeed, part_of_batch

OFF = dict.fromkeys(("time_stretch", "time_shift", "frequency_warp", "mixup", "frequency_mask", "time_mask"), 0)


class Recorder:
    """A model that keeps its batches, and the callbacks of an epoch."""

    def __init__(self, losses):
        self.losses, self.batches, self.events = iter(losses), [], []

    def train_on_batch(self, batch, targets, return_dict):
        self.batches.append((batch, targets))
        return {"loss": next(self.losses), "accuracy": 0.5}

    def on_train_batch_begin(self, epoch_fraction):
        self.events.append(epoch_fraction)

    def on_train_batch_end(self, steps, loss):
        self.events.append(f"{steps} done, loss {loss}")


def clips(count=6):
    melgrams = np.random.default_rng(0).normal(-40, 15, (count, 3, 4, 1)).astype(np.float32)
    return Clips(melgrams, one_hot([i % 2 for i in range(count)], 2), [f"a/{i}" for i in range(count)], ["a", "b"])


def augmenter(**constants):
    return Augmenter(Namespace(**OFF | constants), np.arange(1.0, 4), np.zeros(3, np.float32), 32)


def train(losses, members=None, indices=((4, 1), (0, 3)), on_disk=None):
    recorder = Recorder(losses)
    feed = HostFeed(on_disk or clips(), augmenter(), members)
    result = feed.train(recorder, [np.array(each) for each in indices], np.random.default_rng(1), recorder)
    return result, recorder


def test_each_batch_has_its_clips_and_targets():
    result, recorder = train([2.0, 4.0])
    assert result == (3.0, 0.5)
    for (batch, targets), indices in zip(recorder.batches, ([4, 1], [0, 3]), strict=True):
        assert np.array_equal(batch, clips().melgrams[indices])
        assert np.array_equal(targets, clips().targets[indices])
    assert recorder.events == [0.0, "1 done, loss 2.0", 0.5, "1 done, loss 3.0"]


def test_a_loss_that_is_not_finite_ends_the_epoch_immediately():
    result, recorder = train([np.inf, 4.0])
    assert np.isnan(result).all()
    assert len(recorder.batches) == 1
    assert recorder.events == [0.0]


def test_a_melgram_that_can_not_be_read_ends_the_epoch_in_its_turn_and_all_threads(tmp_path):
    settings = MelgramSettings(sample_rate=8000, clip_samples=150, channels=1, mels=3, window=20, fft=20, hop=50)
    for name, melgram in zip(clips().names, clips().melgrams, strict=True):
        path = preproc.melgram_path(tmp_path, "Train", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        preproc.write_melgram(path, melgram)
    on_disk, _ = preproc.load(tmp_path, "Train", settings, max_bytes=0)
    _, recorder = train([1.0] * 3, indices=[[0, 1], [5, 2], [3, 3]], on_disk=on_disk)
    assert all(np.array_equal(batch, clips().melgrams[indices]) for (batch, _), indices in
               zip(recorder.batches, ([0, 1], [5, 2], [3, 3]), strict=True))
    path.unlink()
    with pytest.raises(UserError, match="a/5.npy: can't be read any more"):
        train([1.0] * 3, indices=[[0, 1], [5, 2], [3, 3]], on_disk=on_disk)
    assert not [each for each in threading.enumerate() if each.name.startswith("prefetch")]


def test_each_member_of_an_ensemble_gets_the_targets():
    _, recorder = train([1.0, 1.0], members=3)
    assert np.array_equal(recorder.batches[0][1], np.repeat(clips().targets[[4, 1]][:, None], 3, axis=1))


ALL = {"time_stretch": 0.2, "time_shift": 0.5, "frequency_warp": 0.2, "mixup": 0.3, "frequency_mask": 0.5,
       "time_mask": 0.5}


@pytest.mark.parametrize("constants", [{}, ALL])
@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_the_parts_of_a_batch_are_those_of_the_whole(constants, processes):
    """Each process augments its part alone, also if its clips are mixed with those of another part."""
    feed = HostFeed(clips(12), augmenter(**constants), None)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        whole = feed.draw(rng.permutation(12), rng)
        expected = feed._batch(whole)
        found = []
        for rows in np.split(np.arange(12), processes):
            parameters, targets, kept = part_of_batch(*whole, rows)
            found.append((feed._batch((parameters, targets))[0][kept], targets))
        for parts, both in zip(zip(*found, strict=True), expected, strict=True):
            assert np.array_equal(np.concatenate(parts), both)
    assert len(parameters["index"]) <= 2 * len(rows)


def test_both_feeds_draw_the_same_parameters_in_the_same_order():
    drawn = []
    arguments = clips(), augmenter(**ALL), None
    for feed in (HostFeed(*arguments), DeviceFeed(*arguments, steps_per_execution=10)):
        rng = np.random.default_rng(1)
        drawn.append([feed.draw(np.array(indices), rng) for indices in ((4, 1), (0, 3))])
    for (one, targets), (other, other_targets) in zip(*drawn, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)
        assert np.array_equal(targets, other_targets)
