"""The report: its scores are right, it shows the clips with wrong predictions, and a browser displays all of it."""

import base64
import dataclasses
import io
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import sine, write
from PIL import Image

from audio_utils.audio import audio_io, melgram, tags
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data.clips import Clips, one_hot
from audio_utils.evaluation import background, drawing, report
from audio_utils.evaluation.metrics import Evaluation, roc_curves, score

RATE = 8000
SETTINGS = MelgramSettings.of(RATE, RATE, 1, 48, 46.44, 11.61)  # clips of one second
UNUSUAL = ["<script>alert(1)", "\"'><img src=x onerror=alert(2)>", "日本 $x_2$ {{ 7 * 7 }}", "a\udcff\x01b"]
HISTORY = [{"epoch": n, "loss": 2 / n, "accuracy": 1 - 0.5 / n, "val_loss": 2.2 / n, "val_accuracy": 1 - 0.6 / n,
            "learning_rate": 0.001 if n < 3 else 0.0005} for n in (1, 2, 3)]


@pytest.fixture(autouse=True)
def _plots_only_in_the_browser(request, monkeypatch):
    """Drawing them takes most of the time of a page, and no other test sees them."""
    if "browser" not in request.fixturenames:
        monkeypatch.setattr(drawing, "svg", lambda *_: "<svg></svg>")


def findings_of(class_names, each=4, mistakes=3, channels=1, untested=(), history=HISTORY):
    """Predictions for `each` files of every class that is not `untested`; some are assigned to the next class."""
    settings = dataclasses.replace(SETTINGS, channels=channels)
    labels = np.repeat([i for i, name in enumerate(class_names) if name not in untested], each)
    names = [f"{class_names[label]}/{n}.wav" for n, label in enumerate(labels)]
    wrong = np.random.default_rng(1).permutation(len(labels))[:mistakes]
    probabilities = np.full((len(labels), len(class_names)), 0.1 / len(class_names), np.float32)
    probabilities[np.arange(len(labels)), labels] += 0.9
    probabilities[wrong] = np.roll(probabilities[wrong], 1, axis=1) * np.linspace(1, 0.8, mistakes)[:, None]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    melgrams = np.stack([melgram.melgram(sine((300 + 200 * n) % 3500, channels=channels), settings)
                         for n in range(len(names))])
    clips = Clips(melgrams, one_hot(labels, len(class_names)), names, class_names)
    evaluation = Evaluation.of(clips, probabilities)
    curves = roc_curves(evaluation)
    return report.Findings("vgg", settings, {"constants": {"TEST_FRACTION": 0.2, "SEED": 1}}, history, names[:2], clips,
                           evaluation, curves, score(evaluation, curves))


def page_of(folder, findings, max_mistakes=20, sounds=True):
    """Write the page of these findings, with the sounds in Samples/; returns its path."""
    if sounds:
        for name in findings.clips.names:
            path = folder / "Samples" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            audio_io.write(path, sine(600, 0.4, RATE, findings.settings.channels), RATE)
    report.write(folder / "report.html", findings, max_mistakes, folder / "Samples", folder / "Preproc")
    return folder / "report.html"


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))
        self.words = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


# --- scores ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("confidence", "finding"), [
    (0.89, "Well calibrated: mean confidence 89.0%, accuracy 90.0%"), (0.99, "Overconfident: "),
    (0.70, "Underconfident: ")])
def test_calibration_is_judged_by_the_interval(confidence, finding):
    assert report.calibration_finding(np.full(100, confidence), np.repeat([True, False], [90, 10])).startswith(finding)


@pytest.mark.parametrize(("fraction", "text"), [(1, "100%"), (0, "0%"), (0.999, "99.9%"), (None, "–"), (np.nan, "–")])
def test_percentages_have_one_decimal(fraction, text):
    assert report.percent(fraction) == text


# --- the page -------------------------------------------------------------------------------------------------------

def test_page_is_complete_and_self_contained(tmp_path):
    page = Page(page_of(tmp_path, findings_of(["dog", "cat"], each=10, mistakes=3, channels=2)))
    assert len(page.all("audio")) == 3
    assert len(page.all("img")) == 3 * 2 + 1  # left and right of each, and the color scale
    assert all(image["alt"] for image in page.all("img"))
    assert all(each["src"].startswith("data:") for each in page.all("img") + page.all("audio"))
    assert "default-src 'none'" in page.all("meta")[2]["content"]
    assert not page.all("script") + page.all("link")
    for part in ("85.0%", "95% interval 64.0% to 94.8%", "All 3 mistakes, the most confident first", "vgg",
                 "20% of each class for testing, seed 1", "precision", "left", "0.4 s, padded with silence to 1 s",
                 "3; epoch 3, the best, is evaluated here", "0.001, 0.0005 at the end", "Epoch 3 of 3 is kept",
                 "should be dog, came out as cat"):
        assert part in page.words
    size = (tmp_path / "report.html").stat().st_size
    assert f"This page is {report.size_text(size)}" in page.words
    assert not list(tmp_path.glob(".unfinished-*"))


