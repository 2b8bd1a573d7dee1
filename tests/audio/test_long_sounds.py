"""Clips of long sounds are those of files that contain only these parts, and no sound is too long for memory."""

import tracemalloc

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.audio import audio_io, long_sounds, melgram
from audio_utils.audio.audio_io import AudioError, AudioInfo
from audio_utils.audio.long_sounds import Part
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.runtime.errors import UserError

SETTINGS = MelgramSettings.of(8000, 2000, 1, 20, 46.44, 11.61)  # clips of 0.25 s


def header(samples, rate=8000):
    return AudioInfo(samples, rate, 1, False, "WAV", "PCM_16")


def noise(seconds, rate=8000, channels=1):
    return (0.1 * np.random.default_rng(0).standard_normal((channels, round(seconds * rate)))).astype(np.float32)


def clips_of(path, settings=SETTINGS, first=1, count=None):
    """(The melgrams of consecutive clips, the Part)."""
    count = count or long_sounds.clip_count(audio_io.info(path), settings)
    found = {}
    part = long_sounds.compute_clips(path, settings, first, count, found.__setitem__)
    assert list(found) == list(range(first, first + part.clips))
    return list(found.values()), part


# --- lengths ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("samples", "clips", "unused"), [
    (1, 0, 0), (2000, 0, 0), (2001, 0, 1), (2999, 0, 999), (3000, 2, 0), (4000, 2, 0), (4999, 2, 999), (5000, 3, 0),
    (8000, 4, 0), (20_000_999, 10_000, 999)])
