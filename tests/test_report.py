"""The report: its figures are right, its pictures and sounds are those of the clips, and a browser shows all of it."""

import dataclasses
import io
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
from conftest import sine, write
from PIL import Image
from sklearn.metrics import roc_auc_score

import eval_network
from audio_utils import audio_io, dataset, intervals, melgram, plots, report, weights_file
from audio_utils.dataset import Clips
from audio_utils.evaluation import Evaluation, roc_curves, score
from audio_utils.melgram import MelgramSettings
from audio_utils.weights_file import Scaling, Trained

RATE = 8000
SETTINGS = MelgramSettings.of(RATE, RATE, 1, 48, 46.44, 11.61)  # clips of one second
HOSTILE = ["<script>alert(1)", "\"'><img src=x onerror=alert(2)>", "日本 $x_2$ {{ 7 * 7 }}", "a\udcff\x01b"]
HISTORY = [{"epoch": n, "loss": 2 / n, "accuracy": 1 - 0.5 / n, "val_loss": 2.2 / n, "val_accuracy": 1 - 0.6 / n,
            "learning_rate": 0.001 if n < 3 else 0.0005} for n in (1, 2, 3)]


def findings(class_names, each=4, mistakes=3, channels=1, settings=SETTINGS, untested=()):
    """A network's work on `each` files of every class that is not `untested`, some of which come out as the next."""
    settings = dataclasses.replace(settings, channels=channels)
    labels = np.repeat([i for i, name in enumerate(class_names) if name not in untested], each)
    names = [f"{class_names[label]}/{n}.wav" for n, label in enumerate(labels)]
    wrong = np.random.default_rng(1).permutation(len(labels))[:mistakes]
    probabilities = np.full((len(labels), len(class_names)), 0.1 / len(class_names), np.float32)
    probabilities[np.arange(len(labels)), labels] += 0.9
    probabilities[wrong] = np.roll(probabilities[wrong], 1, axis=1) * np.linspace(1, 0.8, mistakes)[:, None]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    pitch = {name: 300 + 200 * n for n, name in enumerate(names)}
    melgrams = np.stack([melgram.melgram(sine(pitch[name] % 3500, channels=channels), settings) for name in names])
    evaluation = Evaluation(names, class_names, labels, probabilities)
    curves = roc_curves(evaluation)
    trained = Trained("vgg", class_names, settings, {"constants": {"TEST_FRACTION": 0.2, "SEED": 1}},
                      Scaling(np.zeros(48, np.float32), np.ones(48, np.float32)),
                      {"epoch": 3, "best_epoch": 3, "asked_rate": 0.001, "learning_rate": 0.0005, "history": HISTORY,
                       "validation": names[:2]}, [])
    return report.Findings(trained, Clips(melgrams, labels, names, class_names), evaluation, curves,
                           score(evaluation, curves))


def page_of(folder, found, most=20, sounds=True):
    """Write the page of these findings, with the sounds in Samples/; returns its path."""
    if sounds:
        for name in found.clips.names:
            path = folder / "Samples" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            audio_io.write(path, sine(600, 0.4, RATE, found.trained.settings.channels), RATE)
    report.write(folder / "report.html", found, most, folder / "Samples", folder / "Preproc")
    return folder / "report.html"


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


# --- figures ---

@pytest.mark.parametrize(("right", "count", "low", "high"), [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)])
def test_wilson_interval_is_that_of_newcombe_1998_table_1(right, count, low, high):
    assert intervals.wilson(right, count) == pytest.approx((low, high), abs=5e-5)


def test_history_without_validation_at_its_end(tmp_path):
    history = [*HISTORY, *({**HISTORY[-1], "epoch": n, "val_loss": None, "val_accuracy": None} for n in (4, 5))]
    assert plots.history_finding(history) == ("Best validation after epoch 3: loss 0.7333, accuracy 80.0%; from epoch "
                                              "4 to 5, which is kept, all clips are trained on")
    plots.training_curves(tmp_path / "curves.png", history)
    found = findings(["a", "b"])
    found.trained.progress["history"] = history
    text = Page(page_of(tmp_path, found)).text
    assert "5; the last 2 on all files of Train; the last is reported on" in text
    assert "from epoch 4 to 5, which is kept" in text


def test_weighted_aucs_are_sklearns_of_the_files_repeated():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 60)
    scores = rng.integers(0, 8, 60) / 8  # many ties
    weights = intervals.draw(labels, 20, rng)
    for column, area in zip(weights.T.astype(int), intervals.weighted_aucs(weights, labels == 1, scores), strict=True):
        assert area == pytest.approx(roc_auc_score(np.repeat(labels == 1, column), np.repeat(scores, column)), abs=1e-6)


