"""Flags made from constants, their limits, and the file names on the command line."""

import argparse
import re
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_none_is_a_text_like_any_other(constants):
    assert vars(command_line.parse(constants, argv=["--name", "none", "--rate", "none"]))["name"] == "none"


def test_help_shows_the_comment_and_the_value_in_force(constants, capsys):
    constants["STEP_COUNT"] = 77
    with pytest.raises(SystemExit) as stop:
        command_line.parse(constants, argv=["--help"])
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert stop.value.code == 0
    assert "factors; 100% of them (default: 0.5,2.0)" in shown
    assert "how many (default: 77)" in shown
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


DECIMALS = [  # a flag with a mistake, and the whole sentence; STEP_COUNT and RATE are whole numbers
    ("--last=2,5", "argument --last: '2,5' is not a number; write 2.5"),
    ("--last=-0,5", "argument --last: '-0,5' is not a number; write -0.5"),
    ("--last=1.234,5", "argument --last: '1.234,5' is not a number; write 1234.5"),
    ("--last=1,234.5", "argument --last: '1,234.5' is not a number; write 1234.5"),
    ("--last=1,500", "argument --last: '1,500' is not a number; write 1.500 or 1500"),
    ("--last=", "argument --last: '' is not a number"), ("--last", "argument --last: expected one argument"),
    ("--step-count=1e3", "argument --step-count: '1e3' is not a whole number; write 1000"),
    ("--step-count=3.0", "argument --step-count: '3.0' is not a whole number; write 3"),
    ("--step-count=2,5", "argument --step-count: '2,5' is not a whole number"),
    ("--step-count=10,000", "argument --step-count: '10,000' is not a whole number; write 10 or 10000"),
    ("--step-count=", "argument --step-count: '' is not a whole number"),
    ("--rate=8e3", "argument --rate: '8e3' is not a whole number; write 8000"),
    ("--rate=inf", "argument --rate: 'inf' is not a whole number"),
    *((f"--speed={text}", f"argument --speed: '{text}' is not 2 numbers separated by commas; write them with decimal "
                          "points, such as 0.5,2.0") for text in ("0,5,2,0", "1;2", "1,x", "1,", ""))]
KINDS = {"RATE": Limits(int, 1, optional=True), "STEP_COUNT": Limits(int, 1), "LAST": Limits(float)}


@pytest.mark.parametrize(("flag", "sentence"), DECIMALS)
def test_a_number_that_is_none_is_one_sentence_with_the_right_way_to_write_it(constants, capsys, flag, sentence):
    with pytest.raises(SystemExit) as stop:
        command_line.parse(constants, KINDS, argv=[flag])
    assert stop.value.code == 2
    assert capsys.readouterr().err.partition(": ")[2] == f"{sentence}; --help explains the arguments.\n"


@pytest.mark.parametrize(("flag", "sentence"), [each for each in DECIMALS if "write" in each[1]])
def test_the_number_that_the_sentence_suggests_is_accepted(constants, flag, sentence):
    name = flag.partition("=")[0]
    for number in re.search("(?:write|such as) ([^a-z]+(?: or .*)?)$", sentence)[1].split(" or "):
        assert command_line.parse(constants, KINDS, argv=[f"{name}={number}"])


@pytest.mark.parametrize(("flag", "sentence"), [
    *((f"--last={text}", f"LAST is {float(text)}; set it to a number.") for text in ("inf", "-inf", "nan", "1e999")),
    ("--last=none", "LAST is None; set it to a number.")])
def test_a_number_that_is_not_finite_is_one_sentence(constants, flag, sentence):
    with pytest.raises(UserError) as refused:
        command_line.parse(constants, KINDS, argv=[flag])
    assert str(refused.value) == sentence


@given(st.floats(0.001, 1e6), st.sampled_from([",", ".,"]))
def test_any_number_with_a_decimal_comma_is_refused_and_suggested_with_a_point(value, marks):
    text = f"{value:,.3f}" if marks == ".," else f"{value:.3f}"
    local = text.translate(str.maketrans(",.", ".,"))
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        command_line._number(local, float)
    assert f"{value:.3f}" in str(refused.value).partition("write ")[2].split(" or ")


def test_numbers_among_the_positional_arguments_are_read_alike(constants, capsys):
    positional = [("n", {"type": float}), ("m", {"type": int})]
    assert command_line.parse(constants, positional=positional, argv=["0.5", "3"]).n == 0.5
    for argv, sentence in ((["0,5", "3"], "argument n: '0,5' is not a number; write 0.5"),
                           (["1", "1e2"], "argument m: '1e2' is not a whole number; write 100")):
        with pytest.raises(SystemExit):
            command_line.parse(constants, positional=positional, argv=argv)
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(("limits", "value", "end"), [
    (Limits(float, 0), (2, 5), "of at least 0; write 2.5."), (Limits(int), (2, 5), "set it to a whole number."),
    (Limits(float), float("inf"), "set it to a number."), (Limits(float, 0), float("nan"), "of at least 0."),
    (Limits(int), 1e3, "set it to a whole number.")])
