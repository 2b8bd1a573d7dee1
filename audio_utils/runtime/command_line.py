"""The constants at the top of a script are the defaults of its flags."""

import argparse
import ast
import glob
import io
import os
import re
import sys
import tokenize
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from audio_utils.runtime.errors import UserError

File = TypeVar("File", str, Path)


class Limits(NamedTuple):
    """The numbers that a constant may be."""
    kind: type  # int or float
    lowest: float | None = None
    highest: float | None = None
    optional: bool = False  # None is allowed

    def check(self, name: str, value: Any) -> None:
        """Raise UserError unless the value is such a number."""
        if self.optional and value is None:
            return
        valid = isinstance(value, (int, self.kind)) and not isinstance(value, bool)
        if not valid or (self.lowest is not None and not value >= self.lowest) \
                or (self.highest is not None and not value <= self.highest):
            wanted = "a whole number" if self.kind is int else "a number"
            bounds = " and ".join(f"{word} {bound}" for word, bound in
                                  (("at least", self.lowest), ("at most", self.highest)) if bound is not None)
            raise UserError(f"{name} is {value!r}; set it to {wanted}{' of ' + bounds if bounds else ''}.")


def parse(constants: dict[str, Any], limits: dict[str, Limits] | None = None,
          positional: Iterable[tuple[str, dict]] = (), short: dict[str, str] | None = None,
          argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line of a script.

    constants: the script's `globals()`. Every UPPER_CASE name assigned at its top level, except _PRIVATE ones, becomes
    a flag (`BATCH_SIZE = 40  # clips a step` gives `--batch-size`, its comment the help). `--batch_size` works too.
    limits: constant → Limits, checked here; raises UserError.
    positional: (name, keyword arguments) of each positional argument.
    short: constant → a one-letter flag besides the long one: {"REMOVE": "-r"}.
    Returns a namespace with one lower-case attribute per constant and positional argument.
    """
    parser = argparse.ArgumentParser(description=constants["__doc__"], allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, keywords in positional:
        parser.add_argument(name, **keywords)
    for name, comment in _commented_constants(constants["__file__"]):
        value = constants[name]
        flags = [(short or {}).get(name), "--" + name.lower().replace("_", "-")]
        text = f"{comment} (now: {_shown(value)})".replace("%", "%%")
        kind = {"action": argparse.BooleanOptionalAction} if isinstance(value, bool) else \
            {"type": _reader(value), "metavar": "VALUE"}
        parser.add_argument(*filter(None, flags), default=value, help=text, **kind)
    options = parser.parse_args(_with_dashes(sys.argv[1:] if argv is None else argv))
    for name, allowed in (limits or {}).items():
        allowed.check(name, getattr(options, name.lower()))
    return options


def _with_dashes(arguments: list[str]) -> list[str]:
    """--batch_size=4 as --batch-size=4; file names stay as they are."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [re.sub(r"^--[\w-]+", lambda flag: flag[0].replace("_", "-"), each)
            for each in arguments[:end]] + arguments[end:]


def constants(script: ModuleType, overrides: dict[str, Any]) -> argparse.Namespace:
    """The constants of another script, in lower case, some of them overridden; checked as in its own command line."""
    values = {name: value for name, value in vars(script).items() if name.isupper() and not name.startswith("_")}
    values |= {name: value for name, value in overrides.items() if name in values}
    for name, allowed in script._LIMITS.items():
        allowed.check(name, values[name])
    return argparse.Namespace(**{name.lower(): value for name, value in values.items()})


def _commented_constants(script: str) -> list[tuple[str, str]]:
    """The UPPER_CASE names assigned at the top of a script, each with the comment beside it."""
    with open(script, encoding="utf-8") as file:
        source = file.read()
    names = {node.end_lineno: node.targets[0].id for node in ast.parse(source).body
             if isinstance(node, ast.Assign) and _is_flag(node.targets[0])}
    last = None
    comments = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, column = token.start
        if line in names:
            last = names[line]
            comments[last] = token.string.lstrip("# ")
        elif last and column > 0 and token.line.lstrip().startswith("#"):  # the comment continues below
            comments[last] += " " + token.string.lstrip("# ")
        else:
            last = None
    return [(name, comments.get(name, "")) for name in names.values()]


def _is_flag(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id.isupper() and not target.id.startswith("_")


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else repr(value) if value == "" else str(value)


def _reader(default: Any) -> Callable[[str], Any]:
    """A function that converts a flag's text to the type of the constant."""
    def read(text: str) -> Any:
        if text.lower() == "none":
            return None
        if isinstance(default, tuple):
            return tuple(type(part)(piece) for part, piece in zip(default, text.split(","), strict=True))
        if default is None:
            return float(text) if "." in text or "e" in text.lower() else int(text)
        return type(default)(text)

    read.__name__ = {int: "whole number", float: "number"}.get(type(default), "value")  # for argparse's message
    return read


def expand(patterns: Iterable[str]) -> list[str]:
    """The files named, each once, with `*`, `?` and `[…]` expanded where the shell (Windows) did not.

    A file that has such a name is taken literally; a pattern without a match is kept, to be reported by its name.
    """
    names = {}
    for pattern in patterns:
        found = [] if os.path.lexists(pattern) else sorted(glob.glob(pattern))
        names |= dict.fromkeys(found or [pattern])
    return list(names)


def name_collisions(files: Iterable[File], output: Callable[[File], Hashable]) -> dict[File, File]:
    """The files with the same output(file) as an earlier one: {file: the earlier one}."""
    first = {}
    return {file: first[output(file)] for file in files if first.setdefault(output(file), file) != file}
