"""LONG_FILES: the clips of long sounds in Preproc/ are always those of the present sounds and constants."""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import require_completed_after_each_kill, sine, tree, write

import preprocess_data
from audio_utils.audio import long_sounds, melgram
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import compute, index, long_files, plan, preproc
from audio_utils.runtime import command_line
from audio_utils.runtime.errors import UserError

SETTINGS = MelgramSettings.of(8000, 800, 1, 20, 46.44, 11.61)  # clips of 0.1 s


def options(**changes):
    return command_line.constants(preprocess_data, {"CLIP_SECONDS": 0.1, "LONG_FILES": "all", "MELS": 20} | changes)


def sound(path, clips, first=0):
    """Write a sound of clips with different tones."""
    return write(path, np.concatenate([sine(300 + 40 * (first + i), 0.1) for i in range(clips)], axis=1))


@pytest.fixture
def samples(tmp_path):
    for i, name in enumerate("ab"):
        for j in range(3):
            sound(tmp_path / f"Samples/{name}/short{j}.wav", 1, first=10 * i + j)
            sound(tmp_path / f"Samples/{name}/night{j}.wav", 3, first=20 + 10 * i + 3 * j)
    return tmp_path / "Samples"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Preproc").mkdir()
    return tmp_path / "Preproc"


def preprocess(samples, folder, prune=False, **changes):
    made = plan.make_plan(options(PRUNE=prune, **changes), samples, folder)
    return compute.compute(made, folder, 1, prune)


def melgrams(folder):
    """{name: content} of all melgrams, whether they are used or not."""
    return {str(path.relative_to(folder).relative_to(path.relative_to(folder).parts[0]))[:-4]: path.read_bytes()
            for path in folder.rglob("*.npy")}


def names(folder):
    """Split → names of the melgrams that training and evaluation use."""
    settings = preproc.read_settings(folder)[0]
    return {split: preproc.load(folder, split, settings)[0].names for split in ("Train", "Test")}


# --- clips -----------------------------------------------------------------------------------------------------------

def test_each_clip_has_a_melgram_and_all_of_a_sound_are_in_one_split(samples, folder, capsys):
    preprocess(samples, folder)
    found = names(folder)
    assert sorted(found["Train"] + found["Test"]) == sorted(
        [f"{label}/night{j}_s{k}.wav" for label in "ab" for j in range(3) for k in (1, 2, 3)]
        + [f"{label}/short{j}.wav" for label in "ab" for j in range(3)])
    assert not {name[:8] for name in found["Train"]} & {name[:8] for name in found["Test"] if "night" in name}
    assert 2 <= len([name for name in found["Test"] if name[0] == "a"]) <= 4  # of 12
    part = write(samples.parent / "part.wav", sine(300 + 40 * 24, 0.1))
    path = next(folder.glob("*/a/night1_s2.wav.npy"))
    assert np.abs(np.load(path) - melgram.of_file(part, SETTINGS)[0]).max() < 0.05
    said = capsys.readouterr()
    assert "night2.wav and 3 more: longer than 0.1 s; cut into 18 clips.\n" in said.out
    assert "a, b: fewer than" not in said.err


def test_memory_and_disk_hold_the_same_clips(samples, folder):
    for mode in long_sounds.MODES:
        shutil.rmtree(folder)
        folder.mkdir()
        preprocess(samples, folder, LONG_FILES=mode)
        made = plan.make_plan(options(LONG_FILES=mode), samples)
        assert made.grouping == preproc.grouping(folder, "")
        for split in ("Train", "Test"):
            on_disk, _ = preproc.load(folder, split, made.settings)
            in_memory, warnings = compute.compute_in_memory(made, split, None, 1)
            assert not warnings
            assert np.array_equal(in_memory.melgrams, on_disk.melgrams)
            assert np.array_equal(in_memory.targets, on_disk.targets)
            assert (in_memory.names, in_memory.class_names) == (on_disk.names, on_disk.class_names)
            assert sorted(in_memory.names) == sorted(made.names(split))


