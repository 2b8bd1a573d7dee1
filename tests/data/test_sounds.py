"""The sounds of Samples/: by class, in the user's own split, and a sentence about everything that is ignored."""

import errno
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import sine, write

from audio_utils.audio import audio_io, tags
from audio_utils.data import checks, sounds
from audio_utils.runtime.errors import UserError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_sounds_are_found_by_class(tmp_path):
    touch(tmp_path, "b/2.wav", "b/1.mp3", "a ä/it's “x”.wav", ".hidden/x.wav", "b/.DS_Store", "README.md")
    found, ignored = sounds.find_sounds(tmp_path)
    assert [sound.name for sound in found] == ["a ä/it's “x”.wav", "b/1.mp3", "b/2.wav"]
    assert [sounds.class_of(sound.name) for sound in found] == ["a ä", "b", "b"]
    assert not ignored


def test_skipped_files_and_folders_are_named_with_the_reason(tmp_path):
    touch(tmp_path, "a/1.wav", "b/1.wav", "stray.wav", "a/inner/2.wav")
    (tmp_path / "empty").mkdir()
    found, skipped = sounds.find_sounds(tmp_path)
    assert len(found) == 2
    assert checks.summarize(skipped) == [
        f"{tmp_path}/a/inner/: is a folder inside a class and is not used; move its sounds up into the class folder.",
        f"{tmp_path}/empty/: contains no sound; the class is left out.",
        f"{tmp_path}/stray.wav: is not in a class folder and is not used; move it into one."]
    (tmp_path / "a/inner/2.wav").rename(tmp_path / "a/2.wav")  # the advice, followed
    (tmp_path / "a/inner").rmdir()
    (tmp_path / "stray.wav").rename(tmp_path / "empty/stray.wav")
    assert names_in(tmp_path) == ["a/1.wav", "a/2.wav", "b/1.wav", "empty/stray.wav"]
    assert not sounds.find_sounds(tmp_path)[1]


def names_in(folder):
    return [sound.name for sound in sounds.find_sounds(folder)[0]]


@pytest.mark.parametrize(("sentence", "skipped"), [
    ("a b/x: y.wav: is empty; remove it.", ("a b/x: y.wav", "is empty; remove it")),
    ("other.wav: the disk is full.", ("other.wav", "the disk is full"))])
def test_an_error_is_the_reason_for_which_a_file_is_skipped(sentence, skipped):
    assert sounds.Skipped.of(Path("a b/x: y.wav"), sentence) == (Path(skipped[0]), skipped[1])


SYSTEM_FILES = [".DS_Store", "Thumbs.db", "THUMBS.DB", "desktop.ini", "Desktop.ini", "._1.wav", "Icon\r"]
SYSTEM_FOLDERS = ["__MACOSX", "@eaDir", ".hidden", "$RECYCLE.BIN", "@Recycle", "#recycle", "lost+found",
                  "System Volume Information"]


@pytest.mark.parametrize("name", SYSTEM_FILES + SYSTEM_FOLDERS)
@pytest.mark.parametrize("folder", ["", "a/"])
@pytest.mark.parametrize("own_split", [False, True])
def test_files_and_folders_of_the_system_are_ignored_silently(tmp_path, name, folder, own_split):
    touch(tmp_path, *(["Train/a/1.wav", "Test/a/2.wav"] if own_split else ["a/1.wav", "a/2.wav"]))
    for parent in [folder, *(["Train/" + folder, "Test/" + folder] if own_split else [])]:
        if (tmp_path / parent).is_dir():
            touch(tmp_path / parent, name if name in SYSTEM_FILES else f"{name}/b/1.wav")
    assert names_in(tmp_path) == ["a/1.wav", "a/2.wav"]
    assert not sounds.find_sounds(tmp_path)[1]


NOT_AUDIO = ["1.csv", "1.txt", "1.CSV", "notes.md", "1.json", "1.xml", "1.pdf", "cover.jpg", "1.png", "1.TextGrid",
             "1.eaf", "1.lab", "README", "LICENSE", "1.wav.csv", "1.npy", "labels.tsv", "set.yaml", "1.wav.asd"]


