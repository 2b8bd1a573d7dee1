"""Missing packages: one sentence with the command, from every script; requirements.txt; the set-up by demo.sh."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from audio_utils.runtime import installation

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX shells")
SCRIPTS = [str(path.relative_to(ROOT)) for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("audio_utils/*.py")])
           if "script.run(main)" in path.read_text(encoding="utf-8")]
OPTIONAL = {"jax", "torch", "onnx", "tf2onnx", "onnxruntime", "ai_edge_litert", "IPython", "distributed", "tensorboard",
            "cloudpickle"}  # not in requirements.txt


# --- scripts in a Python without packages ----------------------------------------------------------------------------

@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """A copy of the suite, in a folder whose name has a space."""
    folder = tmp_path_factory.mktemp("a copy")
    ignored = shutil.ignore_patterns("*.sofa", "__pycache__")
    shutil.copytree(ROOT / "audio_utils", folder / "audio_utils", ignore=ignored)
    for name in [path for path in SCRIPTS if "/" not in path] + ["panotti_models.py", "requirements.txt"]:
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def activate(suite):
    """The file of a virtual environment in the suite's folder."""
    path = suite / (".venv/Scripts/activate" if os.name == "nt" else ".venv/bin/activate")
    path.parent.mkdir(parents=True)
    path.touch()
    yield path
    shutil.rmtree(suite / ".venv")


def run_without_packages(path, folder, *arguments):
    """Its sentence and command. -S leaves out the packages of this Python, and its virtual environment."""
    result = subprocess.run([sys.executable, "-S", str(path), *arguments], cwd=folder, text=True, capture_output=True,
                            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"})
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 2, result.stderr
    return result.stderr.removesuffix("\n")


@posix
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_without_packages_says_how_to_activate_the_environment(suite, activate, tmp_path, name):
    (tmp_path / "link.py").symlink_to(suite / name)
    sentence = run_without_packages(tmp_path / "link.py", tmp_path)
    assert sentence == f"Panotti's packages are not installed in {sys.executable}; type:\n    source '{activate}'"


@posix
def test_without_an_environment_the_sentence_says_how_to_install(suite, tmp_path):
    sentence = run_without_packages(suite / "preprocess_data.py", tmp_path, "--help")
    assert sentence.endswith("; type this, which installs the packages and runs a demo:\n"
                             f"    bash '{suite}/audio_utils/demo.sh'")
    assert os.path.exists(shlex.split(sentence.splitlines()[-1])[-1])


def test_a_broken_import_in_the_suite_is_a_traceback(suite):
    script = suite / "broken.py"
    for name in ("nothing", "audio_utils.nothing"):
        script.write_text((suite / "preprocess_data.py").read_text().replace("import time\n", f"import {name}\n"))
        result = subprocess.run([sys.executable, "-S", str(script)], text=True, capture_output=True)
        assert result.stderr.endswith(f"ModuleNotFoundError: No module named '{name}'\n")


# --- the sentence ----------------------------------------------------------------------------------------------------

@pytest.fixture
def describe(monkeypatch, tmp_path):
    """The sentence for a missing module, if these packages are not installed, and the suite's folder has a space."""
    def sentence(module, missing):
        for name in missing:
            monkeypatch.setitem(sys.modules, name, None)
        return installation.describe_missing_module(ModuleNotFoundError("no module", name=module))
    folder = tmp_path / "a copy"
    folder.mkdir()
    shutil.copy(ROOT / "requirements.txt", folder)
    monkeypatch.setattr(installation, "_SUITE", folder)
    monkeypatch.setattr(sys, "executable", "/a python")
    monkeypatch.setattr(sys, "prefix", "/environment")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    return sentence


@posix
@pytest.mark.parametrize(("missing", "start"), [
    (["sklearn"], "scikit-learn is not"), (["PIL", "h5py", "tqdm"], "h5py, pillow and tqdm are not"),
    (["tqdm", "h5py", "PIL", "jinja2"], "Panotti's packages are not")])
def test_up_to_three_missing_packages_are_named(describe, tmp_path, missing, start):
    """In an active environment, the command installs into it."""
    assert describe(f"{missing[0]}.part", missing) == (
        f"{start} installed in /a python; type:\n"
        f"    '/a python' -m pip install -r '{tmp_path}/a copy/requirements.txt'")


def test_a_package_that_not_all_platforms_require_is_named_only_if_it_is_used(describe):
    assert describe("h5py", ["h5py", "python_stretch"]).startswith("h5py is not ")
    assert describe("python_stretch", ["h5py", "python_stretch"]).startswith("python-stretch and h5py are not ")


@pytest.mark.parametrize("module", ["numpy.nothing", "nothing", "audio_utils.nothing", "_ssl", None])
def test_any_other_module_is_a_fault_of_the_suite_or_of_the_installation(describe, module):
    assert describe(module, ["h5py"]) is None


@posix
def test_in_the_environment_of_the_suite_the_command_installs(describe, monkeypatch, tmp_path):
    (tmp_path / "a copy/.venv/bin").mkdir(parents=True)
    (tmp_path / "a copy/.venv/bin/activate").touch()
    assert "; type:\n    source '" in describe("h5py", ["h5py"])
    (tmp_path / "link").symlink_to(tmp_path / "a copy")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "link/.venv"))
    assert "; type:\n    '/a python' -m pip install " in describe("h5py", ["h5py"])


