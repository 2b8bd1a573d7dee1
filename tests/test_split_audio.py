"""split_audio.py: every sample is in its clip, and no file is lost, mixed up or half-written."""

import os
import resource
import shutil
import subprocess
import sys
import tracemalloc
import warnings
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from conftest import ROOT, full_scale_noise, killed_at, names, ramp, sine, write

from audio_utils import split_audio
from audio_utils.audio import audio_io, flac, tags
from audio_utils.audio.resampling import fix_length
from audio_utils.runtime.errors import UserError

SPLIT = "audio_utils/split_audio.py"


def test_each_clip_is_its_part_of_every_channel(call_main, tmp_path):
    sound = ramp(1000, 5)
    write(tmp_path / "a.wav", sound, 1000)
    assert call_main(split_audio, 0.3, "a.wav")[:2] == (0, "a.wav: 4 clips of 0.3 s, the last one padded with 0.2 s of "
                                                     "silence.\n")
    for number in range(4):
        part = soundfile.read(tmp_path / f"a_s{number + 1}.wav", dtype="float32")[0].T
        assert np.array_equal(part, fix_length(sound[:, 300 * number:300 * (number + 1)], 300))


@pytest.mark.parametrize(("seconds", "count", "samples"), [("1", 2, 8000), ("0.5", 4, 4000), ("0.333", 7, 2664),
                                                           ("2", 1, 16000), ("3", 1, 24000), ("1e-2", 200, 80)])
def test_fractions_of_seconds_and_numbers_that_sort(call_main, tmp_path, seconds, count, samples):
    write(tmp_path / "a.wav", sine(seconds=2))
    call_main(split_audio, seconds, "a.wav", "-r")
    assert names(tmp_path) == [f"a_s{number:0{len(str(count))}}.wav" for number in range(1, count + 1)]
    assert {soundfile.info(each).frames for each in tmp_path.iterdir()} == {samples}


def test_a_file_shorter_than_a_clip_becomes_one_padded_clip(call_main, tmp_path):
    write(tmp_path / "a.wav", ramp(800))
    assert call_main(split_audio, 2, "a.wav")[1] == "a.wav: 1 clip of 2 s, the last one padded with 1.9 s of silence.\n"
    assert np.array_equal(audio_io.read(tmp_path / "a_s1.wav")[0], fix_length(ramp(800), 16000))


@pytest.mark.parametrize(("name", "subtype"), [("a b.wav", "PCM_U8"), ("a.wav", "FLOAT"), ("ä.flac", "PCM_24"),
                                               ("a.w64", "PCM_16"), ("a.ogg", "VORBIS")])
def test_each_clip_names_its_recording_and_other_programs_can_read_it(call_main, tmp_path, name, subtype):
    from scipy.io import wavfile
    path = write(tmp_path / name, full_scale_noise(20_000, 2, "float32") / 9, 8000, subtype=subtype)
    steps = tags.steps_from(tags.SPLIT, path)
    assert steps == ((tags.SPLIT, name, path.stat().st_size, tags.digest_of(path)),)
    whole = soundfile.read(path, dtype="float32")[0]
    call_main(split_audio, 1, name, "-r")
    for number, clip in enumerate(sorted(tmp_path.glob("*.wav"))):
        assert tags.read(clip) == steps
        part = fix_length(whole[8000 * number:8000 * (number + 1)].T, 8000).T
        assert np.array_equal(soundfile.read(clip, dtype="float32")[0], part)
        with warnings.catch_warnings(action="ignore"):  # about chunks that it does not understand, as without a tag
            assert wavfile.read(clip)[1].shape == (8000, 2)
    call_main(split_audio, 0.5, clip.name)
    assert [step.source for step in tags.read(clip.with_stem(f"{clip.stem}_s1"))] == [clip.name, name]


def test_the_digest_of_a_recording_is_computed_once(call_main, tmp_path, monkeypatch):
    write(tmp_path / "a.wav", sine(seconds=2))
    digests = []
    monkeypatch.setattr(tags, "digest_of", lambda path: digests.append(path) or "ab")
    call_main(split_audio, 0.1, "a.wav", "--jobs", 1)
    assert len(digests) == 1


