"""Augmentations: each changes a batch as promised and nothing else, by NumPy and in a graph alike."""

from argparse import Namespace

import numpy as np
import pytest
import scipy.signal

from audio_utils.audio.melgram import MelgramSettings, melgram
from audio_utils.training import augmentation
from audio_utils.training.augmentation import Augmenter
from panotti_models import keras

HZ = MelgramSettings.of(8000, 4000, 2, 20, 46, 12).band_hz
FILL = np.arange(20, dtype=np.float32) + 100
OFF = dict.fromkeys(("time_stretch", "time_shift", "frequency_warp", "mixup", "frequency_mask", "time_mask"), 0)


def augmenter(band_hz=HZ, fill=FILL, **constants):
    return Augmenter(Namespace(**OFF | constants), band_hz, fill, 32)


def by_numpy(augmenter, melgrams, parameters):
    return augmenter.batch(melgrams, parameters)


def in_graph(augmenter, melgrams, parameters):
    tensors = {name: keras.ops.convert_to_tensor(array.astype(np.float32) if array.dtype == float else array)
               for name, array in parameters.items()}
    return np.array(augmenter.batch_in_graph(keras.ops, keras.ops.convert_to_tensor(melgrams), tensors))


@pytest.fixture(params=[by_numpy, in_graph])
def augment(request, rng):
    """(melgrams, indices, constants) → (the batch, its parameters)."""
    def run(melgrams, indices=None, band_hz=HZ, fill=FILL, **constants):
        made = augmenter(band_hz, fill, **constants)
        before = melgrams.copy()
        indices = np.arange(len(melgrams)) if indices is None else indices
        parameters = made.randomize_parameters(indices, *melgrams.shape[1:3], rng)
        batch = request.param(made, melgrams, parameters)
        assert np.array_equal(melgrams, before)
        assert batch.dtype == np.float32
        return batch, parameters
    return run


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def melgrams():
    return np.random.default_rng(0).normal(-40, 15, (6, 20, 50, 2)).astype(np.float32)


def test_with_all_constants_0_nothing_changes(melgrams, augment):
    indices = np.array([4, 0, 4, 2])
    assert np.array_equal(augment(melgrams, indices)[0], melgrams[indices])


def test_constants_that_are_none_depend_on_the_number_of_clips_per_class(melgrams, rng):
    options = Namespace(**OFF | {"time_mask": None, "mixup": None})
    few, many = (Augmenter(options, HZ, FILL, clips) for clips in (149.4, 150))
    assert few.description == "TIME_MASK 0.15, MIXUP 0.3: chosen for 149 training clips per class."
    assert many.description == "TIME_MASK 0, MIXUP 0: chosen for 150 training clips per class."
    parameters = few.randomize_parameters(np.arange(6), 20, 50, rng)
    assert (parameters["weight"] < 1).any()
    assert np.ptp(parameters["masked_frames"], axis=1).max() > 0
    assert np.ptp(parameters["masked_bands"], axis=1).max() == 0  # FREQUENCY_MASK is 0
    assert np.array_equal(many.batch(melgrams, many.randomize_parameters(np.arange(6), 20, 50, rng)), melgrams)
    assert augmenter().description == ""


def test_time_shift_rolls_each_clip_independently(melgrams, augment):
    indices = np.array([4, 0, 4, 2])
    batch, parameters = augment(melgrams, indices, time_shift=0.2)
    assert len(set(parameters["shift"])) > 1
    for index, shift, after in zip(indices, parameters["shift"], batch, strict=True):
        assert np.array_equal(np.roll(melgrams[index], shift, axis=1), after)


def test_time_shift_goes_up_to_its_maximum_in_both_directions(augment):
    ramp = np.broadcast_to(np.arange(50, dtype=np.float32)[:, None], (1, 20, 50, 1)).copy()
    starts = augment(ramp, np.zeros(2000, int), time_shift=0.2)[0][:, 0, 0, 0]
    assert set((-starts + 25) % 50 - 25) == set(range(-10, 11))


