"""augment_data.py: the files it writes, what it keeps, and what it refuses."""

import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from conftest import ROOT, names, sine, write

import augment_data
from audio_utils.audio import altered_copies, audio_io, tags
from audio_utils.runtime.command_line import parse
from audio_utils.runtime.errors import UserError

RATE = 44100


def white(samples, *seed):
    return 0.1 * np.random.default_rng(seed).standard_normal(samples, np.float32)


def stereo(samples):
    """Noise that arrives 20 samples later and softer in the second channel."""
    sound = white(samples + 20)
    return np.stack([sound[20:], 0.5 * sound[:samples]]).astype(np.float32)


def test_a_transformation_that_is_turned_off_has_no_range():
    options = parse(vars(augment_data), argv=["--speed", "none", "--noise=None", "--shift=-0.1,0.1"])
    assert augment_data.checked_ranges(options) == {
        "pitch_semitones": (-2, 2), "tempo": (0.9, 1.1), "level_db": (-6, 6), "shift": (-0.1, 0.1)}


# --- files ---

FORMATS = [  # name, rate, channels
    ("pcm16.wav", 44100, 2, {}), ("pcm24.wav", 8000, 1, {"subtype": "PCM_24"}),
    ("pcm8.WAV", 8000, 1, {"subtype": "PCM_U8"}), ("float.wav", 96000, 3, {"subtype": "FLOAT"}),
    ("adpcm.wav", 22050, 1, {"subtype": "IMA_ADPCM"}), ("wave64.w64", 16000, 2, {}), ("16.flac", 48000, 2, {}),
    ("24.flac", 44100, 1, {"subtype": "PCM_24"}), ("vorbis.ogg", 44100, 2, {}),
    ("opus.ogg", 48000, 2, {"subtype": "OPUS"}), ("layer3.mp3", 44100, 2, {}),
    ("layer3 low.mp3", 16000, 1, {}), ("16.aiff", 44100, 4, {}), ("wav inside.flac", 8000, 1, {"format": "WAV"}),
    ("no extension", 8000, 2, {"format": "WAV"})]


@pytest.mark.slow
def test_format_rate_length_and_channels_are_preserved(tmp_path, run_here):
    for name, rate, channels, keywords in FORMATS:
        audio = np.stack([white(12347, channel) for channel in range(channels)])
        write(tmp_path / "Samples/a" / name, audio, rate, **keywords)
    run_here("augment_data.py", 2, *sorted(tmp_path.glob("Samples/a/*")))
    for name, *_ in FORMATS:
        original = tmp_path / "Samples/a" / name
        one, two = (original.with_stem(f"{original.stem}_aug{number}") for number in (1, 2))
        for copy in (one, two):
            for field in ("format", "subtype", "samplerate", "channels", "frames"):
                assert getattr(soundfile.info(copy), field) == getattr(soundfile.info(original), field), (copy, field)
            assert len(soundfile.read(copy)[0]) == len(soundfile.read(original)[0])
        assert not np.array_equal(soundfile.read(one)[0], soundfile.read(two)[0])


