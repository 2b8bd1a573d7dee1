"""memory.py: free memory of the machine and of its cgroups, from made-up files."""

import os

import pytest

from audio_utils.runtime import memory

GB = 1 << 30
V1, V2 = "9:cpu,memory:/a/b\n1:cpu:/", "1:name=systemd:/x\n0::/a/b"
V1_FILES, V2_FILES = ("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")


@pytest.fixture
def root(tmp_path):
    """A function that writes the files of a file system: path → content; returns its root."""
    def write(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path
    return write


def cgroup(folder, names, limit, usage, cache="inactive_file 0"):
    return {f"{folder}/{names[0]}": f"{limit}\n", f"{folder}/{names[1]}": f"{usage}\n",
            f"{folder}/memory.stat": f"anon 5\n{cache}\n"}


MACHINE = {"proc/meminfo": f"MemTotal: {9 << 20} kB\nMemFree: 5 kB\nMemAvailable: {8 << 20} kB\n"}


@pytest.mark.parametrize(("files", "expected"), [
    (MACHINE, 8), (MACHINE | {"proc/self/cgroup": "0::/\n"}, 8),
    (MACHINE | {"proc/self/cgroup": V2} | cgroup("sys/fs/cgroup/a/b", V2_FILES, 6 * GB, GB), 5),
    (MACHINE | {"proc/self/cgroup": V2} | cgroup("sys/fs/cgroup/a/b", V2_FILES, "max", GB), 8),
    (MACHINE | {"proc/self/cgroup": V2} | cgroup("sys/fs/cgroup/a/b", V2_FILES, "max", GB)
     | cgroup("sys/fs/cgroup/a", V2_FILES, 4 * GB, 3 * GB, f"inactive_file {2 * GB}"), 3),
    (MACHINE | {"proc/self/cgroup": V2} | cgroup("sys/fs/cgroup", V2_FILES, 2 * GB, 3 * GB), 0),  # seen in a container
    (MACHINE | {"proc/self/cgroup": V1}
     | cgroup("sys/fs/cgroup/memory", V1_FILES, 7 * GB, 3 * GB, f"inactive_file 1\ntotal_inactive_file {2 * GB}"), 6),
    (MACHINE | {"proc/self/cgroup": V1} | cgroup("sys/fs/cgroup/memory/a", V1_FILES, 1 << 63, GB), 8),
    (MACHINE | {"proc/self/cgroup": V2} | cgroup("sys/fs/cgroup/a", V2_FILES, "damaged", ""), 8)])
def test_the_least_of_the_machine_and_the_cgroups_is_available(root, files, expected):
    assert memory.available_bytes(root(files)) == expected * GB


def test_without_these_files_the_operating_system_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_AVPHYS_PAGES": 10}.__getitem__, raising=False)
    assert memory.available_bytes(tmp_path) == 40960
    monkeypatch.delattr(os, "sysconf")
    assert memory.available_bytes(tmp_path) is None


def test_this_machine_has_free_memory():
    assert (memory.available_bytes() or GB) > 1 << 20
