"""The order of the clips in an epoch."""

import numpy as np
import pytest

from audio_utils.training.sampler import Sampler


def batches(count, epoch_clips=1, batch_size=4, seed=1, max_epoch_clips=None):
    sampler = Sampler(epoch_clips, batch_size, max_epoch_clips)
    return sampler.batches(np.arange(100, 100 + count), np.random.default_rng(seed))


def test_each_clip_is_in_one_batch_and_all_batches_have_one_size():
    found = batches(12)
    assert [len(batch) for batch in found] == [4, 4, 4]
    assert sorted(np.concatenate(found)) == list(range(100, 112))


def test_the_remainder_is_left_out_and_another_one_in_the_next_epoch():
    left_out = {tuple(sorted(set(range(100, 106)) - set(np.concatenate(batches(6, seed=seed))))) for seed in range(9)}
    assert all(len(each) == 2 for each in left_out)
    assert len(left_out) > 1


def test_all_devices_get_the_same_number_of_clips_of_a_small_data_set():
    assert [Sampler(1, 16, None, devices).size(15) for devices in (1, 2, 4, 16)] == [15, 14, 12, 0]
    assert Sampler(1, 16, None, 4).size(100) == 16


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


def test_a_maximum_draws_another_part_in_each_epoch_and_no_clip_twice():
    epochs = [batches(100, max_epoch_clips=12, seed=seed) for seed in (1, 1, 2)]
    assert [len(batch) for batch in epochs[0]] == [4, 4, 4]
    first, again, second = (set(np.concatenate(epoch)) for epoch in epochs)
    assert len(first) == 12
    assert first == again != second


@pytest.mark.parametrize(("epoch_clips", "maximum", "count", "sizes", "description"), [
    (1, None, 10, [4, 4], ""), (1, 10, 10, [4, 4], ""), (1, 11, 10, [4, 4], ""), (1, 3, 10, [3], ", 3 drawn per epoch"),
    (25, None, 10, [4] * 7, ", 3 times per epoch"), (25, 15, 10, [4] * 3, ", 15 drawn per epoch"),
    (25, 6, 10, [4], ", 6 drawn per epoch"), (25, 20, 10, [4] * 5, ", 2 times per epoch"),
    (1000, 2000, 3000, [4] * 500, ", 2,000 drawn per epoch")])
def test_a_maximum_limits_the_clips_of_an_epoch(epoch_clips, maximum, count, sizes, description):
    assert [len(batch) for batch in batches(count, epoch_clips, max_epoch_clips=maximum)] == sizes
    assert Sampler(epoch_clips, 4, maximum).describe(count) == description


def test_a_maximum_that_is_not_reached_changes_nothing():
    assert np.array_equal(batches(12, 40), batches(12, 40, max_epoch_clips=48))


# --- BALANCE ---------------------------------------------------------------------------------------------------------

LABELS = np.repeat([0, 1, 2], [100, 10, 1])


def balanced(indices, seed=1, **sizes):
    sampler = Sampler(**{"epoch_clips": 1, "batch_size": 4, "labels": LABELS} | sizes)
    return np.concatenate(sampler.batches(np.array(indices), np.random.default_rng(seed)))


def test_all_classes_are_drawn_equally_often_in_an_epoch_of_the_same_length():
    found = balanced(range(111), batch_size=1)
    assert len(found) == 111
    assert np.bincount(LABELS[found]).tolist() == [37, 37, 37]
    assert sorted(np.bincount(found)[100:]) == [3] * 3 + [4] * 7 + [37]  # each clip of a class, before one is repeated
    assert np.bincount(found).max(initial=0, where=LABELS == 0) == 1
    assert len(set(LABELS[found[:12]])) == 3  # in random order
    assert not np.array_equal(found, balanced(range(111), seed=2, batch_size=1))
    assert np.array_equal(found, balanced(range(111), batch_size=1))


def test_only_the_given_clips_are_drawn_and_classes_without_any_are_left_out():
    found = balanced([5, 99, 100], epoch_clips=30, batch_size=3)
    assert sorted(set(found)) == [5, 99, 100]
    assert np.bincount(LABELS[found]).tolist() == [15, 15]


def test_an_epoch_shorter_than_the_number_of_classes_draws_other_classes_each_time():
    epochs = [balanced(range(111), seed, max_epoch_clips=2) for seed in range(20)]
    assert all(len(set(LABELS[each])) == 2 for each in epochs)
    assert set(LABELS[np.concatenate(epochs)]) == {0, 1, 2}
    assert Sampler(1, 4, None, labels=LABELS).describe(111) == ", 111 drawn per epoch"
