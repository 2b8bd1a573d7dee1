"""Clips of one recording are found by their tags, and without tags by the names of an unbroken series."""


import pytest
from conftest import sine, write

from audio_utils import binauralify, split_audio
from audio_utils.audio import audio_io, tags
from audio_utils.data import index, recordings
from audio_utils.data.index import Content, Entry
from audio_utils.data.sounds import Sound, find_sounds


def found_in(folder, entries=None):
    """Name → recording, of the sounds of a folder; entries: name → Entry."""
    sounds, _ = find_sounds(folder)
    known = {sound: entries[sound.name] for sound in sounds if entries and sound.name in entries}
    return {sound.name: each for sound, each in recordings.find_recordings(sounds, known, {}).items()}


def put(folder, *names, rate=8000):
    for name in names:
        write(folder / name, sine(seconds=0.1, rate=rate), rate)


# --- tags ------------------------------------------------------------------------------------------------------------

def test_clips_of_tagged_files_have_the_first_recording_whatever_their_names(call_main, tmp_path):
    for name in ("Samples/a/x.wav", "Samples/a/y.wav"):
        write(tmp_path / name, sine(300 + len(name) + ord(name[-5])))
    identity = f"{tags.digest_of(tmp_path / 'Samples/a/x.wav')}-{(tmp_path / 'Samples/a/x.wav').stat().st_size}"
    call_main(split_audio, 0.25, "Samples/a/x.wav", "Samples/a/y.wav")
    call_main(split_audio, 0.125, "Samples/a/x_s2.wav", "-r")
    (tmp_path / "Samples/b").mkdir()
    (tmp_path / "Samples/a/x_s3.wav").rename(tmp_path / "Samples/b/renamed.wav")
    found = found_in(tmp_path / "Samples")
    assert {name for name, each in found.items() if each == identity} == {
        "a/x.wav", "a/x_s1.wav", "a/x_s2_s1.wav", "a/x_s2_s2.wav", "a/x_s4.wav", "b/renamed.wav"}
    assert len({found[f"a/y{end}.wav"] for end in ("", "_s1", "_s2", "_s3", "_s4")}) == 1
    assert len(found) == 11


def test_sounds_rendered_from_one_recording_are_grouped_across_classes_and_are_not_copies(call_main, tmp_path):
    write(tmp_path / "x.wav", sine())
    call_main(binauralify, 2, "x.wav")
    call_main(split_audio, 0.5, "e0a0/x_e0a0.wav", "e0a180/x_e0a180.wav", "-r")
    (tmp_path / "Samples").mkdir()
    for name in ("e0a0", "e0a180"):
        (tmp_path / name).rename(tmp_path / "Samples" / name)
    found = found_in(tmp_path / "Samples")
    assert len(found) == 4
    assert set(found.values()) == {f"{tags.digest_of(tmp_path / 'x.wav')}-{(tmp_path / 'x.wav').stat().st_size}"}
    assert not any(sound.copy_of for sound in find_sounds(tmp_path / "Samples")[0])


def test_a_clip_of_a_copy_has_the_recording_of_the_copy(tmp_path):
    path = write(tmp_path / "a/x.wav", sine())
    audio_io.write(tmp_path / "a/x_aug1.wav", sine(300), 8000, comment=tags.text(tags.steps_from(tags.AUGMENT, path)))
    steps = tags.steps_from(tags.SPLIT, tmp_path / "a/x_aug1.wav")
    audio_io.write(tmp_path / "a/x_aug1_s1.wav", sine(300, 0.5), 8000, comment=tags.text(steps))
    found = found_in(tmp_path)
    assert set(found) == {"a/x.wav", "a/x_aug1_s1.wav"}  # x_aug1.wav is in the group of x.wav as its copy
    assert len(set(found.values())) == 1


@pytest.mark.parametrize("known", [False, True])
def test_the_recording_of_clips_is_found_by_its_content_or_by_its_digest_in_the_index(tmp_path, monkeypatch, known):
    path = write(tmp_path / "a/long.wav", sine(seconds=2))
    steps = tags.steps_from(tags.SPLIT, path)
    audio_io.write(tmp_path / "a/1.wav", sine(), 8000, comment=tags.text(steps))
    put(tmp_path, "a/other.wav")
    entry = Entry("a/long.wav", "Train", index.USED, index.Stat.of(path), index.content_of(path), "")
    if known:
        monkeypatch.setattr(tags, "digest_of", None)
    for recording in ("", f"{steps[0].digest}-{steps[0].size}"):
        found = found_in(tmp_path, {"a/long.wav": entry._replace(recording=recording)} if known else None)
        assert set(found) == {"a/1.wav", "a/long.wav"}


# --- names -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("ends", "is_series"), [
    (("1", "2"), True), (("01", "02"), True), ([f"{i}" for i in range(1, 13)], True),
    ([f"{i:02}" for i in range(1, 13)], True), (("1",), False), (("1", "3"), False), (("2", "3"), False),
    (("0", "1"), False), (("1", "02"), False), (("1", "2", "02"), False), (("01", "2"), False)])
def test_a_series_is_numbered_from_1_without_a_gap(tmp_path, ends, is_series):
    put(tmp_path, *(f"a/night_s{end}.wav" for end in ends), "a/other_s.wav", "b/night_s9.wav")
    assert found_in(tmp_path) == ({f"a/night_s{end}.wav": "a/night" for end in ends} if is_series else {})


