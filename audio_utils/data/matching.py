"""Match the sounds with the index: unchanged, changed, moved and new sounds, and entries without a sound."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from audio_utils.data import index
from audio_utils.data.index import LEFT_OUT, USED, Content, Entry
from audio_utils.data.sound import Sound
from audio_utils.data.sounds import class_of
from audio_utils.runtime import parallel

_MAX_GONE = 0.1  # fraction of the sounds; if more, or a whole class, are gone since the last run, a disk may be missing
_MAX_LISTED = 3  # pairs of classes between which sounds have moved
_UNSTABLE = 0.5  # fraction of the files; if more have new inodes or ctimes but old dates, inodes are not reliable


class Matched(NamedTuple):
    """The result of matching."""
    entries: dict[Sound, Entry]  # of the sounds that are known; with settings "" if their melgram must be computed
    moved: list[Entry]  # former entries of sounds that have another path or class now, or were replaced by a moved one
    gone: list[Entry]  # entries without a sound, with their status from now on
    missing: int  # the number of these that are gone since the last run but stay in use

    @property
    def splits(self) -> dict[str, str]:
        """name → split, of all entries."""
        return {entry.name: entry.split for entry in self.gone} | {
            entry.name: entry.split for entry in self.entries.values()}


def match(sounds: list[Sound], samples: Path, entries: dict[str, Entry], jobs: int | None) -> Matched:
    """Find the entry of each sound, by its path and file status or, if these have changed, by its content."""
    paths = paths_of(sounds, samples)
    unchanged, contents = _contents(sounds, paths, entries, jobs)
    free = _entries_without_content(entries, unchanged, contents)
    known, moved, replaced = {}, [], set()
    for sound, path in zip(sounds, paths, strict=True):
        entry, content = entries.get(path), contents.get(path)
        if entry and (path in unchanged or content == entry.content):
            is_same = entry.status == USED and entry.stat == sound.stat
            known[sound] = entry if is_same else entry._replace(status=USED, stat=sound.stat)
        elif content and free.get(content.digest):
            former = _best(free[content.digest], sound)
            moved.append(former)
            replaced.add(path)
            known[sound] = Entry(path, former.split, USED, sound.stat, content, "", recording=former.recording)
        elif entry:
            known[sound] = entry._replace(status=USED, stat=sound.stat, content=content or entry.content, settings="",
                                          recording="")
    held = set(paths) if free else ()
    rest = [entry for each in free.values() for entry in each if entry.path not in held]
    present = {content.digest for content in contents.values()} if rest else set()
    present |= {entries[path].content.digest for path in unchanged} - {""} if rest else set()
    gone = [entry for entry in rest if entry.content.digest not in present]
    moved += [entry for entry in rest if entry.content.digest in present]
    moved += [entry for each in free.values() for entry in each if entry.path in replaced]
    prefixes = {sound.split: path.removesuffix(sound.name) for sound, path in zip(sounds, paths, strict=True)} \
        if gone else {}
    return Matched(known, moved, *_decide(gone, entries, prefixes))


def describe_relabeled(matched: Matched, entries: dict[str, Entry]) -> str:
    """A sentence about the sounds that are now in another class, "" if there are none; entries: the index before."""
    if not matched.moved:
        return ""
    now = {entry.content.digest: class_of(entry.name) for entry in matched.entries.values()
           if entry.path not in entries or entries[entry.path].content != entry.content}
    moves = Counter((class_of(former.name), now[former.content.digest]) for former in matched.moved
                    if now.get(former.content.digest, class_of(former.name)) != class_of(former.name))
    if not moves:
        return ""
    count = moves.total()
    shown = sorted(moves.items(), key=lambda item: (-item[1], item[0]))[:_MAX_LISTED]
    listed = [f"{number} from {old} to {new}" for (old, new), number in shown]
    others = count - sum(number for _, number in shown)
    if len(moves) == 1:
        return f"{count} sound{'s' * (count > 1)} moved{listed[0].removeprefix(str(count))}."
    return f"{count} sounds moved to another class: {', '.join(listed)}{f', and {others} more' if others else ''}."


def paths_of(sounds: list[Sound], samples: Path) -> list[str]:
    """The paths of sounds in the index."""
    prefix = prefix_of(samples)
    return [path_of(sound.file, prefix) for sound in sounds]


def prefix_of(samples: Path) -> int:
    """The number of characters of a sound's file before its path in the index."""
    return len(str(samples / "_")) - 1