def contents(folder):
    """Name → bytes of all files, including hidden ones."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def samples(folder, count=8, seconds=0.3):
    for number in range(count):
        audio = stereo(round(seconds * RATE)) / np.float32(1 + number)
        write(folder / f"c{number % 2}" / f"{number}.wav", audio, RATE)
    return folder


def noise_folder(folder):
    write(folder / "noise/rain.wav", white(44100)[None], 16000)
    write(folder / "noise/far/short.flac", np.stack([white(3000, 1), white(3000, 2)]), 48000)
    return folder / "noise"


def room_folder(folder):
    for name, channels in (("hall.wav", 1), ("head.wav", 2)):
        decay = np.exp(-np.arange(4000) / 800, dtype=np.float32)
        write(folder / "rooms" / name, np.stack([white(4000, channel) * decay for channel in range(channels)]), 32000)
    return folder / "rooms"


@pytest.mark.slow
def test_the_result_depends_only_on_seed_and_name(tmp_path, run_here):
    first, second = samples(tmp_path / "first"), samples(tmp_path / "elsewhere/second")
    folders = "--noise-folder", noise_folder(tmp_path), "--impulse-responses", room_folder(tmp_path)
    said = run_here("augment_data.py", 3, *sorted(first.glob("*/*")), *folders, "--jobs", 1).stdout
    assert said.startswith("24 copies written in ")
    assert said.endswith("\nNow run preprocess_data.py, then train_network.py --fresh.\n")
    assert "7.2 s of sound" in said
    run_here("augment_data.py", 1, *sorted(second.glob("*/*"), reverse=True), *folders, "--jobs", 2)
    run_here("augment_data.py", 3, "*/*", *folders, "--jobs", 2, cwd=second)  # no shell expands it
    assert contents(first) == contents(second)
    assert len(contents(first)) == 32
    run_here("augment_data.py", 3, *sorted(second.glob("*/*")), *folders, "--seed", 2, "--overwrite")
    before, after = contents(first), contents(second)
    assert all((before[name] == after[name]) == ("_aug" not in name.name) for name in before)


@pytest.mark.slow
def test_no_file_is_copied_twice_and_no_copy_is_copied(tmp_path, run_here):
    folder = samples(tmp_path / "Samples", 4)
    run_here("augment_data.py", 2, "Samples/c0/0.wav", "./Samples/c0/0.wav", folder / "c0/0.wav")
    assert len(contents(folder)) == 6
    run_here("augment_data.py", 2, *folder.glob("*/*"))
    before = contents(folder)
    damaged = folder / "c0/0_aug1.wav"
    damaged.write_bytes(b"mine")
    said = run_here("augment_data.py", 2, *folder.glob("*/*")).stdout
    assert said.splitlines()[1:] == ["8 copies already exist; --overwrite replaces them.",
                                     "8 files are already copies; skipped."]
    assert damaged.read_bytes() == b"mine"
    run_here("augment_data.py", 2, *folder.glob("*/*"), "--overwrite")
    assert contents(folder) == before


def test_file_names_are_preserved(tmp_path, run_here):
    names = ["a b.wav", "it's \"quoted\".wav", "Vögel ✓.wav", "-dash.wav", "two.dots.wav", "x_aug.wav"]
    for name in names:
        write(tmp_path / name, sine(seconds=0.1))
    run_here("augment_data.py", 1, "--", *names)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        names + [name.replace(".wav", "_aug1.wav") for name in names])


def test_files_that_differ_only_in_the_extension_get_their_own_copies(tmp_path, run_here):
    for name in ("a.wav", "a.flac"):
        write(tmp_path / name, sine(seconds=0.1))
    run_here("augment_data.py", 1, "a.wav", "a.flac")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.flac", "a.wav", "a_aug1.flac", "a_aug1.wav"]


# --- errors ---

@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "status", "sentence"), [
    (["0", "a.wav"], 1, "N is 0; set it to a whole number of at least 1."),
    (["-3", "a.wav"], 1, "N is -3; set it to a whole number of at least 1."),
    (["x", "a.wav"], 2, "augment_data.py: argument N: 'x' is not a whole number; --help explains the arguments.\n"),
    (["2,5", "a.wav"], 2, "argument N: '2,5' is not a whole number"),
    (["1e1", "a.wav"], 2, "argument N: '1e1' is not a whole number; write 10"),
    (["1", "a.wav", "--max-delay-ms", "2,5"], 2, "argument --max-delay-ms: '2,5' is not a number; write 2.5"),
    (["1", "a.wav", "--max-delay-ms", "inf"], 1, "MAX_DELAY_MS is inf; set it to a number of at least 0 and at most"),
    (["3"], 2, "the following arguments are required: FILE"),
    (["1", "a.wav", "--seed", "-1"], 1, "SEED is -1; set it to a whole number of at least 0."),
    (["1", "a.wav", "--speed", "1.1,0.9"], 1,
     "SPEED is (1.1, 0.9); set it to two numbers from 0.5 to 2, the lower first, or to None."),
    (["1", "a.wav", "--tempo", "0,1"], 1, "TEMPO is (0.0, 1.0); set it to two numbers from 0.5 to 2"),
    (["1", "a.wav", "--shift", "fast"], 2, "argument --shift: 'fast' is not 2 numbers separated by commas"),
    (["1", "a.wav", "--speed", "0,9,1,1"], 2, "points, such as 0.9,1.1"),
    (["1", "a.wav", "--noise", "nan,1"], 1, "NOISE is (nan, 1.0); set it to two numbers from 0 to 1"),
    (["1", "a.wav", *(f"--{name.replace('_', '-')}=none" for name in augment_data._RANGE_LIMITS)],
     1, "SPEED, PITCH_SEMITONES, TEMPO, LEVEL_DB, NOISE, SHIFT are all None; give one of them a range."),
    (["1", "a.wav", "--noise-folder", "none"], 1, "none: does not exist; set NOISE_FOLDER to a folder of audio files."),
    (["1", "a.wav", "--noise-folder", "a.wav"], 1, "a.wav: is not a folder; set NOISE_FOLDER to a folder"),
    (["1", "a.wav", "--noise-folder", "folder"], 1, "folder: contains no audio files; set NOISE_FOLDER to a folder"),
    (["1", "a.wav", "--impulse-responses", "folder"], 1, "folder: contains no audio files; set IMPULSE_RESPONSES to"),
    (["1", "a.wav", "--noise-folder", "."], 1, "a.wav: in NOISE_FOLDER or IMPULSE_RESPONSES, and no other sounds are "
                                               "given; set these to folders of other recordings."),
    (["1", "a.wav", "--noise-folder", "silence"], 1,
     "silence: contains no usable file (no.wav is silent, so it is no noise; remove it)."),
    (["1", "a.wav", "--impulse-responses", "silence"], 1, "silence: contains no usable file (no.wav is silent, or one"),
    (["1", "a.wav", "--snr-db", "0,20"], 1, "SNR_DB has no effect without noise; set NOISE_FOLDER to a folder of"),
    *((["1", "a.wav", "--noise-folder", "folder", f"--snr-db={value}"], 1, f"SNR_DB is {shown}; set it to two numbers "
       "from -40 to 80, the lower first.") for value, shown in (
           ("nan,0", "(nan, 0.0)"), ("0,inf", "(0.0, inf)"), ("20,0", "(20.0, 0.0)"), ("-90,0", "(-90.0, 0.0)"),
           ("none", "None"))),
    (["1", "a.wav", "--snr-db", "10"], 2, "argument --snr-db: '10' is not 2 numbers separated by commas"),
    (["1", "missing.wav", "a.wav"], 1, "missing.wav: does not exist; check the name."),
    (["1", "no*.wav", "a.wav"], 1, "no*.wav: does not exist; check the name."),
    (["1", "folder", "a.wav"], 1, "folder/: is not a file; give audio files."),
    (["1", ".", "a.wav"], 1, "./: is not a file; give audio files."),
    (["1", "text.wav", "a.wav"], 1, "text.wav: is not a readable audio file"),
    (["1", "empty.wav", "a.wav"], 1, "empty.wav: is empty; replace or remove it."),
    (["1", "nan.wav", "a.wav"], 1, "nan.wav: contains NaN or infinite samples; repair or remove it."),
], ids=str)
def test_bad_input_is_one_sentence_and_other_files_are_processed(tmp_path, run_here, arguments, status, sentence):
    write(tmp_path / "a.wav", sine(seconds=0.1))
    write(tmp_path / "nan.wav", np.full((1, 100), np.nan, np.float32), subtype="FLOAT")
    write(tmp_path / "silence/no.wav", np.zeros((1, 800), np.float32))
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.wav").write_text("Birds.")
    (tmp_path / "empty.wav").touch()
    before = {path.name for path in tmp_path.iterdir()}
    result = run_here("augment_data.py", *arguments, status=status)
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    named = {"a_aug1.wav"} if len(arguments) == 3 and arguments[0] == "1" else set()
    assert {path.name for path in tmp_path.iterdir()} == before | named


def test_annotations_and_pictures_beside_the_sounds_are_no_mistake(tmp_path, run_here):
    for name in ("a/night.wav", "a/site.wav"):
        write(tmp_path / name, sine(seconds=0.1))
    for name in ("night.csv", "cover.jpg", "README.md", "README"):
        (tmp_path / "a" / name).touch()
    assert run_here("augment_data.py", 1, *sorted(tmp_path.glob("a/*"))).stderr == ""
    assert len(list(tmp_path.glob("a/*_aug1.wav"))) == 2
    refused = run_here("augment_data.py", 1, "a/night.csv", "a/README", status=1).stderr
    assert refused == "a/night.csv, a/README: not audio; give sounds, such as Samples/*/*.\n"


def test_of_600_bad_files_three_are_named(tmp_path, call_main):
    for i in range(600):
        (tmp_path / f"{i:03}.wav").touch()
    write(tmp_path / "good.wav", sine(seconds=0.1))
    status, _, err = call_main(augment_data, 1, *sorted(tmp_path.glob("*.wav")), "--jobs", 1)
    first = ", ".join(f"{tmp_path}/00{i}.wav" for i in range(3))
    assert (status, err) == (1, f"{first} and 597 more: each is empty; replace or remove it.\n")
    assert (tmp_path / "good_aug1.wav").exists()


@pytest.mark.parametrize("name", ["x" * 251 + ".wav", "ä" * 125 + ".wav", "x" * 246 + ".wav", "x" * 245 + ".wav"])
def test_a_name_too_long_for_a_copy_is_named_and_the_others_are_processed(tmp_path, call_main, name):
    for each in (name, "a.wav"):
        write(tmp_path / each, sine(seconds=0.1))
    status, _, err = call_main(augment_data, 2, name, "a.wav")
    fits = len(name.encode()) <= 250
    assert (status, err) == (0, "") if fits else (1, f"{name}: the name is too long to append _aug2; shorten it.\n")
    assert len(list(tmp_path.glob("*_aug*"))) == (4 if fits else 2)
    if not fits:
        (tmp_path / name).rename(tmp_path / f"{name[:100]}.wav")  # the advice, followed
        assert call_main(augment_data, 2, f"{name[:100]}.wav")[0] == 0


# --- noise and rooms ---

ONLY_NOISE = [f"--{name.replace('_', '-')}=none" for name in augment_data._RANGE_LIMITS]


def test_copies_contain_noise_of_the_folder_at_the_snr(tmp_path, call_main):
    noise = white(4 * RATE)[None]
    write(tmp_path / "noise/rain.wav", noise, RATE)
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, sine(seconds=1, rate=RATE), RATE, subtype="FLOAT")
    status, out, err = call_main(augment_data, 1, "a.wav", "b.wav", "--noise-folder", "noise", "--snr-db", "6,6",
                                 *ONLY_NOISE)
    assert (status, err, out.splitlines()[0][:16]) == (0, "", "2 copies written")
    one, two = (audio_io.read(tmp_path / f"{name}_aug1.wav")[0][0] - sine(seconds=1, rate=RATE)[0] for name in "ab")
    for added in (one, two):
        assert 10 * np.log10(0.125 / added.var()) == pytest.approx(6, abs=0.01)
        found = np.fft.irfft(np.fft.rfft(noise[0]) * np.fft.rfft(added, 4 * RATE).conj()).max()
        assert found / np.linalg.norm(added) ** 2 == pytest.approx(0.1 / added.std(), rel=0.02)  # a part of the noise
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.05


def test_without_the_folders_no_parameter_and_no_byte_changes(tmp_path, call_main):
    for folder in ("one", "two"):
        write(tmp_path / folder / "a.wav", sine(seconds=0.2))
    call_main(augment_data, 8, "one/a.wav")
    call_main(augment_data, 8, "two/a.wav", "--noise-folder", "", "--impulse-responses", "")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    ranges = dict.fromkeys(augment_data._RANGE_LIMITS, (0.5, 1))
    for seed in range(20):
        parameters = altered_copies.randomize_parameters(np.random.default_rng(seed), ranges)
        assert set(parameters) <= {*ranges, "gaussian", "noise_seed"}


def test_noise_among_the_sounds_is_not_augmented(tmp_path, call_main):
    for name in ("birds/a.wav", "background/b.wav"):
        write(tmp_path / "Samples" / name, white(8000)[None])
    _, out, _ = call_main(augment_data, 2, "Samples/*/*", "--noise-folder", "Samples/background")
    assert out.startswith("Samples/background/b.wav: used as noise or impulse responses, not augmented; if they are "
                          "also Test sounds, use other recordings.\n2 copies written")
    assert names(tmp_path / "Samples/background") == ["b.wav"]


def test_bad_noise_among_good_noise_is_named_once_and_skipped(tmp_path, call_main):
    noise_folder(tmp_path)
    (tmp_path / "noise/bad.wav").write_text("Birds.")
    write(tmp_path / "noise/no, ✓.wav", np.zeros((1, 800), np.float32))
    for i in range(3):
        write(tmp_path / f"{i}.wav", sine(seconds=0.1))
    status, out, err = call_main(augment_data, 4, "*.wav", "--noise-folder", "noise", *ONLY_NOISE)
    assert (status, out[:17]) == (1, "12 copies written")
    assert err == ("noise/bad.wav: is not a readable audio file; convert it to wav or remove it.\n"
                   "noise/no, ✓.wav: is silent, so it is no noise; remove it.\n")


def test_noise_that_can_not_be_used_for_any_of_the_sounds_is_named_once(tmp_path, call_main):
    write(tmp_path / "noise/bats.wav", sine(30000, 0.5, 96000), 96000)
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, sine(seconds=0.1))
    write(tmp_path / "c.wav", sine(seconds=0.1, rate=96000), 96000)
    status, out, err = call_main(augment_data, 1, "a.wav", "b.wav", "c.wav", "--noise-folder", "noise", *ONLY_NOISE)
    assert (status, out[:14]) == (1, "1 copy written")
    assert err == ("noise/bats.wav: the stretch that was drawn for a sound is silent at 8000 Hz; remove it from "
                   "NOISE_FOLDER.\n")


# --- copies and recordings ---

@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_copies_are_tagged_with_their_recording(tmp_path, call_main, extension):
    path = write(tmp_path / f"night.{extension}", sine(seconds=0.2, rate=16000), 16000)
    call_main(augment_data, 2, path)
    for copy in tmp_path.glob("*_aug*"):
        [step] = tags.read(copy)
        assert step == (tags.AUGMENT, path.name, path.stat().st_size, tags.digest_of(path))
    assert tags.read(path) == ()


def test_the_tag_of_a_clip_is_kept_in_the_tag_of_its_copy(tmp_path, call_main):
    clip = tmp_path / "night_s1.wav"
    audio_io.write(clip, sine(seconds=0.1), 8000, comment=tags.text([tags.Step(tags.SPLIT, "night.wav", 1, "ab")]))
    call_main(augment_data, 1, clip)
    assert [(step.tool, step.source) for step in tags.read(tmp_path / "night_s1_aug1.wav")] == [
        (tags.AUGMENT, "night_s1.wav"), (tags.SPLIT, "night.wav")]


@pytest.mark.slow
def test_only_copies_is_one_sentence_and_status_1(tmp_path, run_here):
    for i in range(5):
        write(tmp_path / f"{i}.wav", sine(seconds=0.1))
    run_here("augment_data.py", 1, *sorted(tmp_path.glob("*.wav")))
    before = contents(tmp_path)
    result = run_here("augment_data.py", 3, *sorted(path.name for path in tmp_path.glob("*_aug1.wav")), status=1)
    assert result.stderr == ("0_aug1.wav, 1_aug1.wav, 2_aug1.wav and 2 more: already copies; give the recordings that "
                             "they were made from, such as Samples/*/*.\n")
    assert contents(tmp_path) == before
    run_here("augment_data.py", 1, "0.wav")  # the advice, followed


def test_a_recording_that_is_named_as_a_copy_is_augmented(tmp_path, call_main):
    write(tmp_path / "site1_aug12.wav", sine(seconds=0.1))
    write(tmp_path / "site2_aug12.wav", sine(seconds=0.1))
    write(tmp_path / "site2.wav", sine(seconds=0.1), 16000)
    status, out, err = call_main(augment_data, 2, "site1_aug12.wav", "site2_aug12.wav", "site2.wav")
    assert (status, err) == (0, "")
    assert out.startswith("site1_aug12.wav, site2_aug12.wav: named as a copy, but without a tag and not beside a file "
                          "that it could be a copy of; used as a recording.\n6 copies written")
    assert names(tmp_path) == ["site1_aug12.wav", "site1_aug12_aug1.wav", "site1_aug12_aug2.wav", "site2.wav",
                               "site2_aug1.wav", "site2_aug12.wav", "site2_aug12_aug1.wav", "site2_aug12_aug2.wav",
                               "site2_aug2.wav"]
    assert call_main(augment_data, 2, *names(tmp_path))[1].splitlines()[2:] == [
        "6 copies already exist; --overwrite replaces them.", "6 files are already copies; skipped."]


def test_a_renamed_copy_is_not_copied_again(tmp_path, call_main):
    write(tmp_path / "a.wav", sine(seconds=0.1))
    call_main(augment_data, 1, "a.wav")
    (tmp_path / "a_aug1.wav").rename(tmp_path / "other.wav")
    with pytest.raises(UserError, match=r"other.wav: already copies; give the recordings"):
        call_main(augment_data, 1, "other.wav")


@pytest.mark.parametrize("audio", [sine(seconds=0.2), sine(seconds=0.1, channels=2), sine(seconds=0.1, rate=16000)])
def test_overwriting_never_replaces_a_recording(tmp_path, call_main, audio):
    write(tmp_path / "site1.wav", sine(seconds=0.1))
    recording = write(tmp_path / "site1_aug2.wav", audio)
    before = recording.read_bytes()
    status, _, err = call_main(augment_data, 3, "site1.wav", "--overwrite")
    assert (status, err) == (1, "site1_aug2.wav: is not a copy, as its length, rate or channels differ; rename it.\n")
    assert recording.read_bytes() == before
    recording.rename(tmp_path / "site1 of 2 August.wav")  # the advice, followed
    assert call_main(augment_data, 3, "site1.wav", "--overwrite")[0] == 0
    assert (tmp_path / "site1 of 2 August.wav").read_bytes() == before


@pytest.mark.parametrize("name", ["a.wav", "it's \"ä\" ✓.wav", "\udcff.wav"])
def test_samples_and_parameters_are_those_of_copies_without_a_tag(tmp_path, monkeypatch, call_main, name):
    write(tmp_path / "x.wav", sine(seconds=0.1)).rename(tmp_path / name)
    call_main(augment_data, 2, name)
    tagged = {path.name: audio_io.read(path)[0] for path in tmp_path.glob("*_aug*")}
    monkeypatch.setattr(tags, "text", lambda _: "")
    call_main(augment_data, 2, name, "--overwrite")
    assert len(tagged) == 2
    for path in tmp_path.glob("*_aug*"):
        assert tags.read(path) == ()
        assert np.array_equal(tagged[path.name], audio_io.read(path)[0])


def seconds_of(run, arguments, status):
    """CPU time, which does not depend on the load of the machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run("augment_data.py", *arguments, status=status)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_without_python_stretch_the_other_transformations_are_applied(tmp_path, monkeypatch, call_main):
    monkeypatch.setattr(altered_copies, "can_stretch", lambda: False)
    write(tmp_path / "x.wav", sine(seconds=0.1))
    assert call_main(augment_data, 3, "x.wav")[::2] == (
        0, "PITCH_SEMITONES and TEMPO: not available without python-stretch, which pip install python-stretch "
           "compiles.\n")
    assert len(names(tmp_path)) == 4
    others = [f"--{name}=none" for name in ("speed", "pitch-semitones", "level-db", "noise", "shift")]
    with pytest.raises(UserError, match="^TEMPO: not available without"):
        call_main(augment_data, 3, "x.wav", *others)