@pytest.mark.parametrize("name", NOT_AUDIO)
def test_annotations_text_and_pictures_are_no_sounds(tmp_path, name):
    touch(tmp_path, "a/1.wav", f"a/{name}", name)
    assert names_in(tmp_path) == ["a/1.wav"]
    assert not sounds.find_sounds(tmp_path)[1]


AUDIO = ["1.wav", "1.WAV", "1.flac", "1.mp3", "no extension", "1.m4a", "1.xyz", "1.", "1.zip", "csv.wav", "readme.wav"]


@pytest.mark.parametrize("name", AUDIO)
def test_other_files_may_be_sounds(tmp_path, name):
    touch(tmp_path, f"a/{name}")
    assert names_in(tmp_path) == [f"a/{name}"]


def test_dangling_links_are_skipped_and_counted(tmp_path):
    touch(tmp_path, "a/0.wav", "b/0.wav")
    for i in range(600):
        (tmp_path / f"a/link{i:03}.wav").symlink_to(tmp_path / f".git/annex/{i}")
    (tmp_path / "a/loop.wav").symlink_to("loop.wav")
    (tmp_path / "a/good.wav").symlink_to(tmp_path / "a/0.wav")
    (tmp_path / "linked").symlink_to(tmp_path / "b")
    found, skipped = sounds.find_sounds(tmp_path)
    assert [sound.name for sound in found] == ["a/0.wav", "a/good.wav", "b/0.wav", "linked/0.wav"]
    assert len(skipped) == 601
    links = ", ".join(f"{tmp_path}/a/link00{i}.wav" for i in range(3))
    assert checks.summarize(skipped) == [f"{links} and 598 more: each is a link to a file that does not exist; fetch "
                                         "the file (git annex get), or remove the link."]
    touch(tmp_path, ".git/annex/7")  # fetched
    assert "a/link007.wav" in names_in(tmp_path)


def test_a_class_of_dangling_links_has_no_sound(tmp_path):
    touch(tmp_path, "a/0.wav", "b/notes.txt")
    (tmp_path / "b/1.wav").symlink_to("nowhere")
    assert [each.path.name for each in sounds.find_sounds(tmp_path)[1]] == ["1.wav", "b"]
    (tmp_path / "a/0.wav").unlink()
    with pytest.raises(UserError, match=r"contains no folder with sounds \(1.wav is a link to a file that does not"):
        sounds.find_sounds(tmp_path)


@pytest.fixture
def unreadable(monkeypatch):
    """A function that makes folders unreadable, also for root."""
    refused = {}

    def scandir(path):
        if Path(path).name in refused:
            raise OSError(refused[Path(path).name], os.strerror(refused[Path(path).name]), str(path))
        return original(path)

    original = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    return lambda *names, code=errno.EACCES: refused.update(dict.fromkeys(names, code))


def test_an_unreadable_folder_is_skipped_and_the_others_are_read(tmp_path, unreadable):
    touch(tmp_path, "a/1.wav", "b/1.wav", "c/1.wav")
    unreadable("b")
    found, skipped = sounds.find_sounds(tmp_path)
    assert [sound.name for sound in found] == ["a/1.wav", "c/1.wav"]
    assert checks.summarize(skipped) == [f"{tmp_path}/b/: can't be read; change its permissions (chmod -R u+rX)."]
    unreadable("b", code=errno.EIO)
    assert checks.summarize(sounds.find_sounds(tmp_path)[1]) == [f"{tmp_path}/b/: can't be read (Input/output error)."]


@pytest.mark.parametrize("names", [("a",), ("samples",), ("Train",), ("Test",)])
def test_if_nothing_can_be_read_this_is_one_sentence(tmp_path, unreadable, names):
    samples = tmp_path / "samples"
    touch(samples, *(["Train/a/1.wav", "Test/a/1.wav"] if names[0][0] == "T" else ["a/1.wav"]))
    unreadable(*names)
    with pytest.raises(UserError, match=rf"{names[0]}/?.* can't be read; change its permissions \(chmod -R u\+rX\)"):
        sounds.find_sounds(samples)