def path_of(file: str, prefix: int) -> str:
    """The path of a file in the index."""
    return file[prefix:].replace(os.sep, "/")


def _contents(sounds: list[Sound], paths: list[str], entries: dict[str, Entry],
              jobs: int | None) -> tuple[set[str], dict[str, Content]]:
    """The paths of unchanged files, which are not read again, and path → content of the others that may be known."""
    unchanged, found, same_date, changed, new = set(), {}, {}, {}, {}
    for sound, path in zip(sounds, paths, strict=True):
        entry, stat = entries.get(path), sound.stat
        if entry is None:
            new[path] = sound
        elif entry.stat == stat or (entry.stat.size < 0 and entry.stat.mtime_ns == stat.mtime_ns):
            unchanged.add(entry.path)
        else:
            (same_date if entry.stat.has_same_date(stat) else changed)[path] = sound
    if len(same_date) > _UNSTABLE * (len(paths) - len(new)):
        samples = _read(index.sample_of, same_date, jobs)
        found = {path: entries[path].content for path in same_date if samples[path] == entries[path].content.sample}
    sizes = {entry.stat.size for path, entry in entries.items() if path not in unchanged and path not in found}
    to_read = {path: sound for path, sound in (same_date | changed).items() if path not in found} | {
        path: sound for path, sound in new.items() if sound.stat.size in sizes}
    read = _read(index.content_of, to_read, jobs)
    return unchanged, found | {path: content for path, content in read.items() if isinstance(content, Content)}


def _read(function: Callable, sounds: dict[str, Sound], jobs: int | None) -> dict[str, object]:
    """Path → the result of a function of the file, or an error."""
    found = dict(parallel.each(function, [sound.file for sound in sounds.values()], "Comparing", jobs))
    return {path: found[sound.file] for path, sound in sounds.items()}


def _entries_without_content(entries: dict[str, Entry], unchanged: set[str],
                             contents: dict[str, Content]) -> dict[str, list[Entry]]:
    """digest → the entries whose path no longer has their content."""
    free = defaultdict(list)
    for path, entry in entries.items():
        if path not in unchanged and contents.get(path) != entry.content:
            free[entry.content.digest].append(entry)
    return free


def _best(candidates: list[Entry], sound: Sound) -> Entry:
    """Take the entry with the sound's file name, or the first one, from the candidates."""
    file = os.path.basename(sound.file)
    best = next((entry for entry in candidates if entry.name.endswith(f"/{file}")), candidates[0])
    candidates.remove(best)
    return best


def _decide(gone: list[Entry], entries: dict[str, Entry], prefixes: dict[str | None, str]) -> tuple[list[Entry], int]:
    """Leave out entries without a sound, unless too many are gone since the last run (a disk may be missing).

    prefixes: split, or None, → the beginning of its sounds' paths. Entries with another one are always left out: the
    class folders have become the user's own split, or the reverse, so the sounds can't be on a missing disk.
    """
    def is_elsewhere(entry: Entry) -> bool:
        prefix = entry.path.removesuffix(entry.name)
        return prefixes.get(None if None in prefixes else entry.split, prefix) != prefix

    gone = [entry._replace(status=LEFT_OUT) if is_elsewhere(entry) else entry for entry in gone]
    used = Counter(class_of(entry.name) for entry in entries.values() if entry.status == USED)
    since = Counter(class_of(entry.name) for entry in gone if entry.status == USED)
    if since.total() > _MAX_GONE * used.total() or any(since[name] == used[name] for name in since):
        return gone, since.total()
    return [entry._replace(status=LEFT_OUT) for entry in gone], 0
