"""One attempt at an item: its errors become its result."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from audio_utils.runtime import attempts
from audio_utils.runtime.errors import UserError


def fail(_item, error):
    raise error


@pytest.mark.parametrize("error", [UserError("x.wav: is bad."), OSError(5, "I/O error")])
def test_an_error_that_the_user_can_act_on_is_the_result(error):
    assert attempts.attempt(fail, "x.wav", (error,)) is error


def test_other_errors_are_raised():
    with pytest.raises(ZeroDivisionError):
        attempts.attempt(fail, "x.wav", (ZeroDivisionError(),))


@pytest.mark.parametrize("item", ["a/x.wav", Path("a/x.wav"), SimpleNamespace(path="a/x.wav"),
                                  (SimpleNamespace(path="a/x.wav"), 1), ("a/x.wav", True)])
def test_a_crash_and_a_lack_of_memory_name_the_file(item):
    assert str(attempts.crash_of(item)) == "a/x.wav: crashes the process that works on it; replace or remove it."
    assert str(attempts.attempt(fail, item, (MemoryError(),))) == (
        "a/x.wav: needs more memory than is available; shorten or remove it.")