def test_bootstrap_draws_each_class_for_itself_and_the_same_every_time():
    labels = np.array([0] * 3 + [1] * 50 + [2] * 7)
    weights = intervals.draw(labels, 200, np.random.default_rng(0))
    for label in range(3):
        assert np.unique(weights[labels == label].sum(axis=0)) == [np.sum(labels == label)]
    probabilities = np.random.default_rng(1).dirichlet(np.ones(3), 60)
    low, high = intervals.bootstrap(labels, probabilities)
    assert (low, high) == intervals.bootstrap(labels, probabilities)
    assert low < np.mean([roc_auc_score(labels == i, probabilities[:, i]) for i in range(3)]) < high


def test_bootstrap_interval_is_as_wide_as_theory_has_it():
    """Scores of two normal distributions: the standard error of the AUC is DeLong's (1988)."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 300)
    scores = rng.normal(labels * 1.0)
    low, high = intervals.bootstrap(labels, np.stack([-scores, scores], axis=1))
    order = scores[labels == 1][:, None] > scores[labels == 0]
    error = np.sqrt(order.mean(axis=1).var(ddof=1) / 300 + order.mean(axis=0).var(ddof=1) / 300)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_calibration_error_of_known_bins():
    confidence = np.array([0.61, 0.61, 0.61, 0.61, 0.95, 0.95, 1.0, 1.0])
    right = np.array([1, 1, 1, 0, 1, 1, 1, 0], bool)
    bins, error = intervals.reliability(confidence, right)
    assert error == pytest.approx(0.5 * abs(0.61 - 0.75) + 0.5 * abs(0.975 - 0.75))
    assert np.nansum(bins[:, 4]) == 1
    assert bins[14, :2] == pytest.approx((0.975, 0.75))
    assert np.isnan(bins[0, :4]).all()


def test_calibration_is_judged_against_the_interval():
    right = np.repeat([True, False], [90, 10])
    assert report.calibration_finding(0.89, right).startswith("As sure as it should be")
    assert report.calibration_finding(0.99, right).startswith("Too sure")
    assert report.calibration_finding(0.70, right).startswith("It could be surer")


def test_class_table_knows_what_was_found_and_what_has_no_test_files():
    found = findings(["a", "b", "c"], each=4, mistakes=0, untested=["c"])
    found.evaluation.probabilities[0] = [0.1, 0.1, 0.8]  # an a that comes out as c
    table = report.class_table(found, {"a": 16, "b": 16, "c": 5})
    a, b, c = table["rows"]
    assert (a["precision"], a["recall"], a["train"], a["test"]) == (1, 0.75, 16, 4)
    assert a["f1"] == pytest.approx(2 * 0.75 / 1.75)
    assert (b["recall"], b["auc"]) == (1, 1)
    assert (c["precision"], c["test"], c["auc"]) == (0, 0, None)
    assert np.isnan([c["recall"], c["f1"]]).all()
    assert table["all"]["recall"] == pytest.approx((0.75 + 1) / 2)
    assert table["hardest"] is a


@pytest.mark.parametrize(("area", "text"), [(1.0, "1.0000"), (0.99996, "0.9999"), (0.75, "0.7500"), (None, "–")])
def test_only_what_is_1_is_shown_as_1(area, text):
    assert report.show_auc(area) == text


# --- pictures and sounds ---

def test_ticks_stand_where_the_sound_is():
    for frequency, label in ((500, "500 Hz"), (2000, "2 kHz")):
        picture = melgram.melgram(sine(frequency), SETTINGS)[:, 40, 0]
        height = next(place for place, text in report.hz_ticks(SETTINGS) if text == label)
        assert (picture.argmax() + 0.5) / 48 == pytest.approx(height, abs=1 / 48)
    click = np.zeros((1, RATE), np.float32)
    click[0, RATE // 2] = 1
    _, frames, _ = SETTINGS.shape
    picture = melgram.melgram(click, SETTINGS)[:, :, 0].sum(axis=0)
    place = next(place for place, text in report.time_ticks(SETTINGS, frames) if text == "0.5 s")
    assert (picture.argmax() + 0.5) / frames == pytest.approx(place, abs=1.01 / frames)


def test_picture_of_a_melgram_has_low_bands_below_and_the_loudest_brightest():
    tone = melgram.melgram(sine(500), SETTINGS)[:, :, 0]
    light = np.asarray(Image.open(io.BytesIO(plots.melgram_png(tone, tone.max()))).convert("L"))
    assert light.shape == SETTINGS.shape[:2]
    assert light[:, 40].argmax() == 47 - tone[:, 40].argmax()
    long = plots.melgram_png(np.zeros((96, 12345), np.float32), 0)
    assert Image.open(io.BytesIO(long)).size == (950, 96)


@pytest.mark.parametrize(("rate", "channels", "seconds"), [(8000, 1, 0.5), (44100, 2, 0.5), (96000, 2, 3.0),
                                                           (12345, 1, 0.5), (16000, 3, 0.5)])
def test_player_has_the_sound(tmp_path, rate, channels, seconds):
    """Every channel of two has its own sine; what is longer than the clip is cut."""
    pitches = (440, 700, 440)[:channels]
    sound = np.concatenate([sine(pitch, seconds, rate) for pitch in pitches])
    content, remark = report.sound_of(write(tmp_path / "a.wav", sound, rate), SETTINGS)
    found, playable = soundfile.read(io.BytesIO(content), always_2d=True)
    assert len(found) / playable == pytest.approx(min(seconds, 1), abs=0.001)
    assert found.shape[1] == min(channels, 2) if channels < 3 else 1
    for pitch, wave in zip(pitches, found.T, strict=False):
        assert np.abs(np.fft.rfft(wave, playable)).argmax() == pytest.approx(pitch, abs=2)
    assert ("mixed" in remark) == (channels == 3)
    assert ("of 3 s" in remark) == (seconds == 3)


def test_sound_that_is_gone_or_damaged_is_named(tmp_path):
    damaged = tmp_path / "b.wav"
    damaged.write_bytes(b"RIFF, or not")
    for path, reason in ((tmp_path / "a.wav", "is not there"), (damaged, "is no audio")):
        content, remark = report.sound_of(path, SETTINGS)
        assert content is None
        assert reason in remark


@pytest.mark.parametrize("count", [1, 2, 50])
def test_plots_take_any_names_and_counts(tmp_path, count, recwarn):
    names = (HOSTILE + [f"class {n}" for n in range(46)])[:count]
    found = findings(names, mistakes=min(2, 4 * (count - 1)))
    plots.confusion_matrix(tmp_path / "c.png", found.evaluation.confusion, names)
    plots.roc_curves(tmp_path / "r.png", found.curves, found.scores["macro_auc"])
    plots.training_curves(tmp_path / "t.png", HISTORY[:count])
    assert all((tmp_path / f"{name}.png").stat().st_size > 5000 for name in "crt")
    assert not recwarn.list


# --- the page ---

def test_page_is_complete_and_needs_nothing(tmp_path):
    found = findings(["dog", "cat"], each=10, mistakes=3, channels=2)
    page = Page(page_of(tmp_path, found))
    assert len(page.all("audio")) == 3
    assert len(page.all("img")) == 3 * 2 + 1  # left and right of each, and the scale
    assert all(image["alt"] for image in page.all("img"))
    assert all(each["src"].startswith("data:") for each in page.all("img") + page.all("audio"))
    assert "default-src 'none'" in page.all("meta")[2]["content"]
    assert not page.all("script") + page.all("link")
    text = " ".join(page.text.split())
    for part in ("85.0%", "95% interval 64.0% to 94.8%", "All 3, the one", "vgg", "20% of each class", "precision",
                 "left", "0.4 s, then silence to 1 s", "3; the best one, 3,", "0.001, at the end 0.0005",
                 "Best after epoch 3"):
        assert part in text
    size = (tmp_path / "report.html").stat().st_size
    assert f"This page is {report.size_of(size)}" in text
    assert not list(tmp_path.glob(".unfinished-*"))


def test_names_are_text_and_nothing_else(tmp_path):
    found = findings(HOSTILE, mistakes=16)
    page = Page(page_of(tmp_path, found))
    assert not page.all("script")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    for name in HOSTILE[:3]:
        assert name in page.text
    assert "a?\x01b" in page.text  # what is no letter in any language


@pytest.mark.parametrize(("most", "text"), [(0, "All 5 are in mistakes.csv"),
                                            (2, "The 2 that it was surest of, out of 5")])
def test_what_is_not_shown_is_in_the_table(tmp_path, most, text):
    page = Page(page_of(tmp_path, findings(["a", "b"], mistakes=5), most))
    assert text in page.text
    assert len(page.all("audio")) == most


def test_worst_mistakes_come_first(tmp_path):
    found = findings(["a", "b", "c"], mistakes=6)
    text = Page(page_of(tmp_path, found)).text
    places = [text.index(found.evaluation.names[i]) for i in found.evaluation.mistakes]
    assert places == sorted(places)


def test_page_without_mistakes_sounds_training_or_test_files(tmp_path):
    found = findings(["a", "b", "c"], each=10, mistakes=0, untested=["c"])
    page = Page(page_of(tmp_path, found, sounds=False))
    assert "There are none: each of the 20 files came out right." in page.text
    assert "Nothing was confused" in page.text
    assert not page.all("audio")
    text = Page(page_of(tmp_path, findings(["a", "b"], mistakes=1), sounds=False)).text
    assert "No sound to play: its file is not in Samples/" in text
    found = findings(["a", "b"], mistakes=1, untested=["b"])
    found.trained.progress["history"] = []
    text = Page(page_of(tmp_path, found, sounds=False)).text
    assert "needs Test files of two classes" in text
    assert "epoch, loss" not in text


def test_train_files_are_counted_in_preproc_or_dealt_from_samples(tmp_path):
    for n in range(10):
        write(tmp_path / f"Samples/dog/{n}.wav", sine())
    sounds = report.find_sounds(tmp_path / "Samples")
    assert report.files_to_train(sounds, tmp_path / "Preproc", {"constants": {"TEST_FRACTION": 0.2}}) == {"dog": 8}
    path = dataset.melgram_path(tmp_path / "Preproc", "Train", "dog/0.wav")
    path.parent.mkdir(parents=True)
    dataset.write_melgram(path, np.zeros(SETTINGS.shape, np.float32), 0)
    assert report.files_to_train(sounds, tmp_path / "Preproc", {}) == {"dog": 1}


def test_sound_of_test_is_taken_where_train_has_the_name_too(tmp_path):
    found = findings(["a", "b"], mistakes=1)
    name = found.evaluation.names[found.evaluation.mistakes[0]]
    for side, seconds in (("Train", 0.3), ("Test", 0.7)):
        for each in ("a/0.wav", "b/0.wav", name):
            write(tmp_path / "Samples" / side / each, sine(seconds=seconds))
    assert "0.7 s, then silence" in Page(page_of(tmp_path, found, sounds=False)).text


def test_eval_network_writes_the_page(tmp_path, monkeypatch, capsys):
    """The whole script but for the network's own listening."""
    found = findings(["a", "b"], mistakes=2)
    monkeypatch.chdir(tmp_path)
    with h5py.File("weights.hdf5", "w"):
        pass
    weights_file.write("weights.hdf5", found.trained)
    for name, each in zip(found.clips.names, found.clips.melgrams, strict=True):
        path = dataset.melgram_path("Preproc", "Test", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.write_melgram(path, each, 0)
    Path("Preproc/settings.json").write_text(json.dumps(found.trained.settings.to_dict() | {"complete": True}))
    monkeypatch.setattr(eval_network, "evaluate", lambda *_: found.evaluation)
    monkeypatch.setattr("sys.argv", ["eval_network.py", "--report-clips", "1"])
    eval_network.main()
    assert "report.html: " in capsys.readouterr().out
    assert "The 1 that it was surest of, out of 2" in Page(tmp_path / "report.html").text


# --- in a browser ---

class Browser:
    """Chromium, spoken to through chromedriver (W3C WebDriver)."""

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
         "hostile": {"class_names": HOSTILE, "mistakes": 16}}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("kind", PAGES)