def test_clips_of_two_rates_extensions_or_classes_are_not_a_series(tmp_path):
    put(tmp_path, "a/rates_s1.wav", "a/kinds_s1.wav", "a/class_s1.wav", "b/class_s2.wav", "b/x_s1.wav", "b/x_s2.wav")
    put(tmp_path, "a/rates_s2.wav", "a/kinds_s2.flac", rate=16000)
    assert found_in(tmp_path) == {"b/x_s1.wav": "b/x", "b/x_s2.wav": "b/x"}


def test_a_damaged_clip_is_not_a_gap(tmp_path):
    put(tmp_path, "a/x_s1.wav", "a/x_s3.wav")
    (tmp_path / "a/x_s2.wav").write_bytes(b"no audio")
    assert set(found_in(tmp_path).values()) == {"a/x"}


def test_clips_without_a_tag_join_those_with_one(tmp_path):
    put(tmp_path, "a/x_s1.wav", "a/x_s3.wav")
    steps = [tags.Step(tags.SPLIT, "x.wav", 5, "ab")]
    audio_io.write(tmp_path / "a/x_s2.wav", sine(), 8000, comment=tags.text(steps))
    assert found_in(tmp_path) == dict.fromkeys([f"a/x_s{i}.wav" for i in (1, 2, 3)], "ab-5")


def test_copies_are_not_a_series(tmp_path):
    put(tmp_path, "a/x_s1.wav", "a/x_aug1_s1.wav", "a/x_aug1_s2.wav", "a/x_s2.wav")  # of an older version
    assert found_in(tmp_path) == {"a/x_s1.wav": "a/x", "a/x_s2.wav": "a/x"}


def test_clips_of_equal_names_in_two_folders_of_the_users_split_belong_to_two_recordings(tmp_path):
    put(tmp_path, *(f"{split}/a/{name}_s{i}.wav" for split in ("Train", "Test") for name in "xy" for i in (1, 2)))
    (tmp_path / "Train/a/y_s2.wav").unlink()
    (tmp_path / "Test/a/y_s1.wav").unlink()
    sounds, _ = find_sounds(tmp_path)
    found = recordings.find_recordings(sounds, {}, {})
    assert {sound.path.relative_to(tmp_path).as_posix(): each for sound, each in found.items()} == {
        "Train/a/x_s1.wav": "Train/a/x", "Train/a/x_s2.wav": "Train/a/x", "Test/a/x_s1.wav": "Test/a/x",
        "Test/a/x_s2.wav": "Test/a/x", "Train/a/y_s1.wav": "a/y", "Test/a/y_s2.wav": "a/y"}


def test_a_series_stays_one_when_clips_are_deleted_relabelled_or_added_but_not_when_they_are_renamed(tmp_path):
    entry = Entry("", "Train", index.USED, index.Stat(-1, -1, -1, -1), Content("", ""), "", recording="a/x")
    put(tmp_path, "a/x_s1.wav", "a/x_s3.wav", "b/x_s2.wav", "b/renamed.wav", "a/y_s2.wav")
    entries = dict.fromkeys(["a/x_s1.wav", "a/x_s3.wav", "b/x_s2.wav", "b/renamed.wav", "a/y_s2.wav"], entry)
    assert found_in(tmp_path, entries) == dict.fromkeys(["a/x_s1.wav", "a/x_s3.wav", "b/x_s2.wav"], "a/x")
    put(tmp_path, "a/x_s2.wav", "a/x_s4.wav")
    assert len(found_in(tmp_path, entries)) == 5


def test_a_sound_with_the_content_of_a_clip_stays_with_its_series(tmp_path):
    put(tmp_path, "a/x_s1.wav", "a/x_s2.wav", "b/twin.wav", "b/renamed.wav")
    entry = Entry("", "Train", index.USED, index.Stat(-1, -1, -1, -1), Content("1", "1"), "", recording="a/x")
    other = entry._replace(content=Content("2", "2"))
    entries = {"a/x_s1.wav": entry, "b/twin.wav": entry, "b/renamed.wav": other}
    assert found_in(tmp_path, entries) == dict.fromkeys(["a/x_s1.wav", "a/x_s2.wav", "b/twin.wav"], "a/x")


def test_headers_of_a_known_series_are_not_read_again(tmp_path, monkeypatch):
    put(tmp_path, "a/x_s1.wav", "a/x_s2.wav")
    monkeypatch.setattr(audio_io, "info", None)
    sounds, _ = find_sounds(tmp_path)
    entry = Entry("", "Train", index.USED, index.Stat(-1, -1, -1, -1), Content("", ""), "", recording="a/x")
    assert len(recordings.find_recordings(sounds, dict.fromkeys(sounds, entry), {})) == 2
    with pytest.raises(TypeError):
        recordings.find_recordings(sounds, {}, {})


def test_headers_that_were_read_are_used(monkeypatch):
    sounds = [Sound("a", f"x_s{i}.wav") for i in (1, 2)]
    header = audio_io.AudioInfo(5, 8000, 1, False, "WAV", "PCM_16")
    monkeypatch.setattr(audio_io, "info", None)
    assert recordings.find_recordings(sounds, {}, {sound.file: header for sound in sounds}) == dict.fromkeys(
        sounds, "a/x")
