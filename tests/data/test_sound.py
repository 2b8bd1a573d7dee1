"""Sounds and the status of their files."""

import os
import pickle
from pathlib import Path

import pytest

from audio_utils.data.sound import Sound, Stat, clip_name, clip_names, sound_of_clip, stem_of


def test_a_stat_changes_with_the_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"1")
    before = Stat.of(path)
    assert Stat.of(path) == before
    os.utime(path, ns=(5, 5))
    after = Stat.of(path)
    assert (after.size, after.mtime_ns) == (1, 5)
    assert after != before
    assert not after.has_same_date(before)
    path.chmod(0o600)
    assert Stat.of(path).has_same_date(after)


@pytest.mark.parametrize("values", [(-1, -1, -1, -1), (0, -5, 1 << 63, (1 << 64) - 1)])
def test_a_stat_holds_any_numbers_and_can_be_pickled(values):
    stat = Stat(*values)
    assert stat.values() == (stat.size, stat.mtime_ns, *values[2:]) == values
    assert pickle.loads(pickle.dumps(stat)) == stat


def test_sounds_are_equal_whatever_the_status_of_their_files():
    one, other = (Sound("a", os.path.join("Samples", "a", "x.wav"), stat=Stat(i, i, i, i)) for i in range(2))
    assert one == other
    assert len({one, other}) == 1
    assert one != one._replace(split="Test")
    assert (one.name, one.stem) == ("a/x.wav", "x")


@pytest.mark.parametrize("name", ["x.wav", ".x", "x.", "a.b.wav", "x", ".x.wav"])
def test_a_stem_is_that_of_pathlib(name):
    assert stem_of(name) == Path(name).stem


@pytest.mark.parametrize("name", ["c/night.wav", "c/a.", "c/x", "c/x.tar.gz", "c/a_s1.wav", "c.d/e", "c/ß ’_s.wav",
                                  "c/.x"])
def test_the_name_of_a_clip_leads_back_to_the_sound(name):
    assert sound_of_clip(clip_name(name, 12)) == (name, 12)
    assert clip_names(name, 0) == [name]
    assert clip_names(name, 2) == [clip_name(name, 1), clip_name(name, 2)]


def test_clips_are_numbered_before_the_extension():
    assert clip_name("c/night.wav", 3) == "c/night_s3.wav"
    for name in ("c/night.wav", "c/_s3.wav", "c/x_s03.wav", "c/x_s0.wav", "c/x.y_s3", "c_s3.d/e", "c/x_s³.wav"):
        assert sound_of_clip(name) is None
