"""network_choice.py: NETWORK = "auto" is `hybrid` for few clips that a regression on statistics separates well."""

from argparse import Namespace

import networks
import numpy as np
import pytest

from audio_utils.data.clips import Clips, one_hot
from audio_utils.inference import distribution
from audio_utils.runtime.errors import UserError
from audio_utils.training import network_choice, regression

CLASSES = ["one", "two", "three"]


def chosen(name="auto", count=60, weights=(), start_from="", **clips):
    labels = np.arange(count) % 3
    options = Namespace(network=name, start_from=start_from, balance="none")
    network_choice.choose(options, None, Clips(None, one_hot(list(labels), 3), [f"{i}.wav" for i in labels], CLASSES,
                                               **clips), weights)
    return options.network


@pytest.fixture
def accuracy(monkeypatch):
    """Set the accuracy of the regression."""
    return lambda value: monkeypatch.setattr(regression, "cross_validate", lambda *_: value)


@pytest.mark.parametrize(("value", "name"), [(0.7, "hybrid"), (1.0, "hybrid"), (0.69, "residual"), (0.0, "residual")])
def test_the_accuracy_in_cross_validation_decides(accuracy, capsys, value, name):
    accuracy(value)
    assert chosen() == name
    assert f"NETWORK: {name!r}, because a regression on statistics" in capsys.readouterr().out


@pytest.mark.parametrize("count", [23, 450, 4500])
def test_with_fewer_than_8_or_with_150_clips_per_class_it_is_residual(accuracy, capsys, count):
    accuracy(1.0)
    assert chosen(count=count) == "residual"
    assert not capsys.readouterr().out
    assert chosen(count=24) == chosen(count=449) == "hybrid"


def test_the_network_of_a_training_that_continues_is_kept(tmp_path, accuracy):
    accuracy(1.0)
    networks.write_random_network(tmp_path)
    missing = tmp_path / "missing.hdf5"
    assert chosen(weights=[missing, tmp_path / "weights.hdf5"]) == "vgg"
    assert chosen(start_from=str(tmp_path / "weights.hdf5")) == "vgg"
    assert chosen(weights=[missing]) == "hybrid"


def test_processes_are_connected_before_the_first_computation(monkeypatch):
    calls = []
    monkeypatch.setattr(distribution, "begin", lambda: calls.append("begin"))
    monkeypatch.setattr(regression, "cross_validate", lambda *_: calls.append("cross_validate") or 1.0)
    assert chosen() == "hybrid"
    assert calls == ["begin", "cross_validate"]


def test_a_named_network_is_kept(accuracy):
    accuracy(1.0)
    assert chosen("modulation") == "modulation"


def test_with_several_labels_hybrid_is_not_chosen_and_refused(accuracy):
    accuracy(1.0)
    assert chosen(multi_label=True) == "residual"
    with pytest.raises(UserError, match="NETWORK is 'hybrid', which needs one class per sound; with MULTI_LABEL, "):
        chosen("hybrid", multi_label=True)


def test_of_a_training_without_several_labels_that_continues_the_mode_is_refused_and_not_the_network(tmp_path):
    networks.write_random_network(tmp_path)
    with pytest.raises(UserError, match="weights.hdf5: was trained with MULTI_LABEL = False, but Preproc/ was made"):
        chosen("hybrid", weights=[tmp_path / "weights.hdf5"], multi_label=True)
