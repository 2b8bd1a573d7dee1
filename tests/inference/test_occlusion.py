"""Occlusion maps show exactly the parts of a clip that decide."""

import numpy as np
import pytest
from networks import NAMES, SETTINGS, write_random_network

from audio_utils.data.clips import Clips, one_hot
from audio_utils.inference import checkpoint, network, occlusion

MELS, FRAMES = 48, 100
MEAN = np.linspace(-30, -60, MELS, dtype=np.float32)  # dB relative to the maximum


def noise(mels=MELS, frames=FRAMES, channels=1):
    """A melgram whose maximum, 0 dB, is in the first frame of the lowest band."""
    melgram = np.random.default_rng(1).uniform(-40, -20, (mels, frames, channels)).astype(np.float32)
    melgram[0, 0, 0] = 0
    return melgram


def decided_by(region):
    """A network in place of a real one: the level of a region, relative to the clip's maximum, decides."""
    def predict(melgrams):
        batch = melgrams[np.arange(len(melgrams))]
        level = [clip[region].mean() - clip.max() for clip in batch]
        probability = 1 / (1 + np.exp(-(np.array(level) + 30)))
        return np.stack([1 - probability, probability], axis=1)
    return predict


@pytest.mark.parametrize(("mel_block", "time_block"), [(0, 3), (5, 9), (2, 0)])
def test_the_region_that_decides_is_found(mel_block, time_block):
    height, width = MELS // occlusion.MEL_BLOCKS, FRAMES // occlusion.TIME_BLOCKS
    region = np.s_[mel_block * height:(mel_block + 1) * height, time_block * width:(time_block + 1) * width]
    clip = noise()
    clip[region] = -15
    found = occlusion.occlusion_map(decided_by(region), clip, MEAN, FRAMES)
    assert found.shape == (occlusion.MEL_BLOCKS, occlusion.TIME_BLOCKS)
    assert found[mel_block, time_block] > 0.2
    other = occlusion.occlusion_map(decided_by(region), clip, MEAN, FRAMES, 0)
    assert np.allclose(other, -found)  # the probability of the other of two classes rises
    found[mel_block, time_block] = 0
    assert np.abs(found).max() < 1e-6


def test_the_maximum_is_kept_so_that_the_level_of_the_other_parts_stays():
    clip, region = noise(), np.s_[40:, 90:]
    clip[region] = -15
    occluded = occlusion._Occluded(clip, MEAN, FRAMES)[np.arange(1 + occlusion.MEL_BLOCKS * occlusion.TIME_BLOCKS)]
    assert (occluded.max(axis=(1, 2, 3)) == clip.max()).all()
    assert occluded[1, 0, 0, 0] == 0
    np.testing.assert_array_equal(occluded[1, :8, :10].ravel()[1:],
                                  np.minimum(clip[:8, :10, 0], MEAN[:8, None]).ravel()[1:])
    np.testing.assert_array_equal(occluded[0], clip)


def test_silence_is_left_as_it_is():
    """A network that reacts to a sound at the end, which silence filled with the average would contain."""
    clip = noise()
    clip[:, 50:] = -100
    falls = occlusion.occlusion_map(decided_by(np.s_[:, 50:]), clip, MEAN, FRAMES)
    assert not falls[:, 5:].any()
    occluded = occlusion._Occluded(clip, MEAN, FRAMES)[np.arange(1 + occlusion.MEL_BLOCKS * occlusion.TIME_BLOCKS)]
    assert (occluded <= clip).all()


def test_all_channels_are_lowered_at_the_level_of_the_clip():
    clip = noise(channels=2) - 35
    copy = occlusion._Occluded(clip, MEAN, FRAMES)[np.array([2])][0]
    np.testing.assert_allclose(copy[:8, 10:20], np.minimum(clip[:8, 10:20], MEAN[:8, None, None] - 35), rtol=1e-6)
    np.testing.assert_array_equal(copy[8:], clip[8:])


@pytest.mark.parametrize("frames", [1, 2, 7, 10, 11, 64])
@pytest.mark.parametrize("mels", [1, 4, 7])
def test_blocks_cover_the_shown_frames_once(mels, frames):
    occluded = occlusion._Occluded(noise(mels, 64), MEAN[:mels], frames)
    count = np.zeros((mels, 64), int)
    for block in occluded.blocks:
        assert count[block].size
        count[block] += 1
    assert (count[:, :frames] == 1).all()
    assert not count[:, frames:].any()
    assert occluded.shape == (min(mels, occlusion.MEL_BLOCKS), min(frames, occlusion.TIME_BLOCKS))


def test_maps_are_those_of_the_network_in_the_file(tmp_path):
    model = write_random_network(tmp_path)
    melgrams = np.random.default_rng(5).normal(-40, 15, (3, *SETTINGS.shape)).astype(np.float32)
    clips = Clips(melgrams, one_hot([0, 1, 0], 2), list("abc"), NAMES)
    path = tmp_path / "weights.hdf5"
    first, second = occlusion.maps(path, clips, np.array([2, 0]), 20, 64)
    np.testing.assert_allclose(occlusion.maps(path, clips, [0], 20, 7)[0], second, atol=1e-6)
    lowered = melgrams[2].copy()
    mels = SETTINGS.mels // occlusion.MEL_BLOCKS
    mean = melgrams[2].max() + checkpoint.read(path).standardization.mean[:mels, None, None]
    lowered[:mels, :2] = np.minimum(lowered[:mels, :2], mean)
    lowered[melgrams[2] == melgrams[2].max()] = melgrams[2].max()
    before, after = network.predict(model, np.stack([melgrams[2], lowered]))
    assert first[0, 0] == pytest.approx(before.max() - after[before.argmax()], abs=1e-6)
