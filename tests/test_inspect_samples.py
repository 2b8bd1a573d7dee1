"""inspect_samples.py: every problem that is planted is found and named, and nothing is said of good sounds."""

import re
import shutil

import numpy as np
import pytest
from conftest import sine, write
from PIL import Image

from audio_utils import audio_io, dataset, inspect_samples, plots
from audio_utils.dataset import Sound
from audio_utils.inspect_samples import SILENT_DB, cut_off, look, same_bytes, verdicts

SCRIPT = "audio_utils/inspect_samples.py"
SILENT = 10 ** (SILENT_DB / 20)
CLASSES = ("bird", "frog", "ümlaut $x$")


def clean(folder, files=10, classes=CLASSES, rate=8000, channels=1):
    """A data set with nothing wrong: noise, of about a second, all different."""
    for i, name in enumerate(classes):
        for j in range(files):
            rng = np.random.default_rng([i, j])
            audio = 0.05 * rng.standard_normal((channels, rate + 100 * j)).astype(np.float32)
            write(folder / name / f"{j}.wav", audio, rate)
    return folder


@pytest.fixture
def samples(tmp_path):
    return clean(tmp_path / "Samples")


def lines_of(out):
    """The sentences below the table."""
    lines = out.splitlines()
    return lines[1 + len({line.split()[0] for line in lines if re.match(r"(bird|frog|ümlaut)", line)}):-3]


def sounds_of(folder):
    sounds = dataset.find_sounds(folder)[0]
    return sounds, {sound.path: audio_io.info(sound.path) for sound in sounds}


def noise(seconds=1.0, seed=99):
    return 0.05 * np.random.default_rng(seed).standard_normal((1, round(8000 * seconds))).astype(np.float32)


# --- the whole ------------------------------------------------------------------------------------------------------

def test_of_good_sounds_it_says_how_they_are(run, tmp_path, samples):
    result = run(SCRIPT)
    head, *rows = result.stdout.splitlines()[:4]
    assert head.split() == [*"class files shortest median longest minutes level dB channels Hz".split(),
                            *"silent empty clipped dead bad".split()]
    for name, row in zip(CLASSES, rows, strict=True):
        assert row.split() == [*name.split(), *"10 1.00 1.06 1.11 0.2 -26 1 8000 - - - - -".split()]
    assert result.stdout.splitlines()[4:6] == ["", "30 sounds in 3 classes, 0.5 minutes: nothing wrong was found."]
    assert result.stderr == ""
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.size[0] > 1000
        assert len(picture.convert("RGB").resize((100, 50)).getcolors(10000)) > 20


PLANTED = {
    "silent": ("bird/s.wav", 0 * noise(), "Samples/bird/s.wav: silent, never above -60 dB; remove it."),
    "nearly silent": ("bird/s.wav", 0.003 * noise(), "Samples/bird/s.wav: silent, never above -60 dB; remove it."),
    "short": ("frog/s.wav", noise(0.02), "Samples/frog/s.wav: nearly empty"),
    "a click": ("frog/s.wav", np.eye(1, 8000, 4000, dtype=np.float32), "Samples/frog/s.wav: nearly empty"),
    "clipped": ("bird/s.wav", np.clip(40 * noise(), -1, 1), "Samples/bird/s.wav: clipped"),
    "NaN": ("bird/s.wav", noise() * np.nan, "Samples/bird/s.wav: holds NaN"),
    "another rate": ("bird/s.flac", noise(), "Samples/bird/s.flac (16000): another sample rate than most"),
    "stereo": ("bird/s.wav", np.tile(noise(), (2, 1)), "Samples/bird/s.wav (2): another channel count than most"),
}


@pytest.mark.parametrize("problem", PLANTED)
def test_a_problem_is_found_and_named(call, tmp_path, samples, problem):
    name, audio, sentence = PLANTED[problem]
    write(samples / name, audio, 16000 if name.endswith(".flac") else 8000,
          subtype="FLOAT" if problem == "NaN" else "PCM_16")
    found = lines_of(call(inspect_samples, tmp_path))
    assert len(found) == 1
    assert found[0].startswith(sentence)


def test_a_dead_channel_is_found(call, tmp_path):
    samples = clean(tmp_path / "Samples", channels=2)
    write(samples / "frog/s.wav", np.concatenate([noise(), 0 * noise()]))
    [sentence] = lines_of(call(inspect_samples, tmp_path))
    assert sentence == "Samples/frog/s.wav: silent in some channels but not in all; mend or remove it."


