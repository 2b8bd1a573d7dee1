"""The constants at the top of a script are the defaults of its flags."""

import argparse
import ast
import glob
import io
import math
import os
import re
import sys
import tokenize
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn, TypeVar

from audio_utils.runtime import help_format
from audio_utils.runtime.console import warn
from audio_utils.runtime.errors import UserError

_ADDRESS = re.compile(r"(tcp|tls)://(\[[^\s\]]+\]|[^\s:/\[\]]+):[0-9]{1,5}")  # of a Dask scheduler

File = TypeVar("File", str, Path)


class Limits(NamedTuple):
    """The range of values that a constant may have."""
    kind: type  # int or float
    lowest: float | None = None
    highest: float | None = None
    optional: bool = False  # None is allowed
    words: tuple[str, ...] = ()  # allowed instead of a number
    address: bool = False  # that of a Dask scheduler is allowed too

    def check(self, name: str, value: Any) -> None:
        """Raise UserError unless the value is such a number, or one of the words."""
        if (self.optional and value is None) or (isinstance(value, str) and value in self.words):
            return
        if self.address and isinstance(value, str) and _ADDRESS.fullmatch(value):
            return
        valid = isinstance(value, (int, self.kind)) and not isinstance(value, bool)
        valid = valid and (isinstance(value, int) or math.isfinite(value))
        if not valid or (self.lowest is not None and not value >= self.lowest) \
                or (self.highest is not None and not value <= self.highest):
            wanted = _wanted(self.kind, self.words)
            bounds = " and ".join(f"{word} {bound}" for word, bound in
                                  (("at least", self.lowest), ("at most", self.highest)) if bound is not None)
            comma = self.kind is float and isinstance(value, tuple) and len(value) == 2  # Python reads 2,5 as (2, 5)
            hint = "; write {}.{}".format(*value) if comma else ""
            hint += ", or to the address of a Dask scheduler, such as tcp://host:8786" if self.address else ""
            raise UserError(f"{name} is {value!r}; set it to {wanted}{' of ' + bounds if bounds else ''}{hint}.")


def _wanted(kind: type, words: tuple[str, ...]) -> str:
    number = "a whole number" if kind is int else "a number"
    return f"{', '.join(words)} or {number}" if words else number


class Options(argparse.Namespace):
    """The constants of a script in lower case, as its flags have changed them, and its positional arguments."""
    __slots__ = ("defaults", "given", "limits")  # these are not options

    def __init__(self, defaults: dict[str, Any], given: dict[str, Any], limits: dict[str, Limits]) -> None:
        self.defaults = defaults  # the constants as they are in the script
        self.given = given  # those that were given as flags, and positional arguments
        self.limits = limits  # raises UserError unless the values are within these
        super().__init__(**defaults | given)
        for name, allowed in limits.items():
            allowed.check(name, getattr(self, name.lower()))

    def with_values(self, values: dict[str, Any]) -> "Options":
        """The same, except that constants that were not given as flags have these values."""
        changed = Options(self.defaults, values | self.given, self.limits)
        changed.given = self.given
        return changed


def parse(constants: dict[str, Any], limits: dict[str, Limits] | None = None,
          positional: Iterable[tuple[str, dict]] = (), short: dict[str, str] | None = None,
          argv: list[str] | None = None) -> Options:
    """Read the command line of a script.

    constants: the script's `globals()`. Every UPPER_CASE name assigned at its top level, except _PRIVATE ones, becomes
    a flag (`BATCH_SIZE = 40  # clips a step` gives `--batch-size`, its comment the help). `--batch_size` works too.
    limits: constant → Limits, checked here; raises UserError.
    positional: (name, keyword arguments) of each positional argument.
    short: constant → a one-letter flag besides the long one: {"REMOVE": "-r"}.
    Returns a namespace with one lower-case attribute per constant and positional argument.
    """
    parser = _Parser(description=constants["__doc__"], allow_abbrev=False, formatter_class=help_format.Formatter)
    for name, keywords in positional:
        kind = keywords.get("type")
        parser.add_argument(name, **keywords | ({"type": _reader(None, Limits(kind))} if kind in (int, float) else {}))
    commented = _commented_constants(constants["__file__"])
    for name, comment in commented:
        value = constants[name]
        flags = [(short or {}).get(name), "--" + name.lower().replace("_", "-")]
        text = f"{comment} (default: {_shown(value)})".replace("%", "%%")
        allowed = (limits or {}).get(name)
        word = help_format.metavar(name, value, allowed and allowed.kind)
        kind = {"action": argparse.BooleanOptionalAction} if isinstance(value, bool) else \
            {"type": _reader(value, allowed), "metavar": word + "|ADDRESS" * bool(allowed and allowed.address)}
        parser.add_argument(*filter(None, flags), default=argparse.SUPPRESS, help=text, **kind)
    given = parser.parse_args(_with_dashes(sys.argv[1:] if argv is None else argv))
    return Options({name.lower(): constants[name] for name, _ in commented}, vars(given), limits or {})


