"""The index of Preproc/: written atomically, read back exactly, and robust against damage."""


import numpy as np
import pytest

from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import index
from audio_utils.data.index import LEFT_OUT, MOVED, USED, Content, Entry, Stat

SETTINGS = MelgramSettings(sample_rate=8000, clip_samples=100, channels=1, mels=3, window=20, fft=20, hop=50)


def entry(path, **changes):
    return Entry(path, "Train", USED, Stat(1, 2, 3, 4), Content("s", "d"), "id", "")._replace(**changes)


def test_what_is_written_is_read_back(tmp_path):
    paths = ["a/1.wav", "Train/a/2.wav", 'b, "c"/x\ny.wav', "ä/\udcff.wav", "a/ .wav"]
    entries = [entry(path) for path in paths]
    entries.append(entry("z/1.wav", split="Test", status=LEFT_OUT, settings="", copy_of="a/x.wav", recording="a/x"))
    moved = entry("a/1.wav", split="Test", status=MOVED)
    index.write(tmp_path, [*entries, moved])
    assert index.read(tmp_path) == ({each.path: each for each in entries}, [moved])


def test_rows_are_sorted_so_that_equal_contents_are_equal_bytes(tmp_path):
    entries = [entry(f"a/{i}.wav") for i in range(5)]
    index.write(tmp_path, entries)
    before = (tmp_path / index.INDEX).read_bytes()
    index.write(tmp_path, reversed(entries))
    assert (tmp_path / index.INDEX).read_bytes() == before


def test_an_appended_row_replaces_the_one_before_and_an_unfinished_one_is_ignored(tmp_path):
    index.write(tmp_path, [entry("a/1.wav", settings=""), entry("a/2.wav", settings="")])
    with index.appending(tmp_path) as appender:
        appender.add(entry("a/1.wav"))
        appender.add(entry("a/2.wav"))
    path = tmp_path / index.INDEX
    whole = path.read_bytes()
    last = whole.rindex(b"a/2.wav")
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        entries, _ = index.read(tmp_path)
        assert entries["a/1.wav"] == entry("a/1.wav")
        assert entries["a/2.wav"] in (entry("a/2.wav", recording=None), entry("a/2.wav", settings=""))


@pytest.mark.parametrize("damage", [
    b"", b"\0" * 99, b"path,split\n", b'a/1.wav,Train,used,1,2,3,4,s,d,id,\n"' + b"x" * 200_000, b"\xff\xfe,,,\n" * 9,
    b"a/2.wav,Train,used,1,2,3,four,s,d,id,\n", b"a/2.wav,Other,used,1,2,3,4,s,d,id,\n",
    b"x,Train,used,1,2,3,4,s,d,id,\n"])
def test_damaged_rows_are_ignored(tmp_path, damage):
    (tmp_path / index.INDEX).write_bytes(b"a/1.wav,Train,used,1,2,3,4,s,d,id,\n" + damage)
    assert index.read(tmp_path) == ({"a/1.wav": entry("a/1.wav", recording=None)}, [])


@pytest.mark.parametrize(("columns", "recording"), [(11, None), (12, "a/night")])
def test_rows_of_an_older_version_have_no_recording_or_are_not_cut(tmp_path, columns, recording):
    index.write(tmp_path, [entry("a/1.wav", recording="a/night"), entry("a/2.wav", copy_of="a/1.wav", clips=5)])
    path = tmp_path / index.INDEX
    path.write_text("".join(f"{','.join(line.split(',')[:columns])}\n" for line in path.read_text().splitlines()))
    assert index.read(tmp_path) == ({
        "a/1.wav": entry("a/1.wav", recording=recording),
        "a/2.wav": entry("a/2.wav", copy_of="a/1.wav", recording=recording and "")}, [])


def test_without_a_file_there_is_no_entry(tmp_path):
    assert index.read(tmp_path) == ({}, [])
    assert not index.exists(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 4096, 5000, 100_000])
def test_a_digest_changes_with_any_byte_and_a_sample_with_first_middle_and_last(tmp_path, size):
    path, content = tmp_path / "x", np.random.default_rng(0).integers(256, size=size, dtype=np.uint8)
    path.write_bytes(content.tobytes())
    before = index.content_of(path)
    assert index.content_of(path) == before
    assert index.sample_of(path) == before.sample
    for offset in {0, size // 3, size // 2, size - 1} & set(range(size)):
        changed = content.copy()
        changed[offset] ^= 1
        path.write_bytes(changed.tobytes())
        assert index.content_of(path).digest != before.digest
        if offset in (0, size // 2, size - 1):
            assert index.content_of(path).sample != before.sample


def test_of_a_long_file_parts_all_over_it_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "_MAX_DIGEST_BYTES", 1 << 12)
    path = tmp_path / "x"
    digests = set()
    for offset in (None, 0, 320_000, 639_000):
        content = bytearray(640_000)
        if offset is not None:
            content[offset - offset % 10_000] = 1
        path.write_bytes(content)
        digests.add(index.content_of(path).digest)
    path.write_bytes(bytes(640_001))
    digests.add(index.content_of(path).digest)
    assert len(digests) == 5


def test_settings_have_an_id_of_their_own():
    assert index.settings_id(SETTINGS) == index.settings_id(SETTINGS)
    assert index.settings_id(SETTINGS) != index.settings_id(MelgramSettings(8000, 100, 1, 3, 20, 20, 25))


# --- sounds that are cut into clips ----------------------------------------------------------------------------------

def test_the_number_of_clips_is_kept_and_an_impossible_one_ignored(tmp_path):
    cut = entry("Train/a/night.wav", clips=3)
    index.write(tmp_path, [cut, entry("a/1.wav")])
    assert index.read(tmp_path)[0] == {"Train/a/night.wav": cut, "a/1.wav": entry("a/1.wav")}
    assert cut.clip_names == ["a/night_s1.wav", "a/night_s2.wav", "a/night_s3.wav"]
    assert entry("a/1.wav").clip_names == ["a/1.wav"]
    path = tmp_path / index.INDEX
    for number in ("-1", "1e3", "1000001", "", "x"):
        path.write_text(path.read_text().rpartition(",")[0] + f",{number}\n")
        assert list(index.read(tmp_path)[0]) == ["Train/a/night.wav"]


def test_an_incomplete_last_row_of_a_sound_that_is_cut_is_ignored(tmp_path):
    """Its melgrams are computed again, as a part of the number may be missing."""
    before = entry("a/night.wav", settings="", clips=3600)
    index.write(tmp_path, [before])
    with index.appending(tmp_path) as appender:
        appender.add(entry("a/night.wav", clips=3600))
    path = tmp_path / index.INDEX
    whole = path.read_bytes()
    for end in range(whole.rindex(b"a/night.wav"), len(whole)):
        path.write_bytes(whole[:end])
        assert index.read(tmp_path)[0] == {"a/night.wav": before}


def test_a_sound_that_is_cut_is_a_recording():
    entries = [entry("a/x.wav", clips=2), entry("a/y.wav", clips=2, recording="k"), entry("a/z.wav"),
               entry("a/z_s1.wav", recording="a/z"), entry("a/x_aug1.wav", clips=2, copy_of="a/x.wav")]
    assert index.recordings(entries) == {
        "a/x_s1.wav": "a/x", "a/x_s2.wav": "a/x", "a/y_s1.wav": "k", "a/y_s2.wav": "k", "a/z_s1.wav": "a/z",
        "a/x_aug1_s1.wav": "a/x", "a/x_aug1_s2.wav": "a/x"}
