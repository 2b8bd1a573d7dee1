"""The packages of requirements.txt, and the command to type if they are missing. Also runs under older Pythons."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

_SUITE = Path(__file__).resolve().parents[2]
_MODULES = {"absl-py": "absl", "pillow": "PIL", "python-stretch": "python_stretch", "scikit-learn": "sklearn"}
_WINDOWS = os.name == "nt"
_FIRST, _LAST = (3, 11), (3, 13)  # supported versions of Python


def describe_missing_module(error: ModuleNotFoundError) -> str | None:
    """One sentence if the module belongs to a package of requirements.txt that is missing; otherwise None."""
    module = (error.name or "").partition(".")[0]
    missing = {name: package for package, name, everywhere in _requirements()
               if (everywhere or name == module) and importlib.util.find_spec(name) is None}
    return describe_missing([*missing.values()]) if module in missing else None


def describe_missing(packages: list[str]) -> str:
    """One sentence: the packages and the Python that lacks them; then the command, on its own line to be copied."""
    if not _is_supported():
        return describe_unsupported_python()
    names = "Panotti's packages" if len(packages) > 3 else " and ".join(", ".join(packages).rsplit(", ", 1))
    return f"{names} {'is' if len(packages) == 1 else 'are'} not installed in {sys.executable}; {_remedy()}"


def describe_unsupported_python() -> str:
    """One sentence: the versions that the suite supports, and this one; then the command."""
    remedy = _remedy() if _activation() or not _WINDOWS else "install one of them and use it."
    return f"Panotti needs Python 3.11, 3.12 or 3.13, and this is {sys.version.split()[0]}; {remedy}"


def is_old_python() -> bool:
    """Whether this Python can't import the other modules."""
    return sys.version_info < _FIRST


def _is_supported() -> bool:
    return _FIRST <= sys.version_info[:2] <= _LAST


def _requirements() -> Iterator[tuple[str, str, bool]]:
    """Of each line of requirements.txt: the package, its module, and whether it is required on all platforms."""
    for line in (_SUITE / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if name := re.match(r"[\w-]+", line):
            yield name[0], _MODULES.get(name[0], name[0]), ";" not in line


def _remedy() -> str:
    """The command that activates .venv if it exists and is not in use; otherwise the one that installs the packages."""
    if activation := _activation():
        return f"type:\n    {activation}"
    if _WINDOWS or (_is_supported() and sys.prefix != sys.base_prefix):  # in a virtual environment
        return f"type:\n    {_quoted(sys.executable)} -m pip install -r {_quoted(_SUITE / 'requirements.txt')}"
    demo = _quoted(_SUITE / "audio_utils/demo.sh")
    return f"type this, which installs the packages and runs a demo:\n    bash {demo}"


def _activation() -> str:
    """The command that activates .venv; empty if it does not exist or this Python is its own."""
    script = _SUITE / ".venv" / ("Scripts/activate" if _WINDOWS else "bin/activate")
    if not script.exists() or Path(sys.prefix).resolve() == (_SUITE / ".venv").resolve():
        return ""
    return _quoted(script) if _WINDOWS else f"source {_quoted(script)}"


def _quoted(path: str | Path) -> str:
    return f'"{path}"' if _WINDOWS else shlex.quote(str(path))
