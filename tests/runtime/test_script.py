"""The frame around every script: statuses and sentences, closed streams, links, ^C while importing, and notebooks."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import types

import pytest
from conftest import ROOT, tones

import augment_data
import preprocess_data
import train_network
from audio_utils import inspect_samples
from audio_utils.runtime import script, signals
from audio_utils.runtime.errors import UserError

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and shells")

EXAMPLE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from audio_utils.runtime import safe_files, script
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import UserError

def main():
    say("said")
    warn("warned")
    safe_files.write_text("out.txt", "written")
    if sys.argv[1:]:
        raise UserError(sys.argv[1])

if __name__ == "__main__":
    script.run(main)
"""


# --- statuses --------------------------------------------------------------------------------------------------------

def raises(error):
    def main():
        raise error
    return main


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch):
    monkeypatch.setattr(signals, "install", lambda: None)  # these would end the tests' process


@pytest.mark.parametrize(("main", "status", "sentence"), [
    (lambda: None, 0, ""), (lambda: 1, 1, ""), (raises(UserError("x.wav: is empty.")), 1, "x.wav: is empty.\n"),
    (raises(PermissionError(13, "Permission denied", "x.wav")), 1,
     "x.wav: permission denied; give yourself access to it or to its folder (chmod u+rwX).\n"),
    (raises(MemoryError()), 1, "Not enough memory; use fewer or shorter sounds.\n")])
def test_the_status_and_the_sentence_of_how_main_ends(capsys, main, status, sentence):
    with pytest.raises(SystemExit) as end:
        script.run(main)
    assert end.value.code == status
    assert capsys.readouterr() == ("", sentence)


@pytest.mark.parametrize("module", [augment_data, preprocess_data, train_network, inspect_samples])
def test_the_remedy_against_lack_of_memory_is_a_flag_that_the_script_has(capsys, module):
    main = types.FunctionType(raises(None).__code__, vars(module), closure=(types.CellType(MemoryError()),))
    with pytest.raises(SystemExit):
        script.run(main)
    flags = re.findall(r"--[\w-]+", capsys.readouterr().err)
    assert {flag[2:].upper().replace("-", "_") for flag in flags} <= set(vars(module))
    assert flags


def test_a_package_that_is_missing_from_main_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(SystemExit) as end:
        script.run(raises(ModuleNotFoundError("no module", name="jinja2.sandbox")))
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith(f"jinja2 is not installed in {sys.executable}; type:\n    ")


def shim(folder, code):
    """A library that makes flock fail, to be loaded before all others."""
    (folder / "no_locks.c").write_text(f"#include <errno.h>\nint flock(int f, int o) {{ errno = {code}; return -1; }}")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "no_locks.so", folder / "no_locks.c"], check=True)
    return str(folder / "no_locks.so")


@posix
@pytest.mark.skipif(not shutil.which("cc") or sys.platform != "linux", reason="needs a C compiler and Linux")
@pytest.mark.parametrize("code", ["ENOLCK", "EINVAL", "ENOTSUP"])
def test_without_locks_in_the_file_system_hdf5_files_are_written_and_read(tmp_path, code):
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from audio_utils.runtime import safe_files, script

script.guard_imports("__main__")
import h5py

for mode in ("w", "r+", "r"):
    with safe_files.locked("."), h5py.File("x.hdf5", mode) as file:
        print(file.mode)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, text=True, capture_output=True,
                            env=os.environ | {"LD_PRELOAD": shim(tmp_path, code)})
    assert result.stdout == "r+\nr+\nr\n"
    assert result.stderr.endswith("/: the file system has no locks; do not start two runs here at the same time.\n")
    assert result.stderr.count("\n") == 1


def test_a_fault_of_the_suite_is_a_traceback():
    with pytest.raises(ZeroDivisionError):
        script.run(lambda: 1 / 0)


