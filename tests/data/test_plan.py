"""The plan of preprocessing: the split, and which melgrams are stale."""

import json
import os
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import sine, write

import preprocess_data
from audio_utils.audio import audio_io, tags
from audio_utils.data import compute, index, plan, preproc
from audio_utils.runtime import command_line
from audio_utils.runtime.errors import UserError


def options(**changes):
    return command_line.constants(preprocess_data, changes)


# --- stale melgrams --------------------------------------------------------------------------------------------------

@pytest.fixture
def samples(tmp_path):
    for pitch, name in enumerate("ab"):
        for i in range(10):
            write(tmp_path / f"Samples/{name}/{i}.wav", sine(300 + 10 * i + pitch, 0.1))
    return tmp_path / "Samples"


def test_only_new_and_changed_sounds_are_stale(samples, tmp_path, capsys):
    folder = tmp_path / "Preproc"
    folder.mkdir()
    first = plan.make_plan(options(), samples, folder)
    assert len(first.stale) == len(first.clips) == 20
    compute.compute(first, folder, 1, False)
    assert not plan.make_plan(options(), samples, folder).stale
    os.utime(samples / "a/2.wav", ns=(5, 5))  # the content is the same
    write(samples / "a/3.wav", sine(999, 0.1))
    write(samples / "b/new.wav", sine(500, 0.1))
    (samples / "b/0.wav").unlink()
    again = plan.make_plan(options(), samples, folder)
    assert [clip.name for clip in again.stale] == ["a/3.wav", "b/new.wav"]
    assert [entry.path for entry in again.gone] == ["b/0.wav"]
    assert again.settings == first.settings
    assert {clip.name for clip in set(first.clips) - set(again.clips)} == {"b/0.wav"}
    assert len(plan.make_plan(options(OVERWRITE=True), samples, folder).stale) == 20


def test_melgrams_from_before_the_index_are_adopted_by_their_date(samples, tmp_path):
    folder = tmp_path / "Preproc"
    folder.mkdir()
    first = plan.make_plan(options(), samples, folder)
    compute.compute(first, folder, 1, False)
    whole = (folder / index.INDEX).read_bytes()
    (folder / index.INDEX).unlink()
    for clip in first.clips:
        time_ns = clip.path.stat().st_mtime_ns
        os.utime(preproc.melgram_path(folder, clip.split, clip.name), ns=(time_ns, time_ns))
    again = plan.make_plan(options(), samples, folder)
    assert not again.stale
    assert again.clips == first.clips
    compute.compute(again, folder, 1, False)
    assert (folder / index.INDEX).read_bytes() == whole


def test_other_settings_are_refused_and_another_split_is_reported(samples, tmp_path, capsys):
    folder = tmp_path / "Preproc"
    folder.mkdir()
    compute.compute(plan.make_plan(options(), samples, folder), folder, 1, False)
    with pytest.raises(UserError, match=r"settings.json: was made with MELS = 96, now it is 30; set it back, or use"):
        plan.make_plan(options(MELS=30), samples, folder)
    capsys.readouterr()
    plan.make_plan(options(SAMPLE_RATE=8000, CLIP_SECONDS=0.1, SEED=2), samples, folder)  # what they were, and a seed
    warning = "SEED was 1 and is now 2: it applies to new files; files already assigned stay where they are; "
    assert capsys.readouterr().err.startswith(f"{warning}--split-anew assigns all again.")


def test_recorded_constants_that_are_damaged_are_rejected_and_replaced_by_overwrite(samples, tmp_path, capsys):
    folder = tmp_path / "Preproc"
    folder.mkdir()
    first = plan.make_plan(options(), samples, folder)
    compute.compute(first, folder, 1, False)
    path = folder / "settings.json"
    record = json.loads(path.read_text())
    for changes in ({"constants": record["constants"] | {"MELS": "many"}, "defaults": record["defaults"]},
                    {"constants": record["constants"], "defaults": [1]}):
        path.write_text(json.dumps(record | changes))
        with pytest.raises(UserError, match=r"settings.json: is damaged.*; run preprocess_data.py --overwrite to"):
            plan.make_plan(parsed(), samples, folder)
        capsys.readouterr()
        found = plan.make_plan(parsed("--overwrite"), samples, folder)
        assert "settings.json: can't be used and is replaced, with the current constants" in capsys.readouterr().err
        assert {clip.name: clip.split for clip in found.clips} == {clip.name: clip.split for clip in first.clips}
        assert found.settings.mels == preprocess_data.MELS


