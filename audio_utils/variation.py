"""Clips varied each time that a network sees them, so that a small set teaches as much as a larger one.

All of it works on melgrams, float32 (clips, mels, frames, channels) in dB, all channels of a clip alike, so that what
they say of direction stays; and in place, on the batch alone. What is random comes from the generator passed in.
"""

import numpy as np


def gather_rolled(melgrams, chosen, most, rng):
    """The clips at the places `chosen`, each rolled in time by up to `most` of its length, either way."""
    frames = melgrams.shape[2]
    furthest = round(most * frames)
    batch = np.empty((len(chosen), *melgrams.shape[1:]), np.float32)
    for clip, place, shift in zip(batch, chosen, rng.integers(-furthest, furthest + 1, len(chosen)), strict=True):
        split = shift % frames
        clip[:, split:] = melgrams[place, :, :frames - split]
        clip[:, :split] = melgrams[place, :, frames - split:]
    return batch


def warp(batch, most, band_hz, rng):
    """Vocal tract length perturbation: multiply all frequencies of each clip by a factor, up to 1 + `most` either way.

    Jaitly and Hinton, ICML Workshop on Deep Learning for Audio, Speech and Language Processing, 2013, section 3; here
    of the melgram, between whose bands it interpolates. band_hz: (mels,), where each band has its peak.
    """
    bands = np.arange(len(band_hz))
    for clip, power in zip(batch, rng.uniform(-1, 1, len(batch)), strict=True):
        places = np.interp(band_hz * (1 + most) ** power, band_hz, bands)
        lower = places.astype(int)
        share = (places - lower).astype(np.float32)[:, None, None]
        clip[...] = (1 - share) * clip[lower] + share * clip[np.minimum(lower + 1, bands[-1])]


def mix(batch, truth, alpha, rng):
    """Mixup (Zhang et al., ICLR 2018, eq. 1): each clip becomes a mean of itself and another, and so does its truth.

    The weight is drawn from Beta(alpha, alpha); of the two the clip itself weighs more. truth: (clips, classes).
    """
    weights = rng.beta(alpha, alpha, len(batch)).astype(np.float32)
    weights = np.maximum(weights, 1 - weights)
    others = rng.permutation(len(batch))
    for array in (batch, truth):
        share = weights.reshape(-1, *[1] * (array.ndim - 1))
        array[...] = share * array + (1 - share) * array[others]


def mask(batch, bands, frames, fill, rng):
    """SpecAugment (Park et al., Interspeech 2019, section 2): blot out a run of bands and a run of frames of each clip.

    bands, frames: the longest runs, as shares of all; each is drawn from 0 to that. fill: (mels,), what is put there,
    in dB above the loudest place of the clip.
    """
    fills = batch.max(axis=(1, 2, 3))[:, None] + fill  # (clips, mels)
    for most, axis in ((bands, 0), (frames, 1)):
        size = batch.shape[1 + axis]
        runs = rng.integers(0, round(most * size) + 1, len(batch))
        for clip, run, start, its_fill in zip(batch, runs, rng.integers(0, size - runs + 1), fills, strict=True):
            hidden = slice(start, start + run)
            if axis == 0:
                clip[hidden] = its_fill[hidden, None, None]
            else:
                clip[:, hidden] = its_fill[:, None, None]
