"""Names that look like takes of one recording, such as 1-5996-A and 1-5996-B, and the GROUP_BY that groups them."""

import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterator

from audio_utils.data.checks import named
from audio_utils.data.sounds import Sound
from audio_utils.data.split import MIN_GROUPS, Grouping

_MIN_MATCHED = 0.8  # fraction of the names that end in the same kind of number or letter
_MIN_SHARED = 0.2  # fraction of the sounds that share their recording with another take
_MIN_COUNTED = 0.8  # fraction of the recordings whose takes are numbered from 0, 1 or A without a gap
_MAX_TAKES = 10  # of one recording; longer series are usually numbers of independent sounds
_TAKE = re.compile(r"""(?P<number>[-_. ](?P<word>[A-Za-z]*)\d{1,3})$   # rec3_take2, p01_rec2_07
                     | (?P<letter>[-_. ][A-Za-z])$                     # 1-5996-A
                     | (?<=\d)(?P<bare>[A-Za-z])$                      # rec12b""", re.VERBOSE)


def suggest_group_by(sounds: list[Sound], recordings: Container[Sound]) -> Iterator[str]:
    """A sentence that suggests a GROUP_BY, if most sounds are named like takes of recordings with few takes each.

    recordings: the sounds that are grouped already, because they are clips of known recordings. For the user's own
    split, nothing is suggested.
    """
    rule, takes = find_takes(sounds, recordings)
    if rule:
        shared = [sound.path for group in takes if len(group) > 1 for sound in group]
        yield (f'{named(shared)}: named like takes of one recording; preprocess_data.py --split-anew '
               f'"--group-by={rule}" keeps the takes of each recording in one split; '
               "otherwise the score is too optimistic.")


def find_takes(sounds: list[Sound], recordings: Container[Sound]) -> tuple[str, list[list[Sound]]]:
    """The GROUP_BY that is suggested, and the sounds that it groups; ("", []) if none is. Arguments: as above."""
    sounds = [sound for sound in sounds if not (sound.split or sound.copy_of or sound in recordings)]
    rules = Counter(filter(None, (_rule_for(sound.stem) for sound in sounds)))
    rule, count = max(rules.items(), key=lambda item: item[1], default=("", 0))
    if count < max(1, _MIN_MATCHED * len(sounds)):
        return "", []
    takes = defaultdict(list)
    for sound in sounds:
        takes[sound.class_name, Grouping(rule, {}).of(sound.name)].append(sound)
    groups = list(takes.values())
    return (rule, groups) if _are_takes(groups, rule) else ("", [])


def _rule_for(stem: str) -> str:
    """A regular expression for the end of a name, "" if that does not look like the number or letter of a take."""
    take = _TAKE.search(stem)
    if not take or not take.start():
        return ""
    end = take.group()
    if take["number"]:
        return f"{_literal(end[0])}{take['word']}\\d+$"
    letters = "[A-Z]" if end[-1].isupper() else "[a-z]"
    return f"{_literal(end[0])}{letters}$" if take["letter"] else rf"(?<=\d){letters}$"


def _literal(separator: str) -> str:
    return r"\." if separator == "." else separator


def _are_takes(groups: list[list[Sound]], rule: str) -> bool:
    """Whether each group of sounds, whose names differ only in the match of a rule, contains takes of one recording."""
    sizes, in_class = list(map(len, groups)), Counter(group[0].class_name for group in groups)
    counted = sum(_is_counted([re.search(rule, sound.stem) for sound in group]) for group in groups)
    return (sum(size for size in sizes if size > 1) >= _MIN_SHARED * sum(sizes) and max(sizes) <= _MAX_TAKES
            and min(in_class.values()) >= MIN_GROUPS and counted >= _MIN_COUNTED * len(groups))


def _is_counted(takes: list[re.Match | None]) -> bool:
    """Whether the names end in 0, 1 … or 1, 2 … or A, B …, without a gap."""
    if None in takes:
        return False
    ends = [re.search(r"\d+$|[A-Za-z]$", take.string).group() for take in takes]
    values = sorted(int(end) if end.isdecimal() else ord(end.upper()) - ord("A") + 1 for end in ends)
    return values[0] in (0, 1) and values == list(range(values[0], values[0] + len(values)))
