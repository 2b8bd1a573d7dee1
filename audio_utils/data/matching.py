"""Match the sounds with the index: unchanged, changed, moved and new sounds, and entries without a sound."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from audio_utils.data import index
from audio_utils.data.index import LEFT_OUT, USED, Content, Entry, Stat
from audio_utils.data.sounds import Sound, class_of
from audio_utils.runtime import parallel

_MAX_GONE = 0.1  # fraction of the sounds; if more, or a whole class, are gone since the last run, a disk may be missing
_UNSTABLE = 0.5  # fraction of the files; if more have new inodes or ctimes but old dates, inodes are not reliable


class Matched(NamedTuple):
    """The result of matching."""
    entries: dict[Sound, Entry]  # of the sounds that are known; with settings "" if their melgram must be computed
    moved: list[Entry]  # former entries of sounds that have another path or class now
    gone: list[Entry]  # entries without a sound, with their status from now on
    missing: int  # the number of these that are gone since the last run but stay in use

    @property
    def splits(self) -> dict[str, str]:
        """name → split, of all entries."""
        return {entry.name: entry.split for entry in self.gone} | {
            sound.name: entry.split for sound, entry in self.entries.items()}


def match(sounds: list[Sound], stats: dict[Sound, Stat], samples: Path, entries: dict[str, Entry],
          jobs: int | None) -> Matched:
    """Find the entry of each sound, by its path and file status or, if these have changed, by its content."""
    paths = {sound: path_of(sound, samples) for sound in sounds}
    contents = _contents(paths, stats, entries, jobs)
    free = _entries_without_content(paths, entries, contents)
    known, moved = {}, []
    for sound, path in paths.items():
        entry, content = entries.get(path), contents.get(sound)
        if entry and content == entry.content:
            known[sound] = entry._replace(status=USED, stat=stats[sound])
        elif content and free.get(content.digest):
            former = _best(free[content.digest], sound)
            moved.append(former)
            known[sound] = Entry(path, former.split, USED, stats[sound], content, "", recording=former.recording)
        elif entry:
            known[sound] = entry._replace(status=USED, stat=stats[sound], content=content or entry.content, settings="",
                                          recording="")
    present, held = {content.digest for content in contents.values()}, set(paths.values())
    rest = [entry for each in free.values() for entry in each if entry.path not in held]
    moved += [entry for entry in rest if entry.content.digest and entry.content.digest in present]
    gone = [entry for entry in rest if entry not in moved]
    return Matched(known, moved, *_decide(gone, entries))


def path_of(sound: Sound, samples: Path) -> str:
    """The path of a sound in the index."""
    return sound.path.relative_to(samples).as_posix()


def _contents(paths: dict[Sound, str], stats: dict[Sound, Stat], entries: dict[str, Entry],
              jobs: int | None) -> dict[Sound, Content]:
    """The content of each sound that the index may have; unchanged files are not read again."""
    found, same_date, changed, new = {}, [], [], []
    for sound, path in paths.items():
        entry, stat = entries.get(path), stats[sound]
        if entry is None:
            new.append(sound)
        elif entry.stat == stat or (entry.stat.size < 0 and entry.stat.mtime_ns == stat.mtime_ns):
            found[sound] = entry.content
        else:
            (same_date if entry.stat[:2] == stat[:2] else changed).append(sound)
    if len(same_date) > _UNSTABLE * (len(paths) - len(new)):
        read = dict(parallel.each(index.sample_of, [sound.path for sound in same_date], "Comparing", jobs))
        contents = {sound: entries[paths[sound]].content for sound in same_date}
        found |= {sound: content for sound, content in contents.items() if content.sample == read[sound.path]}
        same_date = [sound for sound in same_date if sound not in found]
    held = {paths[sound] for sound in found}
    sizes = {entry.stat.size for path, entry in entries.items() if path not in held}
    to_read = same_date + changed + [sound for sound in new if stats[sound].size in sizes]
    read = dict(parallel.each(index.content_of, [sound.path for sound in to_read], "Comparing", jobs))
    return found | {sound: read[sound.path] for sound in to_read if isinstance(read[sound.path], Content)}


def _entries_without_content(paths: dict[Sound, str], entries: dict[str, Entry],
                             contents: dict[Sound, Content]) -> dict[str, list[Entry]]:
    """digest → the entries whose path no longer has their content."""
    current = {paths[sound]: content for sound, content in contents.items()}
    free = defaultdict(list)
    for path, entry in entries.items():
        if current.get(path) != entry.content:
            free[entry.content.digest].append(entry)
    return free


def _best(candidates: list[Entry], sound: Sound) -> Entry:
    """Take the entry with the sound's file name, or the first one, from the candidates."""
    best = next((entry for entry in candidates if entry.name.endswith(f"/{sound.path.name}")), candidates[0])
    candidates.remove(best)
    return best


def _decide(gone: list[Entry], entries: dict[str, Entry]) -> tuple[list[Entry], int]:
    """Leave out entries without a sound, unless too many are gone since the last run (a disk may be missing)."""
    used = Counter(class_of(entry.name) for entry in entries.values() if entry.status == USED)
    since = Counter(class_of(entry.name) for entry in gone if entry.status == USED)
    if since.total() > _MAX_GONE * used.total() or any(since[name] == used[name] for name in since):
        return gone, since.total()
    return [entry._replace(status=LEFT_OUT) for entry in gone], 0