def test_unusable_files_are_reported_and_the_others_split(run, tmp_path):
    write(tmp_path / "good.wav", sine())
    write(tmp_path / "also.flac", sine())
    write(tmp_path / "good.flac", sine())
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder").mkdir()
    before = names(tmp_path)
    result = run(SPLIT, 1, "gone.wav", "text.wav", "good.wav", "good.flac", "empty.wav", "folder", "no*match",
                 "als?.flac", "./good.wav", tmp_path / "good.wav", status=1)
    assert sorted(result.stdout.splitlines()) == ["also.flac: 1 clip of 1 s.", "good.wav: 1 clip of 1 s."]
    assert sorted(line.split(":")[0] for line in result.stderr.splitlines()) == [
        str(tmp_path / "good.wav"), "empty.wav", "folder", "gone.wav", "good.flac", "no*match", "text.wav"]
    assert names(tmp_path) == sorted([*before, "also_s1.wav", "good_s1.wav"])


def test_any_number_of_processes_gives_the_same_result(call_main, tmp_path):
    for number in range(10):
        write(tmp_path / f"{number}.wav", full_scale_noise(3000, 2, "int16"))
    (tmp_path / "bad.wav").write_text("no sound")
    contents = []
    for jobs in (1, 2):
        status, out, err = call_main(split_audio, 0.1, "?.wav", "bad.wav", "--jobs", jobs, "--overwrite")
        assert (status, out, err.split(":")[0]) == (1, "10 files: 40 clips of 0.1 s.\n", "bad.wav")
        contents.append({name: (tmp_path / name).read_bytes() for name in names(tmp_path)})
    assert len(contents[0]) == 10 + 1 + 40
    assert contents[0] == contents[1]


@pytest.mark.slow
def test_worker_processes_start_through_a_symbolic_link_and_under_safe_path(tmp_path):
    for number in range(9):
        write(tmp_path / f"{number}.wav", full_scale_noise(3000, 2, "int16"))
    (tmp_path / "link").symlink_to(ROOT)
    result = subprocess.run([sys.executable, tmp_path / "link" / SPLIT, "0.1", "?.wav", "--jobs", "2"], cwd=tmp_path,
                            text=True, capture_output=True, env=os.environ | {"PYTHONSAFEPATH": "1"})
    assert (result.returncode, result.stderr, len(result.stdout.splitlines())) == (0, "", 9)


