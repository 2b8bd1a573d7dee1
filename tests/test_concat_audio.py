"""concat_audio.py: clips are joined into exactly the recording that was split, or refused by name."""

import os
import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, full_scale_noise, names, ramp, sine, write

from audio_utils import concat_audio, split_audio
from audio_utils.audio import audio_io, tags

SPLIT, CONCAT = "audio_utils/split_audio.py", "audio_utils/concat_audio.py"


KINDS = [  # extension, subtype, the type it is read as, the subtype of its clips
    ("wav", "PCM_U8", "int16", "PCM_U8"), ("wav", "PCM_16", "int16", "PCM_16"), ("wav", "PCM_24", "int32", "PCM_24"),
    ("wav", "PCM_32", "int32", "PCM_32"), ("wav", "FLOAT", "float32", "FLOAT"), ("wav", "DOUBLE", "float64", "DOUBLE"),
    ("flac", "PCM_S8", "int16", "PCM_U8"), ("flac", "PCM_16", "int16", "PCM_16"), ("flac", "PCM_24", "int32", "PCM_24"),
    ("aiff", "PCM_16", "int16", "PCM_16"), ("caf", "ALAC_32", "int32", "PCM_32"), ("wav", "ULAW", "float32", "FLOAT"),
    ("wav", "MS_ADPCM", "float32", "FLOAT"), ("ogg", "VORBIS", "float32", "FLOAT"), ("ogg", "OPUS", "float32", "FLOAT"),
    ("mp3", "MPEG_LAYER_III", "float32", "FLOAT")]


@pytest.mark.parametrize(("extension", "subtype", "dtype", "clips_have"), KINDS)
@pytest.mark.parametrize("channels", [1, 2])
def test_split_and_concat_give_the_original_and_padding(call_main, tmp_path, extension, subtype, dtype, clips_have,
                                                        channels):
    sound = full_scale_noise(50_000, channels, dtype)
    if clips_have == "FLOAT" and subtype != "FLOAT":
        sound /= 20
    original = write(tmp_path / f"a.{extension}", sound, 48000, subtype=subtype)
    sound = soundfile.read(original, dtype=dtype, always_2d=True)[0].T
    assert call_main(split_audio, 0.25, original.name, "-r")[0] == 0
    assert names(tmp_path) == ["a_s1.wav", "a_s2.wav", "a_s3.wav", "a_s4.wav", "a_s5.wav"]
    assert {soundfile.info(each).subtype for each in tmp_path.iterdir()} == {clips_have}
    assert {soundfile.info(each).frames for each in tmp_path.iterdir()} == {12_000}
    assert call_main(concat_audio, "a_s*.wav")[0] == 0
    joined, rate = soundfile.read(tmp_path / "a.wav", dtype=dtype, always_2d=True)
    assert rate == 48000
    tolerance = 1e-7 if extension == "mp3" else 0  # its decoder is not deterministic
    assert np.abs(joined[:sound.shape[1]].T - sound).max() <= tolerance
    assert joined.shape[0] == 60_000
    assert not joined[sound.shape[1]:].any()


@pytest.mark.parametrize(("others", "is_tagged"), [([], True), ([1], False), ([1, 2], False)])
def test_the_recording_has_the_tag_of_its_clips_if_they_agree(call_main, tmp_path, others, is_tagged):
    path = write(tmp_path / "a.wav", sine(seconds=1.5))
    identity = tags.first_recording(tags.steps_from(tags.SPLIT, path))
    call_main(split_audio, 1, "a.wav", "-r")
    for number in others:
        write(tmp_path / f"a_s{number}.wav", sine())  # without a tag
    assert call_main(concat_audio, "a_s1.wav", "a_s2.wav")[0] == 0
    assert tags.first_recording(tags.read(tmp_path / "a.wav")) == (identity if is_tagged else "")
    call_main(split_audio, 0.5, "a.wav", "--overwrite")  # also of clips that are cut again
    assert (tags.first_recording(tags.read(tmp_path / "a_s4.wav")) == identity) is is_tagged


def test_file_names_are_preserved(run, tmp_path):
    originals = ["a b.wav", "Ünïcödé – 鳥.flac", "it's \"quoted\".wav", "a[1].wav", "-x.wav", "a.b.wav",
                 os.fsdecode(b"caf\xe9.wav")]  # the last is not UTF-8
    folder = tmp_path / "a folder"
    for name in originals:
        write(folder / f"temporary{Path(name).suffix}", sine(seconds=1)).rename(folder / name)
    stems = [Path(name).stem for name in originals]
    run(SPLIT, 0.5, *(f"./{name}" for name in originals), cwd=folder)
    run(CONCAT, *(f"./{stem}_s{number}.wav" for number in (2, 1) for stem in stems), "--overwrite", cwd=folder)
    assert set(names(folder)) == {*originals, *(f"{stem}{end}.wav" for stem in stems for end in ("_s1", "_s2", ""))}


