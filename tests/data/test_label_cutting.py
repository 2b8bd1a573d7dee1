"""label_cutting.py: labels become files in class folders, sample for sample, and nothing of the user's is lost."""

import pickle
import shutil
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from conftest import full_scale_noise, killed_at, ramp, sine, write

from audio_utils import split_audio
from audio_utils.audio import audio_io, flac, tags
from audio_utils.data import annotations, label_cutting
from audio_utils.data.label_clips import LabelClip
from audio_utils.data.sounds import find_sounds
from audio_utils.inference import classifier, levels
from audio_utils.runtime.errors import UserError


@pytest.fixture
def cut(call_main, tmp_path):
    """A function: SECONDS, files and flags → exit status, stdout, stderr; with --labels."""
    return lambda *arguments: call_main(split_audio, *arguments, "--labels")


def track(path, *labels):
    """Write a label track; labels: (start, end, text)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{start}\t{end}\t{text}\n" for start, end, text in labels), encoding="utf-8")


def clips(folder):
    """The files below a folder, with their content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("name", "subtype", "dtype"), [
    ("a b.wav", "PCM_U8", "int16"), ("a b.wav", "PCM_24", "int32"), ("a b.flac", "PCM_16", "int16"),
    ("a b.wav", "DOUBLE", "float64"), ("a b.ogg", "VORBIS", "float32")])
def test_clips_have_the_samples_rate_channels_and_type_of_their_recording(cut, tmp_path, name, subtype, dtype):
    sound = full_scale_noise(20_000, 2, dtype)
    path = write(tmp_path / name, sound if dtype != "float32" else sound / 20, 8000, subtype=subtype)
    track(tmp_path / "a b.txt", (0.1, 1.1, "x"), (0.5, 0.75, "y"), (2, 99, "x"))
    whole = soundfile.read(path, dtype=dtype)[0]
    assert cut(0.25, name) == (0, f"{name}: 7 clips from a b.txt (x 6, y 1); 1 label overlaps another class.\n", "")
    found = sorted((tmp_path / "Samples").rglob("*.wav"))
    assert [str(each.relative_to(tmp_path / "Samples")) for each in found] == [
        "x/a b_0.100-0.350.wav", "x/a b_0.350-0.600.wav", "x/a b_0.600-0.850.wav", "x/a b_0.850-1.100.wav",
        "x/a b_2.000-2.250.wav", "x/a b_2.250-2.500.wav", "y/a b_0.500-0.750.wav"]
    for each in found:
        start, end = (round(8000 * float(time)) for time in each.stem.rpartition("_")[2].split("-"))
        assert np.array_equal(soundfile.read(each, dtype=dtype)[0], whole[start:end])
        header = soundfile.info(each)
        assert (header.samplerate, header.channels) == (8000, 2)
        assert header.subtype == ("FLOAT" if subtype == "VORBIS" else subtype)
        assert tags.read(each) == tags.steps_from(tags.SPLIT, path)


