"""Melgrams are computed into Preproc/ or into memory: the same ones, whatever happens on the way."""

import csv
import json
import os
import shutil
from collections import namedtuple
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import require_completed_after_each_kill, sine, tones, tree, write

import preprocess_data
from audio_utils.audio import melgram
from audio_utils.data import compute, index, plan, preproc
from audio_utils.runtime import command_line
from audio_utils.runtime.errors import UNFINISHED, UserError

OPTIONS = command_line.constants(preprocess_data, {})


@pytest.fixture
def samples(tmp_path):
    return tones(tmp_path, seconds=0.1) / "Samples"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Preproc").mkdir()
    return tmp_path / "Preproc"


def test_memory_and_disk_hold_the_same_clips(samples, folder):
    made = plan.make_plan(OPTIONS, samples, folder)
    compute.compute(made, folder, 1, False)
    for split in ("Train", "Test"):
        on_disk, _ = preproc.load(folder, split, made.settings)
        in_memory, warnings = compute.compute_in_memory(made, split, None, 1)
        assert not warnings
        assert len(on_disk) == {"Train": 16, "Test": 4}[split]
        assert np.array_equal(in_memory.melgrams, on_disk.melgrams)
        assert np.array_equal(in_memory.targets, on_disk.targets)
        assert (in_memory.names, in_memory.class_names) == (on_disk.names, on_disk.class_names)


def test_in_memory_bad_files_are_named_and_left_out(samples):
    write(samples / "high/10.wav", sine(seconds=0.1) * np.nan, subtype="FLOAT")
    made = plan.make_plan(OPTIONS, samples)
    bad = next(clip for clip in made.clips if clip.name == "high/10.wav")
    clips, warnings = compute.compute_in_memory(made, bad.split, None, 1)
    assert len(clips) == len(clips.names) == len(clips.targets) == sum(c.split == bad.split for c in made.clips) - 1
    assert bad.name not in clips.names
    assert ["10.wav: contains NaN" in warning for warning in warnings] == [True]


def test_in_memory_the_classes_are_those_of_the_network(samples):
    clips, _ = compute.compute_in_memory(plan.make_plan(OPTIONS, samples), "Test", ["x", "low"], 1)
    assert clips.labels.tolist() == [1, 1]
    assert clips.targets.shape == (2, 2)


def test_preprocessing_is_incomplete_until_all_melgrams_are_written(samples, folder, monkeypatch):
    made = plan.make_plan(OPTIONS, samples, folder)
    write_melgram, written = preproc.write_melgram, []

    def write_5(path, *arguments):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(path)
        write_melgram(path, *arguments)

    monkeypatch.setattr(preproc, "write_melgram", write_5)
    with pytest.raises(KeyboardInterrupt):
        compute.compute(made, folder, 1, False)
    assert json.loads((folder / "settings.json").read_text())["complete"] is False
    monkeypatch.undo()
    again = plan.make_plan(OPTIONS, samples, folder)
    assert len(again.stale) == 15
    compute.compute(again, folder, 1, False)
    assert json.loads((folder / "settings.json").read_text())["complete"] is True


def test_unfinished_files_of_a_killed_run_are_swept(samples, folder):
    compute.compute(plan.make_plan(OPTIONS, samples, folder), folder, 1, False)
    unfinished = [folder / f"{UNFINISHED}settings.json", folder / f"Train/low/{UNFINISHED}0.wav.npy"]
    for path in unfinished:
        path.touch()
    compute.compute(plan.make_plan(OPTIONS, samples, folder), folder, 1, False)
    assert not any(path.exists() for path in unfinished)


