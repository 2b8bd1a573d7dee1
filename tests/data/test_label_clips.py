"""label_clips.py: clips contain their label, nothing of another one, and no sample twice."""

import itertools

import numpy as np
import pytest

from audio_utils.data import label_clips
from audio_utils.data.label_clips import Interval, LabelClip


def plan(*labels, others=(), samples=1000, clip=100, **options):
    """[(class, start, end)]; labels: (class, start, end)."""
    return [tuple(each) for each in label_clips.plan(
        [(name, Interval(start, end)) for name, start, end in labels], [Interval(*each) for each in others], samples,
        clip, **options)]


@pytest.mark.parametrize(("label", "clips"), [
    ((400, 500), [(400, 500)]), ((400, 402), [(351, 451)]), ((0, 2), [(0, 100)]), ((998, 1000), [(900, 1000)]),
    ((400, 550), [(425, 525)]), ((400, 551), [(375, 475), (475, 575)]), ((0, 180), [(0, 100), (100, 200)]),
    ((400, 650), [(425, 525), (525, 625)]), ((0, 1000), [(100 * i, 100 * i + 100) for i in range(10)])])
def test_a_label_becomes_the_nearest_number_of_clips_around_its_middle(label, clips):
    assert plan(("a", *label)) == [("a", *clip) for clip in clips]


@pytest.mark.parametrize(("label", "clips"), [
    ((400, 402), [(400, 402)]), ((400, 499), [(400, 499)]), ((400, 599), [(449, 549)]),
    ((0, 200), [(0, 100), (100, 200)])])
def test_without_context_clips_are_inside_their_label(label, clips):
    assert plan(("a", *label), context=False) == [("a", *clip) for clip in clips]


def test_a_clip_reaches_at_most_the_middle_of_the_gap_to_another_label():
    assert plan(("a", 400, 410), ("b", 430, 440)) == [("a", 320, 420), ("b", 420, 520)]
    assert plan(("a", 400, 410), ("b", 410, 440)) == [("a", 310, 410), ("b", 410, 510)]
    assert plan(("a", 400, 410), ("b", 430, 440), ("c", 460, 470)) == [
        ("a", 320, 420), ("b", 420, 450), ("c", 450, 550)]
    assert plan(("a", 400, 410), others=[(430, 430), (380, 390)]) == [("a", 395, 420)]


def test_overlapping_labels_are_cut_each_and_counted():
    labels = [(name, Interval(*interval)) for name, *interval in (
        ("a", 400, 480), ("b", 440, 520), ("a", 400, 480), ("b", 600, 700))]
    assert label_clips.overlapping(labels) == 1
    assert label_clips.overlapping(labels[:1] * 2 + labels[3:]) == 0
    assert [tuple(clip) for clip in label_clips.plan(labels, [], 1000, 100)] == [
        ("a", 380, 480), ("b", 440, 540), ("b", 600, 700)]
    assert plan(("a", 300, 600), ("b", 440, 450)) == [
        ("a", 300, 400), ("a", 400, 500), ("b", 440, 450), ("a", 500, 600)]


def test_background_is_whole_clips_of_what_is_neither_labeled_nor_in_a_clip():
    assert plan(samples=350, background=True) == [("background", 25, 125), ("background", 125, 225),
                                                 ("background", 225, 325)]
    assert plan(samples=99, background=True) == []
    assert plan(("a", 410, 420), samples=700, background=True) == [
        *(("background", start, start + 100) for start in (32, 132, 232)), ("a", 365, 465),
        *(("background", start, start + 100) for start in (482, 582))]
    assert plan(others=[(150, 150), (450, 500)], samples=620, background=True) == [
        ("background", 0, 100), ("background", 225, 325), ("background", 325, 425), ("background", 510, 610)]
    assert plan(("a", 0, 140), samples=350, background=True, context=False) == [
        ("a", 20, 120), ("background", 145, 245), ("background", 245, 345)]  # what is left of the label is none


@pytest.mark.parametrize("context", [True, False])
def test_clips_of_random_labels_keep_the_rules(context):
    rng = np.random.default_rng(1)
    for _ in range(200):
        samples, clip = int(rng.integers(1, 3000)), int(rng.integers(1, 300))
        edges = np.unique(rng.integers(0, samples + 1, 2 * rng.integers(0, 12))).tolist()
        intervals = [Interval(start, end) for start, end in itertools.pairwise(edges) if rng.random() < 0.5]
        labels = [(f"class {i}", interval) for i, interval in enumerate(intervals)]
        clips = label_clips.plan(labels, [], samples, clip, context, background=True)
        used = np.zeros(samples, int)
        for name, start, end in clips:
            assert 0 <= start < end <= samples
            used[start:end] += 1
            owners = [other for other, interval in labels if interval.start < end and start < interval.end]
            assert owners == ([] if name == "background" else [name])
            assert end - start == clip or (name != "background" and end - start < clip)
        assert used.max(initial=0) <= 1
        assert {name for name, *_ in clips} >= {name for name, _ in labels}
        assert [list(group) for group in label_clips.passes(clips)] == [clips] * bool(clips)


def test_passes_have_no_overlap_and_all_clips():
    clips = [LabelClip("a", start, start + 10) for start in (0, 3, 10, 12, 13, 40)]
    groups = list(label_clips.passes(clips))
    assert [[clip.start for clip in group] for group in groups] == [[0, 10, 40], [3, 13], [12]]


def test_ten_thousand_labels_are_planned_at_once():
    labels = [(f"{i % 7}", Interval(10 * i, 10 * i + 15)) for i in range(10_000)]
    assert len(label_clips.plan(labels, [], 100_005, 10, True, True)) == 10_000
    assert label_clips.overlapping(labels) == 9_999
