"""The report of MULTI_LABEL: its numbers are right, missed and extra classes are explained, no section is wrong."""

import numpy as np
import pytest
from conftest import sine, write
from test_label_scores import random, scores_of
from test_report import HISTORY, SETTINGS, UNUSUAL, Page

from audio_utils.audio import melgram
from audio_utils.data.clips import Clips
from audio_utils.evaluation import drawing, label_report, metrics
from audio_utils.evaluation.findings import Findings

MELGRAM = melgram.melgram(sine(600), SETTINGS)


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch):
    monkeypatch.setattr(drawing, "svg", lambda *_: "<svg></svg>")


def findings_of(found, folder, **fields):
    """Of an evaluation; Preproc/labels.csv has one training clip with all classes, and one without any."""
    (folder / "Preproc").mkdir()
    names = ",".join(found.class_names)
    (folder / "Preproc/labels.csv").write_text(f'file,labels\nTrain/x/1.wav,"{names}"\nTrain/x/2.wav,\n')
    clips = Clips(np.broadcast_to(MELGRAM, (len(found.names), *MELGRAM.shape)), np.float32(found.positives),
                  found.names, found.class_names, True)
    return Findings("vgg", SETTINGS, {"constants": {"TEST_FRACTION": 0.2, "SEED": 1}}, HISTORY, "8", clips, found,
                    metrics.roc_curves(found), scores_of(found, found.lowest),
                    training=["x/1.wav", "x/2.wav"])._replace(**fields)


def page_of(findings, folder, max_mistakes=20):
    path = folder / "report.html"
    return label_report.write(path, findings, max_mistakes, folder / "Samples", folder / "Preproc"), Page(path)


def predictions(**fields):
    found = random(40, 3)
    return found._replace(lowest=np.full(3, 0.5), **fields)


def test_the_page_shows_scores_errors_and_mistakes_with_audio(tmp_path):
    found = predictions()
    for name in [found.names[i] for i in found.mistakes[:2]]:
        write(tmp_path / "Samples" / name, sine(600, 0.4))
    sentence, page = page_of(findings_of(found, tmp_path), tmp_path, max_mistakes=2)
    scores, mistakes = scores_of(found, found.lowest), len(found.mistakes)
    assert sentence.endswith(f" kB; shows 2 of {mistakes} mistakes, 2 with audio.")
    assert len(page.all("audio")) == 2
    assert not page.all("script") + page.all("link")
    for part in (f"mean average precision {scores['macro_average_precision']:.4f} on 40 test files",
                 f"all classes are right in {40 - mistakes} of 40 files",
                 f"{found.missed.sum()} of {found.positives.sum()} labels missed, {found.extra.sum()} extra",
                 f"2 of {mistakes} files with mistakes", "Missed and extra classes",
                 "Add sounds: all classes have fewer",
                 f"{scores['files_without_labels']} of 40 files have none", "0.4 s, padded with silence to 1 s",
                 "Epoch 3 of 3 is kept"):
        assert part in page.words
    each = scores["classes"]["c0"]
    assert f"\nc01{each['files']}{each['missed']}{each['extra']}0.5000" in page.text  # with one clip in Train
    for absent in ("Confusion matrix", "Background", "undefined", "Results by fold"):
        assert absent not in page.text


def test_the_occlusion_map_is_of_the_missed_or_extra_class_that_is_the_farthest_from_its_threshold(tmp_path):
    found, asked = predictions(), []

    def maps(indices, _frames, classes):
        asked.extend(zip(indices, classes, strict=True))
        return [np.full((6, 10), 0.2 if found.extra[i, k] else -0.3) for i, k in asked]
    _, page = page_of(findings_of(found, tmp_path, occlusion=maps), tmp_path)
    assert [i for i, _ in asked] == found.mistakes[:20].tolist()
    for i, k in asked:
        assert found.margins[i, k] == found.margins[i].max() > 0
        change = "rises, by up to 30 points" if found.missed[i, k] else "falls, by up to 20 points"
        assert f"the probability of c{k} {change}" in page.words


def test_the_occlusion_map_is_of_the_class_in_the_order_of_the_network(tmp_path):
    found, asked = predictions(class_names=["c10", "c2", "c9"]), []  # in natural order: c2, c9, c10

    def maps(indices, _frames, classes):
        asked.extend(zip(indices, classes, strict=True))
        return [np.zeros((6, 10))] * len(indices)
    page_of(findings_of(found, tmp_path, occlusion=maps), tmp_path, max_mistakes=4)
    assert len(asked) == 4
    assert all(found.margins[i, k] == found.margins[i].max() > 0 for i, k in asked)


def test_names_are_escaped(tmp_path):
    found = predictions()
    found = found._replace(class_names=[name.replace(",", "") for name in UNUSUAL[:3]])
    _, page = page_of(findings_of(found, tmp_path), tmp_path, max_mistakes=1)
    assert not page.all("script")
    assert all(name in page.text for name in found.class_names)


def test_without_mistakes_or_clips_of_a_class_there_is_still_a_page(tmp_path):
    found = predictions()
    found = found._replace(probabilities=np.float32(found.positives) * 0.9 + np.float32(0.05))
    _, page = page_of(findings_of(found, tmp_path, history=[]), tmp_path)
    assert "None: all classes of all 40 files are right." in page.words
    assert "Test the network on recordings from another day" in page.words
    empty = found._replace(positives=np.zeros((40, 3), bool), probabilities=np.zeros((40, 3), np.float32))
    (tmp_path / "empty").mkdir()
    _, page = page_of(findings_of(empty, tmp_path / "empty"), tmp_path)
    assert "mean average precision – on 40 test files" in page.words
    assert "Calibration" not in page.text


def test_folds_have_a_table_and_labels_to_check(tmp_path):
    found = predictions()
    probabilities = np.where(found.positives, 0.9, 0.1).astype(np.float32)
    probabilities[0] = np.where(found.positives[0], 0.03, 0.97)
    found = found._replace(probabilities=probabilities)
    findings = findings_of(found, tmp_path, folds={"1": found, "2": found}, fold_rule="2")
    _, page = page_of(findings, tmp_path)
    assert "Cross-validation with 2 folds: 40 files" in page.words
    assert "3 labels are likely wrong or missing" in page.words
    assert page.text.count("x/0.wav") == 3 + 1  # and the card
