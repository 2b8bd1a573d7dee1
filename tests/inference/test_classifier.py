"""classifier.py: a file, an array and a stream of the same samples get the same probabilities."""

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import sine, write
from networks import NAMES, SETTINGS, write_random_network

import panotti_models
from audio_utils.audio import audio_io, melgram
from audio_utils.audio.audio_io import AudioError
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference.classifier import Classifier
from audio_utils.inference.windows import read_clip
from audio_utils.runtime.errors import UserError

RATE = 11025  # Hz, so that sounds are resampled


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The path of weights.hdf5, and the model that it holds."""
    folder = tmp_path_factory.mktemp("network")
    return SimpleNamespace(model=write_random_network(folder), weights=folder / "weights.hdf5")


@pytest.fixture(scope="module")
def classifier(network):
    return Classifier(network.weights)


def sweep(seconds, channels=2, rate=RATE):
    """float32 (channels, samples) that changes over time and between channels."""
    tones = [sine(hertz, seconds / 4, rate, channels) for hertz in (300, 2000, 700, 3000)]
    return np.concatenate(tones, axis=1) * np.linspace(1, 0.3, channels, dtype=np.float32)[:, None]


def require_equal(segments, others):
    assert [each[:3] for each in segments] == [each[:3] for each in others]
    for one, other in zip(segments, others, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_class_names_and_settings_are_those_of_the_network(classifier):
    assert classifier.class_names == NAMES
    assert classifier.settings == SETTINGS


def test_a_short_file_has_the_probabilities_of_its_melgram(classifier, network, tmp_path):
    audio = sweep(0.2)
    path = write(tmp_path / "a.wav", audio, RATE)
    [segment] = classifier.classify_file(path)
    expected = network.model.predict(read_clip(path, SETTINGS).melgram[None], verbose=0)[0]
    assert segment.probabilities == pytest.approx(expected, abs=1e-6)
    assert segment.name == NAMES[expected.argmax()]
    assert (segment.start, segment.end) == (0, audio.shape[1] / RATE)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.2, 3])
def test_an_array_is_classified_as_a_file_with_its_samples(classifier, tmp_path, seconds, channels):
    path = write(tmp_path / "a.wav", sweep(seconds, channels), RATE, subtype="FLOAT")
    audio, rate = audio_io.read(path)
    require_equal(classifier.classify(audio, rate), classifier.classify_file(path))
    if channels == 1:
        require_equal(classifier.classify(audio[0], rate), classifier.classify_file(path))


def test_many_files_are_classified_in_order_as_each_alone(classifier, tmp_path):
    paths = [write(tmp_path / f"{i}.wav", sweep(seconds), RATE) for i, seconds in enumerate((0.2, 2, 0.1, 0.2, 1))]
    missing = tmp_path / "missing.wav"
    found = dict(classifier.classify_files([*paths[:2], missing, *paths[2:], paths[0]]))
    assert list(found) == [*paths[:2], missing, *paths[2:]]
    assert isinstance(found.pop(missing), AudioError)
    for path, result in found.items():
        for one, other in zip(result.segments, classifier.classify_file(path), strict=True):
            assert one[:3] == other[:3]
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_a_stream_is_classified_window_by_window(classifier):
    audio = sweep(1, rate=8000)
    arrived = []

    def blocks():
        for start in range(0, audio.shape[1], 400):
            arrived.append(start)
            yield audio[:, start:start + 400]

    segments = list(classifier.classify_stream(blocks(), 8000, 2))
    assert len(segments) == 7  # windows of 0.25 s, one every 0.125 s
    assert [each.start for each in segments[1:]] == [each.end for each in segments[:-1]]
    assert segments[-1].end == 1
    assert len(arrived) == 20


def test_below_min_probability_the_answer_is_none_of_these(network):
    audio = sweep(0.2)
    [segment] = Classifier(network.weights, min_probability=1).classify(audio, RATE)
    assert segment.name == "none of these"
    require_equal(Classifier(network.weights).classify(audio, RATE), [segment._replace(
        name=NAMES[segment.probabilities.argmax()])])


def with_thresholds(weights, folder, **of_class):
    """A copy of the file in which the classes have these thresholds: class → (max_f1, precision_90)."""
    path = shutil.copy(weights, folder)
    checkpoints.update(path, thresholds={"source": "validation after epoch 3", "clips": 30, "classes": {
        name: {"positives": 15, "max_f1": pair[0], "precision_90": pair[1]}
        for name, pair in zip(NAMES, of_class.values(), strict=True)}})
    return path


def test_each_class_has_its_own_threshold(network, tmp_path):
    audio = sweep(0.2)
    [found] = Classifier(network.weights).classify(audio, RATE)
    best = found.probabilities.argmax()
    probability = float(found.probabilities[best])
    for of_best, value, accepted in (
            ((probability, None), "auto", True), ((probability + 1e-4, 0.0), "auto", False),
            ((1.0, probability - 1e-4), "precision", True), ((0.0, None), "precision", False),
            ((None, None), "auto", True)):
        thresholds = [of_best, (1 - of_best[0] if of_best[0] else 1.0, 1.0)]
        path = with_thresholds(network.weights, tmp_path, a=thresholds[best], b=thresholds[1 - best])
        [segment] = Classifier(path, min_probability=value).classify(audio, RATE)
        assert segment.name == (NAMES[best] if accepted else "none of these")


def test_a_background_class_is_none_of_these(network, tmp_path, monkeypatch):
    audio, read = sweep(0.2), checkpoints.read
    [found] = Classifier(network.weights).classify(audio, RATE)
    path = with_thresholds(network.weights, tmp_path, a=(0.0, None), b=(0.0, None))
    other = next(name for name in NAMES if name != found.name)
    for name, expected in ((found.name, "none of these"), (other, found.name)):
        monkeypatch.setattr(checkpoints, "read", lambda path, name=name: read(path)._replace(background_classes=[name]))
        for min_probability in (0, "auto"):
            [segment] = Classifier(path, min_probability=min_probability).classify(audio, RATE)
            require_equal([segment], [found._replace(name=expected)])


def test_a_network_without_thresholds_is_one_sentence(network):
    with pytest.raises(UserError, match="contains no thresholds .* run train_network.py --folds 5"):
        Classifier(network.weights, min_probability="precision")


def test_a_min_probability_that_is_none_is_refused(network):
    with pytest.raises(UserError, match="MIN_PROBABILITY is 'sure'; set it to auto, precision or a number"):
        Classifier(network.weights, min_probability="sure")


def test_a_silent_file_is_classified_with_a_warning(classifier, tmp_path, capsys):
    path = write(tmp_path / "a.wav", np.zeros((1, 1000)))
    assert len(classifier.classify_file(path)) == 1
    assert capsys.readouterr().err == f"{path}: is silent; kept.\n"


@pytest.mark.parametrize("offset", [0, 0.2])
def test_channels_that_cancel_each_other_in_a_long_sound_are_named_once(classifier, monkeypatch, tmp_path, capsys,
                                                                        offset):
    monkeypatch.setattr(classifier, "settings", dataclasses.replace(SETTINGS, channels=1))
    monkeypatch.setattr(classifier, "predict", lambda melgrams: np.full((len(melgrams), 2), 0.5))
    tone = sweep(3, 1)
    for channels, warnings in (([tone, -tone], 1), ([tone, tone], 0), ([tone], 0)):
        audio = np.concatenate(channels) + np.float32(offset)
        path = write(tmp_path / "a.wav", audio, RATE)
        assert len(classifier.classify_file(path)) == 1
        assert capsys.readouterr().err == f"{melgram.canceled(path)}\n" * warnings
        list(classifier.classify_stream(np.array_split(audio, 5, axis=1), RATE, len(audio), "standard input"))
        assert capsys.readouterr().err == f"{melgram.canceled('standard input')}\n" * warnings


@pytest.mark.parametrize(("audio", "message"), [
    (np.full((2, 100), 3e38), "the sound: contains samples of absurd magnitude"),
    (np.zeros((3, 100)), "the sound: has 3 channels, the network 2; remove some."),
    (np.zeros((2, 0)), "the sound: contains no samples"), (np.zeros(0), "the sound: contains no samples"),
    (np.full((2, 100), np.nan), "the sound: contains NaN"), (np.full((2, 9000), np.inf), "the sound: contains NaN")])
def test_an_invalid_array_is_one_sentence(classifier, audio, message):
    with pytest.raises(AudioError, match=message):
        classifier.classify(audio, 8000)


def test_a_hop_longer_than_a_window_is_refused(network):
    with pytest.raises(UserError, match="HOP_SECONDS is 0.5; set it to at most 0.25"):
        Classifier(network.weights, hop_seconds=0.5)


def test_keras_alone_gives_the_same_for_melgrams(classifier, network):
    melgrams = np.random.default_rng(5).normal(-40, 15, (3, *SETTINGS.shape)).astype(np.float32)
    alone = panotti_models.keras.saving.load_model(network.weights, compile=False).predict(melgrams, verbose=0)
    assert classifier.predict(melgrams) == pytest.approx(alone, abs=1e-6)