def test_clips_of_a_sound_are_one_group_and_have_its_group_by(samples, folder):
    preprocess(samples, folder)
    for i in range(3, 6):
        sound(samples / f"a/night{i}.wav", 3, first=40 + 3 * i)
        sound(samples / f"b/night{i}.flac", 3, first=60 + 3 * i)
    preprocess(samples, folder)
    name = next(name for name in names(folder)["Train"] if name.startswith("a/night"))[:8]
    shutil.copy(samples / f"{name}.wav", samples / f"{name}_aug1.wav")
    preprocess(samples, folder)
    grouping, by_name = preproc.grouping(folder, ""), preproc.grouping(folder, r"\d$")
    assert {grouping.of(f"{name}_s{i}.wav") for i in (1, 2, 3)} == {name}
    assert grouping.is_copy(f"{name}_aug1_s2.wav")
    assert grouping.of(f"{name}_aug1_s2.wav") == name
    assert by_name.of("a/night5_s3.wav") == by_name.of("a/night1_s1.wav") != by_name.of("a/short0.wav")


def test_where_there_are_few_recordings_only_validation_divides_them_and_it_is_said(tmp_path, folder, capsys):
    for label, recordings in (("a", 2), ("b", 1)):
        for i in range(recordings):
            sound(tmp_path / f"Samples/{label}/night{i}.wav", 6, first=10 * i + 30 * (label == "b"))
    preprocess(tmp_path / "Samples", folder)
    name = next(name for name in names(folder)["Train"] if name.startswith("a/night"))[:8]
    shutil.copy(tmp_path / f"Samples/{name}.wav", tmp_path / f"Samples/{name}_aug1.wav")
    preprocess(tmp_path / "Samples", folder)
    found = names(folder)
    assert len({name[:8] for name in found["Test"]}) == 1
    assert {name[:1] for name in found["Test"]} == {"a"}
    grouping = preproc.grouping(folder, "")
    assert len({grouping.of(name) for name in found["Train"] if name[0] == "b"}) == 6
    assert grouping.of(f"{name}_aug1_s3.wav") == grouping.of(f"{name}_s3.wav") == f"{name}_s3"
    said = capsys.readouterr().err
    assert "b: no clips are in Test, because all clips of a recording stay in one split; add recordings.\n" in said
    assert ("a, b: fewer than 5 recordings; clips of one recording are split between training and validation, so the "
            "validation loss is too optimistic; add recordings.\n") in said


def test_imbalance_is_that_of_the_clips_and_the_length_of_cut_sounds_does_not_matter(samples, folder, capsys):
    sound(samples / "a/hours.wav", 60)
    preprocess(samples, folder)
    said = capsys.readouterr().err
    assert "a: has 72 clips but b only 12, so a model" in said
    assert "length alone" not in said


# --- changes ---------------------------------------------------------------------------------------------------------

def test_only_changed_sounds_are_computed_again_and_no_former_clip_remains(samples, folder):
    preprocess(samples, folder)
    before = melgrams(folder)
    assert not plan.make_plan(options(), samples, folder).stale
    sound(samples / "a/night0.wav", 2, first=70)
    sound(samples / "a/night1.wav", 1, first=80)
    sound(samples / "b/short0.wav", 4, first=90)
    again = plan.make_plan(options(), samples, folder)
    assert [clip.name for clip in again.stale] == ["a/night0.wav", "a/night1.wav", "b/short0.wav"]
    compute.compute(again, folder, 1, False)
    after = melgrams(folder)
    assert set(after) == (set(before) - {"a/night0_s3.wav", "b/short0.wav", *(f"a/night1_s{i}.wav" for i in (1, 2, 3))}
                          | {"a/night1.wav", *(f"b/short0_s{i}.wav" for i in (1, 2, 3, 4))})
    changed = {name for name in set(before) & set(after) if before[name] != after[name]}
    assert changed == {"a/night0_s1.wav", "a/night0_s2.wav"}
    assert set(after) == {name for each in names(folder).values() for name in each}


