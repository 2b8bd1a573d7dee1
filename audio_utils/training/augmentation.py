"""Augmentation of training clips: parameters are drawn at random first, by NumPy, and then applied.

Batches are melgrams, float32 (clips, mels, frames, channels), in dB. All channels of a clip are treated alike, which
keeps the differences between them. `apply` takes `ops`, NumPy or keras.ops, and runs on either. To add an
augmentation, write a class here, add it to AUGMENTATIONS, and add its constant to train_network.py.
"""

import math
from abc import ABC, abstractmethod
from argparse import Namespace
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from audio_utils.audio.melgram import TOP_DB

FEW_CLIPS_PER_CLASS = 150  # a constant that is None has its value below with fewer clips, and is 0 with more
WITH_FEW_CLIPS = {"time_mask": 0.15, "frequency_mask": 0.15, "mixup": 0.3}
Parameters = dict[str, np.ndarray]  # a row per clip
_DB_OF_E = 10 / math.log(10)  # a power ratio of e, in dB


class Augmentation(ABC):
    """One augmentation of a batch."""

    @classmethod
    @abstractmethod
    def of(cls, options: Namespace, band_hz: np.ndarray, fill: np.ndarray) -> "Augmentation | None":
        """From the constants of train_network.py; None if they switch it off.

        band_hz: (mels,), the center frequency of each band. fill: (mels,), the value of masked bands, in dB relative to
        the clip's maximum.
        """

    @abstractmethod
    def randomize_parameters(self, rng: np.random.Generator, clips: int, mels: int, frames: int) -> Parameters:
        """Draw the parameters for this number of clips."""

    @abstractmethod
    def apply(self, ops: ModuleType, batch: Any, parameters: dict[str, Any]) -> Any:
        """The batch, augmented. ops: numpy, or keras.ops within a graph."""

    def mix_targets(self, targets: np.ndarray, parameters: Parameters) -> np.ndarray:
        """The targets of the augmented batch, (clips, classes); only an augmentation that mixes clips changes them."""
        return targets


@dataclass(frozen=True)
class TimeStretch(Augmentation):
    """Tempo perturbation: play each clip faster or slower, without a change of its frequencies.

    Ko et al., "Audio Augmentation for Speech Recognition", Interspeech 2015, section 2.2; here by linear interpolation
    between the frames of the melgram. A faster clip begins again at its end.
    """
    max_stretch: float  # the factor is from 1 / (1 + max_stretch) to 1 + max_stretch

    @classmethod
    def of(cls, options: Namespace, band_hz: np.ndarray, fill: np.ndarray) -> "TimeStretch | None":
        return cls(options.time_stretch) if options.time_stretch else None

    def randomize_parameters(self, rng: np.random.Generator, clips: int, mels: int, frames: int) -> Parameters:
        source = np.arange(frames) * (1 + self.max_stretch) ** rng.uniform(-1, 1, (clips, 1)) % frames
        earlier = source.astype(int)
        return {"earlier_frame": earlier, "later_weight": (source - earlier).astype(np.float32)}

    def apply(self, ops: ModuleType, batch: Any, parameters: dict[str, Any]) -> Any:
        weight, earlier = parameters["later_weight"][:, None, :, None], parameters["earlier_frame"]
        return _interpolate(ops, batch, earlier, (earlier + 1) % batch.shape[2], weight, axis=2)


@dataclass(frozen=True)
class TimeShift(Augmentation):
    """Roll each clip in time."""
    max_shift: float  # as a fraction of the frames, in either direction

    @classmethod
    def of(cls, options: Namespace, band_hz: np.ndarray, fill: np.ndarray) -> "TimeShift":
        return cls(options.time_shift)

    def randomize_parameters(self, rng: np.random.Generator, clips: int, mels: int, frames: int) -> Parameters:
        max_frames = round(self.max_shift * frames)
        return {"shift": rng.integers(-max_frames, max_frames + 1, clips)}

    def apply(self, ops: ModuleType, batch: Any, parameters: dict[str, Any]) -> Any:
        if not self.max_shift:
            return batch
        frames = batch.shape[2]
        return _gather(ops, batch, (ops.arange(frames) - parameters["shift"][:, None]) % frames, axis=2)