def parsed(*flags):
    return command_line.parse(vars(preprocess_data), preprocess_data._LIMITS, argv=[*flags])


def test_sounds_that_can_not_be_read_are_left_out(samples, capsys):
    (samples / "a/bad.wav").write_bytes(b"no audio")
    (samples / "a/gone.wav").symlink_to("nowhere.wav")
    found = plan.make_plan(options(), samples)
    assert len(found.clips) == 20
    warnings = capsys.readouterr().err
    assert "a/bad.wav: is not a readable audio file" in warnings
    assert "a/gone.wav: " in warnings
    assert sorted(each.path.name for each in found.skipped) == ["bad.wav", "gone.wav"]


def test_links_to_a_disk_that_is_not_mounted_are_one_sentence_each_and_no_class(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.wav").symlink_to("/nowhere/1.wav")
    with pytest.raises(UserError, match=r"contains no folder with sounds \(1.wav is a link to a file that does not"):
        plan.make_plan(options(), tmp_path)


# --- many sounds -----------------------------------------------------------------------------------------------------

def test_each_file_is_examined_once_and_unchanged_sounds_are_not_opened(samples, tmp_path, monkeypatch):
    folder = tmp_path / "Preproc"
    folder.mkdir()
    compute.compute(plan.make_plan(options(), samples, folder), folder, 1, False)
    write(samples / "a/new.wav", sine(500, 0.1))
    examined, opened = watch_files(monkeypatch)
    made = plan.make_plan(options(JOBS=1), samples, folder)
    assert [clip.name for clip in made.stale] == ["a/new.wav"]
    sounds = {clip.path for clip in made.clips}
    melgrams = {preproc.melgram_path(folder, clip.split, clip.name) for clip in set(made.clips) - set(made.stale)}
    assert {path: examined[path] for path in sounds | melgrams} == dict.fromkeys(sounds | melgrams, 1) | {
        samples / "a/new.wav": 3}  # audio_io.info and soundfile examine it again before they open it
    assert opened & (sounds | melgrams) == {samples / "a/new.wav"}


def watch_files(monkeypatch):
    """(path → how often its status is read, paths that are opened), from now on."""
    examined, opened = Counter(), set()
    real_scandir, real_stat, real_open = os.scandir, os.stat, os.open

    class Watched:
        def __init__(self, entry):
            self._entry = entry

        def __getattr__(self, name):
            return getattr(self._entry, name)

        def __fspath__(self):
            return self._entry.path

        def stat(self):
            examined[Path(self)] += 1
            return self._entry.stat()

    @contextmanager
    def scandir(folder):
        with real_scandir(folder) as entries:
            yield map(Watched, entries)

    def stat(path, **how):
        examined[Path(os.fsdecode(path))] += 1
        return real_stat(path, **how)

    def low_level_open(path, *how):
        opened.add(Path(os.fsdecode(path)))
        return real_open(path, *how)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "open", low_level_open)
    return examined, opened


def test_many_names_that_differ_in_the_extension_are_one_sentence(samples, capsys):
    for i in range(5):
        (samples / f"a/{i}.flac").write_bytes(write(samples / f"a/{i}.wav", sine(700 + i, 0.1)).read_bytes() + b"0")
    plan.make_plan(options(), samples)
    assert (f"{samples}/a/0.flac = 0.wav, {samples}/a/1.flac = 1.wav, {samples}/a/2.flac = 2.wav and 2 more: the same "
            "name except for the extension; all are used, in the same split.") in capsys.readouterr().err


@pytest.mark.parametrize("change", ["renamed", "left out"])
def test_a_tag_is_read_again_if_the_index_does_not_show_that_there_is_none(samples, tmp_path, change):
    folder = tmp_path / "Preproc"
    folder.mkdir()
    tagged = samples / "a/tagged.wav"
    audio_io.write(tagged, sine(700, 0.1), 8000, comment=tags.text(tags.steps_from(tags.AUGMENT, samples / "a/1.wav")))
    compute.compute(plan.make_plan(options(), samples, folder), folder, 1, False)
    if change == "renamed":
        tagged = tagged.rename(samples / "a/other.wav")
    else:
        entries, _ = index.read(folder)
        index.write(folder, [entry._replace(status=index.LEFT_OUT, copy_of="") for entry in entries.values()])
    made = plan.make_plan(options(), samples, folder)
    assert made.grouping.copy_of == {f"a/{tagged.name}": "a/1.wav"}


