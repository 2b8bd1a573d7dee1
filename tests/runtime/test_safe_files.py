"""Files are replaced in one step or not at all, and a folder is locked by one process at a time."""

import errno
import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import ROOT, tones

import preprocess_data
from audio_utils.runtime import safe_files
from audio_utils.runtime.errors import UNFINISHED, UserError, sentence
from audio_utils.runtime.safe_files import Writer


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


def test_files_with_the_same_bytes_are_recognized_whatever_their_dates(tmp_path):
    for name, content in (("a", b"12"), ("b", b"12"), ("c", b"13")):
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, ns=(0, 0))
    assert safe_files.have_same_bytes(tmp_path / "a", tmp_path / "b")
    assert not safe_files.have_same_bytes(tmp_path / "a", tmp_path / "c")


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


def test_workers_on_all_hosts_write_differently_named_unfinished_files(tmp_path):
    safe_files.write_as(Writer(safe_files.tag()))
    try:
        with safe_files.replacing(tmp_path / "x.txt") as unfinished:
            assert unfinished.name == f"{UNFINISHED}@{socket.gethostname()}@{os.getpid()}@x.txt"
            unfinished.touch()
            error = OSError(5, "I/O", str(unfinished))
    finally:
        safe_files.write_as(Writer())
    assert os.listdir(tmp_path) == ["x.txt"]
    assert sentence(error) == f"{tmp_path}/x.txt: input/output error; check the disk."


def test_a_file_that_nobody_wants_any_more_is_not_replaced(tmp_path):
    noted = []
    safe_files.write_as(Writer(note=noted.append, is_wanted=lambda: False))
    try:
        with pytest.raises(UserError, match="x.txt: is not written, because its run has ended."):
            safe_files.write_text(tmp_path / "x.txt", "new")
    finally:
        safe_files.write_as(Writer())
    assert noted == [tmp_path / f"{UNFINISHED}x.txt"]
    assert not os.listdir(tmp_path)


def test_sweep_keeps_the_unfinished_files_of_workers_that_may_be_running(tmp_path):
    host, dead = socket.gethostname(), subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = [f"{UNFINISHED}@{host}@{os.getpid()}@x.npy", f"{UNFINISHED}@other@{dead.pid}@x.npy", "x.npy"]
    old = [f"{UNFINISHED}@other@1@old.npy", f"{UNFINISHED}@{host}@{os.getpid()}@old.npy"]
    for name in [*kept, *old, f"{UNFINISHED}@{host}@{dead.pid}@x.npy", f"{UNFINISHED}@x.npy"]:
        (tmp_path / name).touch()
    for name in old:
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / f"{UNFINISHED}@{host}@{dead.pid}@dask" / "journals").mkdir(parents=True)
    before = set(os.listdir(tmp_path))
    safe_files.sweep(tmp_path, "*@dask*")
    assert before - set(os.listdir(tmp_path)) == {f"{UNFINISHED}@{host}@{dead.pid}@dask"}
    safe_files.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_a_temporary_folder_is_removed_at_the_end_or_by_an_interrupt(tmp_path):
    with safe_files.temporary_folder(tmp_path, "dask") as folder:
        (folder / "1").touch()
        (folder / "a").mkdir()
    assert not os.listdir(tmp_path)
    with safe_files.temporary_folder(tmp_path, "dask") as folder:
        (folder / "1").touch()
        safe_files.discard_unfinished()
        assert not os.listdir(tmp_path)
    with pytest.raises(FileNotFoundError) as refused, safe_files.temporary_folder(tmp_path / "none", "dask"):
        pass
    assert refused.value.filename == str(tmp_path / "none")


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


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX locks")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS, errno.EBADF])
def test_a_file_system_without_locks_is_mentioned_once(tmp_path, monkeypatch, capsys, code):
    def no_locks(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", no_locks)
    monkeypatch.setattr(safe_files, "_said", set())
    for _ in range(3):
        with safe_files.locked(tmp_path):
            safe_files.write_text(tmp_path / "x.txt", "written")
    assert (tmp_path / "x.txt").read_text() == "written"
    assert capsys.readouterr().err == (
        f"{tmp_path}/: the file system has no locks; do not start two runs here at the same time.\n")


# --- long names ------------------------------------------------------------------------------------------------------

LONGEST = ["x" * 251 + ".wav", "ä" * 125 + "x.wav", "x" * 200 + "." + "y" * 54, "x" * 255]  # 255 bytes


@pytest.mark.parametrize("name", [*LONGEST, "x" * 130 + ".wav", "x.wav"])
def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path, name):
    for content in ("old", "new"):
        with safe_files.replacing(tmp_path / name) as unfinished:
            assert unfinished.suffix in (Path(name).suffix, "")
            assert len(os.fsencode(unfinished.name)) <= 143  # the limit of encrypted folders
            assert unfinished.name.startswith(UNFINISHED)
            unfinished.write_text(content)
        assert (tmp_path / name).read_text() == content
    assert os.listdir(tmp_path) == [name]


