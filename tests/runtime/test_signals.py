"""^C and SIGTERM: one sentence, no unfinished file, and the status of the signal."""

import os
import signal

import pytest

from audio_utils.runtime import safe_files, signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


class Exited(BaseException):
    """Raised in place of the end of this process."""


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """The handlers of signals.py, which raise Exited in the end."""
    def leave(status):
        raise Exited(status)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(signals, "_sentence", signals.STOPPED)
    monkeypatch.setattr(signals, "_stderr", 2)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signals.install()
    yield
    os.close(signals._stderr)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_discards_unfinished_files_and_ends_the_process_with_its_status(monkeypatch, tmp_path, number, status):
    monkeypatch.setattr(safe_files, "_being_written", {tmp_path / "unfinished"})
    (tmp_path / "unfinished").touch()
    with pytest.raises(Exited) as end:
        signal.raise_signal(number)
    assert end.value.args == (status,)
    assert not os.listdir(tmp_path)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # a second ^C does not interrupt it


def test_the_sentence_is_that_of_on_stop_and_goes_past_a_silenced_stderr(tmp_path, monkeypatch):
    read_end = redirected(monkeypatch)
    signals.on_stop("Stopped. \udcff is kept.")
    with pytest.raises(Exited):
        signal.raise_signal(signal.SIGINT)
    assert os.read(read_end, 100) == b"\nStopped. \\udcff is kept.\n"
    os.close(read_end)


def test_on_a_terminal_the_sentence_is_wrapped(monkeypatch):
    read_end = redirected(monkeypatch)
    monkeypatch.setenv("COLUMNS", "31")
    monkeypatch.setattr(os, "isatty", lambda _descriptor: True)
    with pytest.raises(Exited):
        signal.raise_signal(signal.SIGINT)
    assert os.read(read_end, 100) == b"\nStopped. Finished work is\nkept; run the same command\nagain to continue.\n"
    os.close(read_end)


def redirected(monkeypatch):
    """The read end of a pipe that the sentence is written into."""
    read_end, write_end = os.pipe()
    monkeypatch.setattr(os, "dup", lambda _descriptor: write_end)
    signals.install()
    return read_end


def test_signals_wait_until_the_end_of_a_deferred_block():
    reached = False

    def block():
        nonlocal reached
        with signals.deferred():
            signal.raise_signal(signal.SIGTERM)
            reached = True

    with pytest.raises(Exited) as end:
        block()
    assert reached
    assert end.value.args == (143,)


def test_ignored_signals_stay_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    signals.install()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
