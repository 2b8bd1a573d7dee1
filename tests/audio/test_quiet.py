"""The messages of C libraries are silenced, those of Python and of everything else are not."""

import ctypes
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import ROOT, sine, write

from audio_utils.audio import quiet

pytestmark = pytest.mark.skipif(not quiet._streams(), reason="this C library has no known variable `stderr`")


def print_from_c(text):
    libc = ctypes.CDLL(None)
    stderr = ctypes.c_void_p.in_dll(libc, "__stderrp" if sys.platform == "darwin" else "stderr")
    libc.fputs(text.encode(), stderr)
    libc.fflush(stderr)


def test_only_c_is_silent_and_only_within(capfd):
    print_from_c("before\n")
    with quiet.silenced():
        print_from_c("within\n")
        print("Python", file=sys.stderr)
        os.write(2, b"descriptor\n")
    print_from_c("after\n")
    assert sorted(capfd.readouterr().err.split()) == ["Python", "after", "before", "descriptor"]


def test_calls_in_several_threads_overlap(capfd):
    barrier = threading.Barrier(8)

    def work(number):
        barrier.wait()
        for _ in range(200):
            with quiet.silenced():
                print_from_c("within\n")
        return number
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))
    print_from_c("after\n")
    assert capfd.readouterr().err == "after\n"


def test_an_exception_ends_the_silence(capfd):
    with pytest.raises(KeyError), quiet.silenced():
        raise KeyError
    print_from_c("after\n")
    assert capfd.readouterr().err == "after\n"


def test_a_damaged_mp3_prints_nothing(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 8000)).astype(np.float32)
    path = write(tmp_path / "x.mp3", np.concatenate([noise, sine(seconds=5)], axis=1))
    content = bytearray(path.read_bytes())
    for i in range(400, len(content), 150):
        content[i] ^= 0xFF
    path.write_bytes(content)
    loud = f"import soundfile; soundfile.read({str(path)!r})"
    quietly = f"from audio_utils.audio import audio_io; audio_io.read({str(path)!r})"
    errors = [subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT).stderr
              for code in (loud, quietly)]
    assert b"mpg123" in errors[0]
    assert errors[1] == b""