def test_names_are_escaped(tmp_path):
    page = Page(page_of(tmp_path, findings_of(UNUSUAL, mistakes=16)))
    assert not page.all("script")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    for name in UNUSUAL[:3]:
        assert name in page.text
    assert "a?\x01b" in page.text  # a byte that is not UTF-8


@pytest.mark.parametrize(("count", "text"), [
    (0, "mistakes.csv lists all 5 mistakes"), (2, "The 2 most confident of 5 mistakes; mistakes.csv lists all.")])
def test_number_of_mistakes_shown_is_limited(tmp_path, count, text):
    page = Page(page_of(tmp_path, findings_of(["a", "b"], mistakes=5), count))
    assert text in page.words
    assert len(page.all("audio")) == count


def test_written_page_is_summarized_in_a_sentence(tmp_path):
    findings = findings_of(["a", "b"], mistakes=5)
    write(tmp_path / "Samples" / findings.evaluation.names[findings.evaluation.mistakes[0]], sine())
    write(tmp_path / "Samples/b/other.wav", sine())
    sentence = report.write(tmp_path / "r.html", findings, 2, tmp_path / "Samples", tmp_path / "Preproc")
    assert sentence.endswith(" kB; shows 2 of 5 mistakes, 1 with audio.")
    assert report.write(tmp_path / "r.html", findings, 0, tmp_path, tmp_path).endswith(" kB.")


def test_most_confident_mistakes_come_first(tmp_path):
    findings = findings_of(["a", "b", "c"], mistakes=6)
    text = Page(page_of(tmp_path, findings)).text
    positions = [text.index(findings.evaluation.names[i]) for i in findings.evaluation.mistakes]
    assert positions == sorted(positions)


def test_confusion_matrix_and_mistakes_come_first(tmp_path):
    text = Page(page_of(tmp_path, findings_of(["a", "b", "c"], mistakes=2))).text
    titles = ["What to do next", "Confusion matrix\n", "Mistakes\n", "Results by class\n", "Calibration\n",
              "Training\n", "How to read this page\n", "Methods and sources"]
    positions = [text.rindex(title) for title in titles]
    assert positions == sorted(positions)


def test_learning_curve_is_shown_if_there_is_one(tmp_path):
    sizes = [{"clips": clips, "mistakes": mistakes, "loss": 0.5, "accuracy": 1 - mistakes / 200,
              "accuracy_interval": [0.9 - mistakes / 200, 1 - mistakes / 250]}
             for clips, mistakes in ((100, 60), (200, 45), (400, 33), (800, 25))]
    findings = findings_of(list("abc"))._replace(learning_curve={"validation_clips": 200, "sizes": sizes})
    text = page_of(tmp_path, findings, 0, sounds=False).read_text(encoding="utf-8")
    assert text.count("1,600 instead of 800 would raise the validation accuracy of 87.5% by") == 3  # finding, 2 plots
    assert "1,600 instead of 800 training clips would raise the validation accuracy of 87.5% by" in text  # next steps
    assert "all scored on the same\n200 validation clips" in text
    assert "Learning curve" not in page_of(tmp_path, findings_of(list("abc")), 0, sounds=False).read_text()


def test_classes_are_in_natural_order(tmp_path):
    findings = findings_of(["e0a0", "e0a120", "e0a30"], each=4, mistakes=4)
    page = Page(page_of(tmp_path, findings, sounds=False))
    rows = [attributes["title"] for attributes in page.all("th") if attributes.get("scope") == "row"
            and "title" in attributes]
    assert rows[:3] == ["e0a0", "e0a30", "e0a120"]
    shown = findings.evaluation.in_natural_order()
    for i in shown.mistakes:
        truth, predicted = (findings.evaluation.class_names[each[i]] for each in (
            findings.evaluation.labels, findings.evaluation.predicted))
        assert f"should be {truth}, came out as {predicted}" in page.words