@contextmanager
def another_user(folder):
    """Root can read everything: within the block, this process is another user, who owns the folder."""
    if os.geteuid() != 0:
        yield
        return
    subprocess.run(["chown", "-R", "65534:65534", folder], check=True)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_the_advice_about_permissions_works():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        touch(folder, "a/1.wav", "b/1.wav")
        (folder / "b").chmod(0)
        with another_user(folder):
            found, skipped = sounds.find_sounds(folder)
            assert [sound.name for sound in found] == ["a/1.wav"]
            assert checks.summarize(skipped) == [f"{folder}/b/: can't be read; change its permissions (chmod -R u+rX)."]
            subprocess.run(["chmod", "-R", "u+rX", folder / "b"], check=True, user=os.geteuid())
            assert names_in(folder) == ["a/1.wav", "b/1.wav"]


# --- the user's own split --------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("train", "test"), ("TRAIN", "TEST"),
                                             ("Train", "test")])
def test_train_and_test_in_any_case_are_the_users_split_if_they_hold_class_folders(tmp_path, train, test):
    touch(tmp_path / "own", f"{train}/a/1.wav", f"{train}/b/1.wav", f"{test}/a/2.wav", "labels.csv", "__MACOSX/a/1.wav")
    found, skipped = sounds.find_sounds(tmp_path / "own")
    assert [(sound.name, sound.split) for sound in found] == [
        ("a/1.wav", "Train"), ("b/1.wav", "Train"), ("a/2.wav", "Test")]
    assert not skipped
    touch(tmp_path / "classes", f"{train}/choochoo.wav", f"{test}/beep.wav")  # classes with these names
    assert {(sound.name, sound.split) for sound in sounds.find_sounds(tmp_path / "classes")[0]} == {
        (f"{train}/choochoo.wav", None), (f"{test}/beep.wav", None)}


@pytest.mark.parametrize("name", ["Val", "val", "Valid", "VALIDATION", "Validation"])
def test_a_validation_folder_is_part_of_the_users_split(tmp_path, name):
    touch(tmp_path, "Train/a/1.wav", "Train/b/1.wav", "Test/a/2.wav", f"{name}/a/3.wav", f"{name}/c/4.wav")
    found, skipped = sounds.find_sounds(tmp_path)
    assert [(sound.name, sound.split) for sound in found] == [
        ("a/1.wav", "Train"), ("b/1.wav", "Train"), ("a/3.wav", "Val"), ("a/2.wav", "Test")]
    assert [(str(each.path.relative_to(tmp_path)), each.reason) for each in skipped] == [
        (f"{name}/c", "is a class without sounds in Train and is left out; add sounds of it there")]


def test_two_validation_folders_are_refused(tmp_path):
    touch(tmp_path, "Train/a/1.wav", "Test/a/2.wav", "Val/a/3.wav", "valid/a/4.wav")
    with pytest.raises(UserError, match="contains Val/ and valid/, which are the same split; merge them"):
        sounds.find_sounds(tmp_path)


def test_train_without_test_is_refused_with_advice_that_works(tmp_path):
    touch(tmp_path, "Train/a/1.wav", "Train/b/1.wav", "val/a/2.wav")
    with pytest.raises(UserError, match="val/: is beside Train/, but there is no Test/; rename it to Test"):
        sounds.find_sounds(tmp_path)
    (tmp_path / "val").rename(tmp_path / "Test")
    assert [sound.split for sound in sounds.find_sounds(tmp_path)[0]] == ["Train", "Train", "Test"]
    shutil.rmtree(tmp_path / "Test")
    with pytest.raises(UserError, match="Train/: there is no Test/ beside it; move its class folders up into"):
        sounds.find_sounds(tmp_path)
    for label in "ab":
        (tmp_path / "Train" / label).rename(tmp_path / label)
    (tmp_path / "Train").rmdir()
    assert names_in(tmp_path) == ["a/1.wav", "b/1.wav"]


def test_folders_that_differ_in_case_are_refused(tmp_path):
    touch(tmp_path, "Train/a/1.wav", "train/b/1.wav", "Test/a/2.wav")
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system ignores case")
    with pytest.raises(UserError, match="contains Train/ and train/, which are the same split; merge them"):
        sounds.find_sounds(tmp_path)