def test_a_disk_without_room_is_refused_before_anything_is_written(samples, folder, monkeypatch):
    usage = namedtuple("usage", "total used free")(10 ** 9, 10 ** 9 - 100, 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(UserError, match=r"Preproc/: the melgrams need .* GB and 0.0 GB are free; make room, or"):
        compute.compute(plan.make_plan(OPTIONS, samples, folder), folder, 1, False)
    assert not list(folder.iterdir())


def used(folder):
    """(split, name) of the melgrams that training and evaluation use."""
    settings = preproc.read_settings(folder)[0]
    return {(split, name) for split in ("Train", "Test") for name in preproc.load(folder, split, settings)[0].names}


def preprocess(samples, folder, prune=False, **changes):
    options = command_line.constants(preprocess_data, {"PRUNE": prune} | changes)
    return compute.compute(plan.make_plan(options, samples, folder), folder, 1, prune)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*.npy")}


def test_the_melgram_of_a_sound_that_is_gone_is_left_out_and_deleted_only_on_request(samples, folder, capsys):
    preprocess(samples, folder)
    before, melgrams = used(folder), files(folder)
    kept = (samples / "low/0.wav").rename(samples.parent / "kept.wav")
    capsys.readouterr()
    preprocess(samples, folder)
    assert capsys.readouterr().err.startswith("low/0.wav: the sound is gone, so the melgram is left out; --prune")
    gone, = before - used(folder)
    assert gone[1] == "low/0.wav"
    assert files(folder) == melgrams
    warnings = preproc.load(folder, gone[0], preproc.read_settings(folder)[0])[1]
    assert warnings == ["low/0.wav: the sound is gone, so its melgram is not used; preprocess_data.py --prune deletes "
                        "such melgrams."]
    capsys.readouterr()
    preprocess(samples, folder, prune=True)
    path = preproc.melgram_path(folder, *gone)
    assert f"{path}: removed.\n" in capsys.readouterr().out
    assert melgrams - files(folder) == {str(path.relative_to(folder))}
    kept.rename(samples / "low/0.wav")
    preprocess(samples, folder)
    assert (used(folder), files(folder)) == (before, melgrams)


def test_where_a_class_is_gone_all_melgrams_stay_in_use(samples, folder, capsys):
    write(samples / "mid/0.wav", sine(450, 0.1))
    preprocess(samples, folder)
    before = used(folder)
    shutil.move(samples / "low", samples.parent / "unmounted")
    capsys.readouterr()
    for _ in range(2):
        preprocess(samples, folder)
        said = capsys.readouterr().err
        assert "10 of 21 sounds are gone, perhaps because a disk is not mounted; their melgrams are still" in said
        assert used(folder) == before
    preprocess(samples, shutil.copytree(folder, samples.parent / "other"), OVERWRITE=True, MELS=30)
    assert "their melgrams have other settings and are not used until the sounds are" in capsys.readouterr().err
    assert not {name for _, name in used(samples.parent / "other") if name.startswith("low/")}
    preprocess(samples, folder, prune=True)
    assert {name.partition("/")[0] for _, name in used(folder)} == {"high", "mid"}
    assert not list(folder.rglob("low/*.npy"))


def test_a_relabeled_sound_changes_its_class_and_stays_in_its_split(samples, folder):
    preprocess(samples, folder)
    test = next(name for split, name in used(folder) if split == "Test" and name.startswith("low/"))
    (samples / test).rename(samples / "high/moved.wav")
    preprocess(samples, folder)
    assert ("Test", "high/moved.wav") in used(folder)
    assert not [path for path in files(folder) if path.endswith(f"{test}.npy")]
    assert len(files(folder)) == len(used(folder)) == 20


def test_two_classes_of_one_date_that_are_swapped_are_computed_again(samples, folder):
    for path in samples.glob("*/*"):
        os.utime(path, ns=(0, 0))
    preprocess(samples, folder)
    before = {path: (folder / path).read_bytes() for path in files(folder)}
    for name, new in (("low", "x"), ("high", "low"), ("x", "high")):
        (samples / name).rename(samples / new)
    preprocess(samples, folder)
    swap = {"low": "high", "high": "low"}
    for path, content in before.items():
        split, label, name = path.split("/")
        assert (folder / split / swap[label] / name).read_bytes() == content
    assert len(files(folder)) == 20


def test_a_file_with_another_content_but_equal_size_and_date_is_computed_again(samples, folder):
    preprocess(samples, folder)
    path = samples / "low/3.wav"
    before = path.stat()
    replacement = write(samples.parent / "new.wav", sine(777, 0.1))
    assert replacement.stat().st_size == before.st_size
    os.utime(replacement, ns=(before.st_mtime_ns, before.st_mtime_ns))
    replacement.replace(path)
    made = plan.make_plan(OPTIONS, samples, folder)
    assert [clip.name for clip in made.stale] == ["low/3.wav"]


def test_skipped_files_are_listed_with_their_reasons(samples, folder):
    (samples / "low/bad.wav").write_bytes(b"no audio")
    write(samples / "low/nan.wav", sine(seconds=0.1) * np.nan, subtype="FLOAT")
    preprocess(samples, folder)
    rows = list(csv.reader((folder / "skipped.csv").open()))
    assert rows[0] == ["file", "reason"]
    assert [Path(row[0]).name for row in rows[1:]] == ["bad.wav", "nan.wav"]
    assert rows[2][1].startswith("contains NaN")
    before = (folder / "skipped.csv").stat().st_mtime_ns
    preprocess(samples, folder)
    assert (folder / "skipped.csv").stat().st_mtime_ns == before


def test_dates_need_not_be_settable(samples, folder, monkeypatch):
    def refuse(*arguments, **keywords):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    assert len(preprocess(samples, folder)) == 20


# --- a change to the user's own split, and back ----------------------------------------------------------------------

def melgrams(folder):
    """(split, name) → content, of the melgrams that are used."""
    return {found: preproc.melgram_path(folder, *found).read_bytes() for found in used(folder)}


def other_own_split(samples):
    """Replace class folders by a split with the same names, one of them in the other split, and other contents."""
    for i, path in enumerate(sorted(samples.glob("*/*.wav"))):
        split = "Test" if path.stem in "12" else "Train"
        write(samples.parent / "own" / split / path.parent.name / path.name, sine(700 + 10 * i, 0.1))
    shutil.rmtree(samples)
    (samples.parent / "own").rename(samples)


@pytest.mark.parametrize("prune", [False, True])
@pytest.mark.parametrize("begin_with_own", [False, True])
def test_after_a_change_of_the_split_folders_each_melgram_is_that_of_its_sound(samples, folder, prune, begin_with_own):
    """The files keep their dates and inodes, so they are taken for unchanged when they return."""
    stored = [shutil.copytree(samples, samples.parent / "flat"), samples.parent / "other"]
    other_own_split(samples)
    samples.rename(stored[1])
    if begin_with_own:
        stored.reverse()
    for step in range(4):
        is_own = begin_with_own == (step % 2 == 0)
        stored[step % 2].rename(samples)
        entries = preprocess(samples, folder, prune)
        fresh = samples.parent / f"fresh{step}"
        fresh.mkdir()
        preprocess(samples, fresh)
        found, expected = melgrams(folder), melgrams(fresh)
        assert len(entries) == len(found) == 20
        if is_own or not begin_with_own:  # otherwise names keep the split that the user gave them
            assert found == expected
        assert {name: content for (_, name), content in found.items()} == {
            name: content for (_, name), content in expected.items()}
        if prune:
            assert files(folder) == {f"{split}/{name}.npy" for split, name in found}
        samples.rename(stored[step % 2])


def test_after_the_users_own_split_split_anew_assigns_all_sounds_again(samples, folder):
    flat, fresh = shutil.copytree(samples, samples.parent / "flat"), samples.parent / "fresh"
    other_own_split(samples)
    preprocess(samples, folder)
    shutil.rmtree(samples)
    flat.rename(samples)
    preprocess(samples, folder, SPLIT_ANEW=True)
    fresh.mkdir()
    preprocess(samples, fresh)
    assert melgrams(folder) == melgrams(fresh)


def test_a_melgram_that_an_older_version_replaced_is_computed_again(samples, folder):
    """It left the settings in the entry of the sound that was gone."""
    first = preprocess(samples, folder)[0]
    expected = melgrams(folder)
    other = first._replace(path=f"{first.split}/{first.path}", content=index.Content("s", "d"))
    index.write(folder, [*index.read(folder)[0].values(), other])
    preproc.write_melgram(preproc.melgram_path(folder, first.split, first.name),
                          np.zeros(preproc.read_settings(folder)[0].shape, np.float32))
    assert [clip.name for clip in plan.make_plan(OPTIONS, samples, folder).stale] == [first.name]
    assert len(preprocess(samples, folder)) == 20
    assert melgrams(folder) == expected


def test_only_melgrams_without_a_sound_are_reported_as_gone(samples, folder, capsys):
    preprocess(samples, folder)
    (samples / "low/9.wav").rename(samples.parent / "9.wav")
    other_own_split(samples)
    capsys.readouterr()
    preprocess(samples, folder)
    gone = files(folder) - {f"{split}/{name}.npy" for split, name in used(folder)}
    assert 3 < len(gone) < 20
    assert f" and {len(gone) - 3} more: the sound is gone, so the melgram is left out;" in capsys.readouterr().err
    preprocess(samples, folder, prune=True)
    assert capsys.readouterr().out.count(": removed.\n") == len(gone)


def test_prune_deletes_the_former_melgram_of_a_sound_that_can_not_be_used_any_more(samples, folder):
    [clip] = [entry for entry in preprocess(samples, folder) if entry.name == "low/3.wav"]
    write(samples / "low/3.wav", sine(seconds=0.1) * np.nan, subtype="FLOAT")
    preprocess(samples, folder)
    assert f"{clip.split}/low/3.wav.npy" in files(folder)
    assert (clip.split, clip.name) not in used(folder)
    preprocess(samples, folder, prune=True)
    assert f"{clip.split}/low/3.wav.npy" not in files(folder)
    assert len(files(folder)) == 19


# --- kills -----------------------------------------------------------------------------------------------------------

def test_an_index_that_a_killed_run_did_not_replace_at_its_end_is_replaced_by_the_next(samples, folder, monkeypatch):
    def write_once(*arguments, before=index.write):
        before(*arguments)
        monkeypatch.setattr(index, "write", interrupt)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(index, "write", write_once)
    with pytest.raises(KeyboardInterrupt):
        preprocess(samples, folder)
    monkeypatch.undo()
    assert len((folder / "index.csv").read_text().splitlines()) == 1 + 20 + 20  # planned, and completed
    assert len(preprocess(samples, folder)) == 20
    uninterrupted = folder.with_name("uninterrupted")
    uninterrupted.mkdir()
    preprocess(samples, uninterrupted)
    assert tree(folder) == tree(uninterrupted)
    before = {path: path.stat() for path in folder.iterdir() if path.is_file()}
    preprocess(samples, folder)  # nothing to do
    for path, stat in before.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns), path