@dataclass(frozen=True)
class FrequencyWarp(Augmentation):
    """Vocal tract length perturbation: multiply all frequencies of a clip by a random factor.

    Jaitly and Hinton, ICML Workshop on Deep Learning for Audio, Speech and Language Processing, 2013, section 3; here
    by linear interpolation between the bands of the melgram.
    """
    max_warp: float  # the factor is from 1 / (1 + max_warp) to 1 + max_warp
    band_hz: np.ndarray

    @classmethod
    def of(cls, options: Namespace, band_hz: np.ndarray, fill: np.ndarray) -> "FrequencyWarp | None":
        return cls(options.frequency_warp, band_hz) if options.frequency_warp else None

    def randomize_parameters(self, rng: np.random.Generator, clips: int, mels: int, frames: int) -> Parameters:
        hz = self.band_hz * (1 + self.max_warp) ** rng.uniform(-1, 1, (clips, 1))
        source = np.interp(hz, self.band_hz, np.arange(mels)).astype(np.float32)  # fractional band of each band
        lower = source.astype(int)
        return {"lower_band": lower, "upper_weight": source - lower}

    def apply(self, ops: ModuleType, batch: Any, parameters: dict[str, Any]) -> Any:
        weight, lower = parameters["upper_weight"][:, :, None, None], parameters["lower_band"]
        return _interpolate(ops, batch, lower, ops.minimum(lower + 1, batch.shape[1] - 1), weight, axis=1)


@dataclass(frozen=True)
class Mixup(Augmentation):
    """Mix each clip with another of the batch as sounds add up in a room, and their targets with the same weights.

    Mixup (Zhang et al., ICLR 2018, eq. 1) of sounds, after between-class learning (Tokozume et al., "Learning from
    Between-class Examples for Deep Sound Recognition", ICLR 2018, section 3.2): both clips are brought to the same mean
    power, and their powers are added with squared weights, because the weights are those of the sound pressures and
    the phases are random. The clip itself has the larger weight.

    With MULTI_LABEL, the mixture has the classes of both clips. The target of the other clip's classes is twice its
    weight: 1 if both are equally loud, and near 0 if the other clip is barely audible. With the weighted mean, two
    classes that are equally loud would have targets of 0.5, although both are present; the union of the labels would
    include those of inaudible sounds. Mean average precision of mixtures of digits, 240 for training, two seeds:
    0.985; with the weighted mean 0.981, with the union 0.971.
    """
    alpha: float  # weights are from Beta(alpha, alpha)
    multi_label: bool = False

    @classmethod
    def of(cls, options: Namespace, band_hz: np.ndarray, fill: np.ndarray) -> "Mixup | None":
        return cls(options.mixup, options.multi_label) if options.mixup else None

    def randomize_parameters(self, rng: np.random.Generator, clips: int, mels: int, frames: int) -> Parameters:
        weight = rng.beta(self.alpha, self.alpha, clips).astype(np.float32)
        return {"weight": np.maximum(weight, 1 - weight), "partner": rng.permutation(clips)}

    def apply(self, ops: ModuleType, batch: Any, parameters: dict[str, Any]) -> Any:
        weight, partner = parameters["weight"][:, None, None, None], parameters["partner"]
        power = ops.exp((batch - _maximum(ops, batch)) / _DB_OF_E)
        power = power / ops.mean(power, axis=(1, 2, 3), keepdims=True)
        mixed = weight ** 2 * power + (1 - weight) ** 2 * ops.take(power, partner, axis=0)
        mixed = _DB_OF_E * ops.log(mixed)
        return ops.maximum(mixed, ops.max(mixed, axis=(1, 2), keepdims=True) - TOP_DB)  # as in a melgram

    def mix_targets(self, targets: np.ndarray, parameters: Parameters) -> np.ndarray:
        weight, others = parameters["weight"][:, None], targets[parameters["partner"]]
        if self.multi_label:
            return np.maximum(targets, 2 * (1 - weight) * others)
        return weight * targets + (1 - weight) * others


@dataclass(frozen=True)
class SpecAugment(Augmentation):
    """Mask a range of bands and a range of frames: Park et al., Interspeech 2019, section 2."""
    max_bands: float  # as a fraction of the bands
    max_frames: float  # as a fraction of the frames
    fill: np.ndarray

    @classmethod
    def of(cls, options: Namespace, band_hz: np.ndarray, fill: np.ndarray) -> "SpecAugment":
        return cls(options.frequency_mask, options.time_mask, fill)

    def randomize_parameters(self, rng: np.random.Generator, clips: int, mels: int, frames: int) -> Parameters:
        return {"masked_bands": _random_ranges(rng, clips, mels, self.max_bands),
                "masked_frames": _random_ranges(rng, clips, frames, self.max_frames)}

    def apply(self, ops: ModuleType, batch: Any, parameters: dict[str, Any]) -> Any:
        if not self.max_bands and not self.max_frames:
            return batch
        _, mels, frames, _ = batch.shape
        masked = (_in_range(ops.arange(mels), parameters["masked_bands"])[:, :, None]
                  | _in_range(ops.arange(frames), parameters["masked_frames"])[:, None])
        fill = _maximum(ops, batch) + self.fill[:, None, None]
        return ops.where(masked[..., None], fill, batch)