def test_a_class_in_test_alone_is_left_out(tmp_path):
    touch(tmp_path, "Train/a/1.wav", "Train/b/1.wav", "Test/a/2.wav", "Test/owl/1.wav", "Test/owl/2.wav")
    found, skipped = sounds.find_sounds(tmp_path)
    assert [sound.name for sound in found] == ["a/1.wav", "b/1.wav", "a/2.wav"]
    assert checks.summarize(skipped) == [f"{tmp_path}/Test/owl/: is a class without sounds in Train and is left out; "
                                         "add sounds of it there."]
    touch(tmp_path, "Train/owl/3.wav")
    assert len(names_in(tmp_path)) == 6
    assert not sounds.find_sounds(tmp_path)[1]


# --- augmented copies ------------------------------------------------------------------------------------------------

def copies_in(folder):
    return {sound.name: sound.copy_of for sound in sounds.find_sounds(folder)[0] if sound.copy_of}


def augment(path, count=1):
    """Tagged copies, as augment_data.py names them."""
    for number in range(1, count + 1):
        copy = path.with_stem(f"{path.stem}_aug{number}")
        tag = tags.text(tags.steps_from(tags.AUGMENT, path))
        audio_io.write(copy, sine(seconds=0.1) / (1 + number), 8000, comment=tag)
    return copy


@pytest.mark.parametrize(("parent", "copy", "rate", "channels", "is_copy"), [
    ("site1.wav", "site1_aug12.wav", 8000, 1, True), ("site1.wav", "site1_aug12.wav", 16000, 1, False),
    ("site1.wav", "site1_aug12.wav", 8000, 2, False), ("site1.wav", "site1_aug02.wav", 8000, 1, False),
    ("site1.wav", "site1_aug0.wav", 8000, 1, False), ("site2.wav", "site1_aug12.wav", 8000, 1, False),
    ("site1.flac", "site1_aug12.wav", 8000, 1, False), ("site1.wav", "site1_aug12x.wav", 8000, 1, False),
    ("site1_am.wav", "site1_aug12_am.wav", 8000, 1, True), ("site1.wav", "site1_aug.wav", 8000, 1, False)])
def test_without_a_tag_a_copy_is_named_so_and_has_the_format_of_its_recording(tmp_path, parent, copy, rate, channels,
                                                                             is_copy):
    write(tmp_path / "a" / parent, sine())
    write(tmp_path / "a" / copy, sine(channels=channels, rate=rate), rate)
    assert copies_in(tmp_path) == ({f"a/{copy}": f"a/{parent}"} if is_copy else {})
    assert [sound.by_name for sound in sounds.find_sounds(tmp_path)[0] if sound.copy_of] == [True] * is_copy


def test_what_is_tagged_is_a_copy_whatever_its_name(tmp_path):
    path = write(tmp_path / "a/x.wav", sine())
    augment(path).rename(tmp_path / "a/other name.wav")
    assert copies_in(tmp_path) == {"a/other name.wav": "a/x.wav"}
    assert not sounds.find_sounds(tmp_path)[0][0].by_name
    path.rename(tmp_path / "x.wav")  # without its recording, too
    assert copies_in(tmp_path) == {"a/other name.wav": "a/x.wav"}


@pytest.mark.parametrize("new", ["a/y.wav", "b/x.wav", "b/renamed.wav"])
def test_a_copy_finds_its_recording_again_that_was_moved_or_renamed(tmp_path, new):
    path = write(tmp_path / "a/x.wav", sine())
    write(tmp_path / "b/other.wav", sine(300))  # of the same size
    augment(path, 2)
    path.rename(tmp_path / new)
    assert copies_in(tmp_path) == {"a/x_aug1.wav": new, "a/x_aug2.wav": new}


def test_copies_of_recordings_with_the_name_of_a_copy(tmp_path):
    write(tmp_path / "a/site1.wav", sine(), 16000)
    augment(write(tmp_path / "a/site1_aug12.wav", sine()), 2)  # recorded on 12 August
    assert copies_in(tmp_path) == {f"a/site1_aug12_aug{i}.wav": "a/site1_aug12.wav" for i in (1, 2)}


