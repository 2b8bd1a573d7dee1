"""Sounds and the index: moved, swapped, replaced, gone and returned sounds."""

import os
import shutil

import pytest

from audio_utils.data import index
from audio_utils.data.index import LEFT_OUT, USED, Entry
from audio_utils.data.matching import describe_relabeled, match, paths_of
from audio_utils.data.sounds import Sound


class Folder:
    """Samples/ with files of given contents, all of one date, as in an unzipped archive."""

    def __init__(self, path):
        self.samples, self.entries = path / "Samples", {}

    def put(self, name, content):
        path = self.samples / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.ljust(64, b"."))
        os.utime(path, ns=(0, 0))

    def sounds(self):
        paths = sorted(self.samples.glob("*/*"))
        return [Sound(path.parent.name, str(path), stat=index.Stat.of(path)) for path in paths]

    def enter(self, test=()):
        """Make the index as preprocessing leaves it."""
        self.entries = {path: Entry(path, "Test" if path in test else "Train", USED, index.Stat.of(sound.path),
                                    index.content_of(sound.path), "id")
                        for sound in self.sounds() for path in paths_of([sound], self.samples)}

    def matched(self, sounds):
        return match(sounds, self.samples, self.entries, 1)

    def relabeled(self):
        return describe_relabeled(self.matched(self.sounds()), self.entries)

    def match(self):
        """(path → its entry, paths of the moved, path → status of the gone, the number that stay in use)."""
        sounds = self.sounds()
        found = self.matched(sounds)
        return ({paths_of([sound], self.samples)[0]: entry for sound, entry in found.entries.items()},
                [entry.path for entry in found.moved], {entry.path: entry.status for entry in found.gone},
                found.missing)


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path)
    for label in "ab":
        for i in range(20):
            made.put(f"{label}/{i}.wav", f"{label}{i}".encode())
    made.enter(test=("a/3.wav", "b/4.wav"))
    return made


@pytest.fixture
def reads(monkeypatch):
    """The paths of the files that are read."""
    paths = []

    def spy(original):
        def read(path):
            paths.append(os.fspath(path))
            return original(path)
        return read

    for name in ("content_of", "sample_of"):
        monkeypatch.setattr(index, name, spy(getattr(index, name)))
    return paths


def test_a_moved_sound_keeps_its_recording_and_a_changed_one_does_not(folder):
    folder.entries = {path: entry._replace(recording="a/x") for path, entry in folder.entries.items()}
    (folder.samples / "a/1.wav").rename(folder.samples / "b/new.wav")
    folder.put("a/2.wav", b"changed")
    entries, *_ = folder.match()
    assert [entries[path].recording for path in ("b/new.wav", "a/2.wav", "a/3.wav")] == ["a/x", "", "a/x"]


def test_unchanged_files_are_not_read(folder, reads):
    known, moved, gone, missing = folder.match()
    assert known == folder.entries
    assert (moved, gone, missing, reads) == ([], {}, 0, [])


def test_a_moved_sound_keeps_its_split_and_loses_its_melgram(folder):
    (folder.samples / "a/3.wav").rename(folder.samples / "b/3 new.wav")
    known, moved, gone, _ = folder.match()
    assert (known["b/3 new.wav"].split, known["b/3 new.wav"].settings) == ("Test", "")
    assert (moved, gone) == (["a/3.wav"], {})


def test_relabeled_sounds_are_counted(folder):
    (folder.samples / "a/3.wav").rename(folder.samples / "a/new.wav")
    (folder.samples / "a/4.wav").unlink()
    folder.put("a/5.wav", b"changed")
    assert folder.relabeled() == ""
    (folder.samples / "a/6.wav").rename(folder.samples / "b/new.wav")
    assert folder.relabeled() == "1 sound moved from a to b."
    for name in "789":
        (folder.samples / f"b/{name}.wav").rename(folder.samples / f"a/{name} new.wav")
    assert folder.relabeled() == "4 sounds moved to another class: 3 from b to a, 1 from a to b."
    folder.put("c/6.wav", b"b10")
    folder.put("d/6.wav", b"b11")
    for i in (10, 11):
        (folder.samples / f"b/{i}.wav").unlink()
    assert folder.relabeled() == ("6 sounds moved to another class: 3 from b to a, 1 from a to b, 1 from b to c, and 1 "
                                  "more.")


def test_a_deleted_duplicate_is_not_relabeled(folder):
    folder.put("b/same.wav", b"a3")
    folder.enter()
    (folder.samples / "a/3.wav").unlink()
    assert folder.relabeled() == ""


def test_swapped_class_folders_swap_everything(folder):
    (folder.samples / "a").rename(folder.samples / "c")
    (folder.samples / "b").rename(folder.samples / "a")
    (folder.samples / "c").rename(folder.samples / "b")
    assert folder.relabeled() == "40 sounds moved to another class: 20 from a to b, 20 from b to a."
    known, moved, gone, _ = folder.match()
    assert known["b/3.wav"].split == known["a/4.wav"].split == "Test"
    assert known["a/3.wav"].split == known["b/4.wav"].split == "Train"
    assert {entry.settings for entry in known.values()} == {""}
    assert sorted(moved) == sorted(folder.entries)
    assert not gone


