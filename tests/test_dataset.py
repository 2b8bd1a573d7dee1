"""Finding sounds, dealing them to the sides of the split, and reading melgrams back."""

from collections import Counter

import numpy as np
import pytest

from audio_utils import dataset, safe_files
from audio_utils.melgram import MelgramSettings
from audio_utils.safe_files import UserError

SETTINGS = MelgramSettings(sample_rate=8000, clip_samples=100, channels=1, mels=3, window=20, fft=20, hop=50)


def names(classes=2, files=10, suffix=".wav"):
    return [f"class{c}/file{i}{suffix}" for c in range(classes) for i in range(files)]


def deal(some, before=None, fraction=0.2, seed=1, keep_together=""):
    return dataset.deal(some, before or {}, fraction, seed, keep_together)


def held(dealt):
    return {name for name, is_held in dealt.items() if is_held}


# --- finding ---------------------------------------------------------------------------------------------------------

def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_sounds_are_found_by_class(tmp_path):
    for name in ("b/2.wav", "b/1.mp3", "a ä/it's “x”.wav", ".hidden/x.wav", "b/.DS_Store", "README.md"):
        touch(tmp_path / name)
    sounds, remarks = dataset.find_sounds(tmp_path)
    assert [sound.name for sound in sounds] == ["a ä/it's “x”.wav", "b/1.mp3", "b/2.wav"]
    assert not remarks


def test_what_is_passed_over_is_named(tmp_path):
    for name in ("a/1.wav", "b/1.wav", "notes.csv", "a/inner/2.wav"):
        touch(tmp_path / name)
    (tmp_path / "empty").mkdir()
    sounds, remarks = dataset.find_sounds(tmp_path)
    assert len(sounds) == 2
    assert [remark.partition(": ")[0] for remark in remarks] == [
        f"{tmp_path}/a/inner/", f"{tmp_path}/empty/", f"{tmp_path}/notes.csv"]


@pytest.mark.parametrize(("folders", "says"), [(None, "is not here"), ([], "holds no folder with sounds")])
def test_nothing_there(tmp_path, folders, says):
    samples = tmp_path / "Samples"
    if folders is not None:
        samples.mkdir()
    with pytest.raises(UserError, match=says):
        dataset.find_sounds(samples)


def test_own_split_only_with_class_folders_inside(tmp_path):
    for name in ("Train/a/1.wav", "Train/b/1.wav", "Test/a/2.wav"):
        touch(tmp_path / "own" / name)
    assert [(sound.name, sound.side) for sound in dataset.find_sounds(tmp_path / "own")[0]] == [
        ("a/1.wav", "Train"), ("b/1.wav", "Train"), ("a/2.wav", "Test")]
    for name in ("Train/choochoo.wav", "Test/beep.wav"):  # classes that happen to be called so
        touch(tmp_path / "classes" / name)
    assert {(sound.name, sound.side) for sound in dataset.find_sounds(tmp_path / "classes")[0]} == {
        ("Train/choochoo.wav", None), ("Test/beep.wav", None)}


# --- the split -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("files", [1, 2, 3, 4, 7, 10, 101])
@pytest.mark.parametrize("fraction", [0.2, 0.5])
def test_the_fraction_holds_in_every_class(files, fraction):
    counts = Counter(name.partition("/")[0] for name in held(deal(names(3, files), fraction=fraction)))
    expected = 0 if files == 1 else max(1, round(files * fraction))
    assert all(abs(counts[f"class{c}"] - expected) <= (files * fraction % 1 == 0.5) for c in range(3))


def test_same_seed_same_split_another_seed_another():
    assert deal(names(2, 50)) == deal(names(2, 50))
    assert deal(list(reversed(names(2, 50)))) == deal(names(2, 50))
    assert held(deal(names(2, 50), seed=2)) != held(deal(names(2, 50)))


def test_sounds_keep_their_side_and_new_ones_fill_up():
    first = deal(names(2, 10))
    more = names(2, 40)
    again = deal(more, before={name: bool(side) for name, side in first.items()})
    assert all(again[name] == side for name, side in first.items())
    assert Counter(name.partition("/")[0] for name in held(again)) == {"class0": 8, "class1": 8}
    nothing = dict.fromkeys(names(2, 10), False)
    assert deal(names(2, 10), before=nothing) == nothing


