"""Files are replaced in one step or not at all, and a folder is locked by one process at a time."""

import errno
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import ROOT

from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UNFINISHED, UserError


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_at_the_end_of_the_block(tmp_path, durable):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with safe_files.replacing(path, durable) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["x.txt"]


def write_half(path, error):
    path.write_text("ne")
    raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, PermissionError])
def test_a_failed_write_leaves_the_old_file_only(tmp_path, error):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(error), safe_files.replacing(path) as unfinished:
        write_half(unfinished, error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_an_error_of_writing_names_the_file(tmp_path):
    with pytest.raises(OSError, match="No space left") as failed, safe_files.replacing(tmp_path / "x.txt"):
        raise OSError(errno.ENOSPC, "No space left")
    assert failed.value.filename == str(tmp_path / "x.txt")


def test_a_process_that_ends_discards_its_unfinished_files(tmp_path):
    with suppress(FileNotFoundError), safe_files.replacing(tmp_path / "x.txt") as unfinished:
        unfinished.write_text("ne")
        safe_files.discard_unfinished()
        assert not os.listdir(tmp_path)
    assert not os.listdir(tmp_path)


def test_sweep_removes_the_unfinished_files_of_a_killed_run(tmp_path):
    (tmp_path / f"{UNFINISHED}x.txt").touch()
    (tmp_path / "y.txt").touch()
    safe_files.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["y.txt"]
    safe_files.sweep(tmp_path / "does not exist")


LOCK = "import sys; from audio_utils.runtime import safe_files\nwith safe_files.locked(*sys.argv[1:]): print('locked')"


def lock_elsewhere(*folders):
    """Lock folders in another process; returns its last line."""
    result = subprocess.run([sys.executable, "-c", LOCK, *map(str, folders)], capture_output=True, text=True,
                            env=os.environ | {"PYTHONPATH": str(ROOT)})
    return (result.stdout + result.stderr).splitlines()[-1]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX locks")
def test_a_folder_is_locked_by_one_process_at_a_time(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    with safe_files.locked(tmp_path / "a", tmp_path / "b"):  # that is, their parent
        assert f"{tmp_path}/: another run is writing here; wait until it ends, or stop it." in lock_elsewhere(tmp_path)
        assert lock_elsewhere(tmp_path / "a") == "locked"
    assert lock_elsewhere(tmp_path) == "locked"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_json_is_read_back(tmp_path):
    safe_files.write_json(tmp_path / "x.json", {"ä": [1, None, 0.1]})
    assert safe_files.read_json(tmp_path / "x.json", "script.py") == {"ä": [1, None, 0.1]}
    safe_files.write_text(tmp_path / "x.json", json.dumps({"of": "hand"}))
    assert safe_files.read_json(tmp_path / "x.json", "script.py") == {"of": "hand"}


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"[" * 100_000, b"\xff", b'{"x": 1}' * 2])
def test_json_that_is_damaged_is_refused(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="x.json: is damaged; delete it and run script.py again."):
        safe_files.read_json(path, "script.py")


def test_json_larger_than_the_memory_is_refused(tmp_path):
    with open(tmp_path / "x.json", "w") as file:
        file.truncate(100 << 30)  # a hole: it takes no room on the disk
    with pytest.raises(UserError, match="x.json: is damaged"):
        safe_files.read_json(Path(tmp_path / "x.json"), "script.py")
