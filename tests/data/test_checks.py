"""Problems that names, sizes and headers show: each one is found, and good sounds have none."""

import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import write
from hypothesis import given
from hypothesis import strategies as st

import augment_data
from audio_utils import split_audio
from audio_utils.audio import audio_io, tags
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.data import checks
from audio_utils.data.checks import check_headers, same_bytes
from audio_utils.data.sounds import Skipped, Sound, find_sounds

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
    return sounds, {sound.file: audio_io.info(sound.path) for sound in sounds}


def test_good_sounds_have_no_problems(samples):
    assert check_headers(*sounds_in(samples)) == []


def test_few_sounds_are_found_without_counting_copies(samples):
    for j in range(7):
        path = samples / f"frog/{j}.wav"
        path.unlink()
        steps = tags.steps_from(tags.AUGMENT, samples / "frog/9.wav")
        audio_io.write(path, noise(1, j), 8000, comment=tags.text(steps))
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
    across, inside, copies = check_headers(*sounds_in(samples))
    assert across == (f"{samples}/bird/2.wav = {samples}/frog/again.wav = {samples}/frog/copy.wav: the same file in "
                      "several classes, so the network learns contradictory labels; keep one.")
    assert inside == (f"{samples}/bird/1.wav = {samples}/bird/copy.wav: the same file several times, "
                      "so it counts as several sounds; keep one.")
    assert copies.startswith(f"{samples}/bird/3_aug1.wav: named as a copy of a sound with the same sample rate and ")


def test_with_several_labels_these_are_the_classes(samples):
    shutil.copy(samples / "bird/2.wav", samples / "frog/copy.wav")
    sounds, headers = sounds_in(samples)
    labels = {sound: () if sound.name == "bird/1.wav" else ("song", "rare")[:1 + (sound.name == "bird/3.wav")]
              for sound in sounds}
    assert check_headers(sounds, headers, labels=labels) == [
        "rare (1): fewer than 10 sounds, too few to measure accuracy; add more.",
        f"{samples}/bird/2.wav = {samples}/frog/copy.wav: the same file several times, so it counts as several sounds; "
        "keep one."]
    labels[next(sound for sound in sounds if sound.name == "frog/copy.wav")] = ("call",)
    assert check_headers(sounds, headers, labels=labels)[1].endswith(
        "in several classes, so the network learns contradictory labels; keep one and give it all labels.")


def test_sounds_without_labels_that_differ_in_sample_rate_are_reported():
    sounds = [Sound("x", f"Samples/x/{i}.wav") for i in range(2)]
    headers = {sound.file: AudioInfo(800, rate, 1, False, "WAV", "PCM_16")
               for sound, rate in zip(sounds, (8000, 16000), strict=True)}
    found = check_headers(sounds, headers, [], labels={sounds[0]: ("song",), sounds[1]: ()})
    assert "the classes differ in sample rate ((no label): 16000, song: 8000)" in found[-1]


@pytest.mark.parametrize("classes", [("bird", "bird"), ("bird", "frog")])
def test_of_600_duplicates_three_are_named_and_all_are_listed(tmp_path, classes):
    contents = [write(tmp_path / f"one/{i}.wav", noise(0.05, i)).read_bytes() for i in range(300)]
    shutil.rmtree(tmp_path / "one")
    for i, content in enumerate(contents):
        for name, part in zip(classes, "xy", strict=True):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / f"{name}/{i:03}{part}.wav").write_bytes(content)
    start = time.process_time()
    equal = checks.equal_files(find_sounds(tmp_path)[0])
    assert time.process_time() - start < 1
    [sentence] = checks.duplicates(equal)
    one, other = (f"{tmp_path}/{name}/000{part}.wav" for name, part in zip(classes, "xy", strict=True))
    assert sentence.startswith(f"{one} = {other} and 598 more: the same file ")
    listed = checks.list_duplicates(equal)
    assert len({each.path for each in listed}) == 300
    assert listed[0].path == Path(other)
    assert listed[0].reason.startswith(f"is used, but is the same file as {one} ")
    for each in listed:  # the advice, followed
        each.path.unlink()
    assert not list(checks.duplicates(checks.equal_files(find_sounds(tmp_path)[0])))


def test_600_times_the_same_file_is_a_short_sentence(tmp_path):
    content = write(tmp_path / "a/000.wav", noise()).read_bytes()
    for i in range(1, 600):
        (tmp_path / f"a/{i:03}.wav").write_bytes(content)
    [sentence] = checks.duplicates(checks.equal_files(find_sounds(tmp_path)[0]))
    assert sentence == (" = ".join(f"{tmp_path}/a/00{i}.wav" for i in range(3)) + " and 597 more: the same file "
                        "several times, so it counts as several sounds; keep one.")


def test_files_of_equal_size_and_middle_are_not_duplicates(tmp_path):
    paths = [write(tmp_path / f"{i}.wav", np.pad(noise(0.01, i), ((0, 0), (0, 80000)))) for i in range(4)]
    shutil.copy(paths[2], tmp_path / "x.wav")
    missing = tmp_path / "missing.wav"
    groups = same_bytes([Sound("a", str(path)) for path in [*paths, tmp_path / "x.wav", missing]])
    assert [[sound.path.name for sound in group] for group in groups] == [["2.wav", "x.wav"]]


