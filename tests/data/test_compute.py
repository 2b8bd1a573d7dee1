"""Melgrams are computed into Preproc/ or into memory: the same ones, whatever happens on the way."""

import json
import shutil
from collections import namedtuple

import numpy as np
import pytest
from conftest import sine, tones, write

import preprocess_data
from audio_utils.data import compute, plan, preproc
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
    compute.compute(made, folder, False, 1)
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
    assert ["10.wav: holds NaN" in warning for warning in warnings] == [True]


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
        compute.compute(made, folder, False, 1)
    assert json.loads((folder / "settings.json").read_text())["complete"] is False
    monkeypatch.undo()
    again = plan.make_plan(OPTIONS, samples, folder)
    assert len(again.stale) == 15
    compute.compute(again, folder, False, 1)
    assert json.loads((folder / "settings.json").read_text())["complete"] is True


def test_unfinished_files_of_a_killed_run_are_swept(samples, folder):
    compute.compute(plan.make_plan(OPTIONS, samples, folder), folder, False, 1)
    unfinished = [folder / f"{UNFINISHED}settings.json", folder / f"Train/low/{UNFINISHED}0.wav.npy"]
    for path in unfinished:
        path.touch()
    compute.compute(plan.make_plan(OPTIONS, samples, folder), folder, False, 1)
    assert not any(path.exists() for path in unfinished)


def test_a_disk_without_room_is_refused_before_anything_is_written(samples, folder, monkeypatch):
    usage = namedtuple("usage", "total used free")(10 ** 9, 10 ** 9 - 100, 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(UserError, match=r"Preproc/: the melgrams need .* GB and 0.0 GB are free; make room, or"):
        compute.compute(plan.make_plan(OPTIONS, samples, folder), folder, False, 1)
    assert not list(folder.iterdir())


def test_orphans_are_named_and_removed_only_on_request(samples, folder, capsys):
    made = plan.make_plan(OPTIONS, samples, folder)
    compute.compute(made, folder, False, 1)
    (samples / "low/0.wav").unlink()
    made = plan.make_plan(OPTIONS, samples, folder)
    (split, name), = made.orphans
    path = preproc.melgram_path(folder, split, name)
    capsys.readouterr()
    compute.remove_orphans(made, folder, prune=False)
    assert capsys.readouterr().err.startswith(f"{path}: its sound is gone or in the other split; the melgram is still")
    assert path.exists()
    compute.remove_orphans(made, folder, prune=True)
    assert capsys.readouterr().out == f"{path}: removed.\n"
    assert not path.exists()
