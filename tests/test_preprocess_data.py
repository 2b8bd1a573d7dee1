"""preprocess_data.py as a user runs it: shapes, the split, running it again, and all that can be wrong."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, sine, write

import preprocess_data
from audio_utils.runtime import signals


@pytest.fixture
def run(run_here):
    """Run the script in the test's folder as from the shell, but in this process."""
    return functools.partial(run_here, "preprocess_data.py")


def fill(folder, classes=("a", "b"), files=5, extension="wav", **keywords):
    for i, name in enumerate(classes):
        for j in range(files):
            write(folder / f"Samples/{name}/{j}.{extension}", sine(300 * (i + 1) + 1.5 * j, **keywords),
                  keywords.get("rate", 8000))


def tree(folder):
    """{path: content} of all melgrams and settings."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "Preproc").rglob("*.*"))
            if path.suffix != ".csv"}


def shapes(folder):
    return {np.load(path).shape for path in folder.rglob("*.npy")}


def test_tree_shape_and_summary(run, tmp_path):
    fill(tmp_path, ("a", "Größe 2"))
    write(tmp_path / "Samples/a/it's “x” y.WAV", sine(), format="WAV")
    result = run()
    found = sorted(str(path.relative_to(tmp_path / "Preproc")) for path in tmp_path.rglob("*.npy"))
    assert len(found) == 11
    assert sum(path.startswith("Test/a/") for path in found) == 1
    assert sum(path.startswith("Test/Größe 2/") for path in found) == 1
    assert any(path.endswith("/it's “x” y.WAV.npy") for path in found)
    assert shapes(tmp_path) == {(96, 87, 1)}
    settings = json.loads((tmp_path / "Preproc/settings.json").read_text())
    assert (settings["sample_rate"], settings["clip_samples"], settings["hop"]) == (8000, 8000, 93)
    assert "11 sounds in 2 classes: melgrams of 96 mels, 87 frames, 1 channel (1 s at 8000 Hz)" in result.stdout
    assert result.stderr.count("\n") == 1
    assert "fewer than 10 sounds" in result.stderr


def test_different_rates_lengths_and_channels(run, tmp_path):
    fill(tmp_path, rate=8000)
    write(tmp_path / "Samples/a/other_rate.wav", sine(300, 1, 44100), 44100)
    write(tmp_path / "Samples/a/longest.wav", sine(300, 2))
    write(tmp_path / "Samples/b/stereo.flac", np.concatenate([sine(500), 0 * sine()]))
    run()
    assert shapes(tmp_path) == {(96, 1 + 16000 // 93, 2)}
    melgrams = {path.name: np.load(path) for path in tmp_path.rglob("*.npy")}
    stereo, mono = melgrams["stereo.flac.npy"], melgrams["0.wav.npy"]
    assert (stereo[:, :, 1] == stereo[:, :, 1].min()).all()  # the silent channel is still silent
    assert np.array_equal(mono[:, :, 0], mono[:, :, 1])
    loudest_band = [melgrams[f"{name}.wav.npy"][:, 40].argmax(axis=0).tolist() for name in ("other_rate", "longest")]
    assert loudest_band[0] == loudest_band[1]
    assert mono[:, 100:].max() == mono.min()  # padded with silence


def test_constants_fix_rate_length_and_channels(run, tmp_path):
    fill(tmp_path, channels=2)
    run("--sample-rate", 4000, "--clip-seconds", 0.5, "--mono", "--mels", 20)
    assert shapes(tmp_path) == {(20, 1 + 2000 // 46, 1)}


@pytest.mark.parametrize("flags", [(), ("--clip-seconds", 1)])
def test_a_few_very_long_files_are_cut_and_named(run, tmp_path, flags):
    fill(tmp_path, files=20)
    write(tmp_path / "Samples/a/epic.wav", sine(seconds=30))
    result = run(*flags)
    assert shapes(tmp_path) == {(96, 87, 1)}
    if not flags:
        assert "Samples/a/epic.wav: longer than 1 s" in result.stderr
        assert "CLIP_SECONDS (--clip-seconds 30 --overwrite)" in result.stderr
        assert "split_audio.py" in result.stderr


@pytest.mark.parametrize(("seconds", "flags", "warnings"), [(1.2, (), 0), (2, (), 1), (2, ("--clip-seconds", 2), 0)])
def test_a_long_file_to_which_all_others_are_padded_is_named(run, tmp_path, seconds, flags, warnings):
    fill(tmp_path, files=20)
    write(tmp_path / "Samples/a/song.wav", sine(seconds=seconds))
    padded = "song.wav: longer than 1 s; the other 95% of the sounds are padded with silence to 2 s"
    result = run(*flags)
    assert shapes(tmp_path) == {(96, 1 + round(seconds * 8000) // 93, 1)}
    assert result.stderr.count(padded) == warnings
    assert result.stderr.count("preprocess_data.py --clip-seconds 1 --overwrite makes melgrams 2.0 times") == warnings
    assert "padded" not in run(*flags).stderr


@pytest.mark.parametrize(("pattern", "warnings"), [(r"_s\d+$", 1), (r"^\d$", 0), ("", 0)])
def test_a_group_by_that_matches_no_name_is_reported(run, tmp_path, pattern, warnings):
    fill(tmp_path, files=10)
    assert run("--group-by", pattern).stderr.count("which matches no file name: nothing is grouped.") == warnings


def test_a_second_run_computes_nothing_and_changes_nothing(run, tmp_path):
    fill(tmp_path)
    run()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "Preproc").rglob("*")}
    assert "0 computed" in run().stdout
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "Preproc").rglob("*")}


def test_added_changed_and_deleted_sounds(run, tmp_path):
    fill(tmp_path)
    run()
    before = tree(tmp_path)
    fill(tmp_path / "more", files=10)
    for path in (tmp_path / "more/Samples").rglob("[5-9].wav"):
        path.rename(tmp_path / path.relative_to(tmp_path / "more"))
    write(tmp_path / "Samples/a/0.wav", sine(999))
    (tmp_path / "Samples/b/1.wav").unlink()
    write(tmp_path / "Samples/b/longer.wav", sine(seconds=2))
    result = run()
    assert "12 computed" in result.stdout
    assert "Samples/b/longer.wav: longer than 1 s" in result.stderr
    assert "--clip-seconds 2 --overwrite" in result.stderr
    assert "b/1.wav: the sound is gone, so the melgram is left out; --prune deletes such melgrams." in result.stderr
    after = tree(tmp_path)
    assert set(before) <= set(after)  # every sound is in its split, and nothing was removed unasked
    changed = {name for name in before if before[name] != after[name]}
    assert {Path(name).name for name in changed} == {"0.wav.npy"}
    assert len([name for name in after if "/Test/a/" in name]) == 2
    assert "removed" in run("--prune").stdout
    assert set(after) - set(tree(tmp_path)) == {name for name in after if name.endswith("b/1.wav.npy")}


def test_other_settings_are_refused_until_overwrite_and_the_split_stays(run, tmp_path):
    fill(tmp_path)
    run()
    before = tree(tmp_path)
    result = run("--mels", 30, status=1)
    assert "was made with MELS = 96, now it is 30" in result.stderr
    assert tree(tmp_path) == before
    assert "0 computed" in run("--sample-rate", 8000, "--clip-seconds", 1).stdout  # the same as the automatic values
    run("--mels", 30, "--overwrite", "--seed", 9)  # as the message says
    assert set(tree(tmp_path)) == set(before)
    assert shapes(tmp_path) == {(30, 87, 1)}
    assert "SEED was 9 and is now 3" in run("--mels", 30, "--seed", 3).stderr


def test_a_flag_precedes_an_edited_constant_and_that_precedes_the_recorded_value(run, tmp_path, monkeypatch):
    fill(tmp_path)
    run("--mels", 30, "--clip-seconds", 0.5)
    result = run()
    assert result.stdout.startswith("CLIP_SECONDS = 0.5, MELS = 30, as in the last run "
                                    "(Preproc/settings.json); a flag changes it.\n")
    assert "0 computed" in result.stdout
    assert "0 computed" in run("--mels", 30).stdout
    monkeypatch.setattr(preprocess_data, "MELS", 40)  # edited in the script
    assert "was made with MELS = 30, now it is 40; set it back, or use --overwrite" in run(status=1).stderr
    assert "as recorded" not in run("--overwrite", "--clip-seconds", 1).stdout
    assert shapes(tmp_path) == {(40, 87, 1)}
    monkeypatch.setattr(preprocess_data, "MELS", 96)  # and edited back
    assert "was made with MELS = 40, now it is 96" in run(status=1).stderr
    run("--overwrite", "--clip-seconds", "none")
    assert shapes(tmp_path) == {(96, 87, 1)}
    assert "as recorded" not in run().stdout


def test_other_constants_of_the_split_apply_with_split_anew(run, tmp_path):
    fill(tmp_path, files=30)
    run()
    before = set(tree(tmp_path))
    for flags in ((), ("--overwrite",)):
        assert "stay where they are; --split-anew assigns all again." in run("--seed", 2, *flags).stderr
        assert set(tree(tmp_path)) == before
        run("--seed", 1)
    assert run("--seed", 2, "--split-anew").stderr == ""
    after = set(tree(tmp_path))
    assert after != before
    assert len(after) == len(before)
    shutil.rmtree(tmp_path / "Preproc")
    run("--seed", 2)
    assert set(tree(tmp_path)) == after


def test_the_users_split_is_kept(run, tmp_path):
    for name in ("Train/a/1", "Train/a/2_aug1", "Train/b/1", "Test/a/2", "Test/b/2"):
        write(tmp_path / f"Samples/{name}.wav", sine())
    assert "1 augmented copies of Test sounds are left out" in run().stdout
    assert sorted(str(path.relative_to(tmp_path / "Preproc")) for path in tmp_path.rglob("*.npy")) == [
        "Test/a/2.wav.npy", "Test/b/2.wav.npy", "Train/a/1.wav.npy", "Train/b/1.wav.npy"]


def test_the_table_of_classes_has_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    used = [SimpleNamespace(name=f"{'a class with a long name ' * 4}{i % 2}/{i}", clips=0,
                            split=("Train", "Val", "Test")[i % 3])
            for i in range(600)]
    settings = SimpleNamespace(shape=(96, 87, 1), clip_seconds=1, sample_rate=8000, bytes=1)
    preprocess_data.print_summary(SimpleNamespace(settings=settings, stale=[], labels=None), used, 1.0)
    title, *rows = capsys.readouterr().out.splitlines()[:3]
    assert len(title) <= 79
    assert [row.split()[-4:] for row in rows] == [[str(i), "100", "100", "100"] for i in range(2)]


def test_long_files_are_cut_into_clips_which_are_counted(run, tmp_path):
    fill(tmp_path, files=4)
    for name in "ab":
        write(tmp_path / f"Samples/{name}/it's “long”.wav", sine(500 + ord(name), 3.4))
    flags = ("--clip-seconds", 1, "--long-files", "all")
    result = run(*flags)
    assert "10 sounds in 2 classes, 14 clips: melgrams of 96 mels" in result.stdout
    assert "14 computed in" in result.stdout
    assert "cut into 6 clips; 0.8 s at their ends, less than half a clip each, are left out." in result.stdout
    before = tree(tmp_path)
    assert len([path for path in before if path.endswith(".npy")]) == 14
    assert any(path.endswith("/a/it's “long”_s3.wav.npy") for path in before)
    again = run()
    assert again.stdout.startswith("CLIP_SECONDS = 1.0, LONG_FILES = 'all', as in the last run")
    assert "0 computed in" in again.stdout
    assert tree(tmp_path) == before


@pytest.mark.parametrize(("flags", "sentence"), [
    (("--long-files", "most"), "LONG_FILES is 'most'; choose beginning, loudest or all."),
    (("--long-files", "all"), "LONG_FILES is 'all', which needs the length of a clip; set CLIP_SECONDS (--clip-seconds "
                              "3).")])
def test_a_wrong_long_files_is_one_sentence(run, tmp_path, flags, sentence):
    fill(tmp_path, files=2)
    assert run(*flags, status=1).stderr == f"{sentence}\n"
    assert not (tmp_path / "Preproc").exists()


def test_val_of_the_users_split_is_kept(run, tmp_path):
    for name in ("Train/a/1", "Train/a/3_aug1", "Train/b/1", "Test/a/2", "Test/b/2", "Valid/a/3", "Valid/b/1"):
        write(tmp_path / f"Samples/{name}.wav", sine(len(name) * 100))
    out = run().stdout
    assert [line.split() for line in out.splitlines()[1:4]] == [
        ["class", "Train", "Val", "Test"], ["a", "1", "1", "1"], ["b", "1", "1", "1"]]
    assert "1 augmented copies of Val and Test sounds are left out" in out
    assert sorted(str(path.relative_to(tmp_path / "Preproc")) for path in tmp_path.rglob("*.npy")) == [
        "Test/a/2.wav.npy", "Test/b/2.wav.npy", "Train/a/1.wav.npy", "Train/b/1.wav.npy", "Val/a/3.wav.npy",
        "Val/b/1.wav.npy"]
    (tmp_path / "Samples/Valid/a/3.wav").rename(tmp_path / "Samples/Train/a/3.wav")  # the user's folder counts
    run()
    assert (tmp_path / "Preproc/Train/a/3.wav.npy").exists()
    assert not (tmp_path / "Preproc/Val/a/3.wav.npy").exists()


@pytest.mark.parametrize("name", ["x" * 249 + ".wav", "é" * 124 + ".wav"])  # over 255 bytes with .npy
def test_a_name_too_long_for_its_melgram_is_named_in_each_run_and_the_others_are_processed(run, tmp_path, name):
    fill(tmp_path)
    write(tmp_path / "Samples/a" / name, sine(999))
    for computed in (10, 0):
        result = run()
        assert f"Samples/a/{name}: the name of its melgram would be too long; shorten the name." in result.stderr
        assert f"{computed} computed in " in result.stdout
    assert len(list(tmp_path.rglob("*.npy"))) == 10
    assert name in (tmp_path / "Preproc/skipped.csv").read_text(encoding="utf-8")


def test_one_bad_file_never_stops_the_others(run, tmp_path):
    fill(tmp_path)
    bad = {"empty.wav": b"", "text.wav": b"hello " * 20, ".DS_Store": b"x"}
    for name, content in bad.items():
        (tmp_path / "Samples/a" / name).write_bytes(content)
    write(tmp_path / "Samples/a/nan.wav", sine() * np.nan, subtype="FLOAT")
    flac = write(tmp_path / "Samples/b/cut.flac", np.random.default_rng(0).uniform(-1, 1, (1, 7000)))
    flac.write_bytes(flac.read_bytes()[:5000])
    write(tmp_path / "Samples/b/nested/1.wav", sine())
    write(tmp_path / "Samples/b/silent.wav", 0 * sine())
    write(tmp_path / "Samples/b/0.mp3", sine())
    (tmp_path / "Samples/c").mkdir()
    result = run()
    for sentence in ("a/empty.wav: is empty", "a/text.wav: is not a readable audio file",
                     "a/nan.wav: contains NaN", "b/cut.flac: is damaged", "b/nested/: is a folder inside a class",
                     "Samples/c/: contains no sound",
                     "b/silent.wav: is silent; kept", "b/0.mp3: has the same name as 0.wav except for the extension"):
        assert sentence in result.stderr
    assert "DS_Store" not in result.stderr
    assert len(list(tmp_path.rglob("*.npy"))) == 12


@pytest.mark.parametrize(("make", "sentence"), [
    ([], "Samples/: does not exist; create it"),
    (["Samples/"], "Samples/: contains no folder with sounds"),
    (["Samples/a/"], "Samples/: contains no folder with sounds"),
    (["Samples/a/1.wav", "Samples/a/2.wav"], "Samples/: contains only one class (a)"),
    (["Samples/a/1.wav", "Samples/b/1.txt"], "Samples/: contains only one class (a)")])
def test_mistakes_are_one_sentence(run, tmp_path, make, sentence):
    for name in make:
        if name.endswith("/"):
            (tmp_path / name).mkdir(parents=True)
        elif name.endswith("txt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("no sound")
        else:
            write(tmp_path / name, sine())
    assert sentence in run(status=1).stderr
    assert not (tmp_path / "Preproc").exists()


def test_a_class_of_one_sound(run, tmp_path):
    fill(tmp_path)
    write(tmp_path / "Samples/c/only.wav", sine())
    assert "c (1): fewer than 10 sounds, too few to measure accuracy" in run().stderr
    assert (tmp_path / "Preproc/Train/c/only.wav.npy").exists()


@pytest.mark.parametrize("flags", [["--mels", "0"], ["--test-fraction", "2"], ["--group-by", "("],
                                   ["--clip-seconds", "-1"], ["--hop-ms", "1e9"]])
def test_invalid_constants_are_refused(run, tmp_path, flags):
    fill(tmp_path)
    assert f"{flags[0][2:].upper().replace('-', '_')} is " in run(*flags, status=1).stderr


@pytest.mark.slow
def test_one_and_many_processes_write_the_same_files(run, tmp_path):
    fill(tmp_path, files=40)
    run("--jobs", 1)
    by_one = tree(tmp_path)
    run("--jobs", 3, "--overwrite")
    assert tree(tmp_path) == by_one


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_continued_by_the_next(run, tmp_path, number, status):
    fill(tmp_path, files=150, seconds=0.25)
    process = subprocess.Popen([sys.executable, str(ROOT / "preprocess_data.py")], cwd=tmp_path, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    while process.poll() is None and not any((tmp_path / "Preproc").rglob("*.npy")):
        time.sleep(0.005)
    os.killpg(process.pid, number)  # as a terminal does: to the workers too
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == status
    assert stderr.strip() == signals.STOPPED
    run("--jobs", 1)
    assert len(list(tmp_path.rglob("*.npy"))) == 300
    whole = tree(tmp_path)
    run("--overwrite", "--jobs", 1)
    assert tree(tmp_path) == whole
