"""find_similar.py: a sound is not its own neighbor, an identical one is named, bad files are skipped."""

import shutil

import pytest
from conftest import run_main, sine, tones, write
from networks import small, write_random_network

import panotti_models
import preprocess_data
from audio_utils import find_similar
from audio_utils.data import preproc
from audio_utils.runtime.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(panotti_models.NETWORKS, "small", small)
    tones(tmp_path, files=3)
    shutil.copy(tmp_path / "Samples/low/1.wav", tmp_path / "Samples/low/a “copy”, 1.wav")
    run_main(preprocess_data, tmp_path, "--mels", "24", "--test-fraction", "0", "--jobs", "1")
    settings, _ = preproc.read_settings(tmp_path / "Preproc")
    write_random_network(tmp_path, "small", settings=settings, class_names=["high", "low"])
    return tmp_path


def test_lists_other_sounds_and_names_an_identical_one(folder, call_main):
    shutil.copy(folder / "Samples/low/1.wav", folder / "new.wav")
    write(folder / "long.wav", sine(300, 1))
    status, out, err = call_main(find_similar, "Samples/low/1.wav", "new.wav", "bad.wav", "long.wav", "--n", 4,
                                 "--jobs", 1)
    lines = out.splitlines()
    assert status == 1
    assert "bad.wav: does not exist" in err
    assert lines[0] == "Cosine similarity of 4 features to 7 clips of Preproc/:"
    own = lines[2:6]
    assert "    1.0000  low/a “copy”, 1.wav, identical content" in own
    assert sum("identical content" in line for line in own) == 1
    assert not any(line.endswith("low/1.wav") for line in own)
    new = lines[lines.index(next(line for line in lines if line.startswith("new.wav: "))) + 1:][:4]
    assert sum("identical content" in line for line in new) == 2
    assert ", at 0." in out.split("long.wav: ")[1]
    assert "train_network.py --folds 5" in lines[-1]


def test_without_sounds_only_labels_are_listed(folder, call_main):
    assert call_main(find_similar)[1].count("\n") == 1


def test_mistakes_are_one_sentence(call_main):
    with pytest.raises(UserError, match="Samples/: does not exist"):
        call_main(find_similar, "a.wav")
