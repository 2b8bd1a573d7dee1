"""tests/benchmarks/: what no benchmark would tell of itself."""

import pytest
from conftest import ROOT


@pytest.mark.parametrize(("text", "flags"), [
    ("", []), ("--mixup 0.3 --folds 5", ["--mixup", "0.3", "--folds", "5"]),
    (r"--keep-together=_e0a[\d.]+$", [r"--keep-together=_e0a[\d.]+$"]), ("--folds '^a b' #", ["--folds", "^a b", "#"])])
def test_flags_within_a_flag_keep_their_backslashes(monkeypatch, text, flags):
    monkeypatch.syspath_prepend(ROOT / "tests/benchmarks")
    from side_by_side import split_flags
    assert split_flags(text) == flags
