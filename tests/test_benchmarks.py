"""tests/benchmarks/: the helpers that can be tested without a measurement."""

import pytest
from conftest import ROOT


@pytest.mark.parametrize(("text", "flags"), [
    ("", []), ("--mixup 0.3 --folds 5", ["--mixup", "0.3", "--folds", "5"]),
    (r"--group-by=_e0a[\d.]+$", [r"--group-by=_e0a[\d.]+$"]), ("--folds '^a b' #", ["--folds", "^a b", "#"])])
def test_split_flags_keeps_backslashes(monkeypatch, text, flags):
    monkeypatch.syspath_prepend(ROOT / "tests/benchmarks")
    from side_by_side import split_flags
    assert split_flags(text) == flags


@pytest.mark.slow
def test_accuracy_reuses_only_results_of_the_same_flags(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests/benchmarks")
    monkeypatch.chdir(tmp_path)
    import accuracy

    from audio_utils.runtime import command_line
    runs = []
    monkeypatch.setattr(accuracy, "run_script", lambda *arguments: runs.append(arguments))
    monkeypatch.setattr(accuracy, "network_scores", lambda *_: {"accuracy": len(runs)})

    def accuracy_of(*flags, samples="a/Samples"):
        options = command_line.parse(vars(accuracy), accuracy._LIMITS, argv=list(flags))
        return accuracy.run(tmp_path / samples, tmp_path / "accuracy/a/vgg", "vgg", options)["accuracy"]

    assert [accuracy_of(), accuracy_of()] == [1, 1]
    changed = [("--seed", "2"), ("--train", "--mixup 0.3"), ("--preprocess", "--mels 40"), ("--folds", "5")]
    assert [accuracy_of(*flags) for flags in changed] == [2, 3, 4, 5]
    assert accuracy_of(samples="b/Samples") == 6
    assert [accuracy_of(*flags) for flags in changed] == [2, 3, 4, 5]