def test_time_stretch_changes_the_tempo_by_a_factor_per_clip(augment):
    ramp = np.broadcast_to(np.arange(50, dtype=np.float32)[:, None], (1, 20, 50, 2)).copy()
    batch, _ = augment(ramp, np.zeros(500, int), time_stretch=0.25)
    factors = batch[:, :, 1:2]
    assert np.allclose(batch[:, :, :40], factors * np.arange(40)[:, None], atol=1e-4)  # the first 40 / 1.25 frames
    assert 0.8 <= factors.min() < 0.81
    assert 1.24 < factors.max() <= 1.25
    assert abs(np.log(factors).mean()) < 0.03


def test_a_clip_that_is_played_faster_begins_again(augment):
    ramp = np.broadcast_to(np.arange(50, dtype=np.float32)[:, None], (1, 20, 50, 1)).copy()
    batch = augment(ramp, np.zeros(50, int), time_stretch=0.25)[0][:, 0, :, 0]
    fastest = batch[batch[:, 1].argmax()]
    assert np.allclose(fastest[45:] - fastest[44:-1], fastest[1], atol=1e-3)
    assert fastest[44] < 10


def test_frequency_warp_multiplies_frequencies_by_a_factor_per_clip(augment):
    hz = MelgramSettings.of(8000, 4000, 1, 96, 46, 12).band_hz
    tones = np.random.default_rng(1).uniform(800, 2500, 200)
    clips = np.exp(-np.square(np.log(hz / tones[:, None]) / 0.1))[:, :, None, None].astype(np.float32)
    batch, _ = augment(clips, band_hz=hz, fill=np.zeros(96, np.float32), frequency_warp=0.2)
    factors = hz[batch[:, :, 0, 0].argmax(axis=1)] / tones
    assert 0.81 < factors.min() < 0.86
    assert 1.16 < factors.max() < 1.23
    assert abs(np.log(factors).mean()) < 0.03


def test_frequency_warp_treats_frames_and_channels_alike(melgrams, augment):
    steady = np.repeat(melgrams[:, :, :1, :1], 50, axis=2).repeat(2, axis=3)
    batch, _ = augment(steady, frequency_warp=0.3)
    assert (batch == batch[:, :, :1, :1]).all()
    assert not np.allclose(batch[:, :, 0, 0], melgrams[:, :, 0, 0])


def test_mixup_adds_powers_of_equally_loud_clips_with_squared_weights(melgrams, augment):
    batch, parameters = augment(melgrams, mixup=1)
    weights = augmenter(mixup=1).targets(np.eye(6, dtype=np.float32), parameters)
    assert np.allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert (weights.diagonal() >= 0.5).all()  # the clip itself has the larger weight
    assert ((weights > 0).sum(axis=1) <= 2).all()
    assert (weights.diagonal() < 0.999).any()
    powers = 10 ** (melgrams.astype(float) / 10)
    powers /= powers.mean(axis=(1, 2, 3), keepdims=True)
    weight, partner = parameters["weight"][:, None, None, None], parameters["partner"]
    mixed = 10 * np.log10(weight ** 2 * powers + (1 - weight) ** 2 * powers[partner])
    assert np.allclose(batch, np.maximum(mixed, mixed.max(axis=(1, 2), keepdims=True) - 80), atol=1e-4)


def test_mixup_gives_the_spectrum_of_two_sounds_that_are_mixed_at_equal_power(augment):
    settings = MelgramSettings.of(8000, 40000, 1, 20, 46, 12)
    rng = np.random.default_rng(0)
    white, low = rng.normal(0, 0.1, (2, 1, 40000))
    sounds = np.stack([white, scipy.signal.lfilter([0.01], [1, -0.9], low)])
    melgrams = np.stack([melgram(sound.astype(np.float32), settings) for sound in sounds])
    batch, parameters = augment(melgrams, np.arange(2), mixup=1e9)  # equal weights
    assert np.array_equal(parameters["partner"], [1, 0])
    pressures = np.sqrt([np.mean(10 ** (each / 10)) for each in melgrams])[:, None, None]
    mixed = melgram(np.sum(sounds / pressures, axis=0).astype(np.float32), settings)
    assert np.ptp(mixed.max(axis=(1, 2))) > 10  # dB between the bands
    difference = spectrum_db(batch[0]) - spectrum_db(mixed)
    assert np.ptp(difference) < 1  # the level does not matter: the network subtracts the maximum