@pytest.mark.parametrize("seconds", [30, 1000])
def test_long_clips_are_joined_in_constant_memory(call_main, tmp_path, seconds):
    for number in range(-(-625 // seconds)):
        write(tmp_path / f"a_s{number + 1}.wav", np.zeros((2, min(seconds, 625) * 8000), np.int16), 8000)
    tracemalloc.start()
    assert call_main(concat_audio, "a_s*.wav")[0] == 0
    assert tracemalloc.get_traced_memory()[1] < 8_000_000  # bytes; the whole recording would take 40 million
    tracemalloc.stop()
    assert soundfile.info(tmp_path / "a.wav").frames >= 5_000_000


def test_clips_are_joined_by_number_in_any_order_of_the_arguments(call_main, tmp_path):
    for number in range(1, 13):
        write(tmp_path / f"a_s{number}.wav", ramp(1200)[:, 100 * (number - 1):100 * number])
    write(tmp_path / "b_s1.flac", ramp(100))
    assert call_main(concat_audio, "b_s1.flac", "a_s12.wav", "*.wav", "a_s1.wav") == (
        0, "b.wav: 1 clip, 0.0125 s.\na.wav: 12 clips, 0.15 s.\n", "")
    assert np.array_equal(audio_io.read(tmp_path / "a.wav")[0], ramp(1200))


BAD = {  # clips to write (name, seconds, keywords of write), and the beginning of the message
    "a gap": ([("a_s1.wav", 1, {}), ("a_s3.wav", 1, {})], "a_s3.wav: clip 2 of the recording is missing"),
    "no first": ([("a_s02.wav", 1, {})], "a_s02.wav: clip 1 of the recording is missing"),
    "twice": ([("a_s1.flac", 1, {}), ("a_s1.wav", 1, {})], "a_s1.wav: another clip has the number 1, too"),
    "two widths": ([("a_s1.wav", 1, {}), ("a_s01.wav", 1, {})], "a_s1.wav: another clip has the number 1, too"),
    "a rate": ([("a_s1.wav", 1, {}), ("a_s2.wav", 1, {"rate": 16000})], "a_s2.wav: has 16000 Hz, 1 channel"),
    "channels": ([("a_s1.wav", 1, {}), ("a_s2.wav", 1, {"channels": 2})], "a_s2.wav: has 8000 Hz, 2 channel"),
    "a type": ([("a_s1.wav", 1, {}), ("a_s2.wav", 1, {"subtype": "PCM_24"})],
               "a_s2.wav: has 8000 Hz, 1 channel(s), PCM_24, but a_s1.wav has 8000 Hz, 1 channel(s), PCM_16"),
    "no clip": ([("a.wav", 1, {})], "a.wav: has no clip number"),
    "number 0": ([("a_s0.wav", 1, {})], "a_s0.wav: has no clip number"),
    "joined": ([("a_s1.wav", 1, {}), ("a.wav", 1, {})], "a.wav: already exists; rename it or add --overwrite"),
}


@pytest.mark.parametrize("case", BAD)
def test_clips_that_do_not_match_are_refused_and_other_recordings_joined(call_main, tmp_path, case):
    clips, sentence = BAD[case]
    for name, seconds, keywords in clips:
        keywords = {"rate": 8000, "channels": 1} | keywords
        sound = sine(seconds=seconds, rate=keywords["rate"], channels=keywords.pop("channels"))
        write(tmp_path / name, sound, **keywords)
    write(tmp_path / "good_s1.wav", sine())
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    given = [name for name, *_ in clips if len(clips) == 1 or name != "a.wav"]
    status, out, err = call_main(concat_audio, *given, "good_s1.wav")
    assert (status, out, err.count("\n")) == (1, "good.wav: 1 clip, 1 s.\n", 1)
    assert err.startswith(sentence)
    (tmp_path / "good.wav").unlink()
    assert before == {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}


def test_truncated_clips_give_no_recording(call_main, tmp_path):
    for stem, spoil in (("cut", lambda data: data[:4000]), ("text", lambda _: b"no sound"), ("empty", lambda _: b"")):
        write(tmp_path / f"{stem}_s1.wav", sine())
        path = write(tmp_path / f"{stem}_s2.wav", sine())
        path.write_bytes(spoil(path.read_bytes()))
    before = names(tmp_path)
    status, out, err = call_main(concat_audio, *before, "gone_s1.wav")
    assert (status, out) == (1, "")
    assert [line.split(":")[0] for line in err.splitlines()] == [
        "cut_s2.wav", "empty_s2.wav", "text_s2.wav", "gone_s1.wav"]
    assert names(tmp_path) == before


def test_a_full_disk_leaves_no_recording(tmp_path):
    for number in (1, 2):
        write(tmp_path / f"a_s{number}.wav", sine(seconds=4))
    result = subprocess.run(
        [sys.executable, ROOT / CONCAT, "a_s1.wav", "a_s2.wav"], cwd=tmp_path, text=True,
        capture_output=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    assert (result.returncode, result.stderr) == (
        1, "a.wav: the disk is full; make room and run the same command again.\n")
    assert names(tmp_path) == ["a_s1.wav", "a_s2.wav"]


def test_a_wav_of_more_than_4_gib_is_rf64(call_main, tmp_path, monkeypatch):
    for number in (1, 2):
        write(tmp_path / f"a_s{number}.wav", ramp(1000))
    monkeypatch.setattr(audio_io, "_WAV_BYTES", 3999)  # instead of 4 GiB
    call_main(concat_audio, "a_s1.wav", "a_s2.wav")
    assert audio_io.info(tmp_path / "a.wav") == (2000, 8000, 1, False, "RF64", "PCM_16")
    assert np.array_equal(audio_io.read(tmp_path / "a.wav")[0], np.tile(ramp(1000), 2))


def test_missing_arguments_are_a_wrong_command(call_main, capsys):
    with pytest.raises(SystemExit, match="2"):
        call_main(concat_audio)
    assert "FILE" in capsys.readouterr().err