def relabel_and_remove(samples):
    for i in range(2):
        (samples / f"low/{i}.wav").rename(samples / f"high/moved{i}.wav")
    (samples / "low/4.wav").unlink()


def swap_names(samples):
    for i in range(5):
        (samples / f"low/{i}.wav").rename(samples / "low/x")
        (samples / f"high/{i}.wav").rename(samples / f"low/{i}.wav")
        (samples / "low/x").rename(samples / f"high/{i}.wav")


def add_and_replace(samples):
    for i in range(2):
        write(samples / f"low/recording_s{i + 1}.wav", sine(500 + i, 0.1))
    write(samples / "high/0.wav", sine(700, 0.1))
    shutil.copy(samples / "low/1.wav", samples / "low/1_aug1.wav")


CHANGES = {  # name → (change of Samples/, change of Preproc/, options)
    "first run": (None, shutil.rmtree, {}), "index lost": (None, lambda folder: (folder / "index.csv").unlink(), {}),
    "relabeled and removed": (relabel_and_remove, None, {}), "pruned": (relabel_and_remove, None, {"prune": True}),
    "own split": (other_own_split, None, {}), "own split, pruned": (other_own_split, None, {"prune": True}),
    "swapped": (swap_names, None, {}), "new and replaced": (add_and_replace, None, {}),
    "split anew": (None, None, {"SPLIT_ANEW": True, "SEED": 2}),
    "other settings": (None, None, {"OVERWRITE": True, "MELS": 30})}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_run_killed_at_any_write_is_completed_by_the_next(folder, tmp_path, change):
    """Stopped at each replacement or deletion of a file and at each new row of the index: Samples/ is never touched."""
    change_samples, change_preproc, options = CHANGES[change]
    samples = tones(tmp_path, files=5, seconds=0.1) / "Samples"
    preprocess(samples, folder)
    if change_samples:
        change_samples(samples)
    if change_preproc:
        change_preproc(folder)
        folder.mkdir(exist_ok=True)
    content = tree(samples)
    require_completed_after_each_kill(folder, tmp_path, lambda each: preprocess(samples, each, **options))
    assert tree(samples) == content