def test_two_swapped_files_of_one_date_are_found(folder):
    one, other = folder.samples / "a/3.wav", folder.samples / "b/9.wav"
    one.rename(folder.samples / "x")
    other.rename(one)
    (folder.samples / "x").rename(other)
    known, moved, _, _ = folder.match()
    assert (known["b/9.wav"].split, known["a/3.wav"].split) == ("Test", "Train")
    assert sorted(moved) == ["a/3.wav", "b/9.wav"]
    assert sorted(path for path, entry in known.items() if not entry.settings) == ["a/3.wav", "b/9.wav"]


def test_a_replaced_file_is_computed_again_and_stays_in_its_split(folder):
    folder.put("a/3.wav", b"something else")
    known, moved, gone, _ = folder.match()
    assert (known["a/3.wav"].split, known["a/3.wav"].settings) == ("Test", "")
    assert (moved, gone) == ([], {})


def test_of_a_file_that_is_replaced_by_another_known_one_both_former_melgrams_are_deleted(folder):
    (folder.samples / "b/5.wav").rename(folder.samples / "a/3.wav")
    known, moved, gone, missing = folder.match()
    assert (known["a/3.wav"].split, known["a/3.wav"].settings) == ("Train", "")
    assert (sorted(moved), gone, missing) == (["a/3.wav", "b/5.wav"], {}, 0)


def test_a_file_with_a_new_date_only_is_current(folder):
    os.utime(folder.samples / "a/3.wav")
    known, *_ = folder.match()
    assert known["a/3.wav"].settings == "id"
    assert known["a/3.wav"].stat == index.Stat.of(folder.samples / "a/3.wav")


def test_a_copied_folder_is_compared_by_samples(folder, reads, tmp_path):
    for path in folder.samples.glob("*/*"):  # new inodes, the same dates
        copy = path.with_name("copy")
        shutil.copy2(path, copy)
        copy.replace(path)
    folder.put("a/3.wav", b"Something else")
    known, *_ = folder.match()
    assert [path for path, entry in known.items() if not entry.settings] == ["a/3.wav"]
    assert len([path for path in reads if not path.endswith("a/3.wav")]) == 39


def test_a_copy_is_a_new_sound(folder):
    shutil.copy2(folder.samples / "a/3.wav", folder.samples / "b/copy.wav")
    known, moved, gone, _ = folder.match()
    assert "b/copy.wav" not in known
    assert known["a/3.wav"].settings == "id"
    assert (moved, gone) == ([], {})


def test_a_sound_that_is_gone_is_left_out_and_returns_to_its_split(folder):
    (folder.samples / "a/3.wav").rename(folder.samples / "kept")
    _, moved, gone, missing = folder.match()
    assert (moved, gone, missing) == ([], {"a/3.wav": LEFT_OUT}, 0)
    folder.entries["a/3.wav"] = folder.entries["a/3.wav"]._replace(status=LEFT_OUT)
    (folder.samples / "kept").rename(folder.samples / "b/back.wav")
    known, moved, gone, _ = folder.match()
    assert (known["b/back.wav"].split, moved, gone) == ("Test", ["a/3.wav"], {})


def test_a_removed_duplicate_is_not_gone(folder):
    folder.put("b/twin.wav", b"a3")
    folder.enter(test=("a/3.wav",))
    (folder.samples / "a/3.wav").unlink()
    _, moved, gone, _ = folder.match()
    assert (moved, gone) == (["a/3.wav"], {})


@pytest.mark.parametrize("removed", [[f"a/{i}.wav" for i in range(20)],
                                     [f"{label}/{i}.wav" for label in "ab" for i in (1, 2, 3)]])
def test_a_whole_class_or_more_than_a_tenth_stays_in_use(folder, removed):
    for path in removed:
        (folder.samples / path).unlink()
    _, moved, gone, missing = folder.match()
    assert (moved, gone, missing) == ([], dict.fromkeys(removed, USED), len(removed))


def test_all_sounds_are_left_out_if_their_folders_have_become_the_users_own_split(folder):
    shutil.rmtree(folder.samples)
    folder.put("Train/a/0.wav", b"new")
    [path] = folder.samples.glob("*/*/*")
    matched = folder.matched([Sound("a", str(path), "Train", stat=index.Stat.of(path))])
    assert ({entry.status for entry in matched.gone}, len(matched.gone), matched.missing) == ({LEFT_OUT}, 40, 0)


def test_sounds_gone_earlier_are_not_counted_again(folder):
    for i in range(1, 5):
        folder.entries[f"a/{i}.wav"] = folder.entries[f"a/{i}.wav"]._replace(status=LEFT_OUT)
        (folder.samples / f"a/{i}.wav").unlink()
    (folder.samples / "b/1.wav").unlink()
    _, _, gone, missing = folder.match()
    assert (set(gone.values()), len(gone), missing) == ({LEFT_OUT}, 5, 0)


def test_melgrams_from_before_the_index_are_matched_by_their_date(folder, reads):
    stat = index.Stat(-1, 0, -1, -1)
    folder.entries = {path: entry._replace(stat=stat, content=index.UNKNOWN_CONTENT)
                      for path, entry in folder.entries.items()}
    os.utime(folder.samples / "a/3.wav")
    known, *_ = folder.match()
    assert [path for path, entry in known.items() if not entry.settings] == ["a/3.wav"]
    assert known["a/3.wav"].split == "Test"
    assert len(reads) <= 2
