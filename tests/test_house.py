"""The structure of the suite: its files and folders, the direction of its imports, the frame that all scripts share."""

import argparse
import ast
import fnmatch
import importlib
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from audio_utils.runtime import command_line

SCRIPTS = ("preprocess_data.py", "augment_data.py", "train_network.py", "eval_network.py", "predict_class.py")
TOOLS = ("split_audio.py", "concat_audio.py", "binauralify.py", "make_samples.py", "inspect_samples.py",
         "export_model.py", "find_similar.py")
PACKAGES = ("runtime", "audio", "data", "evaluation", "inference", "training")
ORDER = ("runtime", "audio", "data", "evaluation", "panotti_models", "inference", "training", "scripts")
TOP_LEVEL = {*SCRIPTS, "panotti_models.py", "audio_utils", "Samples", "Preproc", "tests", "requirements.txt",
             "README.md"}
AUDIO_UTILS = {*TOOLS, *PACKAGES, "README.md", "LICENSE", "demo.sh", "__init__.py", "__pycache__"}
COMMANDS = (*SCRIPTS, *(f"audio_utils/{tool}" for tool in TOOLS))
MAY_IMPORT = {"preprocess_data": ("train_network.py", "eval_network.py", "audio_utils/export_model.py",
                                  "audio_utils/find_similar.py"),
              "eval_network": ("train_network.py",)}  # for constants
NOT_TESTED_ALONE = {"__init__.py", "console.py", "drawing.py",  # tested by the plots that are drawn with it, and by
                    "trainer.py", "checkpointing.py", "cross_validation.py"}  # test_train_network.py
KERAS = {"keras", "tensorflow", "jax", "torch"}
HEAVY = KERAS | {"librosa", "sklearn", "scipy", "matplotlib", "dask", "distributed"}
MODULES = [*COMMANDS, "panotti_models.py", *sorted(str(path.relative_to(ROOT)) for package in PACKAGES
                                                   for path in ROOT.glob(f"audio_utils/{package}/*.py"))]


# --- files and folders -----------------------------------------------------------------------------------------------

def test_the_top_level_holds_only_the_files_listed_here():
    """Except for hidden files, and the output of scripts run in this folder, which git ignores."""
    lines = (ROOT / ".gitignore").read_text().splitlines()
    ignored = [(line.strip("/"), line.endswith("/")) for line in lines if line and line[0] not in "#!"]
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")
             and not any(fnmatch.fnmatch(path.name, pattern) and (path.is_dir() or not folder_only)
                         for pattern, folder_only in ignored)}
    assert found == TOP_LEVEL


def test_audio_utils_holds_only_tools_and_packages():
    assert {path.name for path in (ROOT / "audio_utils").iterdir()} <= AUDIO_UTILS


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_modules_of_at_most_300_lines_and_one_test_file_each(package):
    tests = {path.name for path in (ROOT / "tests" / package).glob("*.py")}
    for path in (ROOT / "audio_utils" / package).glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path
        assert path.name in NOT_TESTED_ALONE or f"test_{path.name}" in tests, path


# --- imports ---------------------------------------------------------------------------------------------------------

def imported_modules(module):
    """The dotted names that a file of the suite imports, at its top or in functions."""
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(module):
    """The index in ORDER of a module of the suite (a path or a dotted name); None for any other."""
    parts = module.removesuffix(".py").replace("/", ".").split(".")
    if parts[0] == "audio_utils" and parts[1] in PACKAGES:
        return ORDER.index(parts[1])
    if parts[0] == "panotti_models":
        return ORDER.index("panotti_models")
    script = "/".join(parts[:2 if parts[0] == "audio_utils" else 1]) + ".py"
    return ORDER.index("scripts") if script in COMMANDS else None


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_only_to_earlier_packages(module):
    for name in imported_modules(module):
        if layer(name) is not None and name not in MAY_IMPORT:
            assert layer(name) <= layer(module), name
            assert layer(name) < ORDER.index("scripts"), f"{name} is a script"
        assert name not in MAY_IMPORT or module in MAY_IMPORT[name]


@pytest.mark.parametrize("module", MODULES)
def test_only_models_inference_and_training_import_keras(module):
    if layer(module) in (ORDER.index(package) for package in ("panotti_models", "inference", "training")):
        return
    assert not {name.partition(".")[0] for name in imported_modules(module)} & KERAS


# --- scripts ---------------------------------------------------------------------------------------------------------

def imported_in(result):
    """The modules that a process with PYTHONPROFILEIMPORTTIME has imported."""
    return {line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if "import time:" in line}


@pytest.mark.parametrize("script", COMMANDS)
def test_help_explains_the_script_and_imports_nothing_heavy(run, tmp_path, script):
    """Through a link to the script, and with PYTHONSAFEPATH."""
    link = tmp_path / "link.py"
    link.symlink_to(ROOT / script)
    result = run(link, "--help", PYTHONPROFILEIMPORTTIME="1", PYTHONSAFEPATH="1")
    assert f"python {script}" in result.stdout
    assert "(default: " in result.stdout
    assert not imported_in(result) & HEAVY


@pytest.mark.parametrize("script", ["preprocess_data.py", "train_network.py", "eval_network.py"])
def test_a_mistake_is_reported_before_anything_heavy_is_imported(run, script):
    assert not imported_in(run(script, status=1, PYTHONPROFILEIMPORTTIME="1")) & HEAVY


@pytest.fixture
def parser(monkeypatch):
    """A function: script, arguments → (its parser, the arguments that reach the parser, its module)."""
    class Parsed(Exception):
        pass

    def parse_args(parser, arguments):
        raise Parsed(parser, arguments)

    def start(script, *arguments):
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
        with pytest.raises(Parsed) as parsed:
            module.main()
        return *parsed.value.args, module
    return start


@pytest.mark.parametrize("script", COMMANDS)
def test_every_constant_has_a_comment_and_a_flag_with_dashes_or_underscores(parser, script):
    constants = command_line._commented_constants(ROOT / script)
    assert constants
    assert [name for name, comment in constants if not comment] == []
    flags = [f"--{name.lower()}" for name, _ in constants]
    found, arguments, module = parser(script, *flags)
    assert arguments == [flag.replace("_", "-") for flag in flags]
    assert set(arguments) <= set(found._option_string_actions)
    assert {name for name in vars(module) if name.isupper() and name[0] != "_"} >= {name for name, _ in constants}


@pytest.mark.parametrize("script", COMMANDS)
def test_limits_are_those_of_arguments_and_hold_for_the_constants(parser, script):
    found, _, module = parser(script)
    names = {action.dest for action in found._actions}
    for name, limits in getattr(module, "_LIMITS", {}).items():
        assert name.lower() in names
        if hasattr(module, name):
            limits.check(name, getattr(module, name))


@pytest.mark.parametrize("script", COMMANDS)
def test_every_script_has_the_same_frame(script):
    text = (ROOT / script).read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert "\nscript.guard_imports(__name__)" in text
    assert "\ndef main() -> " in text
    assert text.endswith('\nif __name__ == "__main__":\n    script.run(main)\n')
    folder = "parents[1]" if Path(script).parent.name else "parent"
    assert f"\nsys.path.insert(0, str(Path(__file__).resolve().{folder}))" in text


def test_no_message_says_to_delete_what_holds_the_split_or_the_network():
    """A damaged keras.json may be deleted; settings.json, index.csv and weights.hdf5 never."""
    for path in [*ROOT.glob("*.py"), *ROOT.glob("audio_utils/**/*.py")]:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "keras_json" not in line]
        assert not [line for line in lines if "; delete it" in line or "delete {" in line], path