def _maximum(ops: ModuleType, batch: Any) -> Any:
    """The maximum of each clip, (clips, 1, 1, 1)."""
    return ops.max(batch, axis=(1, 2, 3), keepdims=True)


def _random_ranges(rng: np.random.Generator, clips: int, size: int, max_fraction: float) -> np.ndarray:
    """A random [start, end) within `size` for each clip, (clips, 2); its length is at most that fraction of it."""
    length = rng.integers(0, round(max_fraction * size) + 1, clips)
    start = rng.integers(0, size - length + 1)
    return np.stack([start, start + length], axis=1)


def _in_range(indices: Any, ranges: Any) -> Any:
    """(clips, indices): whether each index is within each clip's range."""
    return (indices >= ranges[:, :1]) & (indices < ranges[:, 1:])


def _interpolate(ops: ModuleType, batch: Any, lower: Any, upper: Any, upper_weight: Any, axis: int) -> Any:
    """The weighted mean of the entries at two rows of indices (clips, n), along an axis of the batch."""
    return (1 - upper_weight) * _gather(ops, batch, lower, axis) + upper_weight * _gather(ops, batch, upper, axis)


def _gather(ops: ModuleType, batch: Any, indices: Any, axis: int) -> Any:
    """For each clip, the entries at its row of indices (clips, n), along an axis of the batch."""
    if ops is np:  # several times as fast as np.take_along_axis
        return np.stack([clip.take(row, axis - 1) for clip, row in zip(batch, indices, strict=True)])
    return ops.take_along_axis(batch, indices[(slice(None), *[None] * (axis - 1), slice(None), *[None] * (3 - axis))],
                               axis=axis)


AUGMENTATIONS = (TimeStretch, TimeShift, FrequencyWarp, Mixup, SpecAugment)  # in the order of drawing and applying


class Augmenter:
    """All augmentations that train_network.py's constants switch on.

    clips_per_class: of the training clips; it determines the constants that are None. multi_label: as of Clips.
    description: a sentence about these constants, "" if there are none.
    """

    def __init__(self, options: Namespace, band_hz: np.ndarray, fill: np.ndarray, clips_per_class: float,
                 multi_label: bool = False) -> None:
        few = clips_per_class < FEW_CLIPS_PER_CLASS
        chosen = {name: value * few for name, value in WITH_FEW_CLIPS.items() if getattr(options, name) is None}
        self.description = f"{', '.join(f'{name.upper()} {value:g}' for name, value in chosen.items())}: chosen for " \
            f"{clips_per_class:.0f} training clips per class." if chosen else ""
        options = Namespace(**vars(options) | chosen, multi_label=multi_label)
        made = [kind.of(options, band_hz, fill) for kind in AUGMENTATIONS]
        self.augmentations = [each for each in made if each is not None]

    def randomize_parameters(self, indices: np.ndarray, mels: int, frames: int,
                             rng: np.random.Generator) -> Parameters:
        """The parameters of a batch: arrays with a row per clip; "index" is the clip's."""
        parameters = {"index": indices}
        for each in self.augmentations:
            parameters |= each.randomize_parameters(rng, len(indices), mels, frames)
        return {name: array.astype(np.int32) if array.dtype.kind == "i" else array
                for name, array in parameters.items()}

    def batch(self, melgrams: np.ndarray, parameters: Parameters) -> np.ndarray:
        """The batch with these parameters, computed by NumPy; melgrams: those of all clips."""
        batch = melgrams[parameters["index"]]
        for each in self.augmentations:
            batch = each.apply(np, batch, parameters).astype(np.float32, copy=False)
        return batch

    def batch_in_graph(self, ops: ModuleType, melgrams: Any, parameters: dict[str, Any]) -> Any:
        """The same within a graph, from tensors; ops: keras.ops."""
        batch = ops.take(melgrams, parameters["index"], axis=0)
        for each in self.augmentations:
            batch = each.apply(ops, batch, parameters)
        return batch

    def targets(self, targets: np.ndarray, parameters: Parameters) -> np.ndarray:
        """The targets of the batch, (clips, classes), mixed as its clips are."""
        batch = targets[parameters["index"]]
        for each in self.augmentations:
            batch = each.mix_targets(batch, parameters)
        return batch
