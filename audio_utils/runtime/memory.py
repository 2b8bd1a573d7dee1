"""The memory that this process may use."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that is free on this machine, or in the cgroup (container) of this process if that has less.

    The cache of files counts as free. None if unknown (Windows). root: of the file system, for tests.
    """
    found = [*_of_machine(root), *_of_cgroups(root)]
    with suppress(AttributeError, ValueError, OSError):  # macOS has neither of those, and not all names
        found = found or [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")]
    return min(found, default=None)


def _of_machine(root: Path) -> Iterator[int]:
    """The free memory in /proc/meminfo."""
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _of_cgroups(root: Path) -> Iterator[int]:
    """The free memory of the cgroup of this process and of those that contain it: version 2, then version 1."""
    mounted = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _free(mounted, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            yield from _free(mounted / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes",
                             "total_inactive_file")


def _free(mounted: Path, path: str, limit: str, usage: str, cache: str) -> Iterator[int]:
    """The limit less the usage, of each folder from `path` up; a container may see only the uppermost."""
    folder = mounted / path.lstrip("/")
    for each in (folder, *folder.parents):
        with suppress(IndexError, ValueError):  # not a file, or "max": no limit
            cached = [int(line.split()[1]) for line in _lines(each / "memory.stat") if line.split()[0] == cache]
            yield max(0, int(_lines(each / limit)[0]) - int(_lines(each / usage)[0]) + sum(cached))
        if each == mounted:
            return


def _lines(path: Path) -> list[str]:
    """The lines of a file; none if it can't be read."""
    with suppress(OSError):
        return path.read_text().splitlines()
    return []