@pytest.mark.parametrize("former", long_sounds.MODES)
def test_another_mode_or_length_is_refused_or_computes_all_again_and_the_split_stays(samples, folder, former, tmp_path):
    preprocess(samples, folder, LONG_FILES=former)
    splits = {entry.name: entry.split for entry in index.read(folder)[0].values()}
    for mode, seconds in ((each, 0.2 if each == former else 0.1) for each in long_sounds.MODES):
        changes = {"LONG_FILES": mode, "CLIP_SECONDS": seconds}
        with pytest.raises(UserError, match=r"settings.json: was made with (LONG_FILES|CLIP_SECONDS) = .*--overwrite"):
            plan.make_plan(options(**changes), samples, folder)
        other = shutil.copytree(folder, tmp_path / "other")
        preprocess(samples, other, OVERWRITE=True, **changes)
        assert {entry.name: entry.split for entry in index.read(other)[0].values()} == splits
        fresh = tmp_path / "fresh"
        fresh.mkdir()
        preprocess(samples, fresh, **changes)
        assert melgrams(other) == melgrams(fresh)
        assert set(melgrams(other)) == {name for each in names(other).values() for name in each}
        shutil.rmtree(other)
        shutil.rmtree(fresh)


def test_relabeled_gone_and_pruned_sounds(samples, folder, capsys):
    preprocess(samples, folder)
    split = next(split for split, found in names(folder).items() if "a/night0_s1.wav" in found)
    (samples / "a/night0.wav").rename(samples / "b/moved.wav")
    preprocess(samples, folder)
    assert [name for name in melgrams(folder) if "night0" in name and name[0] == "a"] == []
    assert {f"b/moved_s{i}.wav" for i in (1, 2, 3)} <= set(names(folder)[split])
    kept = (samples / "b/moved.wav").rename(samples.parent / "kept.wav")
    before = melgrams(folder)
    capsys.readouterr()
    preprocess(samples, folder)
    assert capsys.readouterr().err.startswith("b/moved.wav: the sound is gone, so the melgram is left out; --prune")
    assert melgrams(folder) == before
    assert "b/moved_s1.wav" not in names(folder)[split]
    write(samples / "b/moved_s2.wav", sine(999, 0.1))  # takes the name of a clip of the sound that is gone
    preprocess(samples, folder)
    assert [name for each in names(folder).values() for name in each if "moved" in name] == ["b/moved_s2.wav"]
    (samples / "b/moved_s2.wav").unlink()
    kept.rename(samples / "b/moved.wav")
    preprocess(samples, folder, prune=True)
    assert melgrams(folder) == before


def test_of_a_sound_that_is_replaced_by_a_moved_shorter_one_no_former_clip_remains(samples, folder):
    sound(samples / "b/moved.wav", 2, first=70)
    preprocess(samples, folder)
    (samples / "b/moved.wav").rename(samples / "a/night0.wav")
    preprocess(samples, folder)
    assert [name for name in sorted(melgrams(folder)) if "night0" in name and name[0] == "a"] == [
        "a/night0_s1.wav", "a/night0_s2.wav"]
    assert set(melgrams(folder)) == {name for each in names(folder).values() for name in each}


def test_after_the_users_own_split_and_back_each_melgram_is_that_of_its_sound(samples, folder):
    preprocess(samples, folder)
    before = names(folder)
    own = samples.parent / "own"
    for path in samples.rglob("*.wav"):
        split = "Test" if "1" in path.stem else "Train"
        (own / split / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, own / split / path.parent.name / path.name)
    shutil.move(samples, samples.parent / "kept")
    own.rename(samples)
    sound(samples / "Train/a/night1.wav", 2, first=95)  # in two folders
    preprocess(samples, folder, prune=True)
    found = names(folder)
    assert {name for name in found["Test"] if "_s" in name} == {f"{label}/night1_s{i}.wav" for label in "ab"
                                                                for i in (1, 2, 3)}
    assert {name for name in found["Train"] if "a/night1" in name} == {"a/night1_s1.wav", "a/night1_s2.wav"}
    shutil.rmtree(samples)
    shutil.move(samples.parent / "kept", samples)
    preprocess(samples, folder, prune=True)
    assert {name for each in names(folder).values() for name in each} == {
        name for each in before.values() for name in each} == set(melgrams(folder))