def test_unfinished_files_of_long_names_differ_and_are_swept(tmp_path):
    names = {safe_files._unfinished_name(each) for each in [*LONGEST, "x" * 252 + ".wa", "y" * 251 + ".wav"]}
    assert len(names) == len(LONGEST) + 2
    for name in names:
        (tmp_path / name).touch()
    safe_files.sweep(tmp_path)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["x" * 256, "ä" * 128 + ".wav"])
def test_a_longer_name_is_one_sentence_and_leaves_nothing(tmp_path, name):
    with pytest.raises(OSError, match="too long") as refused:
        safe_files.write_text(tmp_path / name, "x")
    assert sentence(refused.value) == f"{tmp_path / name}: the name is too long for the file system; shorten it."
    assert not os.listdir(tmp_path)
    safe_files.write_text(tmp_path / name[:100], "x")  # the advice, followed


def fail(unfinished, error):
    path = str(unfinished)
    raise UserError(f"{path.replace(UNFINISHED, '')}: is damaged.") if error is UserError else OSError(5, "I/O", path)


@pytest.mark.parametrize("error", [UserError, OSError])
def test_an_error_of_writing_a_long_name_names_the_file(tmp_path, error):
    with pytest.raises(error) as refused, safe_files.replacing(tmp_path / LONGEST[0]) as unfinished:
        fail(unfinished, error)
    assert sentence(refused.value).startswith(f"{tmp_path / LONGEST[0]}: ")


# --- JSON ------------------------------------------------------------------------------------------------------------

def test_json_is_read_back(tmp_path):
    safe_files.write_json(tmp_path / "x.json", {"ä": [1, None, 0.1]})
    assert safe_files.read_json(tmp_path / "x.json", "script.py") == {"ä": [1, None, 0.1]}
    safe_files.write_text(tmp_path / "x.json", json.dumps({"of": "hand"}))
    assert safe_files.read_json(tmp_path / "x.json", "script.py") == {"of": "hand"}


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"[" * 100_000, b"\xff", b'{"x": 1}' * 2])
def test_json_that_is_damaged_is_refused(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="x.json: is damaged; run script.py again."):
        safe_files.read_json(path, "run script.py again")


def test_the_advice_about_damaged_settings_works(tmp_path, call):
    tones(tmp_path)
    call(preprocess_data, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.glob("Preproc/**/*.npy")}
    (tmp_path / "Preproc/settings.json").write_text("{")
    with pytest.raises(UserError, match="settings.json: is damaged; run preprocess_data.py --overwrite to compute"):
        call(preprocess_data, tmp_path)
    call(preprocess_data, tmp_path, "--overwrite")
    assert {path: path.read_bytes() for path in tmp_path.glob("Preproc/**/*.npy")} == before  # the split, too


def test_json_larger_than_the_memory_is_refused(tmp_path):
    with open(tmp_path / "x.json", "w") as file:
        file.truncate(100 << 30)  # a hole: it takes no room on the disk
    with pytest.raises(UserError, match="x.json: is damaged"):
        safe_files.read_json(Path(tmp_path / "x.json"), "script.py")