# --- format versions -------------------------------------------------------------------------------------------------

@pytest.fixture(params=[(1, 2), (2, 3)], ids=["1 to 2", "2 to 3"])
def versions(request, monkeypatch):
    """A function that makes the format version the earlier (0) or the later one (1); it is the earlier one at first."""
    def switch(i):
        monkeypatch.setattr(melgram, "FORMAT_VERSION", request.param[i])

    switch(0)
    return switch


def version_of(folder):
    return preproc.read_settings(folder)[0].format_version


@pytest.mark.parametrize("indexed", [True, False])
def test_melgrams_of_an_earlier_version_are_computed_again_and_the_split_stays(samples, folder, versions, capsys,
                                                                               indexed):
    preprocess(samples, folder)
    before, first = used(folder), version_of(folder)
    if not indexed:
        (folder / "index.csv").unlink()
    versions(1)
    assert len(plan.make_plan(OPTIONS, samples, folder).stale) == 20
    capsys.readouterr()
    assert len(preprocess(samples, folder)) == 20
    said = capsys.readouterr()
    assert said.out.endswith("/: contains melgrams of an earlier version, which are computed again; the split is "
                             "kept.\n")
    assert said.out.count("\n") == 1
    assert "delete" not in said.out + said.err
    assert used(folder) == before
    assert version_of(folder) == melgram.FORMAT_VERSION == first + 1
    assert not plan.make_plan(OPTIONS, samples, folder).stale
    assert not capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("indexed", [True, False])
