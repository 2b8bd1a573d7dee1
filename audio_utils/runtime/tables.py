"""Tables and class names that fit the terminal, and the order of class names."""

import re
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

_SHORTEST = 8  # columns of a shortened name
_SEPARATOR = "  "


def natural_order(names: list[str]) -> list[int]:
    """The indices of class names in the order in which they are shown: a2 comes before a10, and b before C."""
    keys = [[int(part) if i % 2 else part.casefold() for i, part in enumerate(re.split(r"(\d+)", name))]
            for name in names]
    return sorted(range(len(names)), key=lambda i: (keys[i], names[i]))


def in_natural_order(names: Iterable[str]) -> list[str]:
    """The class names themselves in natural order."""
    names = list(names)
    return [names[i] for i in natural_order(names)]


def columns() -> int:
    """The columns of a line: those of the terminal, or 80 if there is none, minus 1: some consoles wrap a full line."""
    return shutil.get_terminal_size().columns - 1


def bar_columns() -> int:
    """The columns of a progress bar: two are left for the ^C that the terminal prints after it."""
    return columns() - 2


def number(value: float) -> str:
    """A number of at least 0 in six characters, with two significant digits or more: 12.346, 1.2346, 0.0012, 1.2e-5."""
    if 0 < value < 0.0001:
        text = f"{value:.1e}".replace("e-0", "e-")
        return text if len(text) == 6 else f"{value:6.0e}"
    return f"{abs(value):.4f}" if value < 10 else f"{value:.3f}"  # abs: the negative zero is 0, too


def display_width(text: str) -> int:
    """The columns that a text takes: 2 for a wide East Asian character, 0 for a combining one."""
    return sum(map(_character_width, text))


def _character_width(character: str) -> int:
    return 0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "FW")


def shorten(name: str, limit: int) -> str:
    """The name, or its beginning and its end with … between them if it takes more than `limit` columns."""
    if display_width(name) <= limit:
        return name
    name = unicodedata.normalize("NFC", name)  # no combining character loses its base
    return f"{_prefix(name, limit // 2)}…{_prefix(name[::-1], limit - 1 - limit // 2)[::-1]}"


def _prefix(text: str, limit: int) -> str:
    """The longest beginning of a text that takes at most `limit` columns."""
    end = next((end for end in range(len(text)) if display_width(text[:end + 1]) > limit), len(text))
    return text[:end]


def shorten_distinct(names: list[str], limit: int) -> list[str]:
    """All names shortened as by `shorten`; those that would be equal then show the part in which they differ."""
    short = [shorten(name, limit) for name in names]
    groups = defaultdict(list)
    for name, each in zip(names, short, strict=True):
        groups[each].append(name)
    start = {each: _first_difference(group) for each, group in groups.items()}
    return [each if len(set(groups[each])) == 1 else _with_part(name, start[each], limit)
            for name, each in zip(names, short, strict=True)]


def _first_difference(names: list[str]) -> int:
    """The index at which names begin to differ, moved back to the beginning of a number."""
    start = next((i for i, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1),
                 min(map(len, names)))
    return len(names[0][:start].rstrip("0123456789"))


def _with_part(name: str, start: int, limit: int) -> str:
    """The beginning of a name and its part from the index `start`, in at most `limit` columns."""
    beginning = _prefix(name, limit // 3)
    if start <= len(beginning):
        return f"{_prefix(name, limit - 1)}…"
    part = _prefix(name[start:], limit - 2 - display_width(beginning))
    return f"{beginning}…{part}" + "…" * (start + len(part) < len(name))


def shorten_all(names: list[str], limit: int) -> list[str]:
    """The names, the longest ones shortened until all together take at most `limit` columns, or 8 each."""
    longest = max(map(display_width, names), default=0)
    while longest > _SHORTEST and sum(min(display_width(name), longest) for name in names) > limit:
        longest -= 1
    return [shorten(name, longest) for name in names]


def table(rows: list[list[str]]) -> list[str]:
    """The lines of a table; the first column is aligned left, and its names are shortened to fit the terminal."""
    names, *others = zip(*rows, strict=True)
    widths = [max(map(display_width, column)) for column in others]
    room = columns() - sum(widths) - len(_SEPARATOR) * len(widths)
    names = shorten_distinct(names, max(_SHORTEST, room))
    width = max(map(display_width, names))
    return [_SEPARATOR.join([name + " " * (width - display_width(name)), *map(str.rjust, cells, widths)]).rstrip()
            for name, (_, *cells) in zip(names, rows, strict=True)]