def test_constants_that_are_no_finite_number_are_refused(limits, value, end):
    with pytest.raises(UserError) as refused:
        limits.check("RATE", value)
    assert str(refused.value).endswith(end)
    Limits(int).check("RATE", 10 ** 400)


@pytest.mark.parametrize("default", [0.0, "auto"])
def test_a_number_or_a_word(constants, default, capsys):
    limits = {"RATE": Limits(float, 0, 1, words=("auto", "precision"))}
    constants["RATE"] = default
    for text, value in (("0.5", 0.5), ("1", 1.0), ("auto", "auto"), ("Precision", "precision")):
        assert command_line.parse(constants, limits, argv=["--rate", text]).rate == value
    assert command_line.parse(constants, limits, argv=[]).rate == default
    for text, problem in (("often", "is not auto, precision or a number;"),
                          ("0,5", "is not auto, precision or a number; write 0.5;")):
        with pytest.raises(SystemExit):
            command_line.parse(constants, limits, argv=["--rate", text])
        assert problem in capsys.readouterr().err
    for wrong, problem in (("often", "'often'; set it to auto, precision or a number of at least 0 and at most 1."),
                           ((0, 5), "(0, 5); set it to auto, precision or a number of at least 0 and at most 1; write "
                                    "0.5.")):
        constants["RATE"] = wrong
        with pytest.raises(UserError, match=re.escape(problem)):
            command_line.parse(constants, limits, argv=[])


def test_constants_of_another_script_are_checked_and_overridden():
    script = SimpleNamespace(__name__="script", MELS=96, MONO=False, _LIMITS={"MELS": Limits(int, 1)}, other=3)
    assert vars(command_line.constants(script, {"MONO": True, "OF_AN_OLDER_VERSION": 1})) == {"mels": 96, "mono": True}
    with pytest.raises(UserError, match="MELS is 0"):
        command_line.constants(script, {"MELS": 0})


def test_recorded_values_replace_constants_but_not_flags(constants):
    options = command_line.parse(constants, {"STEP_COUNT": Limits(int, 1)}, argv=["--step-count", "5"])
    changed = options.with_values({"step_count": 7, "name": "y"})
    assert (changed.step_count, changed.name, changed.given) == (5, "y", {"step_count": 5})
    assert (options.step_count, options.name) == (5, "x")
    with pytest.raises(UserError, match="STEP_COUNT is 0"):
        command_line.parse(constants, {"STEP_COUNT": Limits(int, 1)}, argv=[]).with_values({"step_count": 0})


def test_the_name_of_an_existing_file_is_no_pattern(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("take[1].wav", "take1.wav", "a*.wav", "ab.wav"):
        (tmp_path / name).touch()
    assert command_line.expand(["take[1].wav", "a*.wav"]) == ["take[1].wav", "a*.wav"]
    assert command_line.expand(["take[12].wav", "gone*.wav"]) == ["take1.wav", "gone*.wav"]


def test_patterns_are_expanded_where_no_shell_did_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.wav", "a.wav", "x[1].wav"):
        (tmp_path / name).touch()
    assert command_line.expand(["?.wav", "a.wav", "x[1].wav", "none*"]) == ["a.wav", "b.wav", "x[1].wav", "none*"]


def test_name_collisions_name_the_earlier_file():
    assert command_line.name_collisions(["a.wav", "b.wav", "a.mp3", "a.ogg"], lambda file: file[0]) == {
        "a.mp3": "a.wav", "a.ogg": "a.wav"}


# --- addresses -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value", ["tcp://host:8786", "tcp://10.0.0.1:80", "tls://[::1]:8786"])
def test_a_number_of_processes_may_be_the_address_of_a_scheduler(constants, value):
    limits = {"STEP_COUNT": Limits(int, 1, address=True)}
    assert command_line.parse(constants, limits, argv=["--step-count", value]).step_count == value
    assert command_line.parse(constants, limits, argv=["--step-count", "8"]).step_count == 8


@pytest.mark.parametrize("value", ["host:8786", "tcp://host", "http://host:8786", "tcp://host:8786/x", "tcp://a b:1"])
def test_any_other_text_is_one_sentence(constants, value):
    limits = {"STEP_COUNT": Limits(int, 1, address=True)}
    with pytest.raises(UserError) as refused:
        command_line.parse(constants, limits, argv=["--step-count", value])
    assert str(refused.value) == (f"STEP_COUNT is {value!r}; set it to a whole number of at least 1, or to the address "
                                  "of a Dask scheduler, such as tcp://host:8786.")