@posix
def test_a_closed_pipe_is_the_end_of_the_output_and_no_error(tmp_path):
    program = EXAMPLE.replace('say("said")', 'for _ in range(99_999): say("said")')
    result = subprocess.run(["bash", "-c", '"$0" -c "$1" | head -1; echo "${PIPESTATUS[0]}"', sys.executable, program],
                            cwd=tmp_path, text=True, capture_output=True)
    assert (result.stdout, result.stderr) == ("said\n0\n", "")


# --- streams ---------------------------------------------------------------------------------------------------------

def run_in_shell(tmp_path, redirection, program, *arguments):
    return subprocess.run(["bash", "-c", f'"$@" {redirection}', "bash", sys.executable, program, *arguments],
                          cwd=tmp_path, text=True, capture_output=True, stdin=subprocess.DEVNULL)


@posix
@pytest.mark.parametrize(("redirection", "output"), [
    (">&-", ("", "warned\n")), ("2>&-", ("said\n", "")), ("<&-", ("said\n", "warned\n")), (">&- 2>&-", ("", "")),
    ("<&- >&- 2>&-", ("", ""))])
def test_closed_streams_change_no_file(tmp_path, redirection, output):
    (tmp_path / "example.py").write_text(EXAMPLE)
    result = run_in_shell(tmp_path, redirection, "example.py")
    assert (result.returncode, result.stdout, result.stderr) == (0, *output)
    assert (tmp_path / "out.txt").read_text() == "written"
    assert run_in_shell(tmp_path, redirection, "example.py", "bad").returncode == 1


@posix
def test_any_file_name_can_be_printed(tmp_path):
    (tmp_path / "example.py").write_text(EXAMPLE)
    result = run_in_shell(tmp_path, "", "example.py", os.fsdecode(b"\xff.wav: is empty."))
    assert (result.returncode, result.stderr) == (1, "warned\n\\udcff.wav: is empty.\n")


@posix
@pytest.mark.slow
def test_with_all_streams_closed_workers_and_training_write_the_same_files(call, tmp_path):
    folders = [tones(tmp_path / name, files=40, seconds=0.1) for name in ("open", "closed")]
    training = "--network vgg --epochs 1 --epoch-clips 1 --precision float32 --optimizer adamw"
    for module, flags in ((preprocess_data, "--jobs 2"), (train_network, training)):
        call(module, folders[0], *flags.split())
        assert run_in_shell(folders[1], "<&- >&- 2>&-", module.__file__, *flags.split()).returncode == 0
    files = [{str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")
              if path.name != "index.csv"} for folder in folders]  # it has the inodes
    assert len(files[0]) == 80 + 82 + 3
    assert files[0] == files[1]


# --- links and PYTHONSAFEPATH ----------------------------------------------------------------------------------------

@posix
@pytest.mark.slow
def test_scripts_work_through_links_and_under_pythonsafepath(tmp_path, monkeypatch):
    (tmp_path / "suite").symlink_to(ROOT)
    (tmp_path / "preprocess").symlink_to(ROOT / "preprocess_data.py")
    folder = tones(tmp_path / "work", files=40)  # enough for worker processes
    for program, safe_path in (("../suite/preprocess_data.py", ""), ("../preprocess", ""), ("../preprocess", "1"),
                               (ROOT / "preprocess_data.py", "1")):
        monkeypatch.setenv("PYTHONSAFEPATH", safe_path)
        result = run_in_shell(folder, "", program, "--overwrite", "--jobs", "2")
        assert (result.returncode, "80 computed" in result.stdout) == (0, True), result.stderr


# --- ^C while importing ----------------------------------------------------------------------------------------------

SCRIPTS = [path for path in sorted([*ROOT.glob("*.py"), *ROOT.glob("audio_utils/*.py")])
           if "script.run(main)" in path.read_text(encoding="utf-8")]