def test_clips_of_one_recording_are_one_group(cut, tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.wav", sine(300 if name == "a" else 400, 2))
        track(tmp_path / f"{name}.txt", (0, 0.5, "x"), (0.5, 1, "y"), (1.5, 2, "x"))
    cut(0.5, "a.wav", "b.wav")
    groups = {}
    for sound in find_sounds(tmp_path / "Samples")[0]:
        groups.setdefault(sound.recording, []).append(sound.name)
    assert sorted(groups.values()) == [
        [f"x/{name}_0.000-0.500.wav", f"x/{name}_1.500-2.000.wav", f"y/{name}_0.500-1.000.wav"] for name in "ab"]


def test_labels_without_a_clip_are_named_by_line(cut, tmp_path):
    write(tmp_path / "a.wav", sine(seconds=9))
    track(tmp_path / "a.txt", (1, 1, "x"), (2, 3, ""), (9.5, 10, "x"), (3, 4, "silence"), (5, 6, "none of these"),
          (4, 5, "x/y"), (-2, -1, "x"), (7, 7, "x"), *[(8, 8, "x")] * 3)
    assert cut(1, "a.wav", "--background") == (0, (
        'a.wav: 2 clips from a.txt (background 1, x_y 1); 5 point labels skipped (lines 1, 8, 9 and 2 more); 1 label '
        'without text skipped (line 2); 2 labels outside the recording skipped (lines 3, 7); 1 label "silence" skipped '
        '(line 4); the class of label "x/y" is x_y.\n'), "")
    assert set(clips(tmp_path / "Samples")) == {"background/a_5.250-6.250.wav", "x_y/a_4.000-5.000.wav"}
    (tmp_path / "Samples/silence").mkdir()
    assert "silence 1" in cut(1, "a.wav", "--background")[1]
    track(tmp_path / "a.txt")
    assert cut(1, "a.wav", "--overwrite") == (0, "a.wav: 0 clips from a.txt; there are no labels in it.\n", "")
    assert clips(tmp_path / "Samples") == {}
    assert cut(3, "a.wav", "--background")[1] == ("a.wav: 3 clips from a.txt (background 3); there are no labels in it."
                                                 "\n")


def test_the_statuses_of_predict_class_are_no_classes():
    assert {*annotations.STATUSES, label_cutting._UNLABELED} == {levels.SILENCE, levels.VERY_QUIET,
                                                                 classifier.NONE_OF_THESE}


def test_a_bad_recording_among_good_ones_is_named_and_the_others_are_cut(cut, tmp_path):
    for name in ("good.wav", "bare.wav", "robin.wav", "wrong.wav", "other/good.wav", "two.wav"):
        write(tmp_path / name, sine())
        track((tmp_path / name).with_suffix(".txt"), (0, 1, "Robin"))
    (tmp_path / "bare.txt").unlink()
    (tmp_path / "two.csv").touch()
    (tmp_path / "text.wav").write_text("no sound")
    track(tmp_path / "text.txt", (0, 1, "Robin"))
    track(tmp_path / "robin.txt", (0, 1, "robin"))
    track(tmp_path / "wrong.txt", (1, 0, "Robin"))
    status, out, err = cut(0.5, "gone.wav", "good.wav", "bare.wav", "robin.wav", "wrong.wav", "other/good.wav",
                           "two.wav", "text.wav", "good.txt")
    assert (status, out) == (1, "good.wav: 2 clips from good.txt (Robin 2).\n")
    assert sorted(line.partition(";")[0] for line in err.splitlines()) == [
        "bare.wav: has no labels", "gone.wav: does not exist",
        "other/good.wav: its clips would have the same names as those of good.wav",
        'robin.txt: the label "robin" differs only in case from "Robin" in good.txt',
        "text.wav: is not a readable audio file", "two.wav: has several files of labels (two.csv, two.txt)",
        "wrong.txt: line 1: the start 1 is after the end 0"]
    assert set(clips(tmp_path / "Samples")) == {"Robin/good_0.000-0.500.wav", "Robin/good_0.500-1.000.wav"}


def test_existing_files_are_kept_and_clips_of_earlier_labels_replaced_only_with_overwrite(cut, tmp_path):
    write(tmp_path / "a.wav", sine(seconds=4))
    track(tmp_path / "a.txt", (0, 1, "dog"), (2, 3, "cat"))
    cut(1, "a.wav")
    mine = {"dog/a_0.000-9.000.wav": b"mine", "dog/a_2.wav": b"mine"}
    for name, content in mine.items():
        (tmp_path / "Samples" / name).write_bytes(content)
    before = clips(tmp_path / "Samples")
    assert cut(1, "a.wav")[0] == 0
    track(tmp_path / "a.txt", (0, 1, "dog"), (2, 3, "dog"))
    assert cut(1, "a.wav") == (1, "", "a.wav: Samples/cat/a_2.000-3.000.wav was cut with other labels or settings; add "
                                      "--overwrite, which removes such clips.\n")
    assert clips(tmp_path / "Samples") == before
    assert cut(1, "a.wav", "--overwrite")[0] == 0
    assert set(clips(tmp_path / "Samples")) == {"dog/a_0.000-1.000.wav", "dog/a_2.000-3.000.wav", *mine}
    assert not (tmp_path / "Samples/cat").exists()
    write(tmp_path / "a.wav", sine(500, seconds=4))  # another recording of this name
    before = clips(tmp_path / "Samples")
    assert cut(1, "a.wav") == (1, "", "Samples/dog/a_0.000-1.000.wav: already exists; rename a.wav, or add "
                                      "--overwrite.\n")
    assert clips(tmp_path / "Samples") == before


def test_a_run_killed_at_any_write_is_completed_by_the_same_command(cut, tmp_path, monkeypatch):
    write(tmp_path / "original/a.wav", sine(seconds=2))
    track(tmp_path / "original/a.txt", (0, 1, "dog"), (1.5, 1.75, "dog"), (1.2, 1.4, "cat"))
    monkeypatch.chdir(tmp_path / "original")
    cut(0.5, "a.wav")
    track(tmp_path / "original/a.txt", (0, 1, "dog"), (1.5, 1.75, "cat"))
    command = (0.5, "a.wav", "--background", "--overwrite")
    shutil.copytree(tmp_path / "original", tmp_path / "whole")
    monkeypatch.chdir(tmp_path / "whole")
    cut(*command)
    expected = clips(tmp_path / "whole")
    for stop_at in range(100):
        broken = shutil.copytree(tmp_path / "original", tmp_path / f"broken{stop_at}")
        monkeypatch.chdir(broken)
        with killed_at(stop_at), suppress(KeyboardInterrupt):
            cut(*command)
            break
        assert cut(*command)[0] == 0
        assert clips(broken) == expected, stop_at
    assert 6 < stop_at < 99


def test_many_files_give_a_summary_and_the_sentences_of_problems(cut, tmp_path):
    for number in range(11):
        write(tmp_path / f"{number}.wav", full_scale_noise(3000, 1, "int16"))
        track(tmp_path / f"{number}.wav.labels.txt", (0, 0.1, "x"), (0.1, 0.2, "y"), *[(0.3, 0.3, "z")] * (number == 3))
    assert cut(0.1, "*", "--jobs", 1, "--background") == (
        0, "3.wav: 2 clips from 3.wav.labels.txt (x 1, y 1); 1 point label skipped (line 3).\n"
        "11 files: 32 clips.\n", "")
    path = tmp_path / "3.wav"
    items = label_cutting.recordings([path, tmp_path / "gone.wav"], True, tmp_path / "Samples")
    assert repr(pickle.loads(pickle.dumps(items))) == repr(items)  # as they are sent to processes and hosts


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("a.wav", "--labels", "-r"), "LABELS and REMOVE are both set"),
    (("a.wav", "--background"), "BACKGROUND and CONTEXT need LABELS"),
    (("a.wav", "--no-context"), "BACKGROUND and CONTEXT need LABELS"),
    (("a.txt", "--labels"), "a.txt: is not a recording")])
