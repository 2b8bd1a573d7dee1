"""help_format.py: docstrings fit the terminal, commands stay whole, and each flag names the kind of its value."""

import argparse

import pytest
from conftest import ROOT

from audio_utils.runtime import command_line, help_format

DOCSTRING = """Write copies of sounds, to
enlarge the training set.

Writes  copies.csv    the names of all copies that were written
        <file>_aug1.<ext> and so on, beside each of the given files

    python tool.py    # three copies, and no more than that
    python tool.py 3 Samples/*/* --shift=-0.1,0.1    # other copies
    python tool.py 3 Samples/*/* --shift=-0.1,0.1 --overwrite
"""
PRINTED = """Write copies of sounds, to enlarge the training
set.

Writes  copies.csv    the names of all copies
                      that were written
        <file>_aug1.<ext> and so on, beside each
        of the given files

    python tool.py    # three copies, and no
                      # more than that
    # other copies
    python tool.py 3 Samples/*/* --shift=-0.1,0.1
    python tool.py 3 Samples/*/* --shift=-0.1,0.1 --overwrite
"""


def test_prose_is_wrapped_and_columns_and_commands_are_kept(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    parser = argparse.ArgumentParser("tool.py", description=DOCSTRING, formatter_class=help_format.Formatter,
                                     usage="", add_help=False)
    assert parser.format_help().partition("\n\n")[2] == PRINTED


@pytest.mark.parametrize("path", [*ROOT.glob("*.py"), *ROOT.glob("audio_utils/*.py")], ids=lambda path: path.name)
def test_the_docstrings_of_all_scripts_fit_80_columns(path):
    text = help_format.Formatter("x")._fill_text(path.read_text(encoding="utf-8").split('"""')[1], 78, "")
    assert [line for line in text.splitlines() if len(line) > 79] == []


@pytest.mark.parametrize(("name", "value", "limits", "word"), [
    ("HOP_SECONDS", None, command_line.Limits(float), "SECONDS"), ("MAX_DELAY_MS", 5.0, None, "MS"),
    ("SAMPLE_RATE", None, command_line.Limits(int), "HZ"), ("LEARNING_RATE", 0.1, None, "NUMBER"),
    ("FOLDS", "", None, "N|REGEX"), ("JOBS", None, command_line.Limits(int), "N"), ("FORMATS", "onnx", None, "TEXT"),
    ("NAME", None, None, "TEXT"), ("SHIFT", (-0.2, 0.2), None, "NUMBER,NUMBER"),
    ("LEVEL_DB", (-6.0, 6.0), None, "DB,DB")])
def test_the_kind_of_value_follows_from_the_name_or_the_type(name, value, limits, word):
    assert help_format.metavar(name, value, limits and limits.kind) == word
