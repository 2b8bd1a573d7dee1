"""Tables and class names that fit the terminal."""

import shutil
import unicodedata

_SHORTEST = 8  # columns of a shortened name
_SEPARATOR = "  "


def columns() -> int:
    """The columns of a line: those of the terminal, or 80 if there is none, minus 1: some consoles wrap a full line."""
    return shutil.get_terminal_size().columns - 1


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
    names = [shorten(name, max(_SHORTEST, room)) for name in names]
    width = max(map(display_width, names))
    return [_SEPARATOR.join([name + " " * (width - display_width(name)), *map(str.rjust, cells, widths)]).rstrip()
            for name, (_, *cells) in zip(names, rows, strict=True)]