@posix
@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_an_unsupported_python_is_one_sentence(describe, monkeypatch, tmp_path, version):
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr(sys, "version", f"{version[0]}.{version[1]}.1 (main)")
    assert describe("h5py", ["h5py"]) == ("Panotti needs Python 3.11, 3.12 or 3.13, and this is "
                                          f"3.{version[1]}.1; type this, which installs the packages and runs a "
                                          f"demo:\n    bash '{tmp_path}/a copy/audio_utils/demo.sh'")
    assert installation.is_old_python() == (version < (3, 11))


def test_on_windows_the_commands_are_those_of_windows(describe, monkeypatch, tmp_path):
    monkeypatch.setattr(installation, "_WINDOWS", True)
    assert describe("h5py", ["h5py"]).endswith(f'type:\n    "/a python" -m pip install -r "{tmp_path / "a copy"}'
                                               f'{os.sep}requirements.txt"')
    monkeypatch.setattr(sys, "version_info", (3, 14))
    assert describe("h5py", ["h5py"]).endswith("; install one of them and use it.")
    (tmp_path / "a copy/.venv/Scripts").mkdir(parents=True)
    (tmp_path / "a copy/.venv/Scripts/activate").touch()
    assert describe("h5py", ["h5py"]).endswith(
        f'type:\n    "{tmp_path / "a copy" / ".venv" / "Scripts" / "activate"}"')


@pytest.mark.parametrize("name", [*SCRIPTS, "audio_utils/__init__.py", "audio_utils/runtime/__init__.py",
                                  "audio_utils/runtime/installation.py"])
def test_python_38_can_parse_the_files_that_lead_to_the_sentence(name):
    ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))


# --- requirements.txt ------------------------------------------------------------------------------------------------

def test_requirements_are_exactly_the_packages_that_the_suite_imports():
    imported = set()
    for path in [*ROOT.glob("*.py"), *ROOT.glob("audio_utils/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    own = {"audio_utils", *(path.stem for path in ROOT.glob("*.py"))}
    required = {module for _, module, _ in installation._requirements()}
    assert imported - own - OPTIONAL - sys.stdlib_module_names == required


# --- the set-up ------------------------------------------------------------------------------------------------------

PYTHON = """#!/bin/sh
case "$*" in
    "-c import sys, venv"*) exit ${OLD:-0} ;;
    *--no-index*) exit ${MISSING:-0} ;;
    *"pip install"*) printf '%s\\n' 'Collecting h5py' 'Downloading h5py.whl (5.2 MB)' ;;
    */binauralify.py*) mkdir e0a0 ;;
esac
"""


@pytest.fixture
def demo(suite, activate, tmp_path):
    """A function that runs demo.sh with a Python that does nothing; environment: variables that tell it what to do."""
    python = activate.parent / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    def run_demo(**environment):
        variables = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        return subprocess.run(["bash", str(suite / "audio_utils/demo.sh")], cwd=tmp_path, text=True,
                              capture_output=True, env=variables | environment)
    return run_demo


@posix
def test_the_end_of_the_demo_says_how_to_continue(demo, suite, activate):
    result = demo()
    *heading, activation, inspect, preprocess, train, evaluate = result.stdout.splitlines()[-7:]
    assert heading == ["To classify your own sounds, put them into Samples/<class>/ in a folder of",
                       "your own, and type there:"]
    assert shlex.split(activation) == ["source", str(activate)]
    assert [shlex.split(line) for line in (inspect, preprocess, train, evaluate)] == [
        ["python", str(suite / name)] for name in (
            "audio_utils/inspect_samples.py", "preprocess_data.py", "train_network.py", "eval_network.py")]
    assert (result.returncode, result.stderr) == (0, "")
    assert "\n$ python audio_utils/split_audio.py 2 e0*/*.wav -r\n" in result.stdout
    again = demo()
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == ("The packages are installed; nothing more is needed.\n"
                            "demo: already exists; rename or delete it, and run the demo again.\n")


@posix
def test_an_installation_shows_its_size_first_and_then_its_progress(demo):
    first, _, progress, empty = demo(MISSING="1").stdout.splitlines()[:4]
    sizes = re.fullmatch(r"Installing packages: up to ([\d.]+ GB) to download and ([\d.]+ GB) on disk; .*", first)
    assert set(sizes.groups()) <= set(re.findall(r"[\d.]+\sGB", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert (progress, empty) == ("Downloading h5py.whl (5.2 MB)", "")


@posix
def test_if_nothing_is_missing_the_installation_is_silent(demo):
    assert demo().stdout.startswith("\n$ python audio_utils/make_samples.py")


@posix
def test_an_active_environment_with_an_unsupported_python_is_one_sentence(demo, activate):
    environment = str(activate.parents[1])
    result = demo(OLD="1", VIRTUAL_ENV=environment)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (f"{environment}: does not contain Python 3.11, 3.12 or 3.13; type deactivate, and the "
                             "same command again.\n")