def test_the_last_clip_is_kept_if_half_of_it_is_sound(samples, clips, unused):
    for rate in (8000, 16_000):  # the rate of the file does not matter
        found = header(samples * rate // 8000, rate)
        assert long_sounds.clip_count(found, SETTINGS) == clips
        assert long_sounds.unused_seconds(found, SETTINGS) == pytest.approx(unused / 8000)
        assert long_sounds.is_long(found, SETTINGS) == (samples > 2000)


def test_each_clip_belongs_to_one_part():
    for clips in (2, 480, 481, 1000):
        numbers = [number for first, count in long_sounds.parts(clips, SETTINGS)
                   for number in range(first, first + count)]
        assert numbers == list(range(1, clips + 1))
    assert long_sounds.parts(3, MelgramSettings.of(8000, 8000 * 3600, 1, 20, 46.44, 11.61)) == [(1, 1), (2, 1), (3, 1)]


# --- clips -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (8000, 2), (11_025, 1), (7999, 2)])
def test_a_clip_is_that_of_a_file_that_begins_there(tmp_path, rate, channels):
    audio = noise(2.4, rate, channels) + 0.2  # with a DC offset
    path = write(tmp_path / "long.wav", audio, rate, subtype="FLOAT")
    found, part = clips_of(path)
    assert part[:2] + part[3:] == (10, 0, False)
    for number, each in enumerate(found, 1):
        start = round((number - 1) * 0.25 * rate - 0.4999)
        alone = write(tmp_path / "alone.wav", audio[:, start:], rate, subtype="FLOAT")
        assert np.array_equal(each, melgram.of_file(alone, SETTINGS)[0]), number


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_clips_do_not_depend_on_the_parts_in_which_they_are_computed(tmp_path, extension):
    path = write(tmp_path / f"long.{extension}", noise(10), 8000)
    whole, _ = clips_of(path)
    for first, count in ((1, 3), (16, 2), (30, 11), (40, 1)):
        found, part = clips_of(path, first=first, count=count)
        assert part.clips == count
        assert np.abs(np.stack(found) - whole[first - 1:first - 1 + count]).max() < (1e-6 if extension != "mp3" else 1)


@pytest.mark.parametrize("extension", ["wav", "ogg", "mp3"])
def test_of_a_truncated_file_the_clips_that_exist_are_used(tmp_path, extension):
    path = write(tmp_path / f"long.{extension}", noise(10), 8000)
    expected = long_sounds.clip_count(audio_io.info(path), SETTINGS)
    content = path.read_bytes()
    path.write_bytes(content[:len(content) * 6 // 10])
    parts = [clips_of(path, first=first, count=10)[1] for first in range(1, expected, 10)]
    found = [part.clips for part in parts]
    assert found[0] == 10
    assert 15 <= sum(found) < 29
    assert found == sorted(found, reverse=True)
    assert "is truncated" in long_sounds.describe(path, parts, expected, SETTINGS)


def test_a_sound_that_can_not_be_used_is_named(tmp_path):
    audio = noise(1)
    audio[0, 7000] = np.nan
    path = write(tmp_path / "nan.wav", audio, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"nan.wav: contains NaN"):
        clips_of(path)
    flac = write(tmp_path / "cut.flac", noise(10))
    flac.write_bytes(flac.read_bytes()[:-20_000])
    with pytest.raises(AudioError, match=r"cut.flac: is damaged and can't be decoded"):
        clips_of(flac, first=30, count=10)
    with pytest.raises(AudioError, match=r"gone.wav: does not exist"):
        clips_of(tmp_path / "gone.wav", count=1)


def test_warnings_are_about_the_whole_sound(tmp_path):
    stereo = np.concatenate([sine(seconds=2), -sine(seconds=2)])
    quiet = np.concatenate([sine(seconds=0.5), 0 * sine(seconds=1.5)], axis=1)
    for name, audio, words in (("sine", sine(seconds=2), ""), ("quiet", quiet, "6 of its 8 clips are silent; kept."),
                               ("stereo", stereo, "its channels cancel each other out in the mono mix")):
        path = write(tmp_path / f"{name}.wav", audio)
        parts = [clips_of(path, first=first, count=4)[1] for first in (1, 5)]
        found = long_sounds.describe(path, parts, 8, SETTINGS)
        assert found.startswith(f"{path}: {words}") if words else found == ""
    assert "truncated" in long_sounds.describe("x", [Part(3, 0, np.zeros(2), False)], 4, SETTINGS)


def test_an_unknown_mode_is_rejected():
    with pytest.raises(UserError, match=r"LONG_FILES is 'All'; choose beginning, loudest or all."):
        long_sounds.check_mode("All")


# --- the loudest part ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("position", "channels"), [(1234, 2), (261_000, 1), (262_144, 2), (317_999, 1)])
def test_the_loudest_part_is_found_anywhere(tmp_path, position, channels):
    """Also across the blocks that are read, of 262,144 samples, and in one of two channels."""
    audio = noise(40, channels=channels) / 10
    audio[-1, position:position + 2000] += sine(seconds=0.25)[0]
    path = write(tmp_path / "long.wav", audio)
    start = long_sounds.loudest_start(path, SETTINGS)
    assert start == pytest.approx(position, abs=21)
    assert start + 2000 <= 320_000
    settings = MelgramSettings.of(8000, 2000, channels, 20, 46.44, 11.61)
    alone = write(tmp_path / "alone.wav", audio[:, start:])
    found, warning = long_sounds.of_file(path, settings, "loudest")
    assert warning == ""
    assert np.array_equal(found, melgram.of_file(alone, settings)[0])


def test_a_dc_offset_is_not_loud_and_of_equal_parts_the_first_is_taken(tmp_path):
    rising = np.linspace(0, 0.9, 80_000, dtype=np.float32)[None]  # so slowly that it hardly changes within a clip
    rising[:, :4000] += sine(seconds=0.5, level=0.1)
    assert long_sounds.loudest_start(write(tmp_path / "dc.wav", rising), SETTINGS) < 4000
    for level in (0, 0.5):
        path = write(tmp_path / "equal.wav", sine(400, seconds=40, level=level))
        assert long_sounds.loudest_start(path, SETTINGS) == 0
    short = write(tmp_path / "short.wav", np.concatenate([0 * sine(seconds=0.2), sine(seconds=0.05)], axis=1))
    assert long_sounds.loudest_start(short, SETTINGS) == 0


@pytest.mark.parametrize(("samples", "rate"), [(1, 100), (7, 8000), (150, 44_100)])
def test_the_loudest_part_of_very_short_clips_is_within_the_sound(tmp_path, samples, rate):
    settings = MelgramSettings.of(rate, samples, 1, 3, 46.44, 11.61)
    path = write(tmp_path / "x.wav", sine(seconds=200 / rate, rate=rate), rate)
    assert 0 <= long_sounds.loudest_start(path, settings) <= 200 - samples

# --- memory ----------------------------------------------------------------------------------------------------------

def test_the_memory_does_not_depend_on_the_length(tmp_path):
    path = tmp_path / "long.wav"
    with audio_io.writing(path, 8000, 1) as write_block:
        for _ in range(5):
            write_block(noise(60))
    settings = MelgramSettings.of(8000, 40_000, 1, 20, 46.44, 100)  # clips of 5 s
    tracemalloc.start()
    try:
        part = long_sounds.compute_clips(path, settings, 1, 60, lambda *_: None)
        assert long_sounds.loudest_start(path, settings) >= 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert part.clips == 60
    assert peak < 6e6  # the samples are 9.6 MB
