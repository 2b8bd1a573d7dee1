"""The split and the folds: stratified, grouped, seeded, and stable when sounds are added."""

from collections import Counter
from pathlib import Path

import pytest

from audio_utils.data import split
from audio_utils.data.sounds import Sound
from audio_utils.runtime.errors import UserError


def names(classes=2, files=10, suffix=".wav"):
    return [f"class{c}/file{i}{suffix}" for c in range(classes) for i in range(files)]


def hold_out(sounds, assigned=None, fraction=0.2, seed=1, group_by=""):
    return split.hold_out(sounds, assigned or {}, fraction, seed, group_by)


def held_out(result):
    return {name for name, is_held_out in result.items() if is_held_out}


def by_class(result):
    return Counter(name.partition("/")[0] for name in held_out(result))


# --- one split -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("files", [1, 2, 3, 4, 7, 10, 101])
@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_the_fraction_holds_in_every_class(files, fraction):
    counts = by_class(hold_out(names(3, files), fraction=fraction))
    expected = 0 if files == 1 else max(1, round(files * fraction))
    assert all(abs(counts[f"class{c}"] - expected) <= (files * fraction % 1 == 0.5) for c in range(3))


def test_a_fraction_of_0_holds_out_nothing():
    assert not held_out(hold_out(names(), fraction=0))


def test_the_split_depends_on_the_seed_but_not_on_the_order():
    assert hold_out(names(2, 50)) == hold_out(names(2, 50))
    assert hold_out(list(reversed(names(2, 50)))) == hold_out(names(2, 50))
    assert held_out(hold_out(names(2, 50), seed=2)) != held_out(hold_out(names(2, 50)))


def test_split_is_sticky():
    first = hold_out(names(2, 10))
    again = hold_out(names(2, 40), assigned={name: bool(is_held_out) for name, is_held_out in first.items()})
    assert all(again[name] == is_held_out for name, is_held_out in first.items())
    assert by_class(again) == {"class0": 8, "class1": 8}
    none = dict.fromkeys(names(2, 10), False)
    assert hold_out(names(2, 10), assigned=none) == none


def test_augmented_copies_follow_their_parent_and_are_never_held_out():
    originals = names(2, 10)
    copies = [name.replace(".wav", f"_aug{i}.wav") for name in originals for i in (1, 2, 13)]
    result = hold_out(originals + copies)
    assert held_out(result) == held_out(hold_out(originals))  # copies do not count
    for copy in copies:
        parent = copy.rpartition("_aug")[0] + ".wav"
        assert result[copy] is (None if result[parent] else False)


def test_augmented_copies_of_a_deleted_test_sound_are_left_out():
    deleted = sorted(held_out(hold_out(names())))[0]
    copies = [deleted.replace(".wav", f"_aug{i}.wav") for i in (1, 2)]
    result = hold_out([*set(names()) - {deleted}, *copies], assigned={deleted: True})
    assert [result[copy] for copy in copies] == [None, None]


def test_names_that_differ_in_the_extension_are_one_group():
    result = hold_out([f"a/{i}.{extension}" for i in range(20) for extension in ("wav", "mp3")])
    assert all(result[f"a/{i}.wav"] == result[f"a/{i}.mp3"] for i in range(20))
    assert len(held_out(result)) == 8


@pytest.mark.parametrize("pattern", [r"_s\d+$", r"^(take\d+)_"])
def test_groups_stay_in_one_split_also_across_classes(pattern):
    sounds = [f"{c}/take{i}_s{j}.wav" for c in "ab" for i in range(10) for j in range(7)]
    result = hold_out(sounds, group_by=pattern)
    assert all(len({result[f"{c}/take{i}_s{j}.wav"] for c in "ab" for j in range(7)}) == 1 for i in range(10))
    assert by_class(result) == {"a": 14, "b": 14}
    new = [f"{c}/take{i}_s{j}.wav" for c in "ab" for i in range(10) for j in range(7, 9)]
    again = hold_out(sounds + new, assigned={name: bool(found) for name, found in result.items()}, group_by=pattern)
    assert all(again[name] == result[name.replace("_s7", "_s0").replace("_s8", "_s0")] for name in new)


def test_of_two_large_groups_one_is_held_out():
    result = hold_out([f"a/take{i}_s{j}.wav" for i in range(2) for j in range(50)], group_by=r"_s\d+$")
    assert len(held_out(result)) == 50


def test_the_users_split_is_kept_except_for_augmented_test_sounds():
    sounds = [Sound(name.split("/")[1], Path(name), name.split("/")[0], copy_of) for name, copy_of in (
        ("Train/a/1.wav", None), ("Train/a/other.wav", "a/2.wav"), ("Train/b/1.wav", None), ("Test/a/2.wav", None),
        ("Test/b/3_aug1.wav", "b/3.wav"), ("Test/b/site_aug12.wav", None))]
    assert split.split_sounds(sounds, {}, 0.2, 1) == ["Train", None, "Train", "Test", None, "Test"]


# --- copies that are known from their tags, not by their names -------------------------------------------------------

def recordings_of_august(folder="a"):
    """(names, copies): 20 sites recorded on two days of August, and a copy of each with a name that does not say so."""
    recordings = [f"{folder}/site{i}{day}.wav" for i in range(20) for day in ("_aug12", "_aug13")]
    return recordings, {f"{folder}/copy {i}.wav": name for i, name in enumerate(recordings)}


