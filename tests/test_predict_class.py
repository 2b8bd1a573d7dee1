"""predict_class.py: the probabilities that eval_network.py finds, timelines without gaps, sounds as they are heard."""

import csv
import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, sine, tones, write

import eval_network
import panotti_models
import predict_class
import preprocess_data
from audio_utils import audio_io, command_line, melgram, weights_file
from audio_utils.melgram import MelgramSettings
from predict_class import Segment, cut, merged

SCRIPT = "predict_class.py"
CLIP, HOP, RATE = 2000, 1000, 8000  # samples, and Hz, of the network below: windows of 0.25 s
LOW, HIGH = 300.0, 600.0  # Hz: its classes


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a network that tells tones apart, and sounds of all kinds to preprocess and predict."""
    folder = tones(tmp_path_factory.mktemp("home"), ("low", "high"))
    for i, (rate, seconds, channels) in enumerate([(RATE, 0.1, 1), (44100, 0.2, 2), (11025, 0.25, 1), (6000, 0.2, 2)]):
        write(folder / f"Samples/low/odd{i}.wav", sine(LOW, seconds, rate, channels), rate)
        write(folder / f"Samples/high/odd{i}.flac", sine(HIGH, seconds, rate, channels), rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["preprocess_data.py", "--mels", "24", "--test-fraction", "0.5", "--mono"])
        preprocess_data.main()
        data = preprocess_data.open_data()
        teach(data.load("Train")[0], data.settings, data.record)
    return folder


def teach(clips, settings, record):
    """Write a network without training: random but for its last layer, which is fitted by least squares."""
    scaling = weights_file.Scaling.of(clips.melgrams)
    trained = weights_file.Trained("residual", clips.class_names, settings, record, scaling, {}, [])
    panotti_models.keras.utils.set_random_seed(1)
    model = panotti_models.build("residual", settings.shape, len(clips.class_names), scaling)
    examples = np.concatenate([ending(clips.melgrams, part) for part in (0.25, 0.5, 0.75, 1)])
    features = panotti_models.keras.Model(model.input, model.layers[-1].input).predict_on_batch(examples)
    wanted = 4 * np.tile(np.eye(len(clips.class_names))[clips.labels], (4, 1)) - 2  # probabilities of 0.98
    found = np.linalg.lstsq(np.pad(features, ((0, 0), (0, 1)), constant_values=1), wanted)[0]
    model.layers[-1].set_weights([found[:-1], found[-1]])
    panotti_models.save("weights.hdf5", trained, model, *[model.get_weights()] * 2,
                        panotti_models.keras.optimizers.Adam())


def ending(melgrams, part):
    """Melgrams that are silent after a part of their length."""
    melgrams = melgrams.copy()
    melgrams[:, :, round(part * melgrams.shape[2]):] = melgrams.max(axis=(1, 2, 3), keepdims=True) - 80
    return melgrams


@pytest.fixture(scope="module")
def network(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        network = predict_class.Network(options("a.wav"))
        assert network.predict  # loaded
        return network


def options(*arguments):
    return command_line.parse(vars(predict_class), [("files", {"nargs": "+"})], list(arguments))


@pytest.fixture
def predict(home, network, monkeypatch, capsys):
    """Run the script's main() in a folder, with a network that is loaded once; sent: the bytes of standard input."""
    [model] = network.predict.args
    monkeypatch.setattr(panotti_models, "load", lambda *_: model)

    def call(*arguments, folder=home, sent=None):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [SCRIPT, "--weights", str(home / "weights.hdf5"), *map(str, arguments)])
        if sent is not None:
            descriptor = pipe_with(sent)
            monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: descriptor))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            command_line.run(predict_class.main)
        return SimpleNamespace(status=left.value.code, **capsys.readouterr()._asdict())

    return call


def pipe_with(data):
    """The reading end of a pipe into which a thread writes the bytes."""
    reading, writing = os.pipe()

    def feed():
        with open(writing, "wb") as file, suppress(BrokenPipeError):
            file.write(data)

    threading.Thread(target=feed, daemon=True).start()
    return reading