def test_background_is_shown_or_its_absence_is_mentioned(tmp_path):
    findings = findings_of(["dog", "fox", "<rain>"], each=10, mistakes=6)._replace(balance="sample")
    page = Page(page_of(tmp_path, findings, 0, sounds=False))
    assert "balanced accuracy (mean recall of the classes): 80.0%" in page.words
    assert "The network was trained with BALANCE = sample: its probabilities are those for equally freq" in page.words
    assert page.words.count("Without a background class, noise is assigned to some class") == 1
    assert not [each for each in page.all("h2") if each.get("id") == "background"]
    scores = background.add_false_alarms(findings.scores, findings.evaluation, ["<rain>"], 1.0)
    page = Page(page_of(tmp_path, findings._replace(scores=scores), 0, sounds=False))
    [row] = background.rows(scores)
    assert int(row[1]) > 0
    assert f"{row[1]} of 10 background clips get a class" in page.words
    assert "".join(row) in page.words
    assert "<rain>; never reported" in page.words
    assert "Without a background class" not in page.words
    assert {"href": "#background"} in page.all("a")


def test_recordings_in_both_splits_are_reported_at_the_top(tmp_path, capsys):
    findings = findings_of(["a", "b"], mistakes=1)
    source = write(tmp_path / "long.wav", sine())
    tag = tags.text(tags.steps_from(tags.SPLIT, source))
    for name in ("Test/a/0.wav", "Test/b/5.wav", "Train/a/x.wav", "Train/b/y.wav"):
        path = tmp_path / "Samples" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        audio_io.write(path, sine(), RATE, comment="" if name == "Test/b/5.wav" else tag)
    text = Page(page_of(tmp_path, findings._replace(warning="Some were trained on."), sounds=False)).text
    warning = "The score is too optimistic: 1 of 8 test files are from recordings of which other clips are in Train."
    assert capsys.readouterr().err == f"{warning}\n"
    order = ("Some were trained on.", warning, "Move all clips of a recording into one split", "Mistakes\n")
    assert sorted(order, key=text.index) == [*order]


def test_page_without_mistakes(tmp_path):
    page = Page(page_of(tmp_path, findings_of(["a", "b", "c"], each=10, mistakes=0, untested=["c"]), sounds=False))
    assert "None: all 20 files are classified correctly." in page.words
    assert "No errors" in page.words
    assert not page.all("audio")


def test_page_without_sounds_history_or_a_second_class(tmp_path):
    page = Page(page_of(tmp_path, findings_of(["a", "b"], mistakes=1, untested=["b"], history=[]), sounds=False))
    assert "No audio: the file is not in Samples/" in page.words
    assert "requires test files of two classes" in page.words
    assert "is kept" not in page.words


def test_page_says_that_the_last_epochs_had_no_validation(tmp_path):
    history = [*HISTORY, *({**HISTORY[-1], "epoch": n, "val_loss": None, "val_accuracy": None} for n in (4, 5))]
    page = Page(page_of(tmp_path, findings_of(["a", "b"], history=history)))
    assert "5; the last 2 on all training files; the last one is evaluated here" in page.words
    assert "Epoch 5 is kept, trained on all clips since epoch 4" in page.words


def test_occlusion_maps_are_explained(tmp_path):
    findings, asked = findings_of(["dog", "cat"], mistakes=3, channels=2), []

    def occlusion(indices, frames):
        asked.append(([findings.clips.names[i] for i in indices], frames))
        return [np.array([[0.0, 0.43], [-0.2, 0.1]]), np.full((2, 2), 0.004), np.zeros((1, 1))][:len(indices)]

    findings = findings._replace(occlusion=occlusion)
    page = Page(page_of(tmp_path, findings, sounds=False))
    shown = [findings.evaluation.names[i] for i in findings.evaluation.mistakes]
    assert [names for names, _ in asked] == [shown]
    [image] = [each for each in page.all("img") if each["alt"].startswith("occlusion map")]
    with Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) as png:
        assert [[png.getpixel((x, y))[3] for x in (0, 1)] for y in (0, 1)] == [[0, 59], [0, 255]]  # low bands below
    assert "lowered to the average of the training sounds, the probability of cat falls, by up to 43" in page.words
    assert "No occlusion map: if any one of 4 parts is lowered to the average of the training sounds, t" in page.words
    assert "Zeiler and Fergus" in page.words
    page_of(tmp_path, findings, max_mistakes=0, sounds=False)
    page_of(tmp_path, findings_of(["a", "b"], mistakes=0)._replace(occlusion=occlusion), sounds=False)
    assert len(asked) == 1