# --- recordings ------------------------------------------------------------------------------------------------------

def clips(folder, recordings, parts=4, label="a", first=1):
    """Clips without tags."""
    for i in range(recordings):
        for j in range(first, parts + 1):
            write(folder / f"Samples/{label}/rec{i}_s{j}.wav", sine(300 + 100 * i + j + ord(label) / 200, 0.1))


def preprocess(folder, **changes):
    """Plan and compute; returns name → split."""
    (folder / "Preproc").mkdir(exist_ok=True)
    made = plan.make_plan(options(JOBS=1, **changes), folder / "Samples", folder / "Preproc")
    compute.compute(made, folder / "Preproc", 1, False)
    return {clip.name: clip.split for clip in made.clips}


def divided(splits):
    """The recordings whose clips are in several splits."""
    recordings = {name.rpartition("_s")[0] for name in splits}
    return {each for each in recordings if len({splits[name] for name in splits if name.startswith(each + "_")}) > 1}


def test_clips_of_a_recording_are_in_one_split_in_the_index_too(tmp_path, capsys):
    clips(tmp_path, 10)
    clips(tmp_path, 5, label="b")
    splits = preprocess(tmp_path)
    assert not divided(splits)
    assert list(splits.values()).count("Test") == 8 + 4
    assert "recording" not in capsys.readouterr().err
    data = preproc.grouping(tmp_path / "Preproc", "")
    assert data == plan.make_plan(options(), tmp_path / "Samples").grouping
    assert data.of("a/rec1_s1.wav") == data.of("a/rec1_s4.wav") == "a/rec1"
    clips(tmp_path, 10, parts=5, first=5)  # new clips follow
    again = preprocess(tmp_path)
    assert not divided(again)
    assert again | splits == again


def test_a_class_of_few_recordings_is_split_clip_by_clip_and_named_in_each_run(tmp_path, capsys):
    for label, recordings in {"a": 4, "b": 5, "c": 1, "d": 2, "e": 3}.items():
        clips(tmp_path, recordings, label=label)
    clips(tmp_path, 1, parts=1, label="f")
    for _ in range(2):
        splits = preprocess(tmp_path)
        assert {each[0] for each in divided(splits)} == set("acde")
        assert capsys.readouterr().err.splitlines()[-1] == (
            "a, c, d and 1 more: fewer than 5 recordings; clips of one recording are split between Train and Test, so "
            "the score is too optimistic; add recordings.")
    assert preproc.grouping(tmp_path / "Preproc", "").of("c/rec0_s1.wav") == "c/rec0_s1"
    for i in range(4):
        write(tmp_path / f"Samples/a/single{i}.wav", sine(999 + i, 0.1))
    again = preprocess(tmp_path)  # a now has enough recordings, and they are divided already
    assert again | splits == again
    message = capsys.readouterr().err
    assert "c, d, e: fewer than 5 recordings" in message
    assert "with clips in several splits" in message


@pytest.mark.parametrize("kind", ["no index", "no column", "index"])
def test_recordings_that_an_older_version_divided_stay_until_split_anew(tmp_path, capsys, monkeypatch, kind):
    for label in "ab":
        clips(tmp_path, 6, label=label)
    with monkeypatch.context() as patch:
        patch.setattr(plan, "find_recordings", lambda *_: {})
        before = preprocess(tmp_path)
    path = tmp_path / "Preproc/index.csv"
    if kind == "no column":
        path.write_text("".join(f"{line.rsplit(',', 2)[0]}\n" for line in path.read_text().splitlines()))
    elif kind == "no index":
        path.unlink()
    count = len(divided(before))
    assert count > 3
    capsys.readouterr()
    for _ in range(2):
        assert preprocess(tmp_path) == before
        message = capsys.readouterr().err
        assert (f"and {count - 3} more: from {count} recordings with clips in several splits, so the score is too "
                "optimistic; preprocess_data.py --split-anew assigns all sounds again.") in message
    after = preprocess(tmp_path, SPLIT_ANEW=True)
    assert not divided(after)
    assert preprocess(tmp_path) == after
    assert capsys.readouterr().err == ""
    melgrams = preproc.find_melgrams(tmp_path / "Preproc")
    assert set(melgrams) == {(split, name) for name, split in after.items()}
    assert {entry.name: entry.split for entry in index.read(tmp_path / "Preproc")[0].values()} == after


