"""The data set is Preproc/, or Samples/ if nothing is preprocessed; it must fit the network."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import tones, write

import preprocess_data
from audio_utils.audio import audio_io, melgram
from audio_utils.data import compute, dataset, plan, preproc
from audio_utils.runtime import command_line, memory
from audio_utils.runtime.errors import UserError


def options(**changes):
    return command_line.constants(preprocess_data, {"JOBS": 1} | changes)


@pytest.fixture(autouse=True)
def _samples(tmp_path, monkeypatch):
    tones(tmp_path, seconds=0.1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def preprocessed():
    return preprocess()


def preprocess():
    folder = Path("Preproc")
    folder.mkdir(exist_ok=True)
    made = plan.make_plan(options(GROUP_BY=r"^(\d)"), "Samples", folder)
    compute.compute(made, folder, False, 1)
    return made


def test_preproc_is_used_if_it_exists(preprocessed, capsys):
    data = dataset.open_dataset(options(MELS=30))  # the constants are those of the melgrams that exist
    assert data.settings == preprocessed.settings
    assert data.grouping.group_by == r"^(\d)"
    assert len(data.load("Train")) + len(data.load("Test")) == 20
    assert data.load("Test", ["low", "x"]).class_names == ["low", "x"]


def test_melgrams_in_memory_are_computed_on_this_machine_even_if_jobs_is_an_address():
    assert len(dataset.open_dataset(options(JOBS="tcp://127.0.0.1:1")).load("Train")) == 16


@pytest.mark.parametrize(("memory_gb", "available", "limit"), [
    (0, None, "0.0"), (1e-6, None, "0.0"), (None, 1000, "0.0"), (None, 10 ** 8, None), (None, None, None),
    (1, 0, None), (math.inf, 0, None)])
def test_melgrams_that_take_more_than_the_memory_stay_in_preproc(preprocessed, monkeypatch, capsys, memory_gb,
                                                                 available, limit):
    """available: bytes of memory; limit: in the message, None if the melgrams are loaded."""
    monkeypatch.setattr(memory, "available_bytes", lambda: available)
    data = dataset.open_dataset(options(), memory_gb=memory_gb)
    assert [data.load(split).on_disk for split in ("Train", "Test")] == [limit is not None] * 2
    says = f"Clips are read from Preproc/ (0.0 GB, MEMORY_GB {limit}).\n" if limit else ""
    assert capsys.readouterr().out == says


def test_samples_are_used_if_nothing_is_preprocessed(capsys):
    Path("Preproc").mkdir()
    Path("Preproc/README.md").touch()
    data = dataset.open_dataset(options(MELS=30, GROUP_BY="x"))
    assert data.settings.mels == 30
    assert data.grouping.group_by == "x"
    assert data.load("Train").melgrams.shape[1] == 30
    assert "preprocess_data.py would keep them in Preproc/." in capsys.readouterr().out


def test_bad_melgrams_are_named_when_they_are_loaded(preprocessed, capsys):
    bad = next(Path("Preproc/Train").rglob("*.npy"))
    bad.write_bytes(b"")
    assert len(dataset.open_dataset(options()).load("Train")) == 15
    assert capsys.readouterr().err.startswith(f"{bad}: is not a melgram")


def test_incomplete_preprocessing_is_refused(preprocessed):
    preproc.write_settings("Preproc", preprocessed.record | {"complete": False})
    with pytest.raises(UserError, match="Preproc/: is not complete; run preprocess_data.py again."):
        dataset.open_dataset(options())


def test_melgrams_of_other_settings_than_the_networks_are_refused(preprocessed):
    dataset.open_dataset(options(), preprocessed.settings)
    with pytest.raises(UserError, match=r"settings.json: has mels = 96, the network in weights.hdf5 was"):
        dataset.open_dataset(options(), dataclasses.replace(preprocessed.settings, mels=3))


@pytest.mark.parametrize("later", [2, 3])
def test_a_network_of_an_earlier_version_uses_its_own_melgrams_only(monkeypatch, capsys, later):
    monkeypatch.setattr(melgram, "FORMAT_VERSION", later - 1)
    preprocess()
    old = dataset.open_dataset(options()).settings
    monkeypatch.setattr(melgram, "FORMAT_VERSION", later)
    capsys.readouterr()
    assert dataset.open_dataset(options(), old).settings == old
    assert not capsys.readouterr().err
    dataset.open_dataset(options())
    assert capsys.readouterr().err == ("Preproc/: contains melgrams of an earlier version; run preprocess_data.py to "
                                       "compute them again.\n")
    new = preprocess().settings
    assert new == dataclasses.replace(old, format_version=later)
    with pytest.raises(UserError, match="the network in weights.hdf5 was trained on melgrams of an earlier version of "
                                        r"Panotti; train again \(train_network.py --fresh; the old file is kept\)."):
        dataset.open_dataset(options(), old)
    preproc.write_settings("Preproc", preproc.read_settings("Preproc")[1] | old.to_dict())
    with pytest.raises(UserError, match="trained on melgrams of a later version of Panotti; run preprocess_data.py"):
        dataset.open_dataset(options(), new)


def test_samples_are_read_in_the_version_of_the_network():
    for path in Path("Samples").rglob("*.wav"):
        write(path, audio_io.read(path)[0] + 0.1)
    new = dataset.open_dataset(options()).settings
    old = dataclasses.replace(new, format_version=1)
    with_offset, without = (dataset.open_dataset(options(), each).load("Test").melgrams for each in (old, new))
    assert np.abs(with_offset - without).max() > 20


def test_samples_are_read_with_the_settings_of_the_network():
    settings = dataset.open_dataset(options(MELS=30)).settings
    assert dataset.open_dataset(options(), settings).settings == settings


def test_a_group_by_that_is_no_regular_expression_is_refused():
    with pytest.raises(UserError, match="GROUP_BY is '\\('"):
        dataset.open_dataset(options(GROUP_BY="("))