def test_recordings_that_are_named_as_copies_are_held_out_and_their_copies_are_not():
    recordings, copy_of = recordings_of_august()
    held = split.hold_out([*recordings, *copy_of], {}, 0.2, 1, copy_of=copy_of)
    assert len(held_out(held)) == 8
    assert held_out(held) <= set(recordings)
    assert len({name.replace("_aug12", "").replace("_aug13", "") for name in held_out(held)}) > 4  # no groups by site
    assert all(held[copy] is (None if held[parent] else False) for copy, parent in copy_of.items())


def test_copies_whose_names_do_not_say_so_are_in_no_fold():
    recordings, copy_of = recordings_of_august()
    _, fold_of = split.assign_folds([*recordings, *copy_of], "5", 1, copy_of=copy_of)
    assert set(fold_of) == set(recordings)
    assert set(Counter(fold_of.values()).values()) == {8}


def test_sounds_know_their_recording_also_if_it_is_gone():
    recordings, copy_of = recordings_of_august()
    sounds = [Sound("a", Path(name), copy_of=copy_of.get(name)) for name in [*recordings, *copy_of]]
    found = split.split_sounds(sounds, {}, 0.2, 1)
    assert Counter(found) == {"Train": 32 + 32, "Test": 8, None: 8}
    assigned = {sound.name: each for sound, each in zip(sounds, found, strict=True) if each}
    copies = [sound for sound in sounds if sound.copy_of]
    expected = [each for sound, each in zip(sounds, found, strict=True) if sound.copy_of]
    assert split.split_sounds(copies, assigned, 0.2, 1) == expected


def test_group_by_applies_to_the_recording_of_a_copy():
    copy_of = {"a/x.wav": "a/take1_s3.wav"}
    assert split.group_of("a/x.wav", r"_s\d+$", copy_of) == split.group_of("b/take1_s9.wav", r"_s\d+$", copy_of)
    assert split.group_of("a/site_aug12.wav", "", copy_of) == "a/site_aug12"


def test_by_names_alone_and_with_the_copies_ordinary_sounds_are_split_alike():
    originals = names(3, 20)
    copy_of = {name.replace(".wav", f"_aug{i}.wav"): name for name in originals for i in (1, 2)}
    every = [*originals, *copy_of]
    assert split.hold_out(every, {}, 0.2, 1, copy_of=copy_of) == split.hold_out(every, {}, 0.2, 1)
    assert split.assign_folds(every, "4", 1, copy_of=copy_of) == split.assign_folds(every, "4", 1)


def test_sounds_with_melgrams_keep_their_split():
    sounds = [Sound("a", Path(f"{i}.wav")) for i in range(10)]
    first = split.split_sounds(sounds, {}, 0.2, 1)
    assert Counter(first) == {"Train": 8, "Test": 2}
    assigned = {sound.name: found for sound, found in zip(sounds, first, strict=True)}
    assert split.split_sounds(sounds, assigned, 0.5, 9) == first


@pytest.mark.parametrize("pattern", ["(", "*", 3])
def test_a_group_by_that_is_no_regular_expression_is_refused(pattern):
    with pytest.raises(UserError, match="GROUP_BY is .*, which is not a regular expression; correct it."):
        split.check_group_by(pattern)


# --- folds -----------------------------------------------------------------------------------------------------------

NAMES = [f"{name}/{i}-{take}.wav" for name in "abc" for i in range(20) for take in "xy"]


def test_folds_are_stratified_and_grouped():
    folds, fold_of = split.assign_folds(NAMES, "4", 1, r"-\w$")
    assert folds == ["1", "2", "3", "4"]
    assert set(Counter((name[0], fold) for name, fold in fold_of.items()).values()) == {10}
    assert all(fold_of[name] == fold_of[name.replace("-x", "-y")] for name in NAMES)
    assert split.assign_folds(NAMES, "4", 1, r"-\w$") == (folds, fold_of)
    assert split.assign_folds(NAMES, "4", 2, r"-\w$") != (folds, fold_of)


def test_folds_from_names():
    folds, fold_of = split.assign_folds(NAMES, r"(\d)-", 1)
    assert folds == list("0123456789")
    assert fold_of["a/13-x.wav"] == "3"
    assert split.assign_folds(NAMES, "x|y", 1)[0] == ["x", "y"]
    assert split.assign_folds(["a/10.wav", "a/9.wav"], r"\d+", 1)[0] == ["9", "10"]


def test_sounds_that_the_rule_does_not_match_are_in_no_fold():
    folds, fold_of = split.assign_folds(NAMES, r"^([78])-", 1)
    assert folds == ["7", "8"]
    assert Counter(fold_of.values()) == {"7": 6, "8": 6, None: 108}
    assert split.assign_folds(NAMES, r"^[78]?", 1) == (folds, fold_of)


def test_augmented_copies_are_in_no_fold():
    assert "a/1-x_aug1.wav" not in split.assign_folds([*NAMES, "a/1-x_aug1.wav"], "3", 1)[1]


def test_a_class_may_have_fewer_sounds_than_folds():
    _, fold_of = split.assign_folds([*NAMES, "d/1.wav"], "5", 1)
    assert fold_of["d/1.wav"] in "12345"


@pytest.mark.parametrize(("rule", "problem"), [
    ("1", "FOLDS is 1; set it to a number from 2 to 120"), ("0", "FOLDS is 0"), ("121", "FOLDS is 121"),
    ("wav", "FOLDS is 'wav', which finds no fold in the names"), (r"-", "finds one fold in the names")])
def test_fewer_than_two_folds_are_refused(rule, problem):
    with pytest.raises(UserError, match=problem):
        split.assign_folds(NAMES, rule, 1)


def test_a_rule_for_folds_that_is_no_regular_expression_is_refused():
    with pytest.raises(UserError, match=r"FOLDS is '\('; set it to a number, as text, or"):
        split.check_folds("(")