def test_headers_of_new_sounds_suffice(samples):
    sounds, headers = sounds_in(samples)
    assert check_headers(sounds, {}) == []
    path = write(samples / "bird/0.wav", noise(), 16000)
    [sentence] = check_headers(sounds, headers | {str(path): audio_io.info(path)})
    assert sentence.startswith(f"{path} (16000): a different sample rate")


def test_sentences_name_three_files_and_the_count_of_the_others():
    assert checks.named(range(3)) == "0, 1, 2"
    assert checks.named(range(4)) == "0, 1, 2 and 1 more"
    assert checks.named(range(600)) == "0, 1, 2 and 597 more"


@given(st.lists(st.tuples(st.integers(0, 30).map(lambda i: Path(f"{i}.wav")), st.sampled_from(
    ["is empty", "is empty.", "its header is damaged", "can't be read (Input/output error)"]))))
def test_skipped_files_are_a_sentence_for_each_reason(each):
    sentences = checks.summarize([Skipped(*pair) for pair in each])
    reasons = [reason.rstrip(".") for _, reason in each]
    assert len(sentences) == len(set(reasons))
    for reason, sentence in zip(dict.fromkeys(reasons), sentences, strict=True):
        names, _, end = sentence.partition(": ")
        assert end in (f"{reason}.", f"each {reason}.")
        more = re.search(r" and (\d+) more$", names)
        shown = names[:more.start()] if more else names
        assert len(shown.split(", ")) + int(more[1] if more else 0) == reasons.count(reason)
        assert len(shown.split(", ")) <= 3


# --- advice, followed ------------------------------------------------------------------------------------------------

def test_a_constant_that_makes_sounds_alike_ends_the_warning_about_them(samples):
    for j in range(10):
        write(samples / f"bird/{j}.wav", np.tile(noise(3, j), (2, 1)), 24000)
    sounds, headers = sounds_in(samples)
    suggested = [re.search(r"\((\w+) = (\w+)\)", sentence).groups() for sentence in check_headers(sounds, headers)]
    assert suggested == [("SAMPLE_RATE", "8000"), ("MONO", "True")]
    assert check_headers(sounds, headers, sample_rate=8000, mono=True) == []


def run_in(monkeypatch, folder, module, *flags):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [module.__file__, *map(str, flags)])
    return module.main()


def test_copies_of_the_small_class_end_the_warning_about_imbalance(tmp_path, monkeypatch):
    noises(tmp_path / "Samples", 31, ("bird", "frog"))
    for j in range(10, 31):
        (tmp_path / f"Samples/frog/{j}.wav").unlink()
    [sentence] = check_headers(*sounds_in(tmp_path / "Samples"))
    assert "copies (augment_data.py)" in sentence
    run_in(monkeypatch, tmp_path, augment_data, 2, *(tmp_path / "Samples/frog").glob("*"), "--speed=none",
           "--pitch-semitones=none", "--tempo=none")
    assert check_headers(*sounds_in(tmp_path / "Samples")) == []


def test_splitting_the_long_sounds_ends_the_warning_about_lengths(samples, monkeypatch):
    for j in range(10):
        write(samples / f"bird/{j}.wav", noise(5, j))
    [sentence] = check_headers(*sounds_in(samples))
    tool, flag = re.search(r"audio_utils/(\w+)\.py (--\w+)", sentence).groups()
    assert tool == "split_audio"
    run_in(monkeypatch, samples, split_audio, 1, *(samples / "bird").glob("*"), flag)
    assert not [each for each in check_headers(*sounds_in(samples)) if "length" in each]


@pytest.mark.parametrize("advice", ["rename", "tag"])
def test_advice_about_copies_without_a_tag_works(samples, monkeypatch, advice):
    for j in range(10):
        write(samples / f"bird/{j}_aug1.wav", noise(1 + 0.0125 * j, 50 + j))
    [sentence] = check_headers(*sounds_in(samples))
    assert re.search(r"0_aug1.wav, .* and 7 more: named as .*; rename .*\(augment_data.py --overwrite\)", sentence)
    if advice == "tag":
        run_in(monkeypatch, samples, augment_data, 1, *(samples / "bird").glob("*"), "--overwrite")
    for j in range(10) if advice == "rename" else ():
        (samples / f"bird/{j}_aug1.wav").rename(samples / f"bird/{j} august 1.wav")
    assert check_headers(*sounds_in(samples)) == []
    assert sum(sound.copy_of is not None for sound in sounds_in(samples)[0]) == (10 if advice == "tag" else 0)


def test_recordings_that_are_named_as_copies_are_counted(samples):
    for j in range(5):
        (samples / f"bird/{j}.wav").rename(samples / f"bird/{j}_aug12.wav")
    [sentence] = check_headers(*sounds_in(samples))
    assert sentence == (", ".join(f"{samples}/bird/{j}_aug12.wav" for j in range(3)) + " and 2 more: named as a copy, "
                        "but without a tag and not beside a file that it could be a copy of; used as a recording.")