def wav(audio, rate=RATE, size=None, tag=1, before=b"", after=b""):
    """The bytes of a wav: 16 bits, or floats (tag 3); size: what its header says that the samples take."""
    samples = audio.T.astype("<f4") if tag == 3 else np.rint(32767 * audio.T).astype("<i2")
    channels, width, size = len(audio), samples.itemsize, samples.nbytes if size is None else size
    kind = struct.pack("<HHIIHH", tag, channels, rate, rate * channels * width, channels * width, 8 * width)
    if tag == 0xFFFE:  # WAVE_FORMAT_EXTENSIBLE, its subformat PCM
        kind += struct.pack("<HHI", 22, 8 * width, 0) + bytes.fromhex("0100000000001000800000aa00389b71")
    return b"".join([b"RIFF", struct.pack("<I", min(size + 36, 0xFFFFFFFF)), b"WAVEfmt ", struct.pack("<I", len(kind)),
                     kind, before, b"data", struct.pack("<I", size), samples.tobytes(), after])


def low_then_high(seconds=2.0, rate=RATE, channels=1):
    return np.concatenate([sine(hertz, seconds, rate, channels) for hertz in (LOW, HIGH)], axis=1)


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def objects_of(text):
    return [json.loads(line) for line in text.splitlines()]


def check_whole(rows, seconds):
    """Rows follow one another without gap, from the beginning to the end."""
    assert rows[0]["start"] == 0
    assert [row["start"] for row in rows[1:]] == [row["end"] for row in rows[:-1]]
    assert rows[-1]["end"] == pytest.approx(seconds, abs=2e-3)


# --- short sounds ---------------------------------------------------------------------------------------------------

def test_probabilities_are_those_of_eval(predict, home, monkeypatch):
    monkeypatch.chdir(home)
    trained = weights_file.read("weights.hdf5")
    evaluation = eval_network.evaluate(trained, eval_network.load_test(trained), 64)
    assert len(evaluation.names) == 14
    found = objects_of(predict("--json", "--batch-size", 5, *(f"Samples/{name}" for name in evaluation.names)).out)
    probabilities = [list(each["probabilities"].values()) for each in found]
    np.testing.assert_allclose(probabilities, evaluation.probabilities, atol=1e-5)
    assert [each["class"] for each in found] == [evaluation.class_names[i] for i in evaluation.predicted]


def test_prints_the_most_probable_classes_of_each_file(predict, tmp_path):
    names = [write(tmp_path / name, sine(hertz, 0.25)) for name, hertz in (("b.wav", LOW), ("a b“ü”.wav", HIGH))]
    lines = predict(*names).out.splitlines()
    assert lines[0].startswith(f"{names[0]}: low ")
    assert "  high " in lines[0]
    assert lines[1].startswith(f"{names[1]}: high ")
    assert predict(*names, "--top-k", 1).out.splitlines()[0].count("%") == 1