def test_a_browser_shows_all_of_it(browser, tmp_path, kind, scheme, width):
    found = findings(**PAGES[kind])
    path = page_of(tmp_path, found)
    browser.devtools("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
                     mobile=width < 500)
    browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("POST", "/url", {"url": path.as_uri()})
    for _ in range(50):
        durations = browser.run("return [...document.querySelectorAll('audio')].map(each => each.duration)")
        if all(durations):
            break
        time.sleep(0.1)
    assert durations == pytest.approx([0.4] * len(found.evaluation.mistakes), abs=0.05)
    assert browser.run("return [...document.images].every(each => each.naturalWidth > 0 && each.width > 50)")
    sizes = browser.run("return [...document.querySelectorAll('figure > svg')].map(each => each.clientWidth)")
    assert len(sizes) >= 4
    assert min(sizes) > 200
    assert browser.run("return document.documentElement.scrollWidth") <= width
    ink, paper = browser.run("const of = getComputedStyle(document.querySelector('svg text')).fill;"
                             "return [of, getComputedStyle(document.body).backgroundColor]")
    assert (brightness(ink) > brightness(paper)) == (scheme == "dark")
    assert not browser.call("POST", "/se/log", {"type": "browser"})


def brightness(colour):
    return sum(map(int, colour.removeprefix("rgb(").rstrip(")").split(",")))