def test_copies_of_copies_and_clips_of_copies_lead_to_the_recording(tmp_path):
    write(tmp_path / "a/x.wav", sine())
    write(tmp_path / "a/x_aug1.wav", sine(300))
    write(tmp_path / "a/x_aug1_aug2.wav", sine(400))
    assert copies_in(tmp_path) == dict.fromkeys(("a/x_aug1.wav", "a/x_aug1_aug2.wav"), "a/x.wav")
    copy = augment(write(tmp_path / "b/y.wav", sine()))
    audio_io.write(tmp_path / "b/y_aug1_s1.wav", sine(), 8000, comment=tags.text(tags.steps_from(tags.SPLIT, copy)))
    assert copies_in(tmp_path)["b/y_aug1_s1.wav"] == "b/y.wav"
    write(tmp_path / "b/y_s1.wav", sine())  # the same clip of the recording
    assert copies_in(tmp_path)["b/y_aug1_s1.wav"] == "b/y_s1.wav"


@pytest.mark.parametrize(("source", "is_copy"), [("y_aug1.wav", True), ("y.wav", False)])
def test_a_clip_of_a_file_without_a_tag_is_a_copy_if_that_is_named_so(tmp_path, source, is_copy):
    write(tmp_path / "b/y_s1.wav", sine())
    for name in ("y_aug1_s1.wav", "y_aug2_e0a0_s1.wav"):
        tool = tags.SPLIT if "e0" not in name else tags.BINAURALIFY
        steps = [tags.Step(tags.SPLIT, "x.wav", 5, "ab"), tags.Step(tool, source, 5, "ab")]
        audio_io.write(tmp_path / "b" / name, sine(), 8000, comment=tags.text(steps))
    write(tmp_path / "b/y_e0a0_s1.wav", sine())
    assert copies_in(tmp_path) == ({"b/y_aug1_s1.wav": "b/y_s1.wav"} if is_copy else {})
    assert sounds.is_copy_on_disk(tmp_path / "b/y_aug1_s1.wav") is is_copy
    assert not sounds.is_copy_on_disk(tmp_path / "b/y_aug2_e0a0_s1.wav")


def test_files_that_are_copies_of_each_other_do_not_loop(tmp_path):
    for one, other in ("xy", "yx"):
        step = tags.Step(tags.AUGMENT, f"{other}.wav", 0, "")
        audio_io.write(tmp_path / f"{one}.wav", sine(), 8000, comment=tags.text([step]))
    for name in "xy":
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / f"{name}.wav").rename(tmp_path / f"a/{name}.wav")
    assert set(copies_in(tmp_path)) == {"a/x.wav", "a/y.wav"}


def test_copies_in_the_users_own_split_may_have_their_recording_in_test(tmp_path):
    path = augment(write(tmp_path / "Test/a/x.wav", sine()))
    (tmp_path / "Train/a").mkdir(parents=True)
    path.rename(tmp_path / "Train/a" / path.name)
    write(tmp_path / "Train/a/y.wav", sine())
    assert copies_in(tmp_path) == {"a/x_aug1.wav": "a/x.wav"}


def test_a_class_may_have_the_name_of_a_copy(tmp_path):
    write(tmp_path / "a_aug1_b/x.wav", sine())
    write(tmp_path / "a_b/x.wav", sine())
    assert copies_in(tmp_path) == {}


def test_finding_10_000_sounds_is_fast(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(2000):
        (tmp_path / f"a/{i}.wav").write_bytes(bytes(20_000))
    start = time.process_time()
    assert len(sounds.find_sounds(tmp_path)[0]) == 2000
    assert time.process_time() - start < 0.4  # a fifth of what the whole preprocessing of 10,000 old sounds may take


# --- classes ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("names", "problem"), [
    ([], "Samples/: contains no class with sounds"), (["a"], r"Samples/: contains only one class \(a\); at least two"),
    (["a", "b"], None)])
def test_fewer_than_two_classes_are_refused(names, problem):
    if problem:
        with pytest.raises(UserError, match=problem):
            sounds.require_classes(names, "Samples")
    else:
        sounds.require_classes(names, "Samples")
