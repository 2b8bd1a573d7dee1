"""The edge of the scripts: flags made of constants, and how each script says what it is."""

import re

import pytest
from conftest import ROOT

from audio_utils import command_line
from audio_utils.safe_files import UserError

SCRIPTS = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.py"), *ROOT.glob("audio_utils/*.py")]
                 if "command_line.run(main)" in path.read_text() and path.name != "command_line.py")

EXAMPLE = '''"""An example."""
RATE = None      # Hz; None: what is there
SPEED = (0.5, 2.0)   # times;
                 # 100% of them
MONO = False     # mix?
NAME = "x"       # a name
COUNT = 3        # how many

# a remark that belongs to nothing
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
    assert vars(options) == {"rate": None, "speed": (0.5, 2.0), "mono": False, "name": "x", "count": 3, "last": 1.5}


def test_flags_overrule_them(constants):
    flags = "--rate 8000 --speed 1,3 --mono --name y --count 4 --last none"
    options = command_line.parse(constants, argv=flags.split())
    assert vars(options) == {"rate": 8000, "speed": (1.0, 3.0), "mono": True, "name": "y", "count": 4, "last": None}


def test_help_shows_the_comment_and_the_value_in_force(constants, capsys):
    constants["COUNT"] = 77
    with pytest.raises(SystemExit) as stop:
        command_line.parse(constants, argv=["--help"])
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert stop.value.code == 0
    assert "times; 100% of them (now: 0.5,2.0)" in shown
    assert "how many (now: 77)" in shown
    assert "belongs to nothing" not in shown


@pytest.mark.parametrize("flags", ["--count many", "--speed 1", "--speed 1,x", "--unknown 1", "--rate x", "--coun 3"])
def test_bad_flags_are_status_2(constants, flags, capsys):
    with pytest.raises(SystemExit) as stop:
        command_line.parse(constants, argv=flags.split())
    assert stop.value.code == 2


@pytest.mark.parametrize(("value", "good"), [
    (1, True), (10, True), (0, False), (11, False), ("3", False), (None, False), (True, False), (1.5, False),
    (float("nan"), False)])
def test_check_number(constants, value, good):
    options = command_line.parse(constants, argv=[])
    options.count = value
    if good:
        command_line.check_number(options, "count", int, 1, 10)
    else:
        with pytest.raises(UserError, match="COUNT is .*; set it to a whole number of at least 1 and at most 10"):
            command_line.check_number(options, "count", int, 1, 10)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_explains_itself(run, script):
    shown = run(script, "--help").stdout
    assert "python " + script.replace("\\", "/") in shown
    assert "(now: " in shown


def test_all_scripts_are_looked_at():
    assert {"preprocess_data.py", "train_network.py", "eval_network.py", "augment_data.py"} <= set(SCRIPTS)


def test_help_and_mistakes_import_nothing_heavy(run):
    """What takes seconds to import must not be imported to say what is wrong."""
    heavy = ("tensorflow", "keras", "librosa", "sklearn", "scipy", "matplotlib", "jax", "torch")
    for script in SCRIPTS:
        result = run(script, "--help", PYTHONPROFILEIMPORTTIME="1")
        imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if "import time:" in line}
        assert not imported & set(heavy), script
    for script in ("preprocess_data.py", "train_network.py", "eval_network.py"):
        result = run(script, status=1, PYTHONPROFILEIMPORTTIME="1")
        imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if "import time:" in line}
        assert not imported & set(heavy), script