def test_files_that_are_no_sounds_are_named(call, tmp_path, samples):
    (samples / "bird/empty.wav").touch()
    (samples / "bird/text.wav").write_text("hello")
    (samples / "stray.wav").touch()
    whole = (samples / "frog/3.wav").read_bytes()
    (samples / "frog/3.wav").write_bytes(whole[:len(whole) // 2])
    out = call(inspect_samples, tmp_path)
    found = lines_of(out)
    assert [line.split(": ")[0] for line in found] == [
        "Samples/stray.wav", "Samples/bird/empty.wav", "Samples/bird/text.wav", "Samples/frog/3.wav"]
    assert found[-1] == "Samples/frog/3.wav: cut short; what is there is used, or replace it."
    assert out.splitlines()[1].split()[-1] == "2"  # bad ones of the first class
    assert "30 sounds in 3 classes, 0.5 minutes: 4 things to look at." in out


def test_an_own_split_is_shown_and_a_file_on_both_sides_found(call, tmp_path):
    for side, files in (("Train", 12), ("Test", 4)):
        clean(tmp_path / "Samples" / side, files)
    for path in (tmp_path / "Samples/Test").rglob("*.wav"):
        write(path, noise(seed=len(str(path)) + sum(map(ord, str(path)))))
    shutil.copy(tmp_path / "Samples/Train/bird/7.wav", tmp_path / "Samples/Test/bird/x.wav")
    out = call(inspect_samples, tmp_path)
    assert out.split()[:3] == ["class", "Train", "Test"]
    assert out.splitlines()[1].split()[:3] == ["bird", "12", "5"]
    [sentence] = lines_of(out)
    assert sentence == ("Samples/Train/bird/7.wav = Samples/Test/bird/x.wav: the same file in Train and in Test, "
                        "so that the score is too good; keep one.")


def test_many_processes_find_what_one_finds(run, tmp_path):
    samples = clean(tmp_path / "Samples", 30)
    write(samples / "bird/s.wav", 0 * noise())
    one, two = (run(SCRIPT, "--jobs", jobs).stdout.splitlines()[:-1] for jobs in (1, 2))
    assert one == two
    assert any("silent, never" in line for line in one)


def test_only_bad_files_need_no_picture(call, tmp_path):
    for name in "ab":
        (tmp_path / "Samples" / name).mkdir(parents=True)
        (tmp_path / "Samples" / name / "x.wav").write_text("hello")
    assert "0 sounds in 0 classes, 0.0 minutes: 2 things to look at." in call(inspect_samples, tmp_path)
    assert not (tmp_path / "samples.png").exists()


@pytest.mark.parametrize(("flags", "sentence"), [
    ([], "Samples/: is not here"), (["--silent-db", 3], "SILENT_DB is 3.0"),
    (["--nearly-empty", -1], "NEARLY_EMPTY is"), (["--clipped", 2], "CLIPPED is 2.0"), (["--jobs", 0], "JOBS is 0")])
def test_mistakes_are_one_sentence(run, flags, sentence):
    result = run(SCRIPT, *flags, status=1)
    assert result.stderr.startswith(sentence)
    assert result.stderr.count("\n") == 1


# --- by names, sizes and headers: what preprocess_data.py prints ----------------------------------------------------

def test_nothing_is_said_of_good_sounds(samples):
    assert verdicts(*sounds_of(samples)) == []


def test_few_sounds(samples):
    for j in range(7):
        (samples / f"frog/{j}.wav").rename(samples / f"frog/{j + 5}_aug1.wav")  # copies don't count
    found = verdicts(*sounds_of(samples))
    assert found == ["frog (3): fewer than 10 sounds, too few to tell how good the network is; add more."]


def test_unequal_numbers(tmp_path):
    clean(tmp_path, 31, ("bird", "frog"))
    for j in range(10, 31):
        (tmp_path / f"frog/{j}.wav").unlink()
    [sentence] = verdicts(*sounds_of(tmp_path))
    assert sentence.startswith("bird: has 31 sounds where frog has 10, ")
    (tmp_path / "bird/30.wav").unlink()
    assert verdicts(*sounds_of(tmp_path)) == []


def test_lengths_that_give_a_class_away(samples):
    for j in range(10):
        write(samples / f"bird/{j}.wav", noise(5, j))
    [sentence] = verdicts(*sounds_of(samples))
    assert sentence.startswith("bird: has sounds of 5 s (median) where frog has 1.06 s, so that length alone")


def test_rates_that_give_a_class_away(samples):
    for j in range(10):
        write(samples / f"bird/{j}.wav", np.tile(noise(3, j), (2, 1)), 24000)
    found = verdicts(*sounds_of(samples))
    assert found == [f"Samples/: the classes differ in {what}, so that a network may learn that and not the sounds; "
                     f"preprocess all alike ({remedy})." for what, remedy in (
        ("sample rate (bird: 24000, frog: 8000, ümlaut $x$: 8000)", "SAMPLE_RATE = 8000"),
        ("channel count (bird: 2, frog: 1, ümlaut $x$: 1)", "MONO = True"))]


def test_the_same_file_twice_in_and_across_classes(samples):
    shutil.copy(samples / "bird/1.wav", samples / "bird/copy.wav")
    shutil.copy(samples / "bird/2.wav", samples / "frog/copy.wav")
    shutil.copy(samples / "bird/2.wav", samples / "frog/again.wav")
    shutil.copy(samples / "bird/3.wav", samples / "bird/3_aug1.wav")  # a copy that was hardly altered
    across, inside = verdicts(*sounds_of(samples))
    assert across == (f"{samples}/bird/2.wav = {samples}/frog/again.wav = {samples}/frog/copy.wav: the same file in "
                      "several classes, so that the network learns both; keep one.")
    assert inside == (f"{samples}/bird/1.wav = {samples}/bird/copy.wav: the same file several times, "
                      "so that the score is too good; keep one.")


def test_files_alike_in_size_and_middle_are_not_the_same(tmp_path):
    paths = [write(tmp_path / f"{i}.wav", np.pad(noise(0.01, i), ((0, 0), (0, 80000)))) for i in range(4)]
    shutil.copy(paths[2], tmp_path / "x.wav")
    gone = tmp_path / "gone.wav"
    groups = same_bytes([Sound("a", path) for path in [*paths, tmp_path / "x.wav", gone]])
    assert [[sound.path.name for sound in group] for group in groups] == [["2.wav", "x.wav"]]


def test_headers_of_new_sounds_alone_will_do(samples):
    sounds, headers = sounds_of(samples)
    assert verdicts(sounds, {}) == []
    path = write(samples / "bird/0.wav", noise(), 16000)
    assert verdicts(sounds, headers | {path: audio_io.info(path)})[0].startswith(f"{path} (16000): another sample rate")


def test_sentences_name_few_files():
    assert inspect_samples.named(range(5)) == "0, 1, 2, 3, 4"
    assert inspect_samples.named(range(17)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 7 more"


# --- one sound ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("seconds", [1, 100])  # 100 s are several blocks
def test_a_look_is_exact(tmp_path, seconds):
    sound = sine(100, seconds / 2, 8000, level=0.5)
    path = write(tmp_path / "a.wav", np.concatenate([0 * sound, sound], axis=1), subtype="FLOAT")
    found = look(path, SILENT)
    assert found.heard_seconds == pytest.approx(seconds / 2, abs=0.02)
    assert found.level_db == pytest.approx(10 * np.log10(0.5 ** 2 / 2 / 2), abs=1e-3)
    assert (found.clipped, found.dead, found.info.samples) == (0, 0, 8000 * seconds)


@pytest.mark.parametrize(("audio", "count"), [
    (sine(50, 1, 44100, level=1.0), 0),  # as loud as can be, not clipped
    (np.clip(sine(441, 1, 44100, level=2.0), -1, 1), None), (np.full((1, 10), 0.5), 0), (np.full((1, 10), -1.0), 8),
    (np.array([[0, 1, 1, 0, 1, 0, 1, 1, 1, 0]]), 1), (np.array([[0.0, 1.02, -1.01, 0.5]]), 2)])
def test_only_what_is_cut_off_counts_as_clipped(audio, count):
    found = cut_off(audio, np.abs(audio))
    if count is None:  # 2 sin x is beyond 1 for two thirds of the time
        assert found / audio.size == pytest.approx(2 / 3, abs=0.05)
    else:
        assert found == count


@pytest.mark.parametrize(("classes", "side"), [(1, None), (2, "both"), (50, None)])
def test_the_picture_holds_few_and_many_classes(tmp_path, classes, side):
    rng = np.random.default_rng(1)
    files = {"Train": 3, "Test": 1} if side else {None: 4}
    data = {f"class {i} " + "long " * (i % 3) * 9: (files, rng.uniform(0.1, 9, 4), rng.uniform(-60, 0, 4),
                                                    np.arange(4) == i) for i in range(classes)}
    plots.samples(tmp_path / "samples.png", data, "a title")
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.size[1] > 120 * (1 + 0.2 * classes)
