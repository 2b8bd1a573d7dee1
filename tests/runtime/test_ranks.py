"""ranks.py: Keras's variables, the start of the actual process, and the sentence about its end."""

import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT
from dask_cluster import wait_until

from audio_utils.runtime import ranks, safe_files
from audio_utils.runtime.errors import UserError
from audio_utils.runtime.ranks import ADDRESSES, COUNT, RANK, Ranks

TWO = {"KERAS_BACKEND": "jax", ADDRESSES: "127.0.0.1:1234", COUNT: "2", RANK: "0"}
SCRIPT = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from audio_utils.runtime import environment, ranks, safe_files, script
from audio_utils.runtime.errors import UserError
environment.require_backend = lambda: os.environ["KERAS_BACKEND"]

def main():
    if ranks.must_launch():
        return ranks.launch()
    with ranks.joined(), safe_files.locked("."):
        os.write(1, b"log of a library")
        os.write(2, b"log of a library")
        print("rank", ranks.joined_ranks().rank, "works", flush=True)
        safe_files.write_text(f"written-{{ranks.joined_ranks().rank}}", "")
        {work}
    return 0

script.run(main)
"""


def script_of(folder, work="pass"):
    path = folder / "script.py"
    path.write_text(SCRIPT.format(root=str(ROOT), work=work))
    return [sys.executable, str(path)]


def run(folder, work="pass", **environment):
    return subprocess.run(script_of(folder, work), cwd=folder, env=os.environ | TWO | environment, text=True,
                          capture_output=True, timeout=30)


# --- variables -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("changes", "found"), [
    ({}, Ranks(0, 2, "127.0.0.1:1234")),
    ({ADDRESSES: "10.0.0.1:1234,10.0.0.2:2345", RANK: " 1 "}, Ranks(1, 2, "10.0.0.1:1234")),
    ({ADDRESSES: "[::1]:1234"}, Ranks(0, 2, "[::1]:1234")),
    ({ADDRESSES: "", COUNT: "", RANK: ""}, Ranks(0, 1, ""))])
def test_ranks_are_those_of_keras_s_variables(monkeypatch, changes, found):
    for name, value in (TWO | changes).items():
        monkeypatch.setenv(name, value)
    assert ranks.from_environment() == found
    assert ranks.must_launch() == (found.count > 1)


@pytest.mark.parametrize(("changes", "message"), [
    ({RANK: ""}, "KERAS_DISTRIBUTION_PROCESS_ID is not set, but other"),
    ({RANK: "2"}, "PROCESS_ID is 2; with KERAS_DISTRIBUTION_NUM_PROCESSES=2, set it to a number from 0 to 1."),
    ({COUNT: "0"}, "PROCESS_ID is 0; with"), ({COUNT: "two"}, "NUM_PROCESSES is 'two'; set it to a whole number."),
    ({COUNT: "-2"}, "NUM_PROCESSES is '-2'"), ({RANK: "1.5"}, "PROCESS_ID is '1.5'"),
    ({RANK: "9" * 5000}, "PROCESS_ID is '9"), ({ADDRESSES: "localhost"}, "JOB_ADDRESSES is 'localhost'; set it to the"),
    ({ADDRESSES: "a:1,b:2,c:3"}, "JOB_ADDRESSES is 'a:1,b:2,c:3'; set"), ({ADDRESSES: "http://a:1"}, "JOB_ADDRESSES"),
    ({ADDRESSES: "a:0"}, "JOB_ADDRESSES is 'a:0'; set"), ({ADDRESSES: "a:65536"}, "JOB_ADDRESSES is 'a:65536'; set")])
def test_wrong_variables_are_one_sentence(monkeypatch, changes, message):
    for name, value in (TWO | changes).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        ranks.must_launch()


def test_without_variables_nothing_changes(monkeypatch):
    for name in (ADDRESSES, COUNT, RANK):
        monkeypatch.delenv(name, raising=False)
    streams = sys.stdout, sys.stderr, sys.excepthook
    with ranks.joined():
        assert ranks.joined_ranks() == Ranks(0, 1, "")
        assert safe_files.writes()
        assert (sys.stdout, sys.stderr, sys.excepthook) == streams


# --- processes -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("rank", [0, 1])
def test_only_rank_0_prints_and_writes_files(tmp_path, rank):
    result = run(tmp_path, **{RANK: str(rank)})
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == ("" if rank else "rank 0 works\n")
    assert [path.name for path in tmp_path.glob("*written*")] == ([] if rank else ["written-0"])


@pytest.mark.parametrize(("rank", "prefix"), [(0, ""), (1, "Process 1: ")])
def test_a_mistake_is_printed_by_each_rank(tmp_path, rank, prefix):
    result = run(tmp_path, "raise UserError('a.wav: is damaged.')", **{RANK: str(rank)})
    assert (result.returncode, result.stderr) == (1, f"{prefix}a.wav: is damaged.\n")


@pytest.mark.parametrize(("work", "end"), [
    ("os.kill(os.getpid(), signal.SIGKILL)", "was killed (SIGKILL; perhaps it needed too much memory)"),
    ("os.abort()", "did not connect to the others at 127.0.0.1:1234 within 110 s"),
    ("ranks.note_connection(); os.abort()", "lost the connection to the others, so one of them has probably ended"),
    ("ranks.note_connection(); raise ValueError('UNKNOWN: Gloo failed:\\n peer')",
     "lost the connection to the others, so one of them has probably ended (UNKNOWN: Gloo failed: peer)")])
def test_the_end_of_a_process_is_one_sentence(tmp_path, work, end):
    result = run(tmp_path, work)
    assert (result.returncode, result.stderr) == (
        1, f"Process 0 of 2 {end}; finished epochs are kept; when all processes have ended, start all of them again to "
        "continue.\n")


def test_a_bug_is_a_traceback(tmp_path):
    result = run(tmp_path, "raise ValueError('a bug')")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("ValueError: a bug\n")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_to_the_command_ends_the_actual_process(tmp_path, number, status):
    work = "open('id', 'w').write(str(os.getpid())); time.sleep(60)"
    command = subprocess.Popen(script_of(tmp_path, work), cwd=tmp_path, env=os.environ | TWO, text=True,
                               stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    wait_until(lambda: (tmp_path / "id").exists() and (tmp_path / "id").read_text())
    command.send_signal(number)
    _, stderr = command.communicate(timeout=20)  # also waits until the actual process has closed stderr
    assert command.returncode == status
    assert stderr.startswith("\nStopped.") == (number != signal.SIGKILL)
    wait_until(lambda: not safe_files._is_running(int((tmp_path / "id").read_text())))


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_process_that_waits_for_another_one_is_killed_after_c(tmp_path, monkeypatch):
    """A library that waits for another process does not let Python handle a signal."""
    code = "import signal, time; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}); print(1); time.sleep(60)"
    monkeypatch.setattr(ranks, "_STOP_SECONDS", 0.1)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    process = subprocess.Popen([sys.executable, "-uc", code], stdout=subprocess.PIPE)
    try:
        process.stdout.read(1)
        stopped = ranks._forward_signals(process)
        os.kill(os.getpid(), signal.SIGINT)
        assert process.wait(10) == -signal.SIGKILL
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
    assert stopped == [signal.SIGINT]


def test_a_backend_other_than_jax_is_one_sentence(tmp_path):
    result = run(tmp_path, KERAS_BACKEND="tensorflow")
    assert result.returncode == 1
    assert result.stderr.startswith("KERAS_DISTRIBUTION_NUM_PROCESSES is 2, but the backend is tensorflow, which ")
