"""windows.py: windows without gaps, of the same values as the same samples in a file of their own."""

import dataclasses

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.audio import audio_io, melgram
from audio_utils.audio.audio_io import AudioError
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.audio.resampling import resample
from audio_utils.inference.windows import Segment, by_class, cut, merge, prefetched, read_clip, windows

CLIP, HOP, RATE = 2000, 1000, 8000  # samples, and Hz
SETTINGS = MelgramSettings.of(RATE, CLIP, 1, 24, 46.44, 11.61)


@pytest.mark.parametrize("block", [1, 3, 10, 1000])
@pytest.mark.parametrize(("window", "hop"), [(10, 5), (10, 10), (10, 1), (7, 3)])
def test_windows_cover_every_sample_once(window, hop, block):
    for samples in (1, window - 1, window, window + 1, window + hop, 50, 53):
        sound = np.arange(1.0, 2 * samples + 1).reshape(2, samples)
        found = list(cut((sound[:, i:i + block] for i in range(0, samples, block)), window, hop))
        starts = [*range(0, samples - window, hop), max(0, samples - window)]
        assert len(found) == len(starts)
        end_before = 0
        for i, (start, end, audio) in enumerate(found):
            np.testing.assert_array_equal(audio, sound[:, starts[i]:starts[i] + window])
            assert start == end_before
            assert end == (samples if i == len(starts) - 1 else starts[i] + (window + hop) / 2)
            assert end > start
            end_before = end


def test_a_sound_without_samples_has_no_window():
    assert list(cut([], 10, 5)) == []


JUMP = {14, 15, 16}  # the windows below with samples around 2 s


def windows_of(path, settings=SETTINGS, block=5000):
    with audio_io.opened(path, block=block) as (header, blocks):
        return list(windows(blocks(header.samples), header.rate, settings, HOP, path))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [RATE, 44100, 11025, 6000])
def test_windows_equal_their_samples_read_as_a_file(tmp_path, rate, channels, version):
    settings = dataclasses.replace(SETTINGS, format_version=version)
    rng = np.random.default_rng(1)
    audio = 0.2 + 0.1 * rng.standard_normal((channels, 3 * rate + 7)).astype(np.float32)
    path = write(tmp_path / "long.wav", audio, rate)
    clips = windows_of(path, settings)
    np.testing.assert_array_equal(clips[0].melgram, melgram.of_file(path, settings)[0])
    audio = resample(melgram.match_channels(audio_io.read(path)[0], 1), rate, RATE)
    for i in (3, 10):
        expected = melgram.melgram(audio[:, i * HOP:i * HOP + CLIP], settings)
        np.testing.assert_allclose(clips[i].melgram, expected, atol=3e-3)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [RATE, 44100, 6000])
def test_a_dc_offset_that_jumps_changes_no_window_without_the_jump(tmp_path, rate, channels):
    rng = np.random.default_rng(1)
    audio = 0.1 * rng.standard_normal((channels, 4 * rate)).astype(np.float32)
    offset = np.repeat([[0.3, -0.2]], 2 * rate, axis=1)
    plain = windows_of(write(tmp_path / "plain.wav", audio, rate, subtype="FLOAT"))
    moved = windows_of(write(tmp_path / "moved.wav", audio + offset, rate, subtype="FLOAT"))
    for i in set(range(len(plain) - 1)) - JUMP:  # at the very end, the filter of the resampling sees the new offset
        np.testing.assert_allclose(plain[i].melgram, moved[i].melgram, atol=0.01)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [RATE, 44100, 6000])
def test_windows_of_a_constant_are_silent(tmp_path, rate, channels):
    offset = np.repeat([[0.3, -0.2]], 2 * rate, axis=1) * np.ones((channels, 1))
    clips = windows_of(write(tmp_path / "a.wav", offset, rate))
    silent = {i for i, clip in enumerate(clips[:-1]) if clip.melgram.max() <= melgram.SILENT_DB}
    assert set(range(len(clips) - 1)) - JUMP <= silent
    assert 15 not in silent


@pytest.mark.parametrize(("mix", "channels", "found"), [
    ([1, -1], 1, True), ([1, 1], 1, False), ([1, -1], 2, False), ([1], 1, False)])
def test_powers_show_that_the_channels_of_a_long_sound_cancel_each_other_out(mix, channels, found):
    powers = np.zeros(2)
    audio = np.array([mix]).T * sine(seconds=3) + 0.2
    settings = dataclasses.replace(SETTINGS, channels=channels)
    list(windows(np.split(audio.astype(np.float32), 10, axis=1), RATE, settings, HOP, "a.wav", powers))
    assert melgram.cancels(*powers) == found


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_unusable_samples_are_refused(value):
    audio = sine(seconds=3)
    audio[0, -5] = value
    with pytest.raises(AudioError, match="a.wav: contains "):
        list(windows(np.split(audio, 10, axis=1), RATE, SETTINGS, HOP, "a.wav"))


def test_only_a_sound_no_longer_than_a_clip_is_read_as_one(tmp_path):
    clip, longer = (write(tmp_path / f"{samples}.wav", sine(seconds=samples / RATE)) for samples in (CLIP, CLIP + 1))
    found = read_clip(clip, SETTINGS)
    assert (found.start, found.end, found.warning) == (0, CLIP / RATE, "")
    np.testing.assert_array_equal(found.melgram, melgram.of_file(clip, SETTINGS)[0])
    assert read_clip(longer, SETTINGS) is None


def test_neighbors_of_one_class_are_merged_and_averaged_over_time():
    def segment(start, end, name, *probabilities, status=""):
        return Segment(start, end, name, np.array(probabilities), status)

    found = list(merge([segment(0, 3, "a", 0.9, 0.1), segment(3, 4, "a", 0.5, 0.5), segment(4, 5, "b", 0.2, 0.8),
                        segment(5, 6, "a", 0.7, 0.3)]))
    assert [each[:3] for each in found] == [(0, 4, "a"), (4, 5, "b"), (5, 6, "a")]
    np.testing.assert_allclose([each.probabilities for each in found], [[0.8, 0.2], [0.2, 0.8], [0.7, 0.3]])
    found = list(merge([segment(0, 3, "a", 1), segment(3, 4, "a", 1, status="silence"),
                        segment(4, 5, "a", 1, status="silence"), segment(5, 6, "a", 1)]))
    assert [(*each[:3], each.status) for each in found] == [(0, 3, "a", ""), (3, 5, "a", "silence"), (5, 6, "a", "")]


def test_prefetched_blocks_keep_their_order_and_errors():
    def failing():
        yield from range(5)
        raise AudioError("a.wav: is damaged")

    blocks = prefetched(failing())
    assert [next(blocks) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(AudioError, match="is damaged"):
        next(blocks)


def test_each_class_of_multi_label_is_a_segment_and_adjacent_ones_are_joined():
    def segment(start, name, classes, status=""):
        return Segment(start, start + 1, name, np.array([0.9, 0.5]), status, classes=classes)
    found = by_class([segment(0, "a,b", (0, 1)), segment(1, "a", (0,)), segment(2, "none of these", ()),
                      segment(3, "a", (0,)), segment(4, "a", (0,), "silence"), segment(5, "b", (1,), "silence")])
    assert [(each.start, each.end, each.name, each.probabilities[0]) for each in found] == [
        (0, 2, "a", 0.9), (0, 1, "b", 0.5), (2, 3, "none of these", 0.9), (3, 4, "a", 0.9), (4, 6, "silence", 0.9)]
