"""The tag in a file's comment: every format keeps it, nothing else is taken for one, and the samples stay the same."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import sine, write

from audio_utils.audio import audio_io, tags
from audio_utils.audio.tags import AUGMENT, BINAURALIFY, SPLIT, Step

LONG = "“Vögel” \udcff" + 110 * "ä" + ".wav"  # nearly 255 bytes
STEPS = (Step(AUGMENT, "a b's “x”_s1.wav", 5, "00"), Step(SPLIT, LONG, 1 << 40, "f" * 32))
TAGGED = [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("wav", "IMA_ADPCM"), ("flac", "PCM_16"),
          ("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", "MPEG_LAYER_III"), ("aiff", "PCM_16"), ("caf", "PCM_16")]
WITHOUT = [("w64", "PCM_16"), ("au", "PCM_16")]
MARK = tags.MARK


def written(folder, extension, subtype, steps, name="x"):
    rate = 48000 if subtype == "OPUS" else 16000
    path = folder / f"{name}.{extension}"
    audio_io.write(path, sine(rate=rate, channels=2, seconds=0.5), rate, subtype, extension.upper(), tags.text(steps))
    return path


@pytest.mark.parametrize(("extension", "subtype"), TAGGED)
def test_every_format_with_a_comment_keeps_the_tag(tmp_path, extension, subtype):
    assert tags.read(written(tmp_path, extension, subtype, STEPS)) == STEPS
    *latest, recording = tags.read(written(tmp_path, extension, subtype, STEPS * 5))
    assert [step.digest for step in latest] == [step.digest for step in STEPS * 5][:-1]
    assert recording == STEPS[-1]


@pytest.mark.parametrize(("extension", "subtype"), WITHOUT)
def test_a_format_without_a_comment_has_no_tag(tmp_path, extension, subtype):
    path = written(tmp_path, extension, subtype, STEPS)
    assert tags.read(path) == ()
    assert audio_io.info(path).samples == 8000


@pytest.mark.parametrize(("extension", "subtype"), TAGGED + WITHOUT)
def test_the_samples_are_those_of_a_file_without_a_tag(tmp_path, extension, subtype):
    path = written(tmp_path, extension, subtype, STEPS)
    rate = audio_io.info(path).rate
    plain = tmp_path / f"plain.{extension}"
    audio_io.write(plain, sine(rate=rate, channels=2, seconds=0.5), rate, subtype, extension.upper())
    for one, other in zip(audio_io.read(path), audio_io.read(plain), strict=True):
        assert np.array_equal(one, other)
    assert audio_io.info(path) == audio_io.info(plain)


def test_the_steps_lead_back_to_the_first_recording(tmp_path):
    recording = write(tmp_path / "night.wav", sine())
    clip, copy = tmp_path / "night_s1.flac", tmp_path / "night_s1_aug1.flac"
    audio_io.write(clip, sine(), 8000, "PCM_16", "FLAC", tags.text(tags.steps_from(SPLIT, recording)))
    audio_io.write(copy, sine(), 8000, "PCM_16", "FLAC", tags.text(tags.steps_from(AUGMENT, clip)))
    one, two = tags.read(copy)
    assert one == Step(AUGMENT, "night_s1.flac", clip.stat().st_size, tags.digest_of(clip))
    assert two == Step(SPLIT, "night.wav", recording.stat().st_size, tags.digest_of(recording))
    assert tags.read(recording) == ()


def step(tool, source="x"):
    return Step(tool, source, 0, "")


@pytest.mark.parametrize(("steps", "source"), [
    ([], None), ([step(SPLIT)], None), ([step(AUGMENT, "a")], "a"), ([step(SPLIT), step(AUGMENT, "a")], "a"),
    ([step(AUGMENT, "a"), step(AUGMENT, "b"), step(SPLIT)], "b"), ([step(BINAURALIFY), step(AUGMENT)], None),
    ([step(AUGMENT, "a"), step(BINAURALIFY), step(AUGMENT, "b")], "a")])
def test_a_file_is_a_copy_of_what_augment_data_read_first(steps, source):
    found = tags.copied(steps)
    assert (found and found.source) == source


@pytest.mark.parametrize(("tools", "has_recording"), [
    ([], False), ([AUGMENT], False), ([AUGMENT, AUGMENT], False), ([SPLIT], True), ([SPLIT, BINAURALIFY], True),
    ([SPLIT, AUGMENT], True), ([AUGMENT, SPLIT, AUGMENT], True)])
def test_the_first_recording_is_that_of_what_was_cut_or_rendered(tools, has_recording):
    steps = tuple(Step(tool, "x", i, "ab") for i, tool in enumerate(tools))
    assert tags.first_recording(steps) == (f"ab-{len(tools) - 1}" if has_recording else "")


@pytest.mark.parametrize("comment", [
    "", "recorded in May", MARK, MARK + "{", MARK + "3", MARK + '"x"', MARK + "[3]", MARK + "[{}]", MARK + "[" * 99_999,
    MARK + '[{"tool":1,"source":"x","size":1,"digest":""}]', MARK + '{"tool":"x"}', "[]",
    MARK + '[{"tool":"x","source":"x","size":1,"digest":"a/b"}]',
    MARK + '[{"tool":"x","source":"\\ud800","size":1,"digest":"ab"}]'])
def test_other_comments_are_no_tag(comment):
    assert tags.parse(comment) == ()


def test_text_around_a_tag_is_ignored():
    assert tags.parse(f"by me; {tags.text(STEPS)} and more") == STEPS


def test_a_tag_at_the_end_of_the_file_is_found(tmp_path):
    path = tmp_path / "x.wav"
    with soundfile.SoundFile(path, "w", 8000, 1) as file:
        file.write(np.zeros(50_000))
        file.comment = tags.text(STEPS)
    assert path.read_bytes().index(MARK.encode()) > 100_000
    assert tags.read(path) == STEPS


@pytest.mark.parametrize("content", [None, b"", b"panotti:", b"panotti:[]" * 1000])
def test_a_file_that_is_not_audio_has_no_tag(tmp_path, content):
    if content is not None:
        (tmp_path / "x.wav").write_bytes(content)
    assert tags.read(tmp_path / "x.wav") == ()
    assert tags.read(Path(tmp_path)) == ()