def test_split_anew_applies_new_constants_and_its_split_does_not_depend_on_the_former(tmp_path, capsys):
    for label in "ab":
        clips(tmp_path, 10, label=label)
        for i in range(4):
            write(tmp_path / f"Samples/{label}/rec{i}_s1_aug1.wav", sine(500 + i, 0.1))
    first = preprocess(tmp_path)
    other = preprocess(tmp_path, SPLIT_ANEW=True, SEED=2, GROUP_BY=r"^rec\d")
    assert other != first
    assert "SEED" not in capsys.readouterr().err
    assert preprocess(tmp_path, SPLIT_ANEW=True) == first
    assert set(preproc.find_melgrams(tmp_path / "Preproc")) == {(split, name) for name, split in first.items()}


def test_a_killed_split_anew_is_continued_by_a_plain_run(tmp_path, monkeypatch):
    for label in "ab":
        clips(tmp_path, 10, label=label)
    preprocess(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(preproc, "write_melgram", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            preprocess(tmp_path, SPLIT_ANEW=True, SEED=3)
    after = preprocess(tmp_path)
    assert not divided(after)
    assert set(preproc.find_melgrams(tmp_path / "Preproc")) == {(split, name) for name, split in after.items()}
    assert after == preprocess(tmp_path, SPLIT_ANEW=True, SEED=3)


def test_in_the_users_own_split_recordings_are_kept_together_for_validation_only(tmp_path, capsys):
    for split in ("Train", "Test"):
        for label in "ab":
            for i in range(6):
                for j in (1, 2) if split == "Train" else (3, 4):
                    write(tmp_path / f"Samples/{split}/{label}/rec{i}_s{j}.wav", sine(300 + 10 * i + j, 0.1))
    splits = preprocess(tmp_path)
    assert {name: int(name[-5]) > 2 for name in splits} == {name: split == "Test" for name, split in splits.items()}
    assert ("from 12 recordings with clips in several splits, so the score is too optimistic; move all clips of a "
            "recording into one split.") in capsys.readouterr().err
    assert preproc.grouping(tmp_path / "Preproc", "").of("a/rec1_s2.wav") == "a/rec1"
    assert preprocess(tmp_path, SPLIT_ANEW=True) == splits
    assert "contains your own split, which --split-anew does not change." in capsys.readouterr().err


def test_a_group_by_is_suggested_once_and_works(tmp_path, capsys):
    for label in "ab":
        for i in range(12):
            for take in "AB":
                hertz = 300 + 20 * i + 3 * ord(take) + ord(label)
                write(tmp_path / f"Samples/{label}/{i}-{take}.wav", sine(hertz, 0.1))
    before = preprocess(tmp_path)
    message = capsys.readouterr().err
    assert 'preprocess_data.py --split-anew "--group-by=-[A-Z]$" keeps the takes' in message
    assert any(before[name] != before[name.replace("-A", "-B")] for name in before)
    assert preprocess(tmp_path) == before
    assert "--group-by" not in capsys.readouterr().err
    after = preprocess(tmp_path, SPLIT_ANEW=True, GROUP_BY="-[A-Z]$")
    assert all(after[name] == after[name.replace("-A", "-B")] for name in after)


def test_equal_sounds_are_in_one_split_whatever_their_names_and_classes(tmp_path):
    for i in range(30):
        for name in (f"a/{i}", f"a/copy{i}", f"b/other{i}"):
            write(tmp_path / f"Samples/{name}.wav", sine(300 + 10 * i, 0.1))
        write(tmp_path / f"Samples/b/{i}.wav", sine(305 + 10 * i, 0.1))

    def check(splits):
        assert set(splits.values()) == {"Train", "Test"}
        for i in range(30):
            assert len({splits[name] for name in (f"a/{i}.wav", f"a/copy{i}.wav", f"b/other{i}.wav")}) == 1

    first = preprocess(tmp_path)
    check(first)
    assert preprocess(tmp_path) == first
    for i in range(30):
        write(tmp_path / f"Samples/a/new{i}.wav", sine(305 + 10 * i, 0.1))
    second = preprocess(tmp_path)
    assert all(second[f"a/new{i}.wav"] == second[f"b/{i}.wav"] for i in range(30))
    assert first.items() <= second.items()
    check(preprocess(tmp_path, SPLIT_ANEW=True, SEED=5))


def test_options_are_not_changed(samples):
    given = options()
    before = dict(vars(given))
    plan.make_plan(given, samples)
    assert vars(given) == before