def test_a_lost_clip_is_computed_again(samples, folder):
    preprocess(samples, folder)
    before = melgrams(folder)
    next(folder.rglob("night1_s2.wav.npy")).unlink()
    preprocess(samples, folder)
    assert melgrams(folder) == before


# --- bad sounds ------------------------------------------------------------------------------------------------------

def test_a_sound_that_is_damaged_in_a_later_clip_is_named_and_none_of_its_clips_is_kept(samples, folder, capsys):
    audio = sine(seconds=0.3)
    audio[0, 2000] = np.nan
    preprocess(samples, folder)
    write(samples / "a/night0.wav", audio, subtype="FLOAT")
    preprocess(samples, folder)
    assert "night0.wav: contains NaN or infinite samples" in capsys.readouterr().err
    assert not [name for name in melgrams(folder) if "a/night0" in name]
    assert "night0.wav" in (folder / "skipped.csv").read_text()


def test_a_name_that_is_too_long_for_its_clips_is_named(samples, folder, capsys):
    path = sound(samples / f"a/{'x' * 246}.wav", 3, first=60)
    for prune in (False, True):
        entries = preprocess(samples, folder, prune=prune)
        assert len(entries) == 12
        assert f"{path}: the name of its melgram would be too long; shorten the name.\n" in capsys.readouterr().err


def test_of_a_sound_that_is_shorter_than_its_header_says_the_former_clips_are_deleted(samples, folder, monkeypatch):
    preprocess(samples, folder)
    count = long_sounds.clip_count
    os.utime(sound(samples / "a/night0.wav", 2, first=50), ns=(1, 1))
    monkeypatch.setattr(long_sounds, "clip_count", lambda *header: 3 if count(*header) == 2 else count(*header))
    preprocess(samples, folder)
    assert {name for name in melgrams(folder) if "a/night0" in name} == {"a/night0_s1.wav", "a/night0_s2.wav"}
    assert index.read(folder)[0]["a/night0.wav"].clips == 2
    assert not plan.make_plan(options(), samples, folder).stale


def test_a_sound_with_the_name_of_a_clip_is_refused(samples, folder):
    sound(samples / "a/night0_s4.wav", 1, first=7)
    sound(samples / "a/short0_s1.wav", 1, first=8)
    sound(samples / "b/night0_s02.wav", 1, first=9)
    preprocess(samples, folder)  # night0.wav has three clips, short0.wav one, and no clip is _s02
    before = tree(folder)
    path = sound(samples / "a/night0_s3.wav", 1, first=6)
    with pytest.raises(UserError) as refused:
        preprocess(samples, folder)
    assert str(refused.value) == (f"{path}: has the same name as clip 3 of night0.wav; rename or remove one of them.")
    assert tree(folder) == before


@pytest.mark.parametrize(("changes", "message"), [
    ({"LONG_FILES": "most"}, "LONG_FILES is 'most'; choose beginning, loudest or all."),
    ({"CLIP_SECONDS": None}, r"LONG_FILES is 'all', which needs the length of a clip; set CLIP_SECONDS \(--clip-"),
    ({"LONG_FILES": "loudest", "CLIP_SECONDS": None}, "LONG_FILES is 'loudest', which needs the length of a clip")])
def test_constants_that_make_no_sense_are_rejected(samples, folder, changes, message):
    with pytest.raises(UserError, match=message):
        preprocess(samples, folder, **changes)
    assert not list(folder.iterdir())