@posix
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_an_interrupt_during_the_imports_is_one_sentence(tmp_path, monkeypatch, path):
    (tmp_path / "numpy.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = subprocess.run([sys.executable, str(path)], cwd=tmp_path, text=True, capture_output=True,
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert process.returncode in (130, -signal.SIGINT)
    assert (process.stdout, process.stderr) == ("", f"\n{signals.STOPPED}\n")


@pytest.mark.parametrize("error", [ImportError("no numpy"), ModuleNotFoundError("no file", name="audio_utils.nothing")])
def test_other_errors_during_the_imports_are_tracebacks(monkeypatch, error):
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    script._report(type(error), error, None)
    assert written.getvalue() == f"{type(error).__name__}: {error}\n"
    with pytest.raises(type(error)):
        script.run(raises(error))


def test_an_import_of_a_script_by_another_installs_nothing():
    before = sys.excepthook
    script.guard_imports("preprocess_data")
    assert sys.excepthook is before


# --- notebooks -------------------------------------------------------------------------------------------------------

def test_in_a_notebook_success_returns_and_an_interrupt_is_raised(monkeypatch):
    monkeypatch.setattr(script, "in_notebook", lambda: True)
    monkeypatch.setattr(signals, "install", lambda: pytest.fail("a handler was installed"))
    before = sys.excepthook
    script.guard_imports("__main__")
    assert sys.excepthook is before
    assert script.run(lambda: None) is None
    with pytest.raises(KeyboardInterrupt):
        script.run(raises(KeyboardInterrupt()))


def test_in_a_notebook_a_mistake_is_one_sentence_and_systemexit(monkeypatch, capsys):
    monkeypatch.setattr(script, "in_notebook", lambda: True)
    with pytest.raises(SystemExit) as end:
        script.run(raises(UserError("x.wav: is empty.")))
    assert end.value.code == 1
    assert capsys.readouterr().err == "x.wav: is empty.\n"


CELLS = """
import os, signal, sys, threading, time
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell

root, shell = sys.argv[1], InteractiveShell.instance(colors="nocolor")
handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.excepthook

def run(line):
    print("In:", line, flush=True)
    script, flags = line.split(" ", 1)
    result = shell.run_cell(f'%run "{root}/{script}" {flags}')
    print("Out:", repr(result.error_before_exec or result.error_in_exec), flush=True)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.excepthook) == handlers

def interrupt_after(condition):
    def wait():
        while not condition():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=wait, daemon=True).start()

train = "train_network.py --network vgg --epoch-clips 1 --precision float32 --optimizer adamw"
for _ in range(2):
    run("preprocess_data.py --jobs 2")
    run(f"{train} --epochs 2")
interrupt_after(lambda: len(Path("history.csv").read_text().splitlines()) > 4)  # after epoch 4, or later
run(f"{train} --epochs 100000 --patience 100000")
run("train_network.py --network residual --epochs 3")
epochs = len(Path("history.csv").read_text().splitlines()) - 1
run(f"{train} --epochs {epochs + 2}")
print("last cell")
"""


@posix
@pytest.mark.slow
def test_in_a_notebook_scripts_run_and_are_interrupted_and_the_kernel_stays(tmp_path):
    pytest.importorskip("IPython")
    tones(tmp_path, files=40)
    cells = subprocess.run([sys.executable, "-c", CELLS, str(ROOT)], cwd=tmp_path, text=True, capture_output=True,
                           timeout=300, env=os.environ | {"IPYTHONDIR": str(tmp_path / "ipython")},
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    assert (cells.returncode, cells.stdout.splitlines()[-1]) == (0, "last cell"), cells.stdout + cells.stderr
    first, trained, again, trained_again, interrupted, mistake, resumed = cells.stdout.split("In:")[1:]
    assert "80 computed" in first
    assert "0 computed" in again
    assert "Now run eval_network.py" in trained
    assert "Now run eval_network.py" in trained_again
    assert "KeyboardInterrupt" in interrupted
    assert "Done: " not in interrupted
    assert "SystemExit: 1" in mistake
    assert "Traceback" not in mistake
    assert "weights.hdf5: contains the network 'vgg', but NETWORK is 'residual'" in cells.stderr
    assert "Continuing after epoch" in resumed
    assert "Now run eval_network.py" in resumed
