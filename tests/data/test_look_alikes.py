"""Names of takes are recognized, and the GROUP_BY that is suggested groups them; numbered series are not."""

from collections import Counter

import pytest

from audio_utils.data import look_alikes
from audio_utils.data.sounds import Sound
from audio_utils.data.split import Grouping


def sounds(names, classes="ab", **fields):
    return [Sound(label, f"Samples/{label}/{name}.wav", **fields) for label in classes for name in names]


def takes(template, recordings=12, ends=(1, 2, 3)):
    """Names of takes; a third of the recordings has only one."""
    return [template.format(37 * i + 5, end) for i in range(recordings) for end in (ends if i % 3 else ends[:1])]


@pytest.mark.parametrize(("names", "rule"), [
    (takes("1-{}-{}", ends="ABC"), "-[A-Z]$"), (takes("rec {}_{}", ends="ab"), "_[a-z]$"),
    (takes("rec{}{}", ends="ab"), r"(?<=\d)[a-z]$"), (takes("site{}_take{}"), r"_take\d+$"),
    (takes("p{:02}_rec2_{:02}", ends=range(7)), r"_\d+$"), (takes("x.{}.{}"), r"\.\d+$"),
    (takes("{:05x}_nohash_{}", ends=(0, 1)), r"_\d+$"), (takes("s({})+ {}"), r" \d+$")])
def test_the_suggested_group_by_groups_the_takes_of_a_recording(names, rule):
    found = sounds(names)
    [sentence] = look_alikes.suggest_group_by(found, ())
    assert f'named like takes of one recording; preprocess_data.py --split-anew "--group-by={rule}" keeps' in sentence
    grouping = Grouping(rule)
    takes_of = Counter(grouping.of(f"a/{name}.wav") for name in names)
    assert sorted(takes_of.values()) == [1] * 4 + [(len(names) - 4) // 8] * 8


@pytest.mark.parametrize("names", [
    [f"clip{i:03}" for i in range(400)], [f"kick{i}" for i in range(1, 51)], [f"kick_{i}" for i in range(1, 51)],
    [f"0_{name}_{i}" for name in ("jackson", "theo", "lucas") for i in range(50)], [f"{i}" for i in range(100)],
    [f"2020-{month:02}-{day:02}" for month in range(1, 13) for day in range(1 + month % 4, 28, 5)],
    [f"202001{day:02}_{hour:02}0000" for day in range(1, 10) for hour in (6, 12, 18)],
    [f"{dynamic}_{note}" for dynamic in ("soft", "loud") for note in "ABCDEFG"], [f"blues.{i:05}" for i in range(99)],
    [f"x{i}_{channel}" for i in range(20) for channel in "LR"], [f"a{i}_1" for i in range(50)],
    [f"{1000 + 37 * i}-3-0-{piece}" for i in range(30) for piece in (3, 17, 40)],
    [*takes("{}_{}"), *(f"zebra {i}" for i in range(20))], []])
def test_numbered_series_dates_and_other_names_are_not_takes(names):
    assert not list(look_alikes.suggest_group_by(sounds(names), ()))


def test_nothing_is_suggested_for_grouped_sounds_copies_or_the_users_own_split():
    names = takes("site{}_take{}")
    found = sounds(names)
    assert not list(look_alikes.suggest_group_by(found, dict.fromkeys(found, "x")))
    assert not list(look_alikes.suggest_group_by(sounds(names, copy_of="a/x.wav"), ()))
    assert not list(look_alikes.suggest_group_by(sounds(names, split="Train"), ()))
    assert not list(look_alikes.suggest_group_by(sounds(takes("site{}_take{}", recordings=4)), ()))  # too few groups