def test_a_damaged_constant_in_settings_json_is_named(samples, folder):
    preprocess(samples, folder)
    path = folder / "settings.json"
    record = json.loads(path.read_text())
    for value in ("some", None, ["all"]):
        path.write_text(json.dumps(record | {"constants": record["constants"] | {"LONG_FILES": value}}))
        with pytest.raises(UserError, match=r"settings.json: is damaged; run preprocess_data.py --overwrite"):
            plan.make_plan(options(), samples, folder)


def test_settings_of_an_older_version_are_those_of_the_beginning(samples, folder):
    preprocess(samples, folder, LONG_FILES="beginning")
    path = folder / "settings.json"
    record = json.loads(path.read_text())
    del record["constants"]["LONG_FILES"]
    path.write_text(json.dumps(record))
    assert not plan.make_plan(options(LONG_FILES="beginning"), samples, folder).stale
    with pytest.raises(UserError, match="was made with LONG_FILES = beginning, now it is all"):
        plan.make_plan(options(), samples, folder)


def test_if_the_clips_need_more_space_than_there_is_nothing_is_written(samples, folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=100_000))
    monkeypatch.setattr(long_sounds, "clip_count", lambda *_: 99)
    with pytest.raises(UserError, match=r"the melgrams need .* are free; make room, or use less of long sounds"):
        preprocess(samples, folder)
    assert not list(folder.iterdir())


def test_a_header_with_an_absurd_length_is_named(samples, capsys):
    from audio_utils.data.sounds import find_sounds
    sounds, _ = find_sounds(samples)
    headers = {each.file: AudioInfo(800, 8000, 1, False, "FLAC", "PCM_16") for each in sounds}
    headers[sounds[0].file] = headers[sounds[0].file]._replace(samples=1 << 35)
    good, [bad], clips = long_files.cut(sounds, headers, (), {}, SETTINGS, "all")
    assert (good, clips) == (sounds[1:], {})
    assert bad.path == sounds[0].path
    assert "night0.wav: has a header that gives more than 1,000,000 clips; replace or" in capsys.readouterr().err


# --- messages --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("mode", "samples_", "sentence"), [
    ("beginning", (9000,), ""), ("all", (800,), ""), ("all", (1199,), ""),
    ("all", (2000, 800), "0.wav: longer than 0.1 s; cut into 3 clips."),
    ("all", (1000,) * 4, "0.wav, 1.wav, 2.wav and 1 more: longer than 0.1 s; cut into 4 clips; 0.1 s at their ends, "
                         "less than half a clip each, are left out."),
    ("loudest", (9000,), "0.wav: longer than 0.1 s; the loudest part is used.")])
def test_what_is_done_with_long_sounds_is_said(mode, samples_, sentence):
    headers = {f"{i}.wav": AudioInfo(count, 8000, 1, False, "WAV", "PCM_16") for i, count in enumerate(samples_)}
    found = list(long_files.describe(headers, SETTINGS, mode))
    assert found == [sentence] * bool(sentence) or samples_ == (1199,)


# --- kills -----------------------------------------------------------------------------------------------------------

def change_sounds(samples):
    sound(samples / "a/night0.wav", 2, first=70)
    sound(samples / "b/short0.wav", 2, first=80)
    (samples / "a/night1.wav").rename(samples / "b/moved.wav")


@pytest.mark.slow
@pytest.mark.parametrize(("former", "changes", "mode"), [
    ("all", change_sounds, "all"), pytest.param("beginning", None, "all", marks=pytest.mark.long)])
def test_a_run_killed_at_any_write_is_completed_by_the_next(samples, folder, tmp_path, former, changes, mode):
    for path in {*samples.rglob("*[12].wav"), samples / "a/short0.wav"} - {samples / "a/night1.wav"}:
        path.unlink()
    preprocess(samples, folder, LONG_FILES=former)
    if changes:
        changes(samples)
    arguments = {"LONG_FILES": mode, "OVERWRITE": mode != former}
    require_completed_after_each_kill(folder, tmp_path, lambda each: preprocess(samples, each, **arguments))
