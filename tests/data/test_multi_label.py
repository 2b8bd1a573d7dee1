"""Labels of MULTI_LABEL: from labels.csv, from the names of folders, and in the split."""

import re
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import require_completed_after_each_kill, sine, write
from hypothesis import given
from hypothesis import strategies as st

import preprocess_data
from audio_utils.data import compute, dataset, multi_label, preproc
from audio_utils.data.plan import make_plan
from audio_utils.data.sound import Sound
from audio_utils.data.split import Grouping, hold_out
from audio_utils.runtime import command_line
from audio_utils.runtime.errors import UserError


def sounds(folder, *names):
    return [Sound(Path(name).parent.name, str(folder / name)) for name in names]


def labels_of(folder, text, *names):
    (folder / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    found, skipped = multi_label.of_sounds(sounds(folder, *names), folder)
    return {sound.name: labels for sound, labels in found.items()}, [each.path.name for each in skipped]


@pytest.mark.parametrize("text", [
    "file,labels\nall/a b.wav,dog;rain\n", 'file,labels\nall/a b.wav,"dog, rain"\n',
    "file;labels\nall/a b.wav;dog,rain\n", "file,labels\rall/a b.wav,dog;;rain;\r",
    "\ufefffile,labels\r\nall/a b.wav,dog,rain\r\n\r\n", "Labels,x,File\ndog;rain;dog,1,all/a b.wav\n",
    "file,labels\na b.wav,dog\na b.wav,rain\n", "file\tlabels\n./all/a b.wav\tdog;rain\n",
    'file,labels,note,\n"Samples/all/a b.wav",dog;rain,x,\n', " File , Labels \n a b.wav , dog , rain ,,\n",
    "file,labels\nall/a b.wav,dog;rain\n".encode("utf-16")])
def test_a_row_gives_several_labels_in_every_kind_of_csv(tmp_path, text):
    (tmp_path / "Samples").mkdir()
    assert labels_of(tmp_path / "Samples", text, "all/a b.wav") == ({"all/a b.wav": ("dog", "rain")}, [])


def test_names_and_labels_may_have_any_characters_but_separators(tmp_path):
    text = 'file,labels\n"all/a, ""b"" é.wav",it\'s <3> $x;  two   words \n'
    found = labels_of(tmp_path, text, 'all/a, "b" é.wav')
    assert found == ({'all/a, "b" é.wav': ("it's <3> $x", "two words")}, [])


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
    labels_of(tmp_path, "file,labels\ngone.wav,dog\nall/a.wav,dog\n,dog\n", "all/a.wav")
    assert "line 2 and 1 more: no such sound" in (said := capsys.readouterr().err)
    assert "gone.wav, (no file)" in said


@pytest.mark.parametrize(("text", "reason"), [
    ("", "first line"), ("name,label\n", "first line"), (b"file,labels\n\0,a\n", "not a text file"),
    ('file,labels\n"a.wav,dog\n', "not a CSV file"), ("file,labels\na.wav,dog\n", "write the folder too"),
    ("file,labels,note\nall/a.wav,dog,rain,x\n", "line 2 has more cells than the first line; put labels")])
def test_an_unusable_table_is_one_sentence(tmp_path, text, reason):
    with pytest.raises(UserError, match=reason):
        labels_of(tmp_path, text, "all/a.wav", "other/a.wav")


def test_a_table_that_can_not_be_read_is_one_sentence(tmp_path):
    (tmp_path / "folder/labels.csv").mkdir(parents=True)
    (tmp_path / "link").mkdir()
    (tmp_path / "link/labels.csv").symlink_to("gone.csv")
    for folder in (tmp_path / "folder", tmp_path / "link"):
        with pytest.raises(UserError, match="labels.csv: can't be read"):
            multi_label.of_sounds(sounds(folder, "all/a.wav"), folder)


@given(st.binary() | st.text("ab, ;\t\"\r\n\0é").map(lambda text: f"file,labels\n{text}".encode()))
def test_any_table_is_read_or_refused_by_one_sentence(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    (folder / "labels.csv").write_bytes(content)
    for read in (lambda: multi_label.read_rows(folder / "labels.csv"), lambda: multi_label.read(folder)):
        with suppress(UserError):
            read()


def test_copies_have_the_labels_of_their_recording_even_if_it_is_gone(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("file,labels\nall/a.wav,dog\nall/gone.wav,rain\nall/own.wav,dog;rain\n")
    copies = [Sound("all", str(tmp_path / f"all/{name}.wav"), copy_of=f"all/{recording}.wav")
              for name, recording in (("a_aug1", "a"), ("gone_aug1", "gone"), ("own", "a"))]
    found, skipped = multi_label.of_sounds([*sounds(tmp_path, "all/a.wav"), *copies], tmp_path)
    assert [found[each] for each in copies] == [("dog",), ("rain",), ("dog", "rain")]
    assert not skipped
    assert "labels.csv: line 3: no such sound" in capsys.readouterr().err


def test_labels_that_differ_only_in_case_are_named_and_one_label_is_refused(tmp_path, capsys):
    multi_label.require_labels([("Dog", "rain"), ("dog",)], tmp_path)
    assert "Dog = dog: differ only in upper and lower case" in capsys.readouterr().err
    for labels, count in (([(), ("a",)], "1 label;"), ([()], "no labels;")):
        with pytest.raises(UserError, match=f"its sounds have {count} MULTI_LABEL needs at least two, in labels.csv"):
            multi_label.require_labels(labels, tmp_path)


def test_both_unicode_forms_are_the_same_name(tmp_path):
    found, _ = labels_of(tmp_path, "file,labels\nu\u0308.wav,o\u0308\n", "all/\u00fc.wav")
    assert found == {"all/\u00fc.wav": ("\u00f6",)}


# --- the split ------------------------------------------------------------------------------------------------------

def test_a_split_has_the_fraction_of_each_label_and_keeps_assigned_sounds():
    rng = np.random.default_rng(1)
    labels = {f"all/{i}.wav": tuple(name for name, rate in (("a", 0.7), ("b", 0.4), ("c", 0.2), ("rare", 0.05))
                                    if rng.random() < rate) for i in range(200)}
    grouping = Grouping(labels=labels)
    for seed in range(5):
        held_out = hold_out(labels, {"all/1.wav": True}, 0.2, seed, grouping)
        assert held_out["all/1.wav"]
        for name in ("a", "b", "c", "rare"):
            count = sum(held_out[each] for each in labels if name in labels[each])
            assert abs(count - max(1, 0.2 * sum(name in each for each in labels.values()))) <= 1.5, name
    assert hold_out(labels, {}, 0.2, 1, Grouping()) == hold_out(labels, {}, 0.2, 1, Grouping(labels={}))


def test_recordings_are_divided_only_if_one_of_their_labels_has_few_of_them():
    labels = {f"all/{i}_s{j}.wav": ("a",) if i < 6 else ("a", "few") if i < 9 else () for i in range(10)
              for j in range(3)}
    grouping = Grouping("", {}, {name: name.partition("_")[0] for name in labels}, labels=labels)
    found, few = grouping.relaxed(labels)
    assert few == ["few"]
    assert {name for name, recording in found.recordings.items()} == {
        name for name in labels if "few" not in labels[name]}


# --- preprocessing --------------------------------------------------------------------------------------------------

def write_samples(folder):
    """Four sounds of each of low, high and both; the last ones with a row in labels.csv."""
    for i in range(4):
        for name in ("low", "low,high", "mix"):
            write(folder / f"Samples/{name}/{i}.wav", sine(300 + 10 * i + len(name), 0.1))
    rows = [f"mix/{i}.wav,{'low' if i else ''}" for i in range(4)]
    (folder / "Samples/labels.csv").write_text("\n".join(["file,labels", *rows]))


def labels_in(folder):
    """Name of the sound → labels, from Preproc/labels.csv."""
    return {name.partition("/")[2]: each for name, each in multi_label.read(folder / "Preproc").items()}


def test_preprocessing_writes_labels_and_remembers_the_constant(tmp_path, run_here):
    write_samples(tmp_path)
    assert "labels.csv: is not used without MULTI_LABEL (" in run_here("preprocess_data.py", "--jobs", 1).stderr
    assert "MULTI_LABEL" not in (tmp_path / "Preproc/settings.json").read_text()
    run_here("preprocess_data.py", "--jobs", 1, "--multi-label")
    found = run_here("preprocess_data.py", "--jobs", 1).stdout
    assert "MULTI_LABEL = True, as in the last run" in found
    assert "12 sounds in 2 classes" in found
    assert [line.split()[0] for line in found.splitlines() if line.split()[-1].isdecimal()] == ["(no", "high", "low"]
    assert labels_in(tmp_path) == {f"{folder}/{i}.wav": labels for folder, labels in (
        ("low", ("low",)), ("low,high", ("low", "high")), ("mix", ("low",))) for i in range(4)} | {"mix/0.wav": ()}
    for option, value in (("--balance", "sample"), ("--background-classes", "low")):
        said = run_here("train_network.py", *filter(None, (option, value)), status=1).stderr
        assert "can't be combined with MULTI_LABEL" in said
        assert said.count("\n") == 1


def test_changed_labels_are_taken_over_and_named(tmp_path, run_here):
    def preprocess(rows):
        (tmp_path / "Samples/labels.csv").write_text("\n".join(["file,labels", *rows]))
        return run_here("preprocess_data.py", "--jobs", 1, "--multi-label")

    write_samples(tmp_path)
    preprocess([f"mix/{i}.wav,low" for i in range(4)])
    splits = set(multi_label.read(tmp_path / "Preproc"))
    out = preprocess(["mix/0.wav,low", "mix/1.wav,low;high", "mix/2.wav,", "mix/3.wav,low"]).stdout
    assert re.search(r"/mix/1.wav, \w+/mix/2.wav: each has other labels than in the last run.\n", out)
    assert "0 computed" in out
    assert labels_in(tmp_path)["mix/1.wav"] == ("low", "high")
    assert labels_in(tmp_path)["mix/2.wav"] == ()
    found = preprocess(["mix/0.wav,low", "mix/1.wav,high"])
    assert "mix/3.wav: each has no row in labels.csv" in found.stderr
    assert "10 sounds in 2 classes" in found.stdout
    (tmp_path / "Samples/labels.csv").unlink()
    assert "12 sounds in 3 classes" in run_here("preprocess_data.py", "--jobs", 1).stdout  # the folder's name
    assert labels_in(tmp_path)["mix/2.wav"] == ("mix",)
    assert set(multi_label.read(tmp_path / "Preproc")) == splits
    (tmp_path / "Preproc/labels.csv").unlink()
    assert "Preproc/labels.csv: does not exist; run prep" in run_here("train_network.py", status=1).stderr
    (tmp_path / "Preproc/labels.csv").write_text("file,labels\n")
    assert "contains no row for" in run_here("train_network.py", status=1).stderr
    (tmp_path / "Preproc/labels.csv").write_text("damaged")
    assert "is damaged; run preprocess_data.py again" in run_here("train_network.py", status=1).stderr
    run_here("preprocess_data.py", "--jobs", 1)
    assert set(multi_label.read(tmp_path / "Preproc")) == splits


def test_clips_of_a_long_sound_have_its_labels_and_an_own_split_is_kept(tmp_path, run_here):
    write_samples(tmp_path / "x")
    for split in ("Train", "Val", "Test"):
        shutil.copytree(tmp_path / "x/Samples/mix", tmp_path / f"Samples/{split}/mix")
    write(tmp_path / "Samples/Train/mix/long.wav", sine(900, 0.3))
    (tmp_path / "Samples/labels.csv").write_text("file,labels\nmix/0.wav,low\n")
    said = run_here("preprocess_data.py", "--jobs", 1, "--multi-label", status=1).stderr
    assert "line 2 names mix/0.wav, which may be Test/mix/0.wav, Train/mix/0.wav, Val/mix/0.wav; write the fo" in said
    rows = [f"Train/mix/{i}.wav,low" for i in range(4)] + ["Val/mix/0.wav,high", "Test/mix/0.wav,high;new",
                                                           "long.wav,low;high"]
    (tmp_path / "Samples/labels.csv").write_text("\n".join(["file,labels", *rows]))
    run_here("preprocess_data.py", "--jobs", 1, "--multi-label", "--clip-seconds", 0.1, "--long-files", "all")
    found = multi_label.read(tmp_path / "Preproc")
    assert {name for name, each in found.items() if each == ("low", "high")} == {
        f"Train/mix/long_s{i}.wav" for i in (1, 2, 3)}
    assert found["Test/mix/0.wav"] == ("high", "new")
    clips, warnings = preproc.load(tmp_path / "Preproc", "Test", preproc.read_settings(tmp_path / "Preproc")[0],
                                   ["high", "low"], has_labels=True)
    assert clips.targets.tolist() == [[1, 0]]
    assert warnings == [f"{tmp_path}/Preproc/Test/: has labels that the network was not trained on, which are ignored: "
                        "new; to add them, put some of their sounds into Train and run train_network.py --fresh."]


@pytest.mark.parametrize("file", ["dog/a.wav", "a.wav", "Samples/dog/a.wav", "./dog/a.wav"])
def test_a_copy_of_a_recording_that_is_gone_has_its_labels_however_the_row_names_it(tmp_path, file):
    copy = Sound("dog", str(tmp_path / "Samples/dog/a_aug1.wav"), copy_of="dog/a.wav")
    (tmp_path / "Samples").mkdir()
    (tmp_path / "Samples/labels.csv").write_text(f"file,labels\n{file},bark;rain\n")
    assert multi_label.of_sounds([copy], tmp_path / "Samples") == ({copy: ("bark", "rain")}, [])


def test_without_preproc_the_message_names_the_flag(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="Preproc/: does not exist, and MULTI_LABEL needs it; run .* --multi-label."):
        dataset.open_dataset(command_line.constants(preprocess_data, {"MULTI_LABEL": True}))


@pytest.mark.slow
def test_a_run_killed_at_any_write_is_completed_by_the_next(tmp_path, run_here, monkeypatch):
    write_samples(tmp_path)
    (tmp_path / "Preproc").mkdir()
    monkeypatch.chdir(tmp_path)

    def preprocess(folder):
        options = command_line.constants(preprocess_data, {"MULTI_LABEL": True, "MELS": 8})
        compute.compute(make_plan(options, "Samples", folder), folder, 1, False)

    preprocess(tmp_path / "Preproc")
    write(tmp_path / "Samples/mix/new.wav", sine(999, 0.1))
    (tmp_path / "Samples/labels.csv").write_text("file,labels\nmix/new.wav,low;high\nmix/0.wav,high\n")
    require_completed_after_each_kill(tmp_path / "Preproc", tmp_path, preprocess)


def test_targets_have_a_one_for_each_known_label():
    assert np.array_equal(multi_label.targets([("b", "a"), (), ("c",)], ["a", "b"]), [[1, 1], [0, 0], [0, 0]])
