"""The learning curve's prediction: right for known curves, and none that the validation clips can't support."""

import io
import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from audio_utils.evaluation import intervals, learning_curve_fit

CLIPS = [100, 200, 400, 800]
FINGERPRINT = {"network": "vgg", "settings": {}, "class_names": ["a", "b"], "clips": "1f"}


def scores_of(mistakes, validation, clips=CLIPS):
    """The content of scores.json for these numbers of mistakes."""
    return {"fingerprint": FINGERPRINT, "validation_clips": validation,
            "sizes": [{"fraction": "all", "clips": count, "loss": 0.1 + 2 * wrong / validation, "mistakes": wrong,
                       "accuracy": 1 - wrong / validation, "epochs": 20,
                       "accuracy_interval": intervals.wilson(validation - wrong, validation)}
                      for count, wrong in zip(clips, mistakes, strict=True)]}


def finding(mistakes, validation, clips=CLIPS):
    return learning_curve_fit.finding(scores_of(mistakes, validation, clips))


def curves(sizes):
    return {"power law": 0.2 * sizes ** -0.4, "steep": 0.05 * sizes ** -0.9, "flattens": 0.1 + 0.05 * sizes ** -0.7,
            "flat": 0.15 * sizes ** 0}


@pytest.mark.parametrize("name", curves(np.ones(1)))
@pytest.mark.parametrize("validation", [30, 300, 10_000])
def test_the_predicted_gain_of_known_curves_is_rather_too_small_than_too_large(name, validation):
    """In 20 series of trainings: with noise of the validation clips, and between trainings."""
    now, twice = curves(np.array([1.0, 2.0]))[name]
    errors = curves(np.array(CLIPS) / CLIPS[-1])[name]
    rng = np.random.default_rng(1)
    inside, too_large = [], []
    for _ in range(20):
        mistakes = rng.binomial(validation, errors * np.exp(rng.normal(0, 0.08, 4)))
        _, low, high = learning_curve_fit.fit(CLIPS, mistakes, validation).gain()
        inside.append(low <= now - twice <= high)
        too_large.append(low > now - twice)
    assert np.mean(inside) >= 0.5
    assert np.mean(too_large) <= 0.1


def test_a_fit_never_falls_below_0_or_rises_with_more_clips():
    for mistakes in ([0, 0, 0, 0], [0, 5, 10, 20], [90, 10, 0, 0], [300, 300, 300, 300]):
        errors = learning_curve_fit.fit(CLIPS, mistakes, 300).error(np.array([0.125, 0.5, 1, 2]))
        assert errors.min() >= 0
        assert (np.diff(errors, axis=1) <= 1e-12).all()


@pytest.mark.parametrize(("mistakes", "validation", "expected"), [
    ([60, 45, 33, 25], 200, "More training clips would help: 1,600 instead of 800 would raise the validation accuracy"),
    ([100, 98, 101, 99], 2000, "More training clips would hardly help: 1,600 instead of 800 would raise the"),
    ([10, 8, 6, 4], 24, "24 validation clips can't show whether more training clips would help: 1,600 instead of 800"),
    ([3, 2, 1, 1], 24, "24 validation clips can't show whether more training clips would help"),
    ([20, 30, 40, 50], 200, "200 validation clips can't show whether more training clips would help"),
    ([0, 0, 0, 0], 24, "All 24 validation clips are correct; they can't show whether"),
    ([5, 2, 1, 0], 400, "All 400 validation clips are correct; they can't show whether"),
    ([40, 12, 4, 1], 200, "More training clips would hardly help: 1,600 instead of 800 would raise the"),
])
def test_the_finding_promises_nothing_below_the_noise(mistakes, validation, expected):
    assert finding(mistakes, validation).startswith(expected)


def test_two_sizes_give_no_prediction():
    assert finding([5, 2], 24, [10, 20]) == ("2 sizes of the training set can't show whether more training clips would "
                                             "help")


def test_advice_is_given_only_if_more_clips_would_help():
    helps = learning_curve_fit.advice(scores_of([60, 45, 33, 25], 200))
    assert helps.startswith("Add sounds: by the learning curve, 1,600 instead of 800 training clips would raise the v")
    assert helps.endswith(").")
    for mistakes, validation in (([100, 98, 101, 99], 2000), ([10, 8, 6, 4], 24), ([0, 0, 0, 0], 24)):
        assert not learning_curve_fit.advice(scores_of(mistakes, validation))


def test_the_plot_shows_each_size_and_the_predicted_one(tmp_path):
    scores = scores_of([60, 45, 33, 25], 200)
    learning_curve_fit.plot(tmp_path / "curve.png", scores)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    axes = Figure().subplots()
    learning_curve_fit.draw_accuracy(axes, scores)
    axes.figure.savefig(io.BytesIO())
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "200", "400", "800", "1,600"]
    assert axes.get_legend_handles_labels()[1] == ["95% range", "fit", "validation (95% interval)"]


def test_without_a_prediction_the_plot_shows_no_fit():
    for mistakes in ([60, 45, 33, 0], [20, 30, 40, 50]):
        axes = Figure().subplots()
        learning_curve_fit.draw_accuracy(axes, scores_of(mistakes, 200))
        assert axes.get_legend_handles_labels()[1] == ["validation (95% interval)"]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "200", "400", "800"]


def written(scores):
    learning_curve_fit.SCORES.parent.mkdir(exist_ok=True)
    learning_curve_fit.SCORES.write_text(json.dumps(scores))
    return json.loads(json.dumps(scores))


def test_scores_are_read_only_for_the_network_and_clips_that_they_belong_to(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert learning_curve_fit.read(FINGERPRINT) is None
    scores = written(scores_of([6, 4, 3, 2], 30))
    assert learning_curve_fit.read(FINGERPRINT) == scores
    assert tuple(capsys.readouterr()) == ("", "")
    for other in (FINGERPRINT | {"clips": "2f"}, FINGERPRINT | {"network": "residual"}, {}):
        assert learning_curve_fit.read(other) is None
        assert capsys.readouterr().err == (
            "learning_curve/scores.json: is of another network or of other sounds and is not in the report; run "
            "train_network.py --learning-curve --fresh.\n")


@pytest.mark.parametrize("change", [
    {"sizes": []}, {"sizes": 1}, {"sizes": {}}, {"validation_clips": 0}, {"validation_clips": 10 ** 400},
    {"validation_clips": "30"}, {"clips": 100}, {"clips": 10 ** 400}, {"mistakes": 31}, {"mistakes": -1},
    {"accuracy": np.nan}, {"accuracy": "1"}, {"accuracy_interval": [0.5]}, {"accuracy_interval": None},
    {"loss": np.nan}, {"loss": np.inf}, {"loss": 10 ** 400}])
def test_damaged_scores_are_not_used(tmp_path, monkeypatch, capsys, change):
    monkeypatch.chdir(tmp_path)
    scores = scores_of([6, 4, 3, 2], 30)
    (scores if set(change) & set(scores) else scores["sizes"][2]).update(change)
    written(scores)
    assert learning_curve_fit.read(FINGERPRINT) is None
    assert capsys.readouterr().err == (
        "learning_curve/scores.json: is damaged; run train_network.py --learning-curve --fresh.\n")


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", "[" * 100_000])
def test_a_file_that_is_no_dictionary_of_scores_is_not_used(tmp_path, monkeypatch, capsys, text):
    monkeypatch.chdir(tmp_path)
    written({})
    learning_curve_fit.SCORES.write_text(text)
    assert learning_curve_fit.read(FINGERPRINT) is None
    assert "is damaged" in capsys.readouterr().err