def _with_dashes(arguments: list[str]) -> list[str]:
    """--batch_size=4 as --batch-size=4; file names stay as they are."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [re.sub(r"^--[\w-]+", lambda flag: flag[0].replace("_", "-"), each)
            for each in arguments[:end]] + arguments[end:]


def constants(script: ModuleType, overrides: dict[str, Any]) -> Options:
    """The constants of another script, some of them overridden; checked as on its own command line."""
    values = {name: value for name, value in vars(script).items() if name.isupper() and not name.startswith("_")}
    values |= {name: value for name, value in overrides.items() if name in values}
    return Options({name.lower(): value for name, value in values.items()}, {}, script._LIMITS)


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


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one sentence, without the usage of all flags."""

    def error(self, message: str) -> NoReturn:
        warn(f"{self.prog}: {message}; --help explains the arguments.")
        self.exit(2)


def _reader(default: Any, limits: Limits | None) -> Callable[[str], Any]:
    """A function that converts a flag's text to the type of the constant.

    limits: of the constant; without any, the type is that of the default, or of the text where that is None.
    """
    def read(text: str) -> Any:
        if text.lower() == "none" and default_type is not str:  # a folder may have this name
            return None
        if isinstance(default, tuple):
            return _numbers(text, default)
        if limits and limits.address and re.search("[a-z:]", text, re.IGNORECASE):
            return text  # checked with the constants
        if limits:
            return text.lower() if text.lower() in limits.words else _number(text, limits.kind, limits.words)
        return text if default_type is str else _number(text, default_type)

    default_type = None if default is None else type(default)
    return read


def _numbers(text: str, default: tuple) -> tuple:
    try:
        return tuple(_number(piece, type(part)) for part, piece in zip(default, text.split(","), strict=True))
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"{text!r} is not {len(default)} numbers separated by commas; write them with "
                                         f"decimal points, such as {_shown(default)}") from None


def _number(text: str, kind: type | None, words: tuple[str, ...] = ()) -> int | float:
    """Read a number; kind None: float if the text has a point or an exponent. Limits refuse NaN and infinity.

    words: those that are allowed too, for the message.
    """
    kind = kind or (float if "." in text or "e" in text.lower() else int)
    with suppress(ValueError):
        return kind(text)
    corrected = " or ".join(dict.fromkeys(_corrections(text, kind)))
    raise argparse.ArgumentTypeError(f"{text[:50]!r} is not {_wanted(kind, words)}"
                                     + (f"; write {corrected}" if corrected else ""))


def _corrections(text: str, kind: type) -> Iterator[str]:
    """A number with a decimal comma, commas between thousands or an exponent, as it must be written."""
    for candidate, condition in ((text, ""), (text.replace(",", "."), r"[-+]?\d*,\d+"),
                                 (text.replace(",", ""), r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?"),
                                 (text.replace(".", "").replace(",", "."), r"[-+]?\d{1,3}(\.\d{3})+(,\d*)?")):
        if not condition or re.fullmatch(condition, text):
            with suppress(ValueError, OverflowError):
                value = float(candidate)
                if math.isfinite(value) and (kind is float or value.is_integer()):
                    yield str(int(value)) if kind is int else candidate


def expand(patterns: Iterable[str]) -> list[str]:
    """The given files, each once, with `*`, `?` and `[…]` expanded if the shell did not expand them (Windows).

    The name of an existing file is taken literally; a pattern without a match is kept, to be reported as missing.
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
