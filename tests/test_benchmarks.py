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
