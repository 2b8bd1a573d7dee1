"""Labels of MULTI_LABEL: from labels.csv, from the names of folders, and in the split."""

from pathlib import Path

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.data import multi_label
from audio_utils.data.sound import Sound
from audio_utils.data.split import Grouping, hold_out
from audio_utils.runtime.errors import UserError


def sounds(folder, *names):
    return [Sound(Path(name).parent.name, str(folder / name)) for name in names]


def labels_of(folder, text, *names):
    (folder / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    found, skipped = multi_label.of_sounds(sounds(folder, *names), folder)
    return {sound.name: labels for sound, labels in found.items()}, [each.path.name for each in skipped]


@pytest.mark.parametrize("text", [
    "file,labels\nall/a b.wav,dog;rain\n", 'file,labels\nall/a b.wav,"dog, rain"\n',
    "file;labels\nall/a b.wav;dog,rain\n",
    "\ufefffile,labels\r\nall/a b.wav,dog,rain\r\n\r\n", "Labels,x,File\ndog;rain;dog,1,all/a b.wav\n",
    "file,labels\na b.wav,dog\na b.wav,rain\n", "file\tlabels\n./all/a b.wav\tdog;rain\n"])
def test_a_row_gives_several_labels_in_every_kind_of_csv(tmp_path, text):
    assert labels_of(tmp_path, text, "all/a b.wav") == ({"all/a b.wav": ("dog", "rain")}, [])


def test_folders_give_labels_to_sounds_without_a_row_and_no_label_is_a_negative_example(tmp_path):
    found, skipped = labels_of(tmp_path, "file,labels\ndog/b.wav,\n\"a,b/1.wav\",dog\n", "dog/a.wav", "dog/b.wav",
                               "dog, rain/c.wav", "a,b/1.wav")
    assert found == {"dog/a.wav": ("dog",), "dog/b.wav": (), "dog, rain/c.wav": ("dog", "rain"), "a,b/1.wav": ("dog",)}
    assert not skipped


def test_an_unlisted_sound_of_a_listed_folder_is_left_out_and_named(tmp_path, capsys):
    found, skipped = labels_of(tmp_path, "file,labels\nall/a.wav,dog\n", "all/a.wav", "all/b.wav")
    assert found == {"all/a.wav": ("dog",)}
    assert skipped == ["b.wav"]
    assert "all/b.wav: has no row in labels.csv" in capsys.readouterr().err


def test_rows_without_a_sound_are_named(tmp_path, capsys):
    labels_of(tmp_path, "file,labels\ngone.wav,dog\nall/a.wav,dog\n", "all/a.wav")
    assert "line 2: no such sound" in (said := capsys.readouterr().err)
    assert "gone.wav" in said


@pytest.mark.parametrize(("text", "reason"), [
    ("", "first line"), ("name,label\n", "first line"), (b"file,labels\n\xff\xfe,a\n", "UTF-8"),
    ('file,labels\n"a.wav,dog\n', "not a CSV file"), ("file,labels\na.wav,dog\n", "write the folder too")])
def test_an_unusable_table_is_one_sentence(tmp_path, text, reason):
    with pytest.raises(UserError, match=reason):
        labels_of(tmp_path, text, "all/a.wav", "other/a.wav")


def test_both_unicode_forms_are_the_same_name(tmp_path):
    found, _ = labels_of(tmp_path, "file,labels\nu\u0308.wav,o\u0308\n", "all/\u00fc.wav")
    assert found == {"all/\u00fc.wav": ("\u00f6",)}


def test_a_split_has_each_label_on_both_sides_and_keeps_assigned_sounds():
    labels = {f"all/{i}.wav": tuple(name for name, every in (("a", 2), ("b", 3), ("rare", 25)) if i % every == 0)
              for i in range(60)}
    grouping = Grouping(labels=labels)
    for seed in range(5):
        held_out = hold_out(labels, {"all/1.wav": True}, 0.2, seed, grouping)
        assert held_out["all/1.wav"]
        for name in ("a", "b", "rare"):
            count = sum(held_out[each] for each in labels if name in labels[each])
            total = sum(name in each for each in labels.values())
            assert abs(count - max(1, total * 0.2)) <= 1
    assert hold_out(labels, {}, 0.2, 1, Grouping()) == hold_out(labels, {}, 0.2, 1, Grouping(labels={}))


def test_preprocessing_writes_labels_and_remembers_the_constant(tmp_path, run_here):
    for i in range(4):
        for name in ("low", "low,high", "high"):
            write(tmp_path / f"Samples/{name}/{i}.wav", sine(300 + i, 0.1))
    run_here("preprocess_data.py", "--jobs", 1)
    assert "MULTI_LABEL" not in (tmp_path / "Preproc/settings.json").read_text()
    run_here("preprocess_data.py", "--jobs", 1, "--multi-label")
    found = run_here("preprocess_data.py", "--jobs", 1).stdout
    assert "MULTI_LABEL = True, as in the last run" in found
    assert "12 sounds in 2 classes" in found
    rows = multi_label.read(tmp_path / "Preproc")
    assert sorted(each for name, each in rows.items() if "low,high" in name) == [("low", "high")] * 4
    for option, value in (("--folds", "2"), ("--learning-curve", None), ("--background-classes", "low")):
        said = run_here("train_network.py", *filter(None, (option, value)), status=1).stderr
        assert "can't be combined with MULTI_LABEL" in said
        assert said.count("\n") == 1


def test_targets_have_a_one_for_each_known_label():
    assert np.array_equal(multi_label.targets([("b", "a"), (), ("c",)], ["a", "b"]), [[1, 1], [0, 0], [0, 0]])