def test_augmented_copies_go_with_their_parent_and_never_to_test():
    originals = names(2, 10)
    copies = [name.replace(".wav", f"_aug{i}.wav") for name in originals for i in (1, 2, 13)]
    dealt = deal(originals + copies)
    assert held(dealt) == held(deal(originals))  # copies count for nothing
    for copy in copies:
        parent = copy.rpartition("_aug")[0] + ".wav"
        assert dealt[copy] is (None if dealt[parent] else False)
    alone = deal([name for name in originals + copies if not dealt.get(name)], before={next(iter(held(dealt))): True})
    gone = next(iter(held(dealt)))
    assert all(alone[name] is None for name in alone if name.startswith(gone.removesuffix(".wav") + "_aug"))


def test_names_that_differ_in_the_extension_stay_together():
    dealt = deal([f"a/{i}.{extension}" for i in range(20) for extension in ("wav", "mp3")])
    assert all(dealt[f"a/{i}.wav"] == dealt[f"a/{i}.mp3"] for i in range(20))
    assert len(held(dealt)) == 8


@pytest.mark.parametrize("pattern", [r"_s\d+$", r"^(take\d+)_"])
def test_siblings_stay_together_in_all_classes(pattern):
    some = [f"{c}/take{i}_s{j}.wav" for c in "ab" for i in range(10) for j in range(7)]
    dealt = deal(some, keep_together=pattern)
    assert all(len({dealt[f"{c}/take{i}_s{j}.wav"] for c in "ab" for j in range(7)}) == 1 for i in range(10))
    assert Counter(name[0] for name in held(dealt)) == {"a": 14, "b": 14}
    new = [f"{c}/take{i}_s{j}.wav" for c in "ab" for i in range(10) for j in range(7, 9)]
    again = deal(some + new, before={name: bool(side) for name, side in dealt.items()}, keep_together=pattern)
    assert all(again[name] == dealt[name.replace("_s7", "_s0").replace("_s8", "_s0")] for name in new)


def test_a_class_of_two_large_groups_has_one_of_them_held_out():
    dealt = deal([f"a/take{i}_s{j}.wav" for i in range(2) for j in range(50)], keep_together=r"_s\d+$")
    assert len(held(dealt)) == 50


def test_own_split_is_kept_but_for_augmented_test_sounds(tmp_path):
    for name in ("Train/a/1.wav", "Train/a/2_aug1.wav", "Train/b/1.wav", "Test/a/2.wav", "Test/b/3_aug1.wav"):
        touch(tmp_path / name)
    sounds, _ = dataset.find_sounds(tmp_path)
    assert dataset.split(sounds, {}, 0.2, 1) == ["Train", None, "Train", "Test", None]


# --- melgrams back to arrays -----------------------------------------------------------------------------------------

