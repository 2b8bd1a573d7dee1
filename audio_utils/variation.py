"""Clips varied each time that a network sees them, so that a small set teaches as much as a larger one.

All of it works on melgrams, float32 (clips, mels, frames, channels) in dB, all channels of a clip alike, so that what
they say of direction stays. What is random is drawn first, by NumPy; it is then done to the clips by NumPy too, or
within a network's graph, where the clips are on a GPU.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Variation:
    """How clips are varied; each of these may be 0.

    time_shift: rolled in time by up to this share of the frames, either way.
    frequency_warp: vocal tract length perturbation: all frequencies are multiplied by a factor, up to 1 + this either
        way; Jaitly and Hinton, ICML Workshop on Deep Learning for Audio, Speech and Language Processing, 2013,
        section 3; here of the melgram, between whose bands it interpolates.
    mixup: each clip becomes a mean of itself and another of the batch, with a weight from Beta(mixup, mixup), and so
        does its truth; of the two the clip itself weighs more; Zhang et al., ICLR 2018, eq. 1.
    masked_bands, masked_time: a run of up to this share of the bands, and one of the frames, is blotted out:
        SpecAugment, Park et al., Interspeech 2019, section 2.
    band_hz: (mels,), where each band has its peak. fill: (mels,), what is put where a clip is blotted out, in dB above
        its loudest place.
    """
    time_shift: float
    frequency_warp: float
    mixup: float
    masked_bands: float
    masked_time: float
    band_hz: np.ndarray
    fill: np.ndarray

    def draw(self, places, frames, rng):
        """What becomes of a batch, the clips of so many frames at some places: arrays by name, a row for each clip."""
        count, mels = len(places), len(self.fill)
        furthest = round(self.time_shift * frames)
        drawn = {"place": places, "shift": rng.integers(-furthest, furthest + 1, count)}
        if self.frequency_warp:
            hz = self.band_hz * (1 + self.frequency_warp) ** rng.uniform(-1, 1, (count, 1))
            drawn["source"] = np.interp(hz, self.band_hz, np.arange(mels)).astype(np.float32)  # band of each band
        if self.mixup:
            weight = rng.beta(self.mixup, self.mixup, count).astype(np.float32)
            drawn |= {"weight": np.maximum(weight, 1 - weight), "other": rng.permutation(count)}
        for name, most, size in (("bands", self.masked_bands, mels), ("frames", self.masked_time, frames)):
            run = rng.integers(0, round(most * size) + 1, count)
            start = rng.integers(0, size - run + 1)
            drawn[name] = np.stack([start, start + run], axis=1)  # masked from, and up to
        return {name: array if array.dtype == np.float32 else array.astype(np.int32) for name, array in drawn.items()}

    def batch(self, melgrams, drawn):
        """The clips drawn, varied; melgrams: all there are."""
        frames = melgrams.shape[2]
        batch = np.empty((len(drawn["place"]), *melgrams.shape[1:]), np.float32)
        for clip, place, split in zip(batch, drawn["place"], drawn["shift"] % frames, strict=True):
            clip[:, split:] = melgrams[place, :, :frames - split]
            clip[:, :split] = melgrams[place, :, frames - split:]
        for clip, source in zip(batch, drawn.get("source", ()), strict=False):
            lower = source.astype(int)
            share = (source - lower)[:, None, None]
            clip[...] = (1 - share) * clip[lower] + share * clip[np.minimum(lower + 1, len(clip) - 1)]
        batch = mixed(batch, drawn)
        fills = batch.max(axis=(1, 2, 3))[:, None] + self.fill  # (clips, mels)
        for clip, bands, span, fill in zip(batch, drawn["bands"], drawn["frames"], fills, strict=True):
            clip[slice(*bands)] = fill[slice(*bands), None, None]
            clip[:, slice(*span)] = fill[:, None, None]
        return batch

    def batch_in_graph(self, ops, melgrams, drawn):
        """The same, of melgrams and draws that are tensors; ops: keras.ops."""
        _, mels, frames, _ = melgrams.shape
        batch = ops.take(melgrams, drawn["place"], axis=0)
        frame = (ops.arange(frames) - drawn["shift"][:, None]) % frames
        batch = ops.take_along_axis(batch, frame[:, None, :, None], axis=2)
        if "source" in drawn:
            lower = ops.cast(drawn["source"], "int32")
            share = (drawn["source"] - ops.cast(lower, "float32"))[:, :, None, None]
            below, above = (ops.take_along_axis(batch, band[:, :, None, None], axis=1)
                            for band in (lower, ops.minimum(lower + 1, mels - 1)))
            batch = (1 - share) * below + share * above
        if "other" in drawn:
            weight = drawn["weight"][:, None, None, None]
            batch = weight * batch + (1 - weight) * ops.take(batch, drawn["other"], axis=0)
        hidden = (_between(ops.arange(mels), drawn["bands"])[:, :, None]
                  | _between(ops.arange(frames), drawn["frames"])[:, None])
        fill = ops.max(batch, axis=(1, 2, 3), keepdims=True) + self.fill[:, None, None]
        return ops.where(hidden[..., None], fill, batch)


def mixed(array, drawn):
    """Mixed as the clips are: those of a batch, or their truth."""
    if "other" not in drawn:
        return array
    weight = drawn["weight"].reshape(-1, *[1] * (array.ndim - 1))
    return weight * array + (1 - weight) * array[drawn["other"]]


def _between(places, bounds):
    """(clips, places): whether each place is within each clip's bounds."""
    return (places >= bounds[:, :1]) & (places < bounds[:, 1:])
