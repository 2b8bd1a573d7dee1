"""Flags made from constants, their limits, and the file names on the command line."""

import re
from types import SimpleNamespace

import pytest

from audio_utils.runtime import command_line
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.errors import UserError

EXAMPLE = '''"""An example."""
RATE = None      # Hz; None: that of the files
SPEED = (0.5, 2.0)   # factors;
                 # 100% of them
MONO = False     # mix?
NAME = "x"       # a name
STEP_COUNT = 3   # how many

# a comment on no constant
LAST = 1.5       # the last
_PRIVATE = 1
'''


@pytest.fixture
def constants(tmp_path):
    script = tmp_path / "example.py"
    script.write_text(EXAMPLE)
    values = {"__file__": str(script)}
    exec(EXAMPLE, values)
    return values


def test_constants_are_the_defaults(constants):
    options = command_line.parse(constants, argv=[])
    assert vars(options) == {"rate": None, "speed": (0.5, 2.0), "mono": False, "name": "x", "step_count": 3,
                             "last": 1.5}


def test_flags_override_constants(constants):
    flags = "--rate 8000 --speed 1,3 --mono --name y --step-count 4 --last none"
    options = command_line.parse(constants, argv=flags.split())
    assert vars(options) == {"rate": 8000, "speed": (1.0, 3.0), "mono": True, "name": "y", "step_count": 4,
                             "last": None}


@pytest.mark.parametrize("flags", ["--step_count 4", "--step_count=4", "--step-count 4", "-c 4"])
def test_flags_may_have_underscores_and_one_letter(constants, flags):
    assert command_line.parse(constants, argv=flags.split(), short={"STEP_COUNT": "-c"}).step_count == 4


def test_underscores_in_values_and_file_names_stay(constants):
    options = command_line.parse(constants, positional=[("files", {"nargs": "*"})],
                                 argv=["--name=--a_b", "a_b", "--", "--a_b"])
    assert (options.name, options.files) == ("--a_b", ["a_b", "--a_b"])


def test_help_shows_the_comment_and_the_value_in_force(constants, capsys):
    constants["STEP_COUNT"] = 77
    with pytest.raises(SystemExit) as stop:
        command_line.parse(constants, argv=["--help"])
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert stop.value.code == 0
    assert "factors; 100% of them (now: 0.5,2.0)" in shown
    assert "how many (now: 77)" in shown
    assert "comment on no constant" not in shown


@pytest.mark.parametrize("flags", ["--step-count many", "--speed 1", "--speed 1,x", "--unknown 1", "--rate x",
                                   "--step-coun 3", "--last 1 2"])
def test_bad_flags_are_status_2(constants, flags, capsys):
    with pytest.raises(SystemExit) as stop:
        command_line.parse(constants, argv=flags.split())
    assert stop.value.code == 2


@pytest.mark.parametrize(("value", "valid"), [
    (1, True), (10, True), (0, False), (11, False), ("3", False), (None, False), (True, False), (1.5, False),
    (float("nan"), False)])
def test_limits_of_a_whole_number(constants, value, valid):
    constants["STEP_COUNT"] = value
    limits = {"STEP_COUNT": Limits(int, 1, 10)}
    if valid:
        assert command_line.parse(constants, limits, argv=[]).step_count == value
    else:
        with pytest.raises(UserError, match="STEP_COUNT is .*; set it to a whole number of at least 1 and at most 10."):
            command_line.parse(constants, limits, argv=[])


@pytest.mark.parametrize(("limits", "value", "problem"), [
    (Limits(float, 0), 0, None), (Limits(float, 0), -0.1, "a number of at least 0."), (Limits(float), -5, None),
    (Limits(float), "x", "set it to a number."), (Limits(int, optional=True), None, None),
    (Limits(float, 0, 1), float("inf"), "at least 0 and at most 1"), (Limits(int, None, 3), 4, "of at most 3")])
def test_limits_without_bounds_and_of_floats(limits, value, problem):
    if not problem:
        limits.check("RATE", value)
        return
    with pytest.raises(UserError, match=problem):
        limits.check("RATE", value)


def test_constants_of_another_script_are_checked_and_overridden():
    script = SimpleNamespace(__name__="script", MELS=96, MONO=False, _LIMITS={"MELS": Limits(int, 1)}, other=3)
    assert vars(command_line.constants(script, {"MONO": True, "OF_AN_OLDER_VERSION": 1})) == {"mels": 96, "mono": True}
    with pytest.raises(UserError, match="MELS is 0"):
        command_line.constants(script, {"MELS": 0})


def test_patterns_are_expanded_where_no_shell_did_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.wav", "a.wav", "x[1].wav"):
        (tmp_path / name).touch()
    assert command_line.expand(["?.wav", "a.wav", "x[1].wav", "none*"]) == ["a.wav", "b.wav", "x[1].wav", "none*"]


def test_name_collisions_name_the_earlier_file():
    assert command_line.name_collisions(["a.wav", "b.wav", "a.mp3", "a.ogg"], lambda file: file[0]) == {
        "a.mp3": "a.wav", "a.ogg": "a.wav"}