@pytest.fixture
def preproc(tmp_path):
    """Three classes, the last without Test clips; each melgram holds its number."""
    safe_files.write_json(tmp_path / "settings.json", SETTINGS.to_dict())
    for i, (side, name) in enumerate([("Train", "a/1"), ("Train", "b/1"), ("Train", "c/1"), ("Train", "c/2"),
                                      ("Test", "a/3"), ("Test", "b/4")]):
        path = dataset.melgram_path(tmp_path, side, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.write_melgram(path, np.full(SETTINGS.shape, i, np.float32), 12345)
    return tmp_path


def test_load(preproc):
    settings, _ = dataset.read_settings(preproc)
    clips, remarks = dataset.load(preproc, "Train", settings)
    assert not remarks
    assert clips.class_names == ["a", "b", "c"]
    assert clips.names == ["a/1", "b/1", "c/1", "c/2"]
    assert clips.labels.tolist() == [0, 1, 2, 2]
    assert clips.melgrams.shape == (4, 3, 3, 1)
    assert clips.melgrams[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_a_class_missing_from_test_shifts_no_label(preproc):
    clips, remarks = dataset.load(preproc, "Test", SETTINGS, ["a", "aa", "c"])
    assert clips.labels.tolist() == [0]
    assert [remark for remark in remarks if "Test/b/: is no class of the network" in remark]
    assert dataset.load(preproc, "Test", SETTINGS, ["b", "c"])[0].labels.tolist() == [0]


def saved(array, **keywords):
    import io
    file = io.BytesIO()
    np.save(file, array, **keywords)
    return file.getvalue()


GOOD = np.zeros(SETTINGS.shape, np.float32)


@pytest.mark.parametrize("content", [
    b"", b"\x93NUMPY", b"rubbish" * 99, saved(GOOD)[:-1], saved(GOOD.astype(np.float64)), saved(GOOD[:2]),
    saved(np.asfortranarray(np.ones((3, 3, 1), np.float32).transpose(1, 0, 2))), saved(GOOD + np.nan),
    saved(np.array([print], object), allow_pickle=True), saved(GOOD + np.inf)])
def test_bad_melgrams_are_named_and_left_out(preproc, content):
    bad = dataset.melgram_path(preproc, "Train", "b/1")
    bad.write_bytes(content)
    clips, remarks = dataset.load(preproc, "Train", SETTINGS)
    assert clips.names == ["a/1", "c/1", "c/2"]
    assert clips.melgrams[:, 0, 0, 0].tolist() == [0, 2, 3]
    assert len(remarks) == 1
    assert remarks[0].startswith(f"{bad}: ")


def test_current_melgrams_are_known_by_date_and_size(preproc):
    path = dataset.melgram_path(preproc, "Train", "a/1")
    assert dataset.is_current(path.stat(), 12345, SETTINGS)
    assert not dataset.is_current(path.stat(), 12346, SETTINGS)
    assert not dataset.is_current(None, 12345, SETTINGS)
    dataset.invalidate(preproc)
    assert not dataset.is_current(path.stat(), 12345, SETTINGS)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"constants": 3}', "[" * 100_000, '{"mels": 1e999}'])
def test_bad_settings_are_named(preproc, content):
    (preproc / "settings.json").write_text(content)
    with pytest.raises(UserError, match=r"settings.json: .*delete it"):
        dataset.read_settings(preproc)


def test_a_fraction_of_nothing_holds_nothing_out():
    assert not held(deal(names(), fraction=0))


# --- folds ----------------------------------------------------------------------------------------------------------

NAMES = [f"{name}/{i}-{take}.wav" for name in "abc" for i in range(20) for take in "xy"]


def test_folds_hold_as_many_of_each_class_and_siblings_together():
    called, fold_of = dataset.folds(NAMES, "4", 1, r"-\w$")
    assert called == ["1", "2", "3", "4"]
    assert set(Counter((name[0], fold) for name, fold in fold_of.items()).values()) == {10}
    assert all(fold_of[name] == fold_of[name.replace("-x", "-y")] for name in NAMES)
    assert dataset.folds(NAMES, "4", 1, r"-\w$") == (called, fold_of)
    assert dataset.folds(NAMES, "4", 2, r"-\w$") != (called, fold_of)


def test_folds_from_names():
    called, fold_of = dataset.folds(NAMES, r"(\d)-", 1)
    assert called == list("0123456789")
    assert fold_of["a/13-x.wav"] == "3"
    assert dataset.folds(NAMES, "x|y", 1)[0] == ["x", "y"]
    assert dataset.folds(["a/10.wav", "a/9.wav"], r"\d+", 1)[0] == ["9", "10"]


def test_sounds_whose_names_match_nothing_are_in_no_fold():
    called, fold_of = dataset.folds(NAMES, r"^([78])-", 1)
    assert called == ["7", "8"]
    assert Counter(fold_of.values()) == {"7": 6, "8": 6, None: 108}
    assert dataset.folds(NAMES, r"^[78]?", 1) == (called, fold_of)


def test_augmented_copies_are_in_no_fold():
    names = [*NAMES, "a/1-x_aug1.wav"]
    assert "a/1-x_aug1.wav" not in dataset.folds(names, "3", 1)[1]


def test_a_class_may_have_fewer_sounds_than_there_are_folds():
    _, fold_of = dataset.folds([*NAMES, "d/1.wav"], "5", 1)
    assert fold_of["d/1.wav"] in "12345"


@pytest.mark.parametrize(("rule", "says"), [
    ("1", "FOLDS is 1; set it to a number from 2 to 120"), ("0", "FOLDS is 0"), ("121", "FOLDS is 121"),
    ("wav", "FOLDS is 'wav', which finds no fold in the names"), (r"-", "finds one fold in the names")])
def test_folds_that_mean_nothing_are_refused(rule, says):
    with pytest.raises(UserError, match=says):
        dataset.folds(NAMES, rule, 1)


def test_a_rule_for_folds_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"FOLDS is '\('; set it to a number, as text, or"):
        dataset.check_folds("(")