def test_help_and_mistakes_take_half_a_second(tmp_path, run):
    for arguments, status in ((["--help"], 0), (["0", "x.wav"], 1)):
        assert any(seconds_of(run, arguments, status) < 0.5 for _ in range(3))


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    write(tmp_path / "big.wav", stereo(RATE), RATE)  # 176 kB
    write(tmp_path / "small.wav", stereo(RATE // 10), RATE)
    result = subprocess.run(
        [sys.executable, ROOT / "augment_data.py", "2", "big.wav", "small.wav"], cwd=tmp_path, text=True,
        capture_output=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    assert result.returncode == 1
    assert result.stderr == "big_aug1.wav: the disk is full; make room and run the same command again.\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "big.wav", "small.wav", "small_aug1.wav", "small_aug2.wav"]


def test_a_copy_that_can_not_be_written_is_one_sentence(tmp_path, run_here):
    (tmp_path / "a_aug1.wav").mkdir()
    write(tmp_path / "a.wav", sine(seconds=0.1))
    result = run_here("augment_data.py", 1, "a.wav", "--overwrite", status=1)
    assert "Is a directory" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "a_aug1.wav"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "after"), [(signal.SIGKILL, (1, 12)), (signal.SIGINT, (5,))])
def test_a_stopped_run_continues_to_the_same_result(tmp_path, run, number, after):
    undisturbed, stopped = samples(tmp_path / "undisturbed", 12), tmp_path / "stopped"
    shutil.copytree(undisturbed, stopped)
    run("augment_data.py", 3, *sorted(undisturbed.glob("*/*")), "--jobs", 1)
    command = [sys.executable, ROOT / "augment_data.py", "3", *sorted(stopped.glob("*/*")), "--jobs", "2"]
    for copies in after:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(list(stopped.glob("*/*_aug*"))) < copies:
            time.sleep(0.005)
        process.send_signal(number)
        assert process.wait() == (130 if number == signal.SIGINT else -number)
        time.sleep(0.2)  # the workers exit after their parent
        assert len(list(stopped.glob("*/*_aug*"))) < 36
    run(*command[1:])
    assert contents(stopped) == contents(undisturbed)