def test_less_probable_than_asked_is_none_of_these(predict):
    sound = "Samples/low/9.wav"
    [sure] = objects_of(predict(sound, "--json").out)
    assert predict(sound, "--min-probability", sure["probability"] - 1e-4).out.startswith(f"{sound}: low")
    assert predict(sound, "--min-probability", 1).out.startswith(f"{sound}: none of these (low ")
    [unsure] = objects_of(predict(sound, "--json", "--min-probability", 1).out)
    assert unsure == sure | {"class": "none of these"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_any_name_comes_back_from_csv_and_json(predict, tmp_path):
    names = ["a b.wav", "ünï“ø”.wav", "it's.wav", 'say "hi".wav', "comma, tab\t.wav", "new\nline.wav", "[x]*.wav"]
    raw = os.fsdecode(b"\xff.wav")
    for name in [*names, raw]:
        write(tmp_path / "sound", sine(LOW, 0.2), format="WAV").rename(tmp_path / name)
    rows = rows_of(predict("--csv", *names, folder=tmp_path).out)
    assert [row["file"] for row in rows] == names
    objects = objects_of(predict("--json", *names, raw, folder=tmp_path).out)
    assert [each["file"] for each in objects] == [*names, raw]
    for row, each in zip(rows, objects, strict=False):
        assert row["class"] == each["class"] == "low"
        assert (row["start"], row["end"]) == ("0.000", "0.200")
        assert float(row["probability"]) == each["probability"] == max(each["probabilities"].values())
        assert {name: float(row["p_" + name]) for name in ("high", "low")} == each["probabilities"]


BAD = {"missing.wav": "is not there", "text.wav": "is no audio", "empty.wav": "is empty", "nan.wav": "holds NaN",
       "long_nan.wav": "holds NaN", "folder": "is not a file"}


def test_bad_files_are_named_and_the_others_predicted(predict, tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "folder").mkdir()
    write(tmp_path / "nan.wav", sine(seconds=0.1) * np.nan, subtype="FLOAT")
    write(tmp_path / "long_nan.wav", sine(seconds=1) * np.nan, subtype="FLOAT")
    for name in "ab":
        write(tmp_path / f"{name}.wav", sine(LOW, 0.25))
    result = predict("a.wav", *BAD, "b.wav", folder=tmp_path)
    assert result.status == 1
    assert [line.split()[:2] for line in result.out.splitlines()] == [["a.wav:", "low"], ["b.wav:", "low"]]
    assert len(result.err.splitlines()) == len(BAD)
    for line, (name, problem) in zip(result.err.splitlines(), BAD.items(), strict=True):
        assert line.startswith(f"{name}: {problem}")


def test_a_file_cut_short_is_predicted_and_named(predict, tmp_path):
    for name, seconds in (("short.wav", 0.2), ("long.wav", 2.0)):
        whole = write(tmp_path / name, sine(LOW, seconds)).read_bytes()
        (tmp_path / name).write_bytes(whole[:len(whole) // 2])
    result = predict("short.wav", "long.wav", folder=tmp_path)
    assert result.status == 0
    assert result.out.count(": low") == 2
    assert result.err == "".join(f"{name}.wav: is cut short; what is there is used.\n" for name in ("short", "long"))


def test_many_files_on_many_processes_come_in_order(predict, tmp_path):
    names = [f"{i}.wav" for i in range(80)]
    for i, name in enumerate(names):
        write(tmp_path / name, sine(LOW if i % 3 else HIGH, 2.0 if i == 40 else 0.25, level=0.1 + i / 100))
    (tmp_path / "7.wav").unlink()
    result = predict("--csv", "--jobs", 2, *names, folder=tmp_path)
    assert result.status == 1
    rows = rows_of(result.out)
    names.remove("7.wav")
    assert [row["file"] for row in rows] == names
    assert [row["class"] for row in rows] == ["low" if int(name[:-4]) % 3 else "high" for name in names]
    assert predict("--csv", "--jobs", 1, *names, folder=tmp_path).out == result.out


# --- channels -------------------------------------------------------------------------------------------------------

def test_more_channels_than_the_network_knows_are_refused_before_keras(run, tmp_path):
    settings = MelgramSettings.of(RATE, CLIP, 2, 24, 46.44, 11.61)
    scaling = weights_file.Scaling(np.zeros(24, np.float32), np.ones(24, np.float32))
    trained = weights_file.Trained("vgg", ["a", "b"], settings, {}, scaling, {}, [])
    model = panotti_models.build("vgg", settings.shape, 2, scaling)
    panotti_models.save(tmp_path / "weights.hdf5", trained, model, *[model.get_weights()] * 2,
                        panotti_models.keras.optimizers.Adam())
    wide = write(tmp_path / "wide.wav", sine(seconds=0.1, channels=3))
    sentence = "has 3 channels, the network 2; leave some out."
    result = run(SCRIPT, "wide.wav", status=1, KERAS_BACKEND="none")
    assert result.stderr == f"wide.wav: {sentence}\n"
    with open(wide, "rb") as sound:
        result = subprocess.run([sys.executable, str(ROOT / SCRIPT), "-"], stdin=sound, cwd=tmp_path, text=True,
                                capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (1, f"standard input: {sentence}\n")


def test_channels_are_mixed_for_a_mono_network(predict, tmp_path):
    for name, channels in (("one.wav", 1), ("two.wav", 2), ("six.wav", 6)):
        write(tmp_path / name, low_then_high(channels=channels), subtype="FLOAT")
    objects = objects_of(predict("--json", "one.wav", "two.wav", "six.wav", folder=tmp_path).out)
    for other in (objects[2:4], objects[4:6]):
        assert [each | {"file": ""} for each in objects[:2]] == [each | {"file": ""} for each in other]


# --- long sounds ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("block", [1, 3, 10, 1000])
@pytest.mark.parametrize(("clip", "hop"), [(10, 5), (10, 10), (10, 1), (7, 3)])
def test_windows_cover_every_sample_once(clip, hop, block):
    for samples in (1, clip - 1, clip, clip + 1, clip + hop, 50, 53):
        sound = np.arange(1.0, 2 * samples + 1).reshape(2, samples)
        windows = list(cut((sound[:, i:i + block] for i in range(0, samples, block)), clip, hop))
        starts = [*range(0, samples - clip, hop), max(0, samples - clip)]
        assert len(windows) == len(starts)
        end_before = 0
        for i, (start, end, window) in enumerate(windows):
            expected = sound[:, starts[i]:starts[i] + clip]
            np.testing.assert_array_equal(window, np.pad(expected, ((0, 0), (0, clip - expected.shape[1]))))
            assert start == end_before
            assert end == (samples if i == len(starts) - 1 else starts[i] + (clip + hop) / 2)
            assert end > start
            end_before = end


def test_no_sample_no_window():
    assert list(cut([], 10, 5)) == []


def test_neighbours_of_one_class_are_merged_and_averaged_over_time():
    def segment(start, end, name, *probabilities):
        return Segment(start, end, name, np.array(probabilities))

    found = list(merged([segment(0, 3, "a", 0.9, 0.1), segment(3, 4, "a", 0.5, 0.5), segment(4, 5, "b", 0.2, 0.8),
                         segment(5, 6, "a", 0.7, 0.3)]))
    assert [each[:3] for each in found] == [(0, 4, "a"), (4, 5, "b"), (5, 6, "a")]
    np.testing.assert_allclose([each.probabilities for each in found], [[0.8, 0.2], [0.2, 0.8], [0.7, 0.3]])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [RATE, 44100, 11025, 6000])
def test_windows_are_what_their_samples_are_as_a_file(network, tmp_path, rate, channels):
    rng = np.random.default_rng(1)
    path = write(tmp_path / "long.wav", 0.1 * rng.standard_normal((channels, 3 * rate + 7)).astype(np.float32), rate)
    with audio_io.opened(path, block=5000) as (facts, blocks):
        windows = list(network.windows(blocks(facts.samples), rate, path))
    np.testing.assert_array_equal(windows[0].melgram, melgram.of_file(path, network.settings)[0])
    audio = audio_io.resample(melgram.match_channels(audio_io.read(path)[0], 1), rate, RATE)
    for place in (3, 10):
        expected = melgram.melgram(audio[:, place * HOP:place * HOP + CLIP], network.settings)
        np.testing.assert_allclose(windows[place].melgram, expected, atol=1e-3)


def test_a_long_file_gives_a_timeline(predict, tmp_path):
    write(tmp_path / "long.wav", low_then_high())
    for flags, middle in (([], 2.0), (["--hop-seconds", 0.01], 2.0), (["--hop-seconds", 0.25], 2.0)):
        found = objects_of(predict("long.wav", "--json", *flags, folder=tmp_path).out)
        check_whole(found, 4)
        assert [found[0]["class"], found[-1]["class"]] == ["low", "high"]
        assert found[0]["end"] == pytest.approx(middle, abs=0.13)
        assert found[-1]["start"] == pytest.approx(middle, abs=0.13)  # between them a window hears both
        assert min(found[0]["probability"], found[-1]["probability"]) > 0.8
    lines = predict("long.wav", folder=tmp_path).out.splitlines()
    assert lines[0] == "long.wav:"
    assert lines[1].split()[:3] == ["0:00:00.00", lines[2].split()[0], "low"]
    assert lines[2].split()[1:3] == ["0:00:04.00", "high"]


def test_a_sound_of_a_clip_is_one_and_of_a_sample_more_is_two(predict, network, tmp_path):
    clip, more = (str(write(tmp_path / f"{n}.wav", sine(LOW, n / RATE))) for n in (CLIP, CLIP + 1))
    assert isinstance(predict_class.read(clip, network.settings, options(clip)), predict_class.Clip)
    assert predict_class.read(more, network.settings, options(more)) is None
    assert predict(more).out.startswith(f"{more}: low ")  # one class: one line


# --- labels ---------------------------------------------------------------------------------------------------------

def test_labels_are_a_track_for_audacity_beside_each_file(predict, tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/a.b.wav", low_then_high())
    write(tmp_path / "in/short.wav", sine(HIGH, 0.2))
    assert predict("--labels", "in/a.b.wav", "in/short.wav", folder=tmp_path).status == 0
    rows = [line.split("\t") for line in (tmp_path / "in/a.b.wav.labels.txt").read_text().splitlines()]
    assert [row[2] for row in rows] == ["low", "high"]
    check_whole([{"start": float(row[0]), "end": float(row[1])} for row in rows], 4)
    assert (tmp_path / "in/short.wav.labels.txt").read_text() == "0.000000\t0.200000\thigh\n"


def test_labels_that_are_there_stay_unless_asked(predict, tmp_path):
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, sine(LOW, 0.2))
    track = tmp_path / "a.wav.labels.txt"
    track.write_text("mine")
    result = predict("--labels", "a.wav", "b.wav", folder=tmp_path)
    assert result.status == 1
    assert result.err == "a.wav.labels.txt: is there already; rename it or add --overwrite.\n"
    assert track.read_text() == "mine"
    assert (tmp_path / "b.wav.labels.txt").exists()
    assert predict("--labels", "--overwrite", "a.wav", folder=tmp_path).status == 0
    assert track.read_text().endswith("low\n")


# --- standard input -------------------------------------------------------------------------------------------------

LIST = b"LIST" + struct.pack("<I", 5) + b"INFOx" + b"\0"
STREAMS = {"exact": {}, "nothing": {"size": 0}, "sox": {"size": 0x7FFFF000}, "2 GiB": {"size": 0x7FFFFFFF},
           "arecord": {"size": 0x80000000}, "ffmpeg": {"size": 0xFFFFFFFF, "before": LIST},
           "chunk behind": {"after": LIST * 500}, "floats": {"tag": 3, "size": 0xFFFFFFFF},
           "extensible": {"tag": 0xFFFE, "size": 0xFFFFFFFF}}


@pytest.mark.parametrize("stream", STREAMS)
def test_standard_input_is_heard_to_its_end_whatever_its_header_says(predict, stream):
    result = predict("-", "--json", sent=wav(low_then_high(), **STREAMS[stream]))
    assert result.status == 0
    found = objects_of(result.out)
    assert len(found) == 31  # windows of 0.25 s, every 0.125 s
    assert {each["file"] for each in found} == {"-"}
    check_whole(found, 4)
    assert all(each["class"] == "low" for each in found if each["end"] < 1.85)
    assert all(each["class"] == "high" for each in found if each["start"] > 2.15)


def test_standard_input_of_another_rate_and_channels(predict):
    found = rows_of(predict("-", "--csv", sent=wav(low_then_high(rate=44100, channels=2), 44100, 0x7FFFFFFF)).out)
    check_whole([{name: float(row[name]) for name in ("start", "end")} for row in found], 4)
    assert (found[0]["class"], found[-1]["class"]) == ("low", "high")


def test_a_short_sound_is_the_same_from_standard_input(predict, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(sine(LOW, 0.1)))
    [from_file] = objects_of(predict("a.wav", "--json", folder=tmp_path).out)
    [from_pipe] = objects_of(predict("-", "--json", sent=wav(sine(LOW, 0.1))).out)
    assert from_pipe["probabilities"] == pytest.approx(from_file["probabilities"], abs=1e-5)
    assert (from_pipe["start"], from_pipe["end"]) == (0, 0.1)


@pytest.mark.parametrize(("sent", "problem"), [
    (b"", "is no wav"), (b"RIFF", "is no wav"), (bytes(10000), "is no wav"), (b"fLaC" + bytes(100), "is no wav"),
    (wav(sine(), tag=7), "is no wav"), (wav(sine(), rate=0), "is no wav"), (wav(sine())[:44], "holds no sample"),
    (wav(np.full((1, 9000), np.nan), tag=3), "holds NaN")])
def test_standard_input_that_is_no_sound_is_one_sentence(predict, sent, problem):
    result = predict("-", sent=sent)
    assert result.status == 1
    assert not result.out
    sentence = result.err.splitlines()[-1]
    assert sentence.startswith(f"standard input: {problem}")


def test_an_endless_sound_is_printed_as_it_is_heard_until_interrupted(home):
    process = subprocess.Popen([sys.executable, str(ROOT / SCRIPT), "-"], cwd=home, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        process.stdin.write(wav(low_then_high(0.5), size=0x7FFFFFFF))
        process.stdin.flush()
        lines = [process.stdout.readline().split() for _ in range(6)]  # standard input goes on, yet they come
        assert lines[0][:3] == [b"0:00:00.00", b"0:00:00.19", b"low"]
        assert lines[5][:3] == [b"0:00:00.69", b"0:00:00.81", b"high"]
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert not out
    assert err.decode().splitlines() == ["Listening to 1 channel at 8000 Hz.", "", "Stopped."]


# --- mistakes -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("flags", "sentence"), [
    (["a.wav", "--top-k", "0"], "TOP_K is 0"), (["a.wav", "--min-probability", "2"], "MIN_PROBABILITY is 2.0"),
    (["a.wav", "--hop-seconds", "9"], "HOP_SECONDS is 9; set it to at most 0.25, the length of a window."),
    (["a.wav", "--hop-seconds", "0"], "HOP_SECONDS is 0"), (["a.wav", "--json", "--csv"], "JSON and CSV are both"),
    (["a.wav", "-"], "-: stands for standard input"), (["-", "--labels"], "-: stands for standard input"),
    (["a.wav", "--weights", "none.hdf5"], "none.hdf5: is not here; run train_network.py first."),
    (["a.wav"], "a.wav: is not there; check the name.")])
def test_mistakes_are_one_sentence_before_keras_is_imported(run, home, flags, sentence):
    result = run(SCRIPT, *flags, cwd=home, status=1, KERAS_BACKEND="none")
    assert result.stderr.startswith(sentence)
    assert result.stderr.count("\n") == 1


def test_help_shows_the_constants_and_imports_no_keras(run):
    text = run(SCRIPT, "--help", KERAS_BACKEND="none").stdout
    assert "--hop-seconds" in text
    assert "arecord -f cd" in text


@pytest.mark.skipif("PANOTTI_LONG" not in os.environ, reason="takes minutes; set PANOTTI_LONG")
def test_three_hours_need_no_more_memory_than_ten_seconds(home, tmp_path):
    peaks = []
    for seconds in (10, 3 * 3600):
        with audio_io.writing(tmp_path / "long.wav", 44100, 2) as write_block:
            for _ in range(seconds // 10):
                write_block(np.zeros((2, 441000), np.float32))
        process = subprocess.Popen([sys.executable, str(ROOT / SCRIPT), str(tmp_path / "long.wav")], cwd=home)
        _, status, used = os.wait4(process.pid, 0)
        assert status == 0
        peaks.append(used.ru_maxrss)
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.skipif("PANOTTI_LONG" not in os.environ, reason="takes minutes; set PANOTTI_LONG")
def test_thousands_of_files(predict, tmp_path):
    names = [f"{i}.wav" for i in range(5000)]
    for i, name in enumerate(names):
        write(tmp_path / name, sine(LOW, 0.1 + i / 1e5))
    rows = rows_of(predict("--csv", *names, folder=tmp_path).out)
    assert [row["file"] for row in rows] == names
