"""inspect_samples.py: every problem in a data set is found and named, and good sounds have none."""

import shutil

import numpy as np
import pytest
from conftest import sine, write
from PIL import Image

from audio_utils import inspect_samples
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.data import inspection
from audio_utils.data.inspection import SoundStatistics
from audio_utils.data.sounds import SPLITS, Sound
from audio_utils.runtime.errors import UserError

SCRIPT = "audio_utils/inspect_samples.py"
CLASSES = ("bird", "frog", "ümlaut $x$")


def noises(folder, files=10, channels=1):
    """A data set without problems: noise of about a second, every file different."""
    for i, name in enumerate(CLASSES):
        for j in range(files):
            rng = np.random.default_rng([i, j])
            audio = 0.05 * rng.standard_normal((channels, 8000 + 100 * j)).astype(np.float32)
            write(folder / name / f"{j}.wav", audio)
    return folder


@pytest.fixture
def samples(tmp_path):
    return noises(tmp_path / "Samples")


def findings_in(out):
    """The sentences between the tables and the summary."""
    block = out.split("\n\n")[-2]
    return [] if block.startswith("class ") else block.splitlines()


def noise(seconds=1.0, seed=99):
    return 0.05 * np.random.default_rng(seed).standard_normal((1, round(8000 * seconds))).astype(np.float32)


def test_good_sounds_have_statistics_and_no_findings(run_here, tmp_path, samples):
    result = run_here(SCRIPT)
    head, *rows = result.stdout.splitlines()[:4]
    assert head.split() == "class files min s median max s minutes dBFS chan. Hz".split()
    for name, row in zip(CLASSES, rows, strict=True):
        assert row.split() == [*name.split(), *"10 1.00 1.06 1.11 0.2 -26 1 8000".split()]
    assert result.stdout.splitlines()[4:6] == ["", "30 sounds in 3 classes, 0.5 minutes: no problems found."]
    assert result.stderr == ""
    with Image.open(tmp_path / "samples.png") as image:
        assert image.size[0] > 1000
        assert len(image.convert("RGB").resize((100, 50)).getcolors(10000)) > 20


PROBLEMS = {
    "silent": ("bird/s.wav", 0 * noise(), "Samples/bird/s.wav: silent, never above -60 dBFS; remove it."),
    "nearly silent": ("bird/s.wav", 0.003 * noise(), "Samples/bird/s.wav: silent, never above -60 dBFS; remove it."),
    "short": ("frog/s.wav", noise(0.02), "Samples/frog/s.wav: nearly empty"),
    "a click": ("frog/s.wav", np.eye(1, 8000, 4000, dtype=np.float32), "Samples/frog/s.wav: nearly empty"),
    "clipped": ("bird/s.wav", np.clip(40 * noise(), -1, 1), "Samples/bird/s.wav: clipped"),
    "NaN": ("bird/s.wav", noise() * np.nan, "Samples/bird/s.wav: contains NaN"),
    "another rate": ("bird/s.flac", noise(), "Samples/bird/s.flac (16000): a different sample rate from most"),
    "stereo": ("bird/s.wav", np.tile(noise(), (2, 1)), "Samples/bird/s.wav (2): a different channel count from most"),
}


@pytest.fixture
def without_plot(monkeypatch):
    """The script draws no plot, which takes longer than its checks in the tests."""
    monkeypatch.setattr(inspect_samples.plots, "samples", lambda *_: None)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.usefixtures("without_plot")
def test_problem_is_found_and_named(call, tmp_path, samples, problem):
    name, audio, sentence = PROBLEMS[problem]
    write(samples / name, audio, 16000 if name.endswith(".flac") else 8000,
          subtype="FLOAT" if problem == "NaN" else "PCM_16")
    [found] = findings_in(call(inspect_samples, tmp_path))
    assert found.startswith(sentence)


def test_silent_channel_is_found(call, tmp_path):
    samples = noises(tmp_path / "Samples", channels=2)
    write(samples / "frog/s.wav", np.concatenate([noise(), 0 * noise()]))
    [sentence] = findings_in(call(inspect_samples, tmp_path))
    assert sentence == "Samples/frog/s.wav: silent in some but not all channels; repair or remove it."


