"""The order of the clips in an epoch."""

import numpy as np

from audio_utils.training.sampler import Sampler


def batches(count, epoch_clips=1, batch_size=4, seed=1):
    return Sampler(epoch_clips, batch_size).batches(np.arange(100, 100 + count), np.random.default_rng(seed))


def test_each_clip_is_in_one_batch_and_all_batches_have_one_size():
    found = batches(12)
    assert [len(batch) for batch in found] == [4, 4, 4]
    assert sorted(np.concatenate(found)) == list(range(100, 112))


def test_the_remainder_is_left_out_and_another_one_in_the_next_epoch():
    left_out = {tuple(sorted(set(range(100, 106)) - set(np.concatenate(batches(6, seed=seed))))) for seed in range(9)}
    assert all(len(each) == 2 for each in left_out)
    assert len(left_out) > 1


def test_a_small_data_set_is_passed_over_several_times():
    assert Sampler(40, 4).passes(12) == 4
    found = np.concatenate(batches(12, epoch_clips=40))
    assert (np.bincount(found - 100) == 4).all()
    assert all(sorted(found[start:start + 12]) == list(range(100, 112)) for start in range(0, 48, 12))


def test_fewer_clips_than_a_batch_are_one_batch():
    assert [len(batch) for batch in batches(3)] == [3]


def test_the_order_depends_on_the_random_state_alone():
    assert np.array_equal(batches(12), batches(12))
    assert not np.array_equal(batches(12), batches(12, seed=2))