def spectrum_db(melgram):
    return 10 * np.log10(np.mean(10 ** (melgram / 10), axis=(1, 2)))


def test_with_several_labels_a_mixture_has_those_of_both_clips_by_how_loud_the_other_is():
    made = Augmenter(Namespace(**OFF | {"mixup": 1}), HZ, FILL, 32, multi_label=True)
    targets = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0]], np.float32)
    parameters = {"index": np.arange(3), "partner": np.array([1, 2, 0]),
                  "weight": np.array([0.5, 0.75, 0.875], np.float32)}
    assert made.targets(targets, parameters).tolist() == [[1, 1, 1], [0, 1, 1], [0.25, 0, 0.25]]


def test_without_mixup_targets_stay(melgrams, rng):
    made = augmenter(time_shift=0.2, time_mask=0.2)
    parameters = made.randomize_parameters(np.array([2, 1]), 20, 50, rng)
    assert np.array_equal(made.targets(np.eye(6, dtype=np.float32), parameters), np.eye(6)[[2, 1]])


def test_spec_augment_masks_a_range_of_bands_and_of_frames_in_all_channels(melgrams, augment):
    batch, _ = augment(melgrams, frequency_mask=0.3, time_mask=0.1)
    lengths = []
    for before, after in zip(melgrams, batch, strict=True):
        masked = (after != before).all(axis=2)  # (mels, frames)
        assert np.array_equal(masked, (after != before).any(axis=2))
        expected = before.max() + FILL[np.nonzero(masked)[0], None]
        assert np.array_equal(after[masked], np.repeat(expected, 2, axis=1))
        bands, frames = np.flatnonzero(masked.all(axis=1)), np.flatnonzero(masked.all(axis=0))
        for found, maximum in ((bands, 6), (frames, 5)):
            assert len(found) <= maximum
            assert np.array_equal(found, np.arange(len(found)) + (found[0] if len(found) else 0))
        assert masked.sum() == 50 * len(bands) + 20 * len(frames) - len(bands) * len(frames)
        lengths.append((len(bands), len(frames)))
    assert len(set(lengths)) > 2


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 1, 1, 8), (2, 4, 1, 1), (2, 1, 7, 1), (6, 20, 50, 2)])
def test_numpy_and_graph_agree_on_every_shape(shape, rng):
    melgrams = rng.normal(-40, 15, shape).astype(np.float32)
    made = augmenter(np.arange(1.0, 1 + shape[1]), np.zeros(shape[1], np.float32), time_stretch=0.5, time_shift=1,
                     frequency_warp=1, mixup=0.3, frequency_mask=1, time_mask=1)
    parameters = made.randomize_parameters(rng.permutation(shape[0]), *shape[1:3], rng)
    batch = by_numpy(made, melgrams, parameters)
    assert batch.shape == shape
    assert np.isfinite(batch).all()
    assert np.allclose(batch, in_graph(made, melgrams, parameters), rtol=0, atol=1e-4)


def test_a_new_augmentation_is_one_class_and_one_constant(melgrams, rng, monkeypatch):
    class Gain(augmentation.Augmentation):
        @classmethod
        def of(cls, options, band_hz, fill):
            return cls() if options.gain else None

        def randomize_parameters(self, rng, clips, mels, frames):
            return {"gain_db": np.full(clips, 3, np.float32)}

        def apply(self, ops, batch, parameters):
            return batch + parameters["gain_db"][:, None, None, None]

    monkeypatch.setattr(augmentation, "AUGMENTATIONS", (*augmentation.AUGMENTATIONS, Gain))
    made = augmenter(gain=1)
    for run in (by_numpy, in_graph):
        batch = run(made, melgrams, made.randomize_parameters(np.arange(6), 20, 50, rng))
        assert np.array_equal(batch, melgrams + 3)