def test_files_that_are_not_audio_are_named(call, tmp_path, samples):
    (samples / "bird/empty.wav").touch()
    (samples / "bird/text.wav").write_text("hello")
    (samples / "stray.wav").touch()
    whole = (samples / "frog/3.wav").read_bytes()
    (samples / "frog/3.wav").write_bytes(whole[:len(whole) // 2])
    out = call(inspect_samples, tmp_path)
    found = findings_in(out)
    assert [line.split(": ")[0] for line in found] == [
        "Samples/stray.wav", "Samples/bird/empty.wav", "Samples/bird/text.wav", "Samples/frog/3.wav"]
    assert found[-1] == "Samples/frog/3.wav: truncated; the available part is used unless you replace it."
    assert [line.split() for line in out.split("\n\n")[1].splitlines()] == [["class", "unreadable"], ["bird", "2"]]
    assert "30 sounds in 3 classes, 0.5 minutes: 4 findings." in out


@pytest.mark.parametrize("split", [None, "Train"])
def test_tables_have_80_columns(capsys, monkeypatch, split):
    monkeypatch.setenv("COLUMNS", "80")
    names = ["a class with a long name, as recorders write it", "another class with a long name"]
    sounds = [Sound(name, f"{i}.wav", split and SPLITS[i % 3]) for name in names for i in range(999)]
    infos = [AudioInfo(48000 * 3600, 48000, channels, False, "WAV", "PCM_16") for channels in (1, 16)]
    statistics = {sound: SoundStatistics(infos[i % 2], 1.0, -26.0, 0, 0, 0) for i, sound in enumerate(sounds)}
    problems = dict.fromkeys(inspection.find_problems({}, 0.05, 0.001), sounds)
    inspect_samples.say_tables(sounds, statistics, problems)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 79
    assert "mixed" in lines[1]
    assert lines[-1].split()[-5:] == ["999"] * 5


@pytest.mark.slow
@pytest.mark.usefixtures("without_plot")
def test_of_200_bad_files_three_are_named(call, tmp_path, samples):
    for i in range(200):
        (samples / f"bird/x{i:03}.wav").touch()
        (samples / f"frog/x{i:03}.wav").write_text("hello")
        (samples / f"frog/y{i:03}.wav").symlink_to("nowhere")
        (samples / f"frog/{i}.csv").touch()
    found = findings_in(call(inspect_samples, tmp_path, "--jobs", 1))
    assert [sentence.partition(": ")[0] for sentence in found] == [
        f"Samples/{name}000.wav, Samples/{name}001.wav, Samples/{name}002.wav and 197 more"
        for name in ("frog/y", "bird/x", "frog/x")]
    assert found[1].endswith(" more: each is empty; replace or remove it.")


def test_own_split_is_shown_and_a_file_in_both_splits_is_found(call, tmp_path):
    for split, files in (("Train", 12), ("Test", 4)):
        noises(tmp_path / "Samples" / split, files)
    for path in (tmp_path / "Samples/Test").rglob("*.wav"):
        write(path, noise(seed=len(str(path)) + sum(map(ord, str(path)))))
    shutil.copy(tmp_path / "Samples/Train/bird/7.wav", tmp_path / "Samples/Test/bird/x.wav")
    out = call(inspect_samples, tmp_path)
    assert out.split()[:3] == ["class", "Train", "Test"]
    assert out.splitlines()[1].split()[:3] == ["bird", "12", "5"]
    [sentence] = findings_in(out)
    assert sentence == ("Samples/Train/bird/7.wav = Samples/Test/bird/x.wav: the same file in Train and in Test, "
                        "so the score is too optimistic; keep one.")


def test_classes_are_in_natural_order_and_takes_of_one_recording_are_pointed_out(call, tmp_path):
    for i, name in enumerate(("e0a120", "e0a30")):
        for j in range(6):
            for take in "AB":
                write(tmp_path / f"Samples/{name}/1-{j}-{take}.wav", noise(0.1, seed=100 * i + 2 * j + ord(take)))
    out = call(inspect_samples, tmp_path)
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["e0a30", "e0a120"]
    assert findings_in(out)[-1] == (
        "Samples/e0a120/1-0-A.wav, Samples/e0a120/1-0-B.wav, Samples/e0a120/1-1-A.wav and 21 more: named like takes of "
        'one recording; preprocess_data.py --split-anew "--group-by=-[A-Z]$" keeps the takes of each recording in one '
        "split; otherwise the score is too optimistic.")


@pytest.mark.slow
def test_number_of_processes_changes_nothing(run_here, tmp_path):
    samples = noises(tmp_path / "Samples", 30)
    write(samples / "bird/s.wav", 0 * noise())
    one, two = (run_here(SCRIPT, "--jobs", jobs).stdout.splitlines()[:-1] for jobs in (1, 2))
    assert one == two
    assert any("silent, never" in line for line in one)


def test_unreadable_files_alone_give_no_plot(call, tmp_path):
    for name in "ab":
        (tmp_path / "Samples" / name).mkdir(parents=True)
        (tmp_path / "Samples" / name / "x.wav").write_text("hello")
    assert "0 sounds in 0 classes, 0.0 minutes: 1 finding." in call(inspect_samples, tmp_path)
    assert not (tmp_path / "samples.png").exists()


@pytest.mark.parametrize(("flags", "sentence"), [
    ([], "Samples/: does not exist"), (["--silent-db", 3], "SILENT_DB is 3.0"),
    (["--nearly-empty", -1], "NEARLY_EMPTY is"), (["--clipped", 2], "CLIPPED is 2.0"), (["--jobs", 0], "JOBS is 0")])
def test_user_mistake_is_one_sentence(call, tmp_path, flags, sentence):
    with pytest.raises(UserError, match=sentence) as raised:
        call(inspect_samples, tmp_path, *flags)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("mode", "is_said"), [("beginning", True), ("all", False)])
def test_the_length_of_sounds_that_are_cut_is_no_problem(tmp_path, run_here, mode, is_said):
    for i in range(4):
        write(tmp_path / f"Samples/long/{i}.wav", sine(300 + i, 2))
        write(tmp_path / f"Samples/short/{i}.wav", sine(500 + i, 0.25))
    run_here("preprocess_data.py", "--clip-seconds", 0.25, "--long-files", mode)
    assert ("can separate them by length alone" in run_here("audio_utils/inspect_samples.py").stdout) == is_said


@pytest.mark.usefixtures("without_plot")
def test_labels_are_counted_and_wrong_rows_are_named(call, tmp_path):
    samples = tmp_path / "Samples"
    for i in range(24):
        write(samples / "all" / f"{i}.wav", noise(0.1, seed=i) * (i > 0))
    rows = [f"{i}.wav,{'bird;frog' if i < 12 else 'frog' if i < 22 else ''}" for i in range(23)]
    (samples / "labels.csv").write_text("\n".join(["file,labels", *rows, "gone.wav,bird"]))
    unused = "Samples/labels.csv: is not used without MULTI_LABEL (--multi-label)."
    assert unused in findings_in(call(inspect_samples, tmp_path))
    out = call(inspect_samples, tmp_path, "--multi-label")
    assert [line.split()[:-7] for line in out.splitlines()[1:4]] == [["(no", "label)", "1"], ["bird", "12"],
                                                                     ["frog", "22"]]
    tables = [block.splitlines() for block in out.split("\n\n")]
    assert [line.rsplit(maxsplit=1) for line in tables[2]] == [
        ["labels of a sound", "sounds"], ["bird, frog", "12"], ["frog", "10"], ["(no label)", "1"]]
    findings = findings_in(out)
    assert findings[0] == "Samples/labels.csv: line 25: no such sound in Samples/: gone.wav."
    assert findings[1].startswith("Samples/all/23.wav: has no row in labels.csv")
    assert [each for each in findings if each.startswith("Samples/all/0.wav: silent")] == [findings[-1]]
    assert f"23 sounds in 2 classes, 0.0 minutes: {len(findings)} findings." in out
