"""The split and the folds: stratified, grouped, seeded, and stable when sounds are added."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from audio_utils.data import split
from audio_utils.data.sound import clip_names
from audio_utils.data.sounds import Sound
from audio_utils.data.split import Grouping
from audio_utils.runtime.errors import UserError


def names(classes=2, files=10, suffix=".wav"):
    return [f"class{c}/file{i}{suffix}" for c in range(classes) for i in range(files)]


def hold_out(sounds, assigned=None, fraction=0.2, seed=1, **grouping):
    return split.hold_out(sounds, assigned or {}, fraction, seed, Grouping(**grouping))


def split_sounds(sounds, assigned, fraction, seed):
    copy_of = {sound.name: sound.copy_of for sound in sounds if sound.copy_of}
    return split.split_sounds(sounds, assigned, fraction, seed, Grouping(copy_of=copy_of))


def assign_folds(sounds, rule, seed, **grouping):
    return split.assign_folds(sounds, rule, seed, Grouping(**grouping))


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
    sounds = [Sound(name.split("/")[1], name, name.split("/")[0], copy_of) for name, copy_of in (
        ("Train/a/1.wav", None), ("Train/a/other.wav", "a/2.wav"), ("Train/b/1.wav", None), ("Test/a/2.wav", None),
        ("Test/b/3_aug1.wav", "b/3.wav"), ("Test/b/site_aug12.wav", None))]
    assert split_sounds(sounds, {}, 0.2, 1) == ["Train", None, "Train", "Test", None, "Test"]


# --- copies that are known from their tags, not by their names -------------------------------------------------------

def recordings_of_august(folder="a"):
    """(names, copies): 20 sites recorded on two days of August, and a copy of each with a name that does not say so."""
    recordings = [f"{folder}/site{i}{day}.wav" for i in range(20) for day in ("_aug12", "_aug13")]
    return recordings, {f"{folder}/copy {i}.wav": name for i, name in enumerate(recordings)}


def test_recordings_that_are_named_as_copies_are_held_out_and_their_copies_are_not():
    recordings, copy_of = recordings_of_august()
    held = hold_out([*recordings, *copy_of], copy_of=copy_of)
    assert len(held_out(held)) == 8
    assert held_out(held) <= set(recordings)
    assert len({name.replace("_aug12", "").replace("_aug13", "") for name in held_out(held)}) > 4  # no groups by site
    assert all(held[copy] is (None if held[parent] else False) for copy, parent in copy_of.items())


def test_copies_whose_names_do_not_say_so_are_in_no_fold():
    recordings, copy_of = recordings_of_august()
    _, fold_of = assign_folds([*recordings, *copy_of], "5", 1, copy_of=copy_of)
    assert set(fold_of) == set(recordings)
    assert set(Counter(fold_of.values()).values()) == {8}


def test_sounds_know_their_recording_also_if_it_is_gone():
    recordings, copy_of = recordings_of_august()
    sounds = [Sound("a", name, copy_of=copy_of.get(name)) for name in [*recordings, *copy_of]]
    found = split_sounds(sounds, {}, 0.2, 1)
    assert Counter(found) == {"Train": 32 + 32, "Test": 8, None: 8}
    assigned = {sound.name: each for sound, each in zip(sounds, found, strict=True) if each}
    copies = [sound for sound in sounds if sound.copy_of]
    expected = [each for sound, each in zip(sounds, found, strict=True) if sound.copy_of]
    assert split_sounds(copies, assigned, 0.2, 1) == expected


def test_group_by_applies_to_the_recording_of_a_copy():
    copy_of = {"a/x.wav": "a/take1_s3.wav"}
    grouping = Grouping(r"_s\d+$", copy_of)
    assert grouping.of("a/x.wav") == grouping.of("b/take1_s9.wav")
    assert Grouping(copy_of=copy_of).of("a/site_aug12.wav") == "a/site_aug12"


def test_by_names_alone_and_with_the_copies_ordinary_sounds_are_split_alike():
    originals = names(3, 20)
    copy_of = {name.replace(".wav", f"_aug{i}.wav"): name for name in originals for i in (1, 2)}
    every = [*originals, *copy_of]
    assert hold_out(every, copy_of=copy_of) == hold_out(every)
    assert assign_folds(every, "4", 1, copy_of=copy_of) == assign_folds(every, "4", 1)


# --- recordings ------------------------------------------------------------------------------------------------------

def clips(recordings, parts=4, classes="ab"):
    """Name → recording."""
    return {f"{c}/{i}_s{part}.wav": f"{c}/{i}" for c in classes for i in range(recordings) for part in range(parts)}


def test_clips_of_a_recording_are_held_out_together_and_in_one_fold():
    result, (_, fold_of) = (function(list(clips(10)), *arguments, recordings=clips(10))
                            for function, arguments in ((hold_out, ()), (assign_folds, ("3", 1))))
    for found in (result, fold_of):
        assert all(len({found[name] for name, each in clips(10).items() if each == recording}) == 1
                   for recording in clips(10).values())
    assert by_class(result) == {"a": 8, "b": 8}


def test_a_file_named_as_the_recording_of_clips_is_in_their_group():
    grouping = Grouping(recordings=clips(2))
    assert grouping.of("a/0.flac") == grouping.of("a/0_s1.wav") != grouping.of("a/1.wav") != grouping.of("b/1.wav")


def test_new_clips_and_copies_follow_their_recording():
    every = clips(10, parts=6)
    first = hold_out(list(clips(10)), recordings=clips(10))
    copy_of = {name.replace(".wav", "_aug1.wav"): name for name in every}
    result = hold_out([*every, *copy_of], {name: bool(found) for name, found in first.items()}, copy_of=copy_of,
                      recordings=every)
    assert all(result[name] == first[name.replace("_s4", "_s0").replace("_s5", "_s0")] for name in every)
    assert all(result[copy] is (None if result[name] else False) for copy, name in copy_of.items())


def test_a_copy_whose_parent_is_gone_follows_the_recording_in_its_tag():
    grouping = Grouping(copy_of={"a/x_s3_aug1.wav": "a/x_s3.wav"}, recordings={
        "a/x_s1.wav": "k", "a/x_s2.wav": "k", "a/x_s3_aug1.wav": "k"})
    assert grouping.of("a/x_s3_aug1.wav") == grouping.of("a/x_s1.wav") == grouping.of("a/x_s3.wav")


def test_groups_by_name_and_recordings_that_overlap_are_one_group():
    recordings = {"a/1_x.wav": "r", "b/2_x.wav": "r", "b/2_y.wav": "s", "c/3_z.wav": "s", "c/4_z.wav": "t"}
    grouping = Grouping(r"^(\d)", recordings=recordings)
    assert len({grouping.of(name) for name in [*recordings, "c/1_other.wav", "c/3.wav"]}) == 2
    assert grouping.of("c/4.wav") == grouping.of("c/4_z.wav") != grouping.of("c/3.wav")
    assert Grouping(r"^(\d)", recordings=dict(reversed(recordings.items()))).of("c/3.wav") == grouping.of("c/3.wav")


@pytest.mark.parametrize("seed", range(5))
def test_any_grouping_keeps_groups_by_name_and_recordings_whole(seed):
    rng = np.random.default_rng(seed)
    some = [f"{rng.choice(list('abc'))}/{rng.integers(30)}-{i}.wav" for i in range(300)]
    recordings = {name: str(rng.integers(40)) for name in some if rng.random() < 0.5}
    result = hold_out(some, group_by=r"-\d+$", recordings=recordings, seed=seed)
    for key in (lambda name: name.partition("/")[2].partition("-")[0], lambda name: recordings.get(name, name)):
        splits = defaultdict(set)
        for name in some:
            splits[key(name)].add(result[name])
        assert set(map(len, splits.values())) == {1}


def test_a_class_with_fewer_than_5_groups_is_split_clip_by_clip():
    every = clips(4, classes="a") | clips(5, classes="b") | clips(2, parts=1, classes="c")
    every |= {f"c/single{i}.wav": "" for i in range(2)}
    grouping, few = Grouping(recordings={name: each for name, each in every.items() if each}).relaxed(every)
    assert few == ["a"]  # in c, the recordings change nothing
    assert {grouping.of(name) for name in every if name[0] == "b"} == {f"b/{i}" for i in range(5)}
    assert len({grouping.of(name) for name in every if name[0] == "a"}) == 16
    more = every | {"a/single.wav": ""}
    assert Grouping(recordings=grouping.recordings | clips(4, classes="a")).relaxed(more)[1] == []


def test_groups_by_name_hold_in_a_class_that_is_split_clip_by_clip():
    every = {f"a/{i}{part}_s{j}.wav": f"a/{i}{part}" for i in range(4) for part in "xy" for j in range(3)}
    grouping, few = Grouping(r"^(\d)", recordings=every).relaxed(every)
    assert few == []  # without the recordings there are no more groups
    assert len({grouping.of(name) for name in every}) == 4
    grouping, few = Grouping(r"_s\d+$", recordings=dict.fromkeys(every, "one")).relaxed(every)
    assert few == ["a"]
    assert len({grouping.of(name) for name in every}) == 8


def test_copies_do_not_count_as_groups():
    every = clips(4, classes="a")
    copy_of = {f"a/x_aug{i}.wav": f"a/x{i}.wav" for i in range(9)}
    assert Grouping(copy_of=copy_of, recordings=every).relaxed([*every, *copy_of])[1] == ["a"]


def test_sounds_with_melgrams_keep_their_split():
    sounds = [Sound("a", f"{i}.wav") for i in range(10)]
    first = split_sounds(sounds, {}, 0.2, 1)
    assert Counter(first) == {"Train": 8, "Test": 2}
    assigned = {sound.name: found for sound, found in zip(sounds, first, strict=True)}
    assert split_sounds(sounds, assigned, 0.5, 9) == first


@pytest.mark.parametrize("pattern", ["(", "*", 3])
def test_a_group_by_that_is_no_regular_expression_is_refused(pattern):
    with pytest.raises(UserError, match="GROUP_BY is .*, which is not a regular expression; correct it."):
        split.check_group_by(pattern)


# --- folds -----------------------------------------------------------------------------------------------------------

NAMES = [f"{name}/{i}-{take}.wav" for name in "abc" for i in range(20) for take in "xy"]


def test_folds_are_stratified_and_grouped():
    folds, fold_of = assign_folds(NAMES, "4", 1, group_by=r"-\w$")
    assert folds == ["1", "2", "3", "4"]
    assert set(Counter((name[0], fold) for name, fold in fold_of.items()).values()) == {10}
    assert all(fold_of[name] == fold_of[name.replace("-x", "-y")] for name in NAMES)
    assert assign_folds(NAMES, "4", 1, group_by=r"-\w$") == (folds, fold_of)
    assert assign_folds(NAMES, "4", 2, group_by=r"-\w$") != (folds, fold_of)


def test_folds_from_names():
    folds, fold_of = assign_folds(NAMES, r"(\d)-", 1)
    assert folds == list("0123456789")
    assert fold_of["a/13-x.wav"] == "3"
    assert assign_folds(NAMES, "x|y", 1)[0] == ["x", "y"]
    assert assign_folds(["a/10.wav", "a/9.wav"], r"\d+", 1)[0] == ["9", "10"]


def test_sounds_that_the_rule_does_not_match_are_in_no_fold():
    folds, fold_of = assign_folds(NAMES, r"^([78])-", 1)
    assert folds == ["7", "8"]
    assert Counter(fold_of.values()) == {"7": 6, "8": 6, None: 108}
    assert assign_folds(NAMES, r"^[78]?", 1) == (folds, fold_of)


def test_augmented_copies_are_in_no_fold():
    assert "a/1-x_aug1.wav" not in assign_folds([*NAMES, "a/1-x_aug1.wav"], "3", 1)[1]


def test_a_class_may_have_fewer_sounds_than_folds():
    _, fold_of = assign_folds([*NAMES, "d/1.wav"], "5", 1)
    assert fold_of["d/1.wav"] in "12345"


@pytest.mark.parametrize(("rule", "problem"), [
    ("1", "FOLDS is 1; set it to a number from 2 to 120"), ("0", "FOLDS is 0"), ("121", "FOLDS is 121"),
    ("wav", "FOLDS is 'wav', which finds no fold in the names"), (r"-", "finds one fold in the names")])
def test_fewer_than_two_folds_are_refused(rule, problem):
    with pytest.raises(UserError, match=problem):
        assign_folds(NAMES, rule, 1)


def test_a_rule_for_folds_that_is_no_regular_expression_is_refused():
    with pytest.raises(UserError, match=r"FOLDS is '\('; set it to a number, as text, or"):
        split.check_folds("(")


# --- subsets ---------------------------------------------------------------------------------------------------------

FRACTIONS = (1 / 8, 1 / 4, 1 / 2)


def nested_subsets(sounds, seed=1, **grouping):
    return [set(each) for each in split.nested_subsets(sounds, FRACTIONS, seed, Grouping(**grouping))]


def test_subsets_are_nested_stratified_and_depend_on_the_seed():
    sounds = names(3, 40)
    subsets = nested_subsets(sounds)
    assert subsets[0] < subsets[1] < subsets[2] < set(sounds)
    for subset, count in zip(subsets, (5, 10, 20), strict=True):
        assert Counter(name.partition("/")[0] for name in subset) == {f"class{i}": count for i in range(3)}
    assert subsets == nested_subsets(sounds[::-1])
    assert subsets != nested_subsets(sounds, seed=2)


@pytest.mark.parametrize("files", [1, 2, 3, 5])
def test_subsets_have_at_least_one_sound_of_each_class(files):
    for subset in nested_subsets([*names(1, 40), *(f"few/{i}.wav" for i in range(files))]):
        assert {name.partition("/")[0] for name in subset} == {"class0", "few"}


@pytest.mark.parametrize("seed", range(5))
def test_subsets_keep_groups_and_copies_whole(seed):
    sounds = [f"class{c}/note{note}_{take}.wav" for c in range(2) for note in range(6) for take in range(4)]
    sounds += ["class0/note1_2_aug1.wav", "class2/note1_0.wav"]  # the groups span classes; class2 has one group
    grouping = {"group_by": r"(note\d)", "copy_of": {"class0/note1_2_aug1.wav": "class0/note1_2.wav"}}
    subsets = nested_subsets(sounds, seed, **grouping)
    assert subsets[0] <= subsets[1] <= subsets[2]
    for subset in subsets:
        inside, outside = ({split.Grouping(**grouping).of(name) for name in part}
                           for part in (subset, set(sounds) - subset))
        assert not inside & outside
        assert "class2/note1_0.wav" in subset


# --- clips of long sounds --------------------------------------------------------------------------------------------

def cut(sound, clips):
    """Clip → sound."""
    return dict.fromkeys(clip_names(sound, clips), sound)


def test_a_fraction_is_one_of_the_clips():
    """A sound with as many clips as all others together is not held out; without the numbers it may be."""
    sounds = [f"a/{i}.wav" for i in range(11)]
    for seed in range(20):
        found = split.hold_out(sounds, {}, 0.2, seed, Grouping(), {"a/0.wav": 10})
        assert sum(found.values()) == 4
        assert not found["a/0.wav"]
    assert any(split.hold_out(sounds, {}, 0.2, seed, Grouping())["a/0.wav"] for seed in range(20))
    assert sum(split.hold_out(sounds, {}, 0.2, 1, Grouping(), dict.fromkeys(sounds, 7)).values()) == 2


def test_clips_have_the_groups_folds_and_copies_of_their_sounds():
    sound_of = cut("a/x_1.wav", 3) | cut("a/x_2.wav", 2) | cut("a/x_1_aug1.wav", 4) | cut("a/y_aug1.wav", 2)
    copy_of = {"a/x_1_aug1.wav": "a/x_1.wav", "a/y_aug1.wav": "a/y.wav"}
    recordings = {clip: {"a/x_1.wav": "a/x_1", "a/x_2.wav": "a/x_2", "a/x_1_aug1.wav": "a/x_1", "a/y_aug1.wav": "a/y"}[
        sound] for clip, sound in sound_of.items()}
    grouping = Grouping("", copy_of, recordings, sound_of)
    assert {grouping.of(clip) for clip in [*cut("a/x_1.wav", 3), *cut("a/x_1_aug1.wav", 4)]} == {"a/x_1"}
    assert grouping.of("a/y_aug1_s2.wav") == grouping.of("a/y.wav") == "a/y"
    assert [grouping.is_copy(clip) for clip in ("a/x_1_s1.wav", "a/x_1_aug1_s1.wav", "a/y_aug1_s2.wav")] == [
        False, True, True]
    few, classes = grouping.relaxed([*sound_of, "a/y.wav"])
    assert classes == ["a"]
    assert few.of("a/x_1_aug1_s3.wav") == few.of("a/x_1_s3.wav") != few.of("a/x_1_s2.wav")
    assert few.of("a/y_aug1_s2.wav") == few.of("a/y.wav") == "a/y"
    by_name = Grouping(r"_\d$", copy_of, {}, sound_of)
    assert len({by_name.of(clip) for clip in [*cut("a/x_1.wav", 3), *cut("a/x_2.wav", 2)]}) == 1
    folds, fold_of = split.assign_folds(list(sound_of), r"\d$", 1, by_name)
    assert folds == ["1", "2"]
    assert [fold_of[clip] for clip in ("a/x_1_s3.wav", "a/x_2_s1.wav")] == ["1", "2"]


# --- several labels -------------------------------------------------------------------------------------------------

LABELS = {f"all/{i}.wav": tuple(name for name, every in (("a", 2), ("b", 3), ("rare", 20)) if i % every == 0)
          for i in range(120)}


def test_folds_have_about_equally_many_sounds_of_each_label():
    folds, fold_of = split.assign_folds(list(LABELS), "4", 1, Grouping(labels=LABELS))
    assert folds == ["1", "2", "3", "4"]
    for label, total in (("a", 60), ("b", 40), ("rare", 6)):
        counts = Counter(fold_of[name] for name, labels in LABELS.items() if label in labels)
        assert all(abs(counts[fold] - total / 4) <= max(1, total / 20) for fold in folds), (label, counts)
    with pytest.raises(UserError, match="FOLDS is 3, but the classes have too few sounds; lower it"):
        split.assign_folds(["all/1.wav", "all/2.wav", "all/3.wav"], "3", 1, Grouping(
            labels={"all/1.wav": ("a",), "all/2.wav": ("b",), "all/3.wav": ("c", "d")}))


def test_nested_subsets_have_a_sound_of_each_label():
    for subset in split.nested_subsets(list(LABELS), [1 / 16, 1 / 8], 1, Grouping(labels=LABELS)):
        assert {label for name in subset for label in LABELS[name]} == {"a", "b", "rare"}
