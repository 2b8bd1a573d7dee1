"""Problems that names, sizes and headers show: each one is found, and good sounds have none."""

import shutil

import numpy as np
import pytest
from conftest import write

from audio_utils.audio import audio_io
from audio_utils.data import checks
from audio_utils.data.checks import check_headers, same_bytes
from audio_utils.data.sounds import Sound, find_sounds

CLASSES = ("bird", "frog", "ümlaut $x$")


def noise(seconds=1.0, seed=99):
    return 0.05 * np.random.default_rng(seed).standard_normal((1, round(8000 * seconds))).astype(np.float32)


def noises(folder, files=10, classes=CLASSES):
    """A data set without problems: noise of about a second, every file different."""
    for i, name in enumerate(classes):
        for j in range(files):
            write(folder / name / f"{j}.wav", noise(1 + 0.0125 * j, [i, j]))
    return folder


@pytest.fixture
def samples(tmp_path):
    return noises(tmp_path / "Samples")


def sounds_in(folder):
    sounds = find_sounds(folder)[0]
    return sounds, {sound.path: audio_io.info(sound.path) for sound in sounds}


def test_good_sounds_have_no_problems(samples):
    assert check_headers(*sounds_in(samples)) == []


def test_few_sounds_are_found_without_counting_copies(samples):
    for j in range(7):
        (samples / f"frog/{j}.wav").rename(samples / f"frog/{j + 5}_aug1.wav")
    assert check_headers(*sounds_in(samples)) == [
        "frog (3): fewer than 10 sounds, too few to measure accuracy; add more."]


def test_imbalance_is_found_above_its_limit(tmp_path):
    noises(tmp_path, 31, ("bird", "frog"))
    for j in range(10, 31):
        (tmp_path / f"frog/{j}.wav").unlink()
    [sentence] = check_headers(*sounds_in(tmp_path))
    assert sentence.startswith("bird: has 31 sounds but frog only 10")
    (tmp_path / "bird/30.wav").unlink()
    assert check_headers(*sounds_in(tmp_path)) == []


def test_classes_that_differ_in_length_are_found(samples):
    for j in range(10):
        write(samples / f"bird/{j}.wav", noise(5, j))
    [sentence] = check_headers(*sounds_in(samples))
    assert sentence.startswith("bird: has sounds of 5 s (median) but frog of 1.06 s, so a network can")


def test_classes_that_differ_in_rate_or_channels_are_found(samples):
    for j in range(10):
        write(samples / f"bird/{j}.wav", np.tile(noise(3, j), (2, 1)), 24000)
    rates, channels = check_headers(*sounds_in(samples))
    assert rates.startswith("Samples/: the classes differ in sample rate (bird: 24000, frog: 8000, ümlaut $x$: 8000), ")
    assert rates.endswith("(SAMPLE_RATE = 8000).")
    assert channels.startswith("Samples/: the classes differ in channel count (bird: 2, frog: 1, ümlaut $x$: 1), ")
    assert channels.endswith("(MONO = True).")


def test_duplicates_are_found_in_and_across_classes(samples):
    shutil.copy(samples / "bird/1.wav", samples / "bird/copy.wav")
    shutil.copy(samples / "bird/2.wav", samples / "frog/copy.wav")
    shutil.copy(samples / "bird/2.wav", samples / "frog/again.wav")
    shutil.copy(samples / "bird/3.wav", samples / "bird/3_aug1.wav")  # an almost unaltered copy
    across, inside = check_headers(*sounds_in(samples))
    assert across == (f"{samples}/bird/2.wav = {samples}/frog/again.wav = {samples}/frog/copy.wav: the same file in "
                      "several classes, so the network learns contradictory labels; keep one.")
    assert inside == (f"{samples}/bird/1.wav = {samples}/bird/copy.wav: the same file several times, "
                      "so the score is too optimistic; keep one.")


def test_files_of_equal_size_and_middle_are_not_duplicates(tmp_path):
    paths = [write(tmp_path / f"{i}.wav", np.pad(noise(0.01, i), ((0, 0), (0, 80000)))) for i in range(4)]
    shutil.copy(paths[2], tmp_path / "x.wav")
    missing = tmp_path / "missing.wav"
    groups = same_bytes([Sound("a", path) for path in [*paths, tmp_path / "x.wav", missing]])
    assert [[sound.path.name for sound in group] for group in groups] == [["2.wav", "x.wav"]]


def test_headers_of_new_sounds_suffice(samples):
    sounds, headers = sounds_in(samples)
    assert check_headers(sounds, {}) == []
    path = write(samples / "bird/0.wav", noise(), 16000)
    [sentence] = check_headers(sounds, headers | {path: audio_io.info(path)})
    assert sentence.startswith(f"{path} (16000): a different sample rate")


def test_sentences_name_few_files():
    assert checks.named(range(5)) == "0, 1, 2, 3, 4"
    assert checks.named(range(17)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 7 more"