def test_a_change_of_version_killed_at_any_write_is_completed(tmp_path, folder, monkeypatch, indexed):
    """No melgram of the earlier version, which keeps a DC offset, is ever taken for one of the later version."""
    for i in range(6):
        write(tmp_path / f"few/{'ab'[i % 2]}/{i}.wav", sine(300 + 100 * i, 0.1, level=0.1) + 0.2)
    (tmp_path / "new").mkdir()
    preprocess(tmp_path / "few", tmp_path / "new")
    expected = {path: (tmp_path / "new" / path).read_bytes() for path in files(tmp_path / "new")}
    monkeypatch.setattr(melgram, "FORMAT_VERSION", 1)
    preprocess(tmp_path / "few", folder)
    if not indexed:
        (folder / "index.csv").unlink()
    monkeypatch.undo()
    for stop_at in range(100):
        broken, count, replace = shutil.copytree(folder, tmp_path / "broken"), 0, os.replace

        def stop(*arguments):
            nonlocal count
            count += 1
            if count > stop_at:  # noqa: B023
                raise KeyboardInterrupt
            replace(*arguments)  # noqa: B023

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "replace", stop)
            with suppress(KeyboardInterrupt):
                preprocess(tmp_path / "few", broken)
                break
        assert preproc.read_settings(broken)[1]["complete"] == (stop_at == 0)
        preprocess(tmp_path / "few", broken)
        assert {path: (broken / path).read_bytes() for path in files(broken)} == expected
        assert version_of(broken) == melgram.FORMAT_VERSION
        shutil.rmtree(broken)
    assert 6 < stop_at < 99


def test_while_a_disk_is_not_mounted_melgrams_of_an_earlier_version_stay_in_use(samples, folder, versions, capsys):
    write(samples / "mid/0.wav", sine(450, 0.1))
    preprocess(samples, folder)
    before = used(folder)
    shutil.move(samples / "low", samples.parent / "unmounted")
    versions(1)
    capsys.readouterr()
    preprocess(samples, folder)
    assert "they stay in use until the 10 missing sounds are back, or --prune removes" in capsys.readouterr().out
    assert used(folder) == before
    shutil.move(samples.parent / "unmounted", samples / "low")
    preprocess(samples, folder)
    assert used(folder) == before
    assert version_of(folder) == melgram.FORMAT_VERSION


# --- damaged files ---------------------------------------------------------------------------------------------------

def test_damaged_settings_are_replaced_by_overwrite_and_the_split_stays(samples, folder, capsys):
    preprocess(samples, folder)
    before, melgrams = used(folder), {path: (folder / path).read_bytes() for path in files(folder)}
    newer = {"format_version": melgram.FORMAT_VERSION + 1}
    for content, indexed in (("{", True), ("{", False), (json.dumps(newer), True)):
        (folder / "settings.json").write_text(content)
        if not indexed:
            (folder / "index.csv").unlink()
        with pytest.raises(UserError, match="run preprocess_data.py --overwrite to compute the melgrams again"):
            plan.make_plan(OPTIONS, samples, folder)
        preprocess(samples, folder, OVERWRITE=True)
        assert used(folder) == before
        assert {path: (folder / path).read_bytes() for path in files(folder)} == melgrams


def test_a_damaged_melgram_is_computed_again_as_its_message_says(samples, folder):
    preprocess(samples, folder)
    settings = preproc.read_settings(folder)[0]
    path = folder / sorted(path for path in files(folder) if path.startswith("Train"))[0]
    whole = path.read_bytes()
    for content, overwrite in ((whole[:-4], False), (whole + b"x", False), (b"", False), (b"x" * len(whole), True),
                               (whole[:-4] + b"\xff\xff\xff\xff", True)):
        path.write_bytes(content)
        clips, [warning] = preproc.load(folder, "Train", settings)
        assert len(clips) == 15
        assert ("--overwrite" in warning) == overwrite
        preprocess(samples, folder, OVERWRITE=overwrite)
        assert path.read_bytes() == whole
