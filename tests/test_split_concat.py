"""Recordings cut into clips and joined again: every sample as it was, and no file lost, mixed up or half-written."""

import os
import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, sine, write

from audio_utils import audio_io, concat_audio, split_audio
from audio_utils.safe_files import UserError

SPLIT, CONCAT = "audio_utils/split_audio.py", "audio_utils/concat_audio.py"


@pytest.fixture
def do(tmp_path, monkeypatch, capsys):
    """Run a tool in this process, in the test's folder. Returns its status, and what it said on stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run_main(tool, *arguments):
        monkeypatch.setattr(sys, "argv", [tool.__file__, *map(str, arguments)])
        return tool.main(), *capsys.readouterr()
    return run_main


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def ramp(samples, channels=1):
    """float32 (channels, samples): each 16-bit value is another one, so that none can be lost or moved unnoticed."""
    return (np.arange(channels * samples, dtype=np.float32).reshape(channels, samples) - 20000) / 32768


def noise(samples, channels, dtype):
    """(channels, samples) of all the values that a type has."""
    rng = np.random.default_rng(0)
    if dtype in ("int16", "int32"):
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (channels, samples), dtype, endpoint=True)
    return (3 * rng.standard_normal((channels, samples))).astype(dtype)  # beyond ±1 too


KINDS = [  # extension, sample type, what it is read as, the type of the clips
    ("wav", "PCM_U8", "int16", "PCM_U8"), ("wav", "PCM_16", "int16", "PCM_16"), ("wav", "PCM_24", "int32", "PCM_24"),
    ("wav", "PCM_32", "int32", "PCM_32"), ("wav", "FLOAT", "float32", "FLOAT"), ("wav", "DOUBLE", "float64", "DOUBLE"),
    ("flac", "PCM_S8", "int16", "PCM_U8"), ("flac", "PCM_16", "int16", "PCM_16"), ("flac", "PCM_24", "int32", "PCM_24"),
    ("aiff", "PCM_16", "int16", "PCM_16"), ("caf", "ALAC_32", "int32", "PCM_32"), ("wav", "ULAW", "float32", "FLOAT"),
    ("wav", "MS_ADPCM", "float32", "FLOAT"), ("ogg", "VORBIS", "float32", "FLOAT"), ("ogg", "OPUS", "float32", "FLOAT"),
    ("mp3", "MPEG_LAYER_III", "float32", "FLOAT")]


@pytest.mark.parametrize(("extension", "subtype", "dtype", "clips_have"), KINDS)
@pytest.mark.parametrize("channels", [1, 2])
def test_split_then_concat_is_the_original_and_padding(do, tmp_path, extension, subtype, dtype, clips_have, channels):
    sound = noise(50_000, channels, dtype)
    if clips_have == "FLOAT" and subtype != "FLOAT":
        sound /= 20
    original = write(tmp_path / f"a.{extension}", sound, 48000, subtype=subtype)
    sound = soundfile.read(original, dtype=dtype, always_2d=True)[0].T
    assert do(split_audio, 0.25, original.name, "-r")[0] == 0
    assert names(tmp_path) == ["a_s1.wav", "a_s2.wav", "a_s3.wav", "a_s4.wav", "a_s5.wav"]
    assert {soundfile.info(each).subtype for each in tmp_path.iterdir()} == {clips_have}
    assert {soundfile.info(each).frames for each in tmp_path.iterdir()} == {12_000}
    assert do(concat_audio, "a_s*.wav")[0] == 0
    joined, rate = soundfile.read(tmp_path / "a.wav", dtype=dtype, always_2d=True)
    assert rate == 48000
    assert np.abs(joined[:sound.shape[1]].T - sound).max() <= (1e-7 if extension == "mp3" else 0)  # its decoder varies
    assert joined.shape[0] == 60_000
    assert not joined[sound.shape[1]:].any()


def test_every_clip_holds_its_own_part_of_every_channel(do, tmp_path):
    sound = ramp(1000, 5)
    write(tmp_path / "a.wav", sound, 1000)
    assert do(split_audio, 0.3, "a.wav")[:2] == (0, "a.wav: 4 clips of 0.3 s, the last with 0.2 s of silence added.\n")
    for number in range(4):
        part = soundfile.read(tmp_path / f"a_s{number + 1}.wav", dtype="float32")[0].T
        assert np.array_equal(part, audio_io.fix_length(sound[:, 300 * number:300 * (number + 1)], 300))


@pytest.mark.parametrize(("seconds", "count", "samples"), [("1", 2, 8000), ("0.5", 4, 4000), ("0.333", 7, 2664),
                                                           ("2", 1, 16000), ("3", 1, 24000), ("1e-2", 200, 80)])
def test_fractions_of_seconds_and_digits_enough_to_sort(do, tmp_path, seconds, count, samples):
    write(tmp_path / "a.wav", sine(seconds=2))
    do(split_audio, seconds, "a.wav", "-r")
    assert names(tmp_path) == [f"a_s{number:0{len(str(count))}}.wav" for number in range(1, count + 1)]
    assert {soundfile.info(each).frames for each in tmp_path.iterdir()} == {samples}


def test_a_file_shorter_than_a_clip_becomes_one_padded_clip_and_is_said(do, tmp_path):
    write(tmp_path / "a.wav", ramp(800))
    assert do(split_audio, 2, "a.wav")[1] == "a.wav: 1 clip of 2 s, the last with 1.9 s of silence added.\n"
    assert np.array_equal(audio_io.read(tmp_path / "a_s1.wav")[0], audio_io.fix_length(ramp(800), 16000))


@pytest.mark.parametrize("name", ["a b.wav", "Ünïcödé – 鳥.flac", "it's \"quoted\".wav", "a[1].wav", "-x.wav",
                                  "a.b.wav", os.fsdecode(b"caf\xe9.wav")])  # the last is not UTF-8
def test_names_are_kept_as_they_are(run, tmp_path, name):
    folder = tmp_path / "a folder"
    path = write(folder / f"a{Path(name).suffix}", sine(seconds=1)).rename(folder / name)
    run(SPLIT, 0.5, f"./{name}", cwd=folder)
    run(CONCAT, f"./{path.stem}_s2.wav", f"./{path.stem}_s1.wav", "--overwrite", cwd=folder)
    assert set(names(folder)) == {name, *(f"{path.stem}{end}.wav" for end in ("_s1", "_s2", ""))}


def test_bad_files_among_good_ones_are_named_and_skipped(run, tmp_path):
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


def test_many_files_in_many_processes_give_the_same(do, tmp_path):
    for number in range(10):
        write(tmp_path / f"{number}.wav", noise(3000, 2, "int16"))
    (tmp_path / "bad.wav").write_text("no sound")
    contents = []
    for jobs in (1, 2):
        status, out, err = do(split_audio, 0.1, "?.wav", "bad.wav", "--jobs", jobs, "--overwrite")
        assert (status, len(out.splitlines()), err.split(":")[0]) == (1, 10, "bad.wav")
        contents.append({name: (tmp_path / name).read_bytes() for name in names(tmp_path)})
    assert len(contents[0]) == 10 + 1 + 40
    assert contents[0] == contents[1]


def test_clips_that_are_there_are_kept_without_overwrite_and_never_mixed_with_new_ones(do, tmp_path):
    write(tmp_path / "a.wav", sine(seconds=1))
    write(tmp_path / "a_s.wav", sine(seconds=1))
    do(split_audio, 0.25, "a.wav")
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    assert do(split_audio, 0.25, "a.wav")[::2] == (1, "a.wav: a_s1.wav is there already; remove such clips or add "
                                                      "--overwrite.\n")
    assert do(split_audio, 0.05, "a.wav")[0] == 1  # _s01 … would stand between _s1 …
    assert do(split_audio, 0.5, "a.wav", "--overwrite")[::2] == (
        1, "a.wav: a_s3.wav is there already; it is of another split; remove it.\n")
    assert before == {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    assert do(split_audio, 0.3, "a.wav", "--overwrite")[0] == 0
    assert soundfile.info(tmp_path / "a_s4.wav").frames == 2400


def test_clips_that_are_given_again_are_passed_over(do, tmp_path):
    write(tmp_path / "a.wav", sine(seconds=1))
    do(split_audio, 0.5, "*.wav", "-r")
    assert do(split_audio, 0.5, "*.wav")[:2] == (
        0, "a_s1.wav: is a clip already, passed over.\na_s2.wav: is a clip already, passed over.\n")
    assert names(tmp_path) == ["a_s1.wav", "a_s2.wav"]
    assert do(split_audio, 0.25, "a_s1.wav")[0] == 0  # clips may be cut further
    assert names(tmp_path) == ["a_s1.wav", "a_s1_s1.wav", "a_s1_s2.wav", "a_s2.wav"]


def test_originals_stay_unless_asked(do, tmp_path):
    write(tmp_path / "a.wav", sine())
    do(split_audio, 1, "a.wav")
    assert names(tmp_path) == ["a.wav", "a_s1.wav"]
    do(split_audio, 1, "a.wav", "--remove", "--overwrite")
    assert names(tmp_path) == ["a_s1.wav"]


def test_an_original_that_is_not_whole_is_split_as_far_as_it_goes_and_kept(do, tmp_path):
    for name in ("a.wav", "b.mp3"):
        path = write(tmp_path / name, sine(seconds=10))
        path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    status, out, _ = do(split_audio, 1, "a.wav", "b.mp3", "-r")
    assert status == 0
    assert out.count("; it ends before its header says and was kept.\n") == 2
    assert names(tmp_path) == ["a.wav", *(f"a_s{number}.wav" for number in range(1, 6)),
                               "b.mp3", *(f"b_s{number:02}.wav" for number in range(1, 6))]


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


def test_a_damaged_end_leaves_no_clip(do, tmp_path):
    path = write(tmp_path / "a.flac", noise(60_000, 1, "int16"))
    path.write_bytes(path.read_bytes()[:90_000])
    status, _, err = do(split_audio, 1, "a.flac", "-r")
    assert (status, err[:50]) == (1, "a.flac: is damaged and can't be decoded (flac deco")
    assert names(tmp_path) == ["a.flac"]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e9"])
def test_lengths_that_are_none_are_refused(do, tmp_path, seconds):
    write(tmp_path / "a.wav", sine())
    with pytest.raises(UserError, match=r"SECONDS is .*; set it to a number of at least"):
        do(split_audio, seconds, "a.wav")
    assert names(tmp_path) == ["a.wav"]


def test_arguments_that_are_none(run):
    assert "SECONDS" in run(SPLIT, "two", "a.wav", status=2).stderr
    assert "FILE" in run(SPLIT, "2", status=2).stderr
    assert "FILE" in run(CONCAT, status=2).stderr
    assert "-r, --remove" in run(SPLIT, "--help").stdout
    assert "--overwrite" in run(CONCAT, "--help").stdout


@pytest.mark.parametrize("seconds", ["30", "1000"])
def test_long_files_are_streamed(do, tmp_path, seconds):
    write(tmp_path / "a.wav", np.zeros((2, 5_000_000), np.int16), 8000)
    tracemalloc.start()
    assert do(split_audio, seconds, "a.wav")[0] == 0
    assert do(concat_audio, "a_s*.wav", "--overwrite")[0] == 0
    assert tracemalloc.get_traced_memory()[1] < 8_000_000  # bytes; all of it would be 40 millions
    tracemalloc.stop()
    assert soundfile.info(tmp_path / "a.wav").frames >= 5_000_000


def test_clips_are_joined_by_number_in_whatever_order_they_are_named(do, tmp_path):
    for number in range(1, 13):
        write(tmp_path / f"a_s{number}.wav", ramp(1200)[:, 100 * (number - 1):100 * number])
    write(tmp_path / "b_s1.flac", ramp(100))
    assert do(concat_audio, "b_s1.flac", "a_s12.wav", "*.wav", "a_s1.wav") == (
        0, "b.wav: 1 clip, 0.0125 s.\na.wav: 12 clips, 0.15 s.\n", "")
    assert np.array_equal(audio_io.read(tmp_path / "a.wav")[0], ramp(1200))


BAD = {  # clips that are made, given as (name, seconds, keywords of write), and how the sentence begins
    "a gap": ([("a_s1.wav", 1, {}), ("a_s3.wav", 1, {})], "a_s3.wav: number 2 is missing before it"),
    "no first": ([("a_s02.wav", 1, {})], "a_s02.wav: number 1 is missing before it"),
    "twice": ([("a_s1.flac", 1, {}), ("a_s1.wav", 1, {})], "a_s1.wav: there is another number 1"),
    "two widths": ([("a_s1.wav", 1, {}), ("a_s01.wav", 1, {})], "a_s1.wav: there is another number 1"),
    "a rate": ([("a_s1.wav", 1, {}), ("a_s2.wav", 1, {"rate": 16000})], "a_s2.wav: has 16000 Hz, 1 channel"),
    "channels": ([("a_s1.wav", 1, {}), ("a_s2.wav", 1, {"channels": 2})], "a_s2.wav: has 8000 Hz, 2 channel"),
    "a type": ([("a_s1.wav", 1, {}), ("a_s2.wav", 1, {"subtype": "PCM_24"})],
               "a_s2.wav: has 8000 Hz, 1 channel(s), PCM_24, but a_s1.wav has 8000 Hz, 1 channel(s), PCM_16"),
    "no clip": ([("a.wav", 1, {})], "a.wav: is not named as a clip is"),
    "number 0": ([("a_s0.wav", 1, {})], "a_s0.wav: is not named as a clip is"),
    "joined": ([("a_s1.wav", 1, {}), ("a.wav", 1, {})], "a.wav: is there already; rename it or add --overwrite"),
}


@pytest.mark.parametrize("case", BAD)
def test_clips_that_do_not_fit_are_refused_by_name_and_other_recordings_made(do, tmp_path, case):
    clips, sentence = BAD[case]
    for name, seconds, keywords in clips:
        keywords = {"rate": 8000, "channels": 1} | keywords
        sound = sine(seconds=seconds, rate=keywords["rate"], channels=keywords.pop("channels"))
        write(tmp_path / name, sound, **keywords)
    write(tmp_path / "good_s1.wav", sine())
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    given = [name for name, *_ in clips if len(clips) == 1 or name != "a.wav"]
    status, out, err = do(concat_audio, *given, "good_s1.wav")
    assert (status, out, err.count("\n")) == (1, "good.wav: 1 clip, 1 s.\n", 1)
    assert err.startswith(sentence)
    (tmp_path / "good.wav").unlink()
    assert before == {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}


def test_clips_that_cannot_be_read_to_their_end_make_no_recording(do, tmp_path):
    for stem, spoil in (("cut", lambda data: data[:4000]), ("text", lambda _: b"no sound"), ("empty", lambda _: b"")):
        write(tmp_path / f"{stem}_s1.wav", sine())
        path = write(tmp_path / f"{stem}_s2.wav", sine())
        path.write_bytes(spoil(path.read_bytes()))
    before = names(tmp_path)
    status, out, err = do(concat_audio, *before, "gone_s1.wav")
    assert (status, out) == (1, "")
    assert [line.split(":")[0] for line in err.splitlines()] == [
        "cut_s2.wav", "empty_s2.wav", "text_s2.wav", "gone_s1.wav"]
    assert names(tmp_path) == before


def test_a_disk_too_full_for_the_recording_leaves_nothing(tmp_path):
    for number in (1, 2):
        write(tmp_path / f"a_s{number}.wav", sine(seconds=4))
    result = subprocess.run(
        [sys.executable, ROOT / CONCAT, "a_s1.wav", "a_s2.wav"], cwd=tmp_path, text=True,
        capture_output=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    assert (result.returncode, result.stderr) == (
        1, "a.wav: the disk is full; make room and run the same command again.\n")
    assert names(tmp_path) == ["a_s1.wav", "a_s2.wav"]


def test_a_wav_beyond_4_gib_is_rf64(do, tmp_path, monkeypatch):
    for number in (1, 2):
        write(tmp_path / f"a_s{number}.wav", ramp(1000))
    monkeypatch.setattr(audio_io, "_WAV_BYTES", 3999)  # as if it were 4 GiB
    do(concat_audio, "a_s1.wav", "a_s2.wav")
    assert audio_io.info(tmp_path / "a.wav") == (2000, 8000, 1, False, "RF64", "PCM_16")
    assert np.array_equal(audio_io.read(tmp_path / "a.wav")[0], np.tile(ramp(1000), 2))