def test_existing_clips_are_kept_unless_overwrite_and_never_mixed_with_new_ones(call_main, tmp_path):
    write(tmp_path / "a.wav", sine(seconds=1))
    write(tmp_path / "a_s.wav", sine(seconds=1))
    call_main(split_audio, 0.25, "a.wav")
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    assert call_main(split_audio, 0.25, "a.wav")[::2] == (0, "")  # to the same bytes
    assert call_main(split_audio, 0.26, "a.wav")[::2] == (1, "a_s1.wav: already exists; remove such clips or add "
                                                      "--overwrite.\n")
    assert call_main(split_audio, 0.05, "a.wav")[::2] == (  # _s01 … would be mixed with _s1 …
        1, "a.wav: a_s1.wav already exists; remove such clips or add --overwrite.\n")
    assert call_main(split_audio, 0.5, "a.wav", "--overwrite")[::2] == (
        1, "a.wav: a_s3.wav already exists; it belongs to another split; remove it.\n")
    assert before == {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    assert call_main(split_audio, 0.3, "a.wav", "--overwrite")[0] == 0
    assert soundfile.info(tmp_path / "a_s4.wav").frames == 2400


@pytest.mark.parametrize("name", ["a_s1.wav", "a_s2.wav", "a_s4.wav"])
def test_where_one_clip_exists_with_other_bytes_none_is_written(call_main, tmp_path, name):
    write(tmp_path / "a.flac", sine(seconds=1))
    (tmp_path / name).write_text("mine")
    assert call_main(split_audio, 0.25, "a.flac", "-r")[::2] == (1, f"{name}: already exists; remove such clips or add "
                                                                 "--overwrite.\n")
    assert names(tmp_path) == ["a.flac", name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_clip_beyond_the_end_of_a_file_that_is_shorter_than_its_header_says_is_another(tmp_path):
    header = audio_io.info(write(tmp_path / "a.wav", sine()))
    clips = [write(tmp_path / "a_s1.wav", sine())]
    with pytest.raises(UserError, match="a_s1.wav: already exists; remove such clips or add --overwrite."):
        split_audio.write_clips(clips, lambda samples: iter(()), 8000, header, "", False, set(clips))


@pytest.mark.parametrize(("name", "flags"), [("a.wav", ()), ("a.wav", ("-r",)), ("a.mp3", ("-r",))])
def test_a_run_killed_at_any_write_is_completed_by_the_same_command(call_main, tmp_path, monkeypatch, name, flags):
    """Stopped at each renaming or deletion of a file."""
    def content(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    write(tmp_path / "original" / name, sine(seconds=0.9))
    shutil.copytree(tmp_path / "original", tmp_path / "whole")
    monkeypatch.chdir(tmp_path / "whole")
    call_main(split_audio, 0.25, name, *flags)
    expected = content(tmp_path / "whole")
    for stop_at in range(100):
        broken = shutil.copytree(tmp_path / "original", tmp_path / f"broken{stop_at}")
        monkeypatch.chdir(broken)
        with killed_at(stop_at), suppress(KeyboardInterrupt):
            call_main(split_audio, 0.25, name, *flags)
            break
        if name in content(broken):  # a file that was removed is split
            assert call_main(split_audio, 0.25, name, *flags)[0] == 0
        assert content(broken) == expected, stop_at
    assert 3 < stop_at < 99


def test_files_that_are_already_clips_are_skipped(call_main, tmp_path):
    write(tmp_path / "a.wav", sine(seconds=1))
    call_main(split_audio, 0.5, "*.wav", "-r")
    assert call_main(split_audio, 0.5, "*.wav")[:2] == (
        0, "a_s1.wav: is already a clip; skipped.\na_s2.wav: is already a clip; skipped.\n")
    assert names(tmp_path) == ["a_s1.wav", "a_s2.wav"]
    assert call_main(split_audio, 0.25, "a_s1.wav")[0] == 0  # clips can be split further
    assert names(tmp_path) == ["a_s1.wav", "a_s1_s1.wav", "a_s1_s2.wav", "a_s2.wav"]


def test_originals_are_kept_unless_remove(call_main, tmp_path):
    write(tmp_path / "a.wav", sine())
    call_main(split_audio, 1, "a.wav")
    assert names(tmp_path) == ["a.wav", "a_s1.wav"]
    call_main(split_audio, 1, "a.wav", "--remove", "--overwrite")
    assert names(tmp_path) == ["a_s1.wav"]


def test_a_truncated_original_is_split_as_far_as_it_goes_and_kept(call_main, tmp_path):
    for name in ("a.wav", "b.mp3"):
        path = write(tmp_path / name, sine(seconds=10))
        path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    status, out, _ = call_main(split_audio, 1, "a.wav", "b.mp3", "-r")
    assert status == 0
    assert out.count("; the file is truncated and was kept.\n") == 2
    assert names(tmp_path) == ["a.wav", *(f"a_s{number}.wav" for number in range(1, 6)),
                               "b.mp3", *(f"b_s{number}.wav" for number in range(1, 6))]


@pytest.mark.parametrize("extra", [[], ["-r"], ["--overwrite"]])
def test_a_full_disk_leaves_no_clip_and_the_original(tmp_path, extra):
    write(tmp_path / "big.wav", sine(seconds=20))
    write(tmp_path / "small.wav", sine(seconds=5))
    result = subprocess.run(
        [sys.executable, ROOT / SPLIT, "9.5", "big.wav", "small.wav", *extra], cwd=tmp_path, text=True,
        capture_output=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    assert result.returncode == 1
    assert result.stderr == ("big_s1.wav: the disk is full; make room and run the same command again.\n"
                             "small_s1.wav: the disk is full; make room and run the same command again.\n")
    assert names(tmp_path) == ["big.wav", "small.wav"]


def test_a_file_with_a_damaged_end_leaves_no_clip(call_main, tmp_path):
    path = write(tmp_path / "a.flac", full_scale_noise(60_000, 1, "int16"))
    path.write_bytes(path.read_bytes()[:90_000])
    status, _, err = call_main(split_audio, 1, "a.flac", "-r")
    assert (status, err[:50]) == (1, "a.flac: is damaged and can't be decoded (flac deco")
    assert names(tmp_path) == ["a.flac"]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e9"])
def test_invalid_clip_lengths_are_refused(call_main, tmp_path, seconds):
    write(tmp_path / "a.wav", sine())
    with pytest.raises(UserError, match=r"SECONDS is .*; set it to a number of at least"):
        call_main(split_audio, seconds, "a.wav")
    assert names(tmp_path) == ["a.wav"]


@pytest.mark.parametrize(("arguments", "named"), [(["two", "a.wav"], "SECONDS"), (["2"], "FILE")])
def test_missing_arguments_are_a_wrong_command(call_main, capsys, arguments, named):
    with pytest.raises(SystemExit, match="2"):
        call_main(split_audio, *arguments)
    assert named in capsys.readouterr().err


def test_help(run):
    assert "-r, --remove" in run(SPLIT, "--help").stdout


@pytest.mark.parametrize("seconds", ["30", "1000"])
def test_a_long_file_is_split_in_constant_memory(call_main, tmp_path, seconds):
    write(tmp_path / "a.wav", np.zeros((2, 5_000_000), np.int16), 8000)
    tracemalloc.start()
    assert call_main(split_audio, seconds, "a.wav")[0] == 0
    assert tracemalloc.get_traced_memory()[1] < 8_000_000  # bytes; the whole file would take 40 million
    tracemalloc.stop()


def without_length(path):
    """Make a FLAC file one that was written into a pipe."""
    content = path.read_bytes()
    path.write_bytes(content[:18] + flac.with_samples(content, 0) + content[26:])


@pytest.mark.parametrize("seconds", ["30", "1000"])
def test_a_flac_stream_without_a_length_is_split_in_constant_memory(call_main, tmp_path, seconds):
    without_length(write(tmp_path / "a.flac", np.zeros((2, 5_000_000), np.int16), 8000))
    tracemalloc.start()
    assert call_main(split_audio, seconds, "a.flac")[0] == 0
    assert tracemalloc.get_traced_memory()[1] < 8_000_000  # bytes
    tracemalloc.stop()
    assert len(names(tmp_path)) == 1 + -(-625 // int(seconds))


def test_every_sample_of_streamed_and_joined_files_is_in_a_clip(call_main, tmp_path):
    sound = ramp(2500)
    without_length(write(tmp_path / "a.flac", sound, 1000))
    joined = write(tmp_path / "b.flac", sound, 1000)
    joined.write_bytes(joined.read_bytes() * 2)
    assert call_main(split_audio, 1, "a.flac", "b.flac", "-r")[1].splitlines() == [
        "a.flac: 3 clips of 1 s, the last one padded with 0.5 s of silence.", "b.flac: 5 clips of 1 s."]
    for stem, whole, count in (("a", sound, 3), ("b", np.tile(sound, 2), 5)):
        clips = [audio_io.read(tmp_path / f"{stem}_s{number + 1}.wav")[0] for number in range(count)]
        assert np.array_equal(np.concatenate(clips, axis=1), fix_length(whole, 1000 * count))
    assert not (tmp_path / "b.flac").exists()


def test_a_header_of_absurd_length_takes_no_memory(call_main, tmp_path):
    content = write(tmp_path / "a.flac", ramp(2500), 1000).read_bytes()
    (tmp_path / "a.flac").write_bytes(content[:18] + flac.with_samples(content, (1 << 36) - 1) + content[26:])
    status, _, sentence = call_main(split_audio, 1, "a.flac")
    assert status == 1
    assert sentence.startswith("a.flac: would become 68719477 clips; ")