def test_cross_validation_has_its_own_texts(tmp_path):
    findings = findings_of(["dog", "cat"], each=6, mistakes=3, history=[])
    order = np.r_[1:12:2, 0:11:2]
    evaluation = Evaluation.of(findings.clips, findings.evaluation.probabilities[order], order)
    folds = {str(n): Evaluation.of(findings.clips, evaluation.probabilities[6 * n:6 * n + 6], order[6 * n:6 * n + 6])
             for n in (0, 1)}
    write(tmp_path / "Samples" / evaluation.names[evaluation.mistakes[0]], sine(seconds=0.7))
    page = Page(page_of(tmp_path, findings._replace(evaluation=evaluation, folds=folds, fold_rule="2"), sounds=False))
    for part in ("75.0% accuracy on 12 files", "2 folds: 12 files, each tested by a network that was not trained on it",
                 f"The accuracy is between {min(each.accuracy for each in folds.values()):.1%} and", "Folds",
                 "2, stratified by class", "0.7 s, padded"):
        assert part in page.words
    for part in ("Train", "test files", "--folds", "roc_curves.png", "Epochs"):
        assert part not in page.words


def test_audio_comes_from_test_if_train_has_the_name_too(tmp_path):
    findings = findings_of(["a", "b"], mistakes=1)
    name = findings.evaluation.names[findings.evaluation.mistakes[0]]
    for split, seconds in (("Train", 0.3), ("Test", 0.7)):
        for each in ("a/0.wav", "b/0.wav", name):
            write(tmp_path / "Samples" / split / each, sine(seconds=seconds))
    page = Page(page_of(tmp_path, findings, sounds=False))
    assert "0.7 s, padded with silence" in page.words
    assert "user-defined, Samples/Train, Samples/Test" in page.words


# --- in a browser ---------------------------------------------------------------------------------------------------

class Browser:
    """Chromium, controlled through chromedriver (W3C WebDriver)."""

    def __init__(self, profile):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.driver = subprocess.Popen([shutil.which("chromedriver"), f"--port={port}"], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        for _ in range(100):
            try:
                self.call("GET", "/status")
                break
            except OSError:
                time.sleep(0.1)
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync",
                     f"--user-data-dir={profile}"]
        options = {"goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")},
                   "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": options}})
        self.url += "/session/" + session["sessionId"]

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method, headers={"Content-Type": "application/json"},
                                         data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def devtools(self, command, **parameters):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script):
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def close(self):
        self.call("DELETE", "")
        self.driver.terminate()
        self.driver.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs chromium and chromedriver")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


PAGES = {"two classes": {"class_names": ["dog", "cat"], "mistakes": 0},
         "stereo": {"class_names": [f"class {n}" for n in range(10)], "mistakes": 5, "channels": 2},
         "fifty classes": {"class_names": [f"a rather long name of a class, number {n}" for n in range(50)], "each": 2},
         "unusual names": {"class_names": UNUSUAL, "mistakes": 16}}


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("kind", PAGES)
def test_browser_shows_everything(browser, tmp_path, kind, scheme, width):
    findings = findings_of(**PAGES[kind])
    path = page_of(tmp_path, findings)
    browser.devtools("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
                     mobile=width < 500)
    browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("POST", "/url", {"url": path.as_uri()})
    for _ in range(50):
        durations = browser.run("return [...document.querySelectorAll('audio')].map(each => each.duration)")
        if all(durations):
            break
        time.sleep(0.1)
    assert durations == pytest.approx([0.4] * len(findings.evaluation.mistakes), abs=0.05)
    assert browser.run("return [...document.images].every(each => each.naturalWidth > 0 && each.width > 50)")
    sizes = browser.run("return [...document.querySelectorAll('figure > svg')].map(each => each.clientWidth)")
    assert len(sizes) >= 3
    assert min(sizes) > 200
    assert browser.run("return document.documentElement.scrollWidth") <= width
    text, background = browser.run("const of = getComputedStyle(document.querySelector('svg text')).fill;"
                             "return [of, getComputedStyle(document.body).backgroundColor]")
    assert (brightness(text) > brightness(background)) == (scheme == "dark")
    assert not browser.call("POST", "/se/log", {"type": "browser"})


def brightness(color):
    return sum(map(int, color.removeprefix("rgb(").rstrip(")").split(",")))


def test_the_sound_of_a_clip_is_found_by_its_number(tmp_path):
    paths = {"a/night.wav": tmp_path / "night.wav", "a/x_s2.wav": tmp_path / "x_s2.wav"}
    for name, expected in (("a/night_s12.wav", ("night.wav", 12)), ("a/x_s2.wav", ("x_s2.wav", 0)),
                           ("a/night.wav", ("night.wav", 0))):
        assert report._source_of(name, paths, "all") == (tmp_path / expected[0], expected[1], "all")
    assert report._source_of("a/other_s1.wav", paths, "all").path is None