def test_invalid_combinations_are_refused(call_main, tmp_path, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        call_main(split_audio, 1, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_recording_leaves_no_clip(cut, tmp_path):
    content = write(tmp_path / "a.flac", ramp(2500), 1000).read_bytes()
    track(tmp_path / "a.txt", (0, 1, "x"), (3, 4, "x"))
    for samples, flags, sentence in ((10_000, (), "is damaged and can't be decoded"),
                                     ((1 << 36) - 1, ("--background",), "would become more than 1000000 clips; give")):
        (tmp_path / "a.flac").write_bytes(content[:18] + flac.with_samples(content, samples) + content[26:])
        status, out, err = cut(1, "a.flac", *flags)
        assert (status, out) == (1, "")
        assert err.startswith(f"a.flac: {sentence}")
        assert clips(tmp_path / "Samples") == {}


def test_a_file_that_is_shorter_than_its_header_says_leaves_no_clip(tmp_path):
    path = write(tmp_path / "a.wav", sine(seconds=2))
    targets = {tmp_path / f"{start}.wav": LabelClip("x", start, start + 8000) for start in (0, 12_000)}
    with pytest.raises(UserError, match="a.wav: ends 2.000 s after its beginning, before its header says; convert it"):
        label_cutting._write(path, targets, set(), audio_io.info(path), "")
    assert list(tmp_path.iterdir()) == [path]


def test_a_truncated_recording_is_cut_as_far_as_it_goes(cut, tmp_path):
    path = write(tmp_path / "a.wav", sine(seconds=4))
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    track(tmp_path / "a.txt", (0, 1, "x"), (1.5, 4, "x"), (3, 4, "x"))
    status, out, _ = cut(0.1, "a.wav")
    assert (status, out) == (0, "a.wav: 15 clips from a.txt (x 15); 1 label outside the recording skipped (line 3); "
                                "the recording is truncated.\n")


def test_a_long_recording_is_cut_in_constant_memory(cut, tmp_path):
    write(tmp_path / "a.wav", np.zeros((2, 2_500_000), np.int16), 8000)
    track(tmp_path / "a.txt", (10, 300, "x"), (15, 305, "y"))
    tracemalloc.start()
    assert cut(280, "a.wav")[0] == 0
    assert tracemalloc.get_traced_memory()[1] < 8_000_000  # bytes; the whole file would take 20 million
    tracemalloc.stop()
    assert len(clips(tmp_path / "Samples")) == 2
