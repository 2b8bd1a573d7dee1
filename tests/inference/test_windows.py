"""windows.py: windows without gaps, of the same values as the same samples in a file of their own."""

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.audio import audio_io, melgram
from audio_utils.audio.audio_io import AudioError
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.audio.resampling import resample
from audio_utils.inference.windows import Segment, cut, merge, prefetched, read_clip, windows

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
            expected = sound[:, starts[i]:starts[i] + window]
            np.testing.assert_array_equal(audio, np.pad(expected, ((0, 0), (0, window - expected.shape[1]))))
            assert start == end_before
            assert end == (samples if i == len(starts) - 1 else starts[i] + (window + hop) / 2)
            assert end > start
            end_before = end


def test_a_sound_without_samples_has_no_window():
    assert list(cut([], 10, 5)) == []


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [RATE, 44100, 11025, 6000])
def test_windows_equal_their_samples_read_as_a_file(tmp_path, rate, channels):
    rng = np.random.default_rng(1)
    path = write(tmp_path / "long.wav", 0.1 * rng.standard_normal((channels, 3 * rate + 7)).astype(np.float32), rate)
    with audio_io.opened(path, block=5000) as (header, blocks):
        clips = list(windows(blocks(header.samples), rate, SETTINGS, HOP, path))
    np.testing.assert_array_equal(clips[0].melgram, melgram.of_file(path, SETTINGS)[0])
    audio = resample(melgram.match_channels(audio_io.read(path)[0], 1), rate, RATE)
    for i in (3, 10):
        expected = melgram.melgram(audio[:, i * HOP:i * HOP + CLIP], SETTINGS)
        np.testing.assert_allclose(clips[i].melgram, expected, atol=1e-3)


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
