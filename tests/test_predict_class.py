"""predict_class.py: the probabilities that eval_network.py finds, timelines without gaps, live standard input."""

import csv
import io
import json
import os
import shutil
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
from networks import save, write_random_network

import eval_network
import panotti_models
import predict_class
import preprocess_data
from audio_utils import split_audio
from audio_utils.audio import audio_io
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import dataset
from audio_utils.data.standardization import Standardization
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference import network
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.inference.classifier import Classifier
from audio_utils.runtime import command_line, script
from audio_utils.training import scored_clips

SCRIPT = "predict_class.py"
CLIP, RATE = 2000, 8000  # samples, and Hz, of the network below: windows of 0.25 s
LOW, HIGH = 300.0, 600.0  # Hz: its classes
NO_BACKGROUND = "Without a background class, noise is assigned to some class; see BACKGROUND_CLASSES in " \
                "train_network.py.\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a network that classifies tones, and sounds of all kinds to preprocess and predict."""
    folder = tones(tmp_path_factory.mktemp("home"), ("low", "high"))
    for i, (rate, seconds, channels) in enumerate([(RATE, 0.1, 1), (44100, 0.2, 2), (11025, 0.25, 1), (6000, 0.2, 2)]):
        write(folder / f"Samples/low/odd{i}.wav", sine(LOW, seconds, rate, channels), rate)
        write(folder / f"Samples/high/odd{i}.flac", sine(HIGH, seconds, rate, channels), rate)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["preprocess_data.py", "--mels", "24", "--test-fraction", "0.5", "--mono"])
        preprocess_data.main()
        write_fitted_network(folder, dataset.open_dataset(command_line.constants(preprocess_data, {})))
    return folder


def write_fitted_network(folder, data):
    """Write a network without training: random except for its last layer, which is fitted by least squares."""
    clips = data.load("Train")
    standardization = Standardization.of(clips.melgrams)
    panotti_models.keras.utils.set_random_seed(1)
    model = panotti_models.build("residual", data.settings.shape, len(clips.class_names), standardization)
    examples = np.concatenate([silent_after(clips.melgrams, fraction) for fraction in (0.25, 0.5, 0.75, 1)])
    features = panotti_models.keras.Model(model.input, model.layers[-1].input).predict_on_batch(examples)
    wanted = 4 * np.tile(clips.targets, (4, 1)) - 2  # probabilities of 0.98
    fitted = np.linalg.lstsq(np.pad(features, ((0, 0), (0, 1)), constant_values=1), wanted, rcond=0.01)[0]
    model.layers[-1].set_weights([fitted[:-1], fitted[-1]])
    save(folder, Checkpoint("residual", clips.class_names, data.settings, data.preprocessing, standardization, {}, []),
         model)


def silent_after(melgrams, fraction):
    """Melgrams that are silent after a fraction of their length."""
    melgrams = melgrams.copy()
    melgrams[:, :, round(fraction * melgrams.shape[2]):] = melgrams.max(axis=(1, 2, 3), keepdims=True) - 80
    return melgrams


@pytest.fixture(scope="module")
def model(home):
    return Classifier(home / "weights.hdf5").model


@pytest.fixture
def predict(home, model, monkeypatch, capsys):
    """Run the script's main() in a folder, with a network that is loaded only once; sent: bytes on standard input.

    Its stderr is returned without the sentence about the missing background class, and with it as stderr.
    """
    monkeypatch.setattr(network, "load", lambda *_: model)

    def call(*arguments, folder=home, sent=None):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [SCRIPT, "--weights", str(home / "weights.hdf5"), *map(str, arguments)])
        if sent is not None:
            descriptor = pipe_with(sent)
            monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: descriptor))
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            script.run(predict_class.main)
        out, err = capsys.readouterr()
        return SimpleNamespace(status=exit_info.value.code, out=out, stderr=err,
                               err=err.replace(NO_BACKGROUND, "", 1))

    return call


def pipe_with(data):
    """The read end of a pipe into which a thread writes the bytes."""
    reading, writing = os.pipe()

    def feed():
        with open(writing, "wb") as file, suppress(BrokenPipeError):
            file.write(data)

    threading.Thread(target=feed, daemon=True).start()
    return reading


def wav(audio, rate=RATE, size=None, tag=1, before=b"", after=b""):
    """The bytes of a wav: 16 bits, or floats (tag 3); size: of the samples in bytes, according to the header."""
    samples = audio.T.astype("<f4") if tag == 3 else np.rint(32767 * audio.T).astype("<i2")
    channels, width, size = len(audio), samples.itemsize, samples.nbytes if size is None else size
    kind = struct.pack("<HHIIHH", tag, channels, rate, rate * channels * width, channels * width, 8 * width)
    if tag == 0xFFFE:  # WAVE_FORMAT_EXTENSIBLE with the subformat PCM
        kind += struct.pack("<HHI", 22, 8 * width, 0) + bytes.fromhex("0100000000001000800000aa00389b71")
    return b"".join([b"RIFF", struct.pack("<I", min(size + 36, 0xFFFFFFFF)), b"WAVEfmt ", struct.pack("<I", len(kind)),
                     kind, before, b"data", struct.pack("<I", size), samples.tobytes(), after])


def low_then_high(seconds=2.0, rate=RATE, channels=1):
    return np.concatenate([sine(hertz, seconds, rate, channels) for hertz in (LOW, HIGH)], axis=1)


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def objects_of(text):
    return [json.loads(line) for line in text.splitlines()]


def require_no_gaps(rows, seconds):
    """Rows follow one another without gaps, from the beginning to the end."""
    assert rows[0]["start"] == 0
    assert [row["start"] for row in rows[1:]] == [row["end"] for row in rows[:-1]]
    assert rows[-1]["end"] == pytest.approx(seconds, abs=2e-3)


# --- short sounds ---------------------------------------------------------------------------------------------------

def test_probabilities_are_those_of_eval(predict, home, monkeypatch):
    monkeypatch.chdir(home)
    checkpoint = checkpoints.read("weights.hdf5")
    options = command_line.constants(preprocess_data, checkpoint.preprocessing_constants)
    test = scored_clips.of_test(options, checkpoint, "weights.hdf5")
    evaluation = eval_network.evaluate(checkpoint, test.clips, 64)
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


def test_below_min_probability_the_answer_is_none_of_these(predict):
    sound = "Samples/low/9.wav"
    [sure] = objects_of(predict(sound, "--json").out)
    assert predict(sound, "--min-probability", sure["probability"] - 1e-4).out.startswith(f"{sound}: low")
    assert predict(sound, "--min-probability", 1).out.startswith(f"{sound}: none of these (low ")
    [unsure] = objects_of(predict(sound, "--json", "--min-probability", 1).out)
    assert unsure == sure | {"class": "none of these"}


@pytest.fixture
def thresholds(home, tmp_path):
    """A copy of the weights in which low is accepted, and high only with a probability of 1."""
    path = shutil.copy(home / "weights.hdf5", tmp_path)
    checkpoints.update(path, thresholds={"source": "cross-validation with 5 folds", "clips": 240, "classes": {
        "low": {"positives": 231, "max_f1": 0.5, "precision_90": 0.6},
        "high": {"positives": 9, "max_f1": 1.0, "precision_90": None}}})
    return path


def test_auto_and_precision_apply_the_thresholds_of_the_network(predict, thresholds):
    files = ("Samples/low/9.wav", "Samples/high/9.wav")
    auto = predict(*files, "--weights", thresholds, "--min-probability", "auto")
    assert auto.out.startswith("Samples/low/9.wav: low ")
    assert auto.out.splitlines()[1].startswith("Samples/high/9.wav: none of these (high ")
    assert auto.err == ("Thresholds from cross-validation with 5 folds, 240 clips.\nUncertain, with fewer than 10 "
                        "clips: high; add sounds and run train_network.py --folds 5 again.\n")
    precision = predict(*files, "--weights", thresholds, "--min-probability", "precision", "--json")
    assert [each["class"] for each in objects_of(precision.out)] == ["low", "none of these"]
    assert precision.err.splitlines()[1:] == ["Never predicted, because no threshold has a precision of 90%: high."]


def test_without_thresholds_auto_names_the_command_that_chooses_them(predict):
    result = predict("Samples/low/9.wav", "--min-probability", "auto")
    assert result.status == 1
    assert result.err.endswith("weights.hdf5: contains no thresholds for MIN_PROBABILITY = 'auto'; run "
                               "train_network.py --folds 5, which chooses them.\n")


@pytest.fixture
def high_is_background(monkeypatch):
    """The class high is a background class of the network."""
    read = checkpoints.read
    monkeypatch.setattr(checkpoints, "read", lambda path: read(path)._replace(background_classes=["high"]))


@pytest.mark.usefixtures("high_is_background")
def test_a_background_class_is_none_of_these_in_all_formats(predict, thresholds):
    files = ("Samples/low/9.wav", "Samples/high/9.wav")
    low, high = predict(*files).out.splitlines()
    assert low.startswith("Samples/low/9.wav: low ")
    assert high.startswith("Samples/high/9.wav: none of these (high ")
    [low, high] = rows_of(predict("--csv", *files).out)
    assert (low["class"], high["class"]) == ("low", "none of these")
    assert float(high["probability"]) == float(high["p_high"]) > float(high["p_low"])
    [low, high] = objects_of(predict("--json", *files).out)
    assert (low["class"], high["class"], high["status"]) == ("low", "none of these", "")
    assert list(high["probabilities"]) == ["high", "low"]
    auto = predict(*files, "--weights", thresholds, "--min-probability", "auto", "--json")
    assert [each["class"] for each in objects_of(auto.out)] == ["low", "none of these"]
    assert auto.err == "Thresholds from cross-validation with 5 folds, 240 clips.\n"  # none of the background class


@pytest.mark.usefixtures("high_is_background")
def test_labels_contain_no_background(predict, tmp_path):
    write(tmp_path / "both.wav", np.concatenate([low_then_high(), sine(LOW, 2)], axis=1))
    write(tmp_path / "high.wav", sine(HIGH, 0.2))
    assert predict("--labels", "--raven", "both.wav", "high.wav", folder=tmp_path).status == 0
    labels = [line.split("\t") for line in (tmp_path / "both.wav.labels.txt").read_text().splitlines()]
    assert [label[2] for label in labels] == ["low", "low"]
    np.testing.assert_allclose([[float(time) for time in label[:2]] for label in labels], [[0, 2], [4, 6]], atol=0.15)
    assert (tmp_path / "high.wav.labels.txt").read_text() == ""
    selections = [len((tmp_path / f"{name}.wav.selections.txt").read_text().splitlines()) for name in ("both", "high")]
    assert selections == [3, 1]  # with the line of titles


@pytest.mark.parametrize("flags", [(), ("--csv",), ("--json",)])
def test_a_network_without_a_background_class_is_pointed_out_once_on_stderr(predict, flags):
    assert predict("Samples/low/8.wav", "Samples/low/9.wav", *flags).stderr == NO_BACKGROUND


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


BAD = {"missing.wav": "does not exist", "text.wav": "is not a readable audio file", "empty.wav": "is empty",
       "nan.wav": "contains NaN", "long_nan.wav": "contains NaN"}


def test_bad_files_are_named_and_the_others_predicted(predict, tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    (tmp_path / "empty.wav").touch()
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


def test_a_truncated_file_is_predicted_and_named(predict, tmp_path):
    for name, seconds in (("short.wav", 0.2), ("long.wav", 2.0)):
        whole = write(tmp_path / name, sine(LOW, seconds)).read_bytes()
        (tmp_path / name).write_bytes(whole[:len(whole) // 2])
    result = predict("short.wav", "long.wav", folder=tmp_path)
    assert result.status == 0
    assert result.out.count(": low") == 2
    assert result.err == ("short.wav: is truncated; the available part is used.\n"
                          "long.wav: is truncated; the available part is used.\n")


@pytest.mark.slow
def test_many_files_on_several_processes_keep_their_order(predict, tmp_path):
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


# --- folders --------------------------------------------------------------------------------------------------------

def test_the_sounds_of_a_folder_and_of_its_class_folders_are_taken(predict, tmp_path):
    for name in ("b.wav", "a.FLAC", "owl/c.wav", "owl/deep/d.wav", ".hidden/e.wav", "ant/f.ogg"):
        write(tmp_path / "new" / name, sine(LOW, 0.2))
    for name in ("notes.csv", "b.wav.labels.txt", ".DS_Store", "ant/.f.wav"):
        (tmp_path / "new" / name).write_text("")
    (tmp_path / "empty").mkdir()
    result = predict("--csv", "new/b.wav", "new", folder=tmp_path)
    names = ["new/b.wav", "new/a.FLAC", "new/ant/f.ogg", "new/owl/c.wav"]
    assert [row["file"] for row in rows_of(result.out)] == names
    assert (result.status, result.err) == (0, "new: 4 sounds.\n")
    result = predict("new/owl/", "empty", folder=tmp_path)
    assert result.out.startswith("new/owl/c.wav: low")
    assert result.err == "new/owl/: 2 sounds.\nempty: contains no sounds; choose a folder of audio files.\n"
    assert result.status == 1


# --- silence --------------------------------------------------------------------------------------------------------

@pytest.fixture
def levels_of_training(monkeypatch):
    """A function that sets what the network's file holds of its training clips."""
    read = checkpoints.read

    def set_levels(**levels):
        monkeypatch.setattr(checkpoints, "read", lambda path: read(path)._replace(**levels))
    return set_levels


def test_silence_and_very_quiet_sounds_have_a_status(predict, tmp_path, levels_of_training):
    levels = {"silent": 0, "faint": 1e-4, "loud": 0.5}
    files = [write(tmp_path / f"{name}.wav", sine(LOW, 0.2, level=level), subtype="FLOAT").name
             for name, level in levels.items()]

    def found(*flags):
        return predict(*files, *flags, folder=tmp_path).out

    assert [each["status"] for each in objects_of(found("--json"))] == ["silence", "", ""]  # an older file
    levels_of_training(quietest_db=0.0)
    assert [list(each.items())[-1] for each in objects_of(found("--json"))] == [
        ("status", "silence"), ("status", "very quiet"), ("status", "")]
    table = rows_of(found("--csv"))
    assert [list(row.items())[-1] for row in table] == [("status", "silence"), ("status", "very quiet"), ("status", "")]
    assert table[1]["class"] == table[2]["class"] == "low"
    lines = found().splitlines()
    assert lines[0].startswith("silent.wav: silence (")
    assert lines[1].startswith("faint.wav: very quiet (low ")
    assert lines[2].startswith("loud.wav: low ")
    assert found("--min-probability", 1).splitlines()[1].startswith("faint.wav: very quiet (low ")
    levels_of_training(quietest_db=0.0, trained_on_silence=True)
    assert [each["status"] for each in objects_of(found("--json"))] == ["", "very quiet", ""]


@pytest.mark.parametrize("seconds", [0.2, 1])
@pytest.mark.parametrize("rate", [RATE, 44100])
def test_a_dc_offset_changes_neither_class_nor_status(predict, tmp_path, levels_of_training, seconds, rate):
    levels_of_training(quietest_db=0.0)
    for level in (0, 1e-4, 0.02):
        for offset in (0, 0.2, -0.5):
            write(tmp_path / f"{level} {offset}.wav", sine(LOW, seconds, rate, level=level) + offset, rate,
                  subtype="PCM_24")
        names = sorted(path.name for path in tmp_path.glob(f"{level} *.wav"))
        found = objects_of(predict(*names, "--json", folder=tmp_path).out)
        assert {each["status"] for each in found} == {{0: "silence", 1e-4: "very quiet", 0.02: ""}[level]}
        assert len(found) == 3
        for each in found[1:]:
            assert each["probabilities"] == pytest.approx(found[0]["probabilities"], abs=1e-3)


def test_silence_in_a_long_recording_is_a_line_and_a_label_of_its_own(predict, tmp_path):
    audio = np.concatenate([sine(LOW, 2), sine(level=0, seconds=2), sine(HIGH, 2)], axis=1)
    write(tmp_path / "a.wav", audio)
    found = objects_of(predict("a.wav", "--json", "--labels", folder=tmp_path).out)
    require_no_gaps(found, 6)
    silent = [each for each in found if each["status"] == "silence"]
    assert len(silent) == 1
    assert (silent[0]["start"], silent[0]["end"]) == (pytest.approx(2, abs=0.2), pytest.approx(4, abs=0.2))
    assert {each["status"] for each in found} == {"", "silence"}
    labels = [line.split("\t")[2] for line in (tmp_path / "a.wav.labels.txt").read_text().splitlines()]
    assert [labels[0], labels.count("silence"), labels[-1]] == ["low", 1, "high"]
    lines = predict("a.wav", folder=tmp_path).out.splitlines()
    assert sum("  silence (" in line for line in lines) == 1


def test_the_silence_of_standard_input_has_a_status(predict):
    found = objects_of(predict("-", "--json", sent=wav(np.zeros((1, 4000)))).out)
    assert {each["status"] for each in found} == {"silence"}


# --- channels -------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_too_many_channels_are_refused_before_keras_is_imported(run, tmp_path):
    write_random_network(tmp_path, settings=MelgramSettings.of(RATE, CLIP, 2, 24, 46.44, 11.61))
    wide = write(tmp_path / "wide.wav", sine(seconds=0.1, channels=3))
    sentence = "has 3 channels, the network 2; remove some."
    result = run(SCRIPT, "wide.wav", status=1, KERAS_BACKEND="none")
    assert result.stderr == f"wide.wav: {sentence}\n"
    with open(wide, "rb") as sound:
        result = subprocess.run([sys.executable, str(ROOT / SCRIPT), "-"], stdin=sound, cwd=tmp_path, text=True,
                                capture_output=True, check=False, env=os.environ | {"KERAS_BACKEND": "none"})
    assert (result.returncode, result.stderr) == (1, f"standard input: {sentence}\n")


def test_channels_are_mixed_for_a_mono_network(predict, tmp_path):
    for name, channels in (("one.wav", 1), ("two.wav", 2), ("six.wav", 6)):
        write(tmp_path / name, low_then_high(channels=channels), subtype="FLOAT")
    objects = objects_of(predict("--json", "one.wav", "two.wav", "six.wav", folder=tmp_path).out)
    for other in (objects[2:4], objects[4:6]):
        assert [each | {"file": ""} for each in objects[:2]] == [each | {"file": ""} for each in other]


# --- long sounds ----------------------------------------------------------------------------------------------------

def test_a_long_file_gives_a_timeline(predict, tmp_path):
    write(tmp_path / "long.wav", low_then_high())
    for flags in ([], ["--hop-seconds", 0.01], ["--hop-seconds", 0.25]):
        found = objects_of(predict("long.wav", "--json", *flags, folder=tmp_path).out)
        require_no_gaps(found, 4)
        assert [found[0]["class"], found[-1]["class"]] == ["low", "high"]
        assert found[0]["end"] == pytest.approx(2, abs=0.13)
        assert found[-1]["start"] == pytest.approx(2, abs=0.13)  # windows between them contain both
        assert min(found[0]["probability"], found[-1]["probability"]) > 0.8
    lines = predict("long.wav", folder=tmp_path).out.splitlines()
    assert lines[0] == "long.wav:"
    assert lines[1].split()[:3] == ["0:00:00.00", lines[2].split()[0], "low"]
    assert lines[2].split()[1:3] == ["0:00:04.00", "high"]


def test_a_long_sound_of_one_class_is_one_line(predict, tmp_path):
    path = str(write(tmp_path / "a.wav", sine(LOW, (CLIP + 1) / RATE)))
    assert predict(path).out.startswith(f"{path}: low ")


# --- embeddings -----------------------------------------------------------------------------------------------------

def test_embeddings_are_those_of_each_window(predict, model, tmp_path):
    """They lead to the probabilities, which are the same as without embeddings; --overwrite replaces the file."""
    write(tmp_path / "a “ü”, b.wav", low_then_high(0.5))
    write(tmp_path / "short.wav", sine(LOW, 0.1))
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    files = ["a “ü”, b.wav", "bad.wav", "short.wav"]
    result = predict("--embeddings", "e.npz", "--json", *files, folder=tmp_path)
    plain = predict("--json", *files, folder=tmp_path)
    assert (result.status, plain.status) == (1, 1)
    for found, expected in zip(objects_of(result.out), objects_of(plain.out), strict=True):
        assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
    arrays = np.load(tmp_path / "e.npz", allow_pickle=False)
    assert arrays["files"].tolist() == [files[0], files[2]]
    assert arrays["file_index"].tolist() == [0] * 7 + [1]
    assert arrays["embeddings"].dtype == np.float32
    assert arrays["embeddings"].shape == (8, model.layers[-1].input.shape[1])
    assert [arrays["start"][0], arrays["end"][6], arrays["end"][7]] == [0, 1, pytest.approx(0.1)]
    assert arrays["end"][:6].tolist() == arrays["start"][1:7].tolist()
    assert arrays["probabilities"].shape == (8, len(arrays["class_names"]))
    before = (tmp_path / "e.npz").read_bytes()
    refused = predict("--embeddings", "e.npz", *files, folder=tmp_path)
    assert (refused.status, refused.err) == (1, "e.npz: already exists; rename it or add --overwrite.\n")
    assert predict("--embeddings", "e.npz", "--overwrite", "short.wav", folder=tmp_path).status == 0
    assert before != (tmp_path / "e.npz").read_bytes()


@pytest.mark.parametrize(("name", "sentence"), [
    ("a.wav", "a.wav: does not end in .npz"), ("no/e.npz", "no/: does not exist"), ("d.npz", "d.npz: is a folder")])
def test_a_bad_name_for_embeddings_is_refused(predict, tmp_path, name, sentence):
    (tmp_path / "d.npz").mkdir()
    write(tmp_path / "a.wav", sine(LOW, 0.1))
    result = predict("--embeddings", name, "--overwrite", "a.wav", folder=tmp_path)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(sentence)


# --- labels ---------------------------------------------------------------------------------------------------------

def test_labels_are_a_track_for_audacity_and_selections_a_table_for_raven(predict, tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/a.b.wav", low_then_high())
    write(tmp_path / "in/short.wav", sine(HIGH, 0.2))
    result = predict("--labels", "--raven", "--json", "in/a.b.wav", "in/short.wav", folder=tmp_path)
    assert result.status == 0
    rows = [line.split("\t") for line in (tmp_path / "in/a.b.wav.labels.txt").read_text().splitlines()]
    assert [row[2] for row in rows] == ["low", "high"]
    require_no_gaps([{"start": float(row[0]), "end": float(row[1])} for row in rows], 4)
    assert (tmp_path / "in/short.wav.labels.txt").read_text() == "0.000000\t0.200000\thigh\n"
    found = list(csv.DictReader((tmp_path / "in/a.b.wav.selections.txt").open(), delimiter="\t"))
    assert [(each["Begin Time (s)"], each["End Time (s)"], each["Annotation"]) for each in found] == [*map(tuple, rows)]
    assert {(each["View"], each["Channel"], each["Low Freq (Hz)"], each["High Freq (Hz)"]) for each in found} == {
        ("Spectrogram 1", "1", "0", "4000")}
    assert [float(each["Probability"]) for each in found] == pytest.approx(
        [each["probability"] for each in objects_of(result.out)[:2]])


def test_predicted_labels_are_cut_into_class_folders(predict, tmp_path, call_main):
    write(tmp_path / "a.wav", low_then_high())
    found = []
    for flag, track in (("--labels", "a.wav.labels.txt"), ("--raven", "a.wav.selections.txt")):
        predict(flag, "a.wav", folder=tmp_path)
        status, out, _ = call_main(split_audio, CLIP / RATE, "a.wav", "--labels")
        assert (status, out.split(" clips ")[1][:len(track) + 12]) == (0, f"from {track} (high ")
        found.append({path.name: path.read_bytes() for path in (tmp_path / "Samples").glob("*/*.wav")})
        (tmp_path / track).unlink()
    assert found[0] == found[1]
    for name in ("low", "high"):
        lengths = [audio_io.info(path).samples for path in (tmp_path / f"Samples/{name}").iterdir()]
        assert lengths == [CLIP] * len(lengths)
        assert 7 <= len(lengths) <= 8  # of 2 s; a window that contains both is either


@pytest.mark.parametrize(("flag", "suffix"), [("--labels", "labels"), ("--raven", "selections")])
def test_existing_labels_are_kept_without_overwrite(predict, tmp_path, flag, suffix):
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, sine(LOW, 0.2))
    track = tmp_path / f"a.wav.{suffix}.txt"
    track.write_text("mine")
    result = predict(flag, "a.wav", "b.wav", folder=tmp_path)
    assert result.status == 1
    assert result.err == f"a.wav.{suffix}.txt: already exists; rename it or add --overwrite.\n"
    assert track.read_text() == "mine"
    assert (tmp_path / f"b.wav.{suffix}.txt").exists()
    assert predict(flag, "--overwrite", "a.wav", folder=tmp_path).status == 0
    assert "\tlow" in track.read_text()


# --- standard input -------------------------------------------------------------------------------------------------

LIST = b"LIST" + struct.pack("<I", 5) + b"INFOx" + b"\0"
STREAMS = {"exact": {}, "no size": {"size": 0}, "sox": {"size": 0x7FFFF000}, "2 GiB": {"size": 0x7FFFFFFF},
           "arecord": {"size": 0x80000000}, "ffmpeg": {"size": 0xFFFFFFFF, "before": LIST},
           "trailing chunk": {"after": LIST * 500}, "floats": {"tag": 3, "size": 0xFFFFFFFF},
           "extensible": {"tag": 0xFFFE, "size": 0xFFFFFFFF}}


@pytest.mark.parametrize("stream", STREAMS)
def test_standard_input_is_read_to_its_end_whatever_size_its_header_gives(predict, stream):
    result = predict("-", "--json", sent=wav(low_then_high(), **STREAMS[stream]))
    assert result.status == 0
    found = objects_of(result.out)
    assert len(found) == 31  # windows of 0.25 s, every 0.125 s
    assert {each["file"] for each in found} == {"-"}
    require_no_gaps(found, 4)
    assert all(each["class"] == "low" for each in found if each["end"] < 1.85)
    assert all(each["class"] == "high" for each in found if each["start"] > 2.15)


def test_standard_input_of_another_rate_and_channels(predict):
    found = rows_of(predict("-", "--csv", sent=wav(low_then_high(rate=44100, channels=2), 44100, 0x7FFFFFFF)).out)
    require_no_gaps([{name: float(row[name]) for name in ("start", "end")} for row in found], 4)
    assert (found[0]["class"], found[-1]["class"]) == ("low", "high")


def test_a_short_sound_has_the_same_probabilities_from_standard_input(predict, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(sine(LOW, 0.1)))
    [from_file] = objects_of(predict("a.wav", "--json", folder=tmp_path).out)
    [from_pipe] = objects_of(predict("-", "--json", sent=wav(sine(LOW, 0.1))).out)
    assert from_pipe["probabilities"] == pytest.approx(from_file["probabilities"], abs=1e-5)
    assert (from_pipe["start"], from_pipe["end"]) == (0, 0.1)


NO_WAV = "is not a wav stream"


@pytest.mark.parametrize(("sent", "problem"), [
    (b"", NO_WAV), (b"RIFF", NO_WAV), (bytes(10000), NO_WAV), (b"fLaC" + bytes(100), NO_WAV),
    (wav(sine(), tag=7), NO_WAV), (wav(sine(), rate=0), NO_WAV), (wav(sine())[:44], "contains no samples"),
    (wav(np.full((1, 9000), np.nan), tag=3), "contains NaN")])
def test_invalid_standard_input_is_one_sentence(predict, sent, problem):
    result = predict("-", sent=sent)
    assert result.status == 1
    assert not result.out
    sentence = result.err.splitlines()[-1]
    assert sentence.startswith(f"standard input: {problem}")


@pytest.mark.slow
def test_a_live_sound_is_printed_immediately_until_interrupted(home):
    process = subprocess.Popen([sys.executable, str(ROOT / SCRIPT), "-"], cwd=home, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        process.stdin.write(wav(low_then_high(0.5), size=0x7FFFFFFF))
        process.stdin.flush()
        lines = [process.stdout.readline().split() for _ in range(6)]  # although standard input continues
        assert lines[0][:3] == [b"0:00:00.00", b"0:00:00.19", b"low"]
        assert lines[5][:3] == [b"0:00:00.69", b"0:00:00.81", b"high"]
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert not out
    assert err.decode().splitlines() == ["Receiving 1 channel at 8000 Hz.", NO_BACKGROUND.rstrip(), "", "Stopped."]


# --- mistakes -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("flags", "sentence"), [
    (["a.wav", "--top-k", "0"], "TOP_K is 0"), (["a.wav", "--min-probability", "2"], "MIN_PROBABILITY is 2.0"),
    (["a.wav", "--hop-seconds", "9.5"], "HOP_SECONDS is 9.5; set it to at most 0.25, the length of a window."),
    (["a.wav", "--hop-seconds", "0"], "HOP_SECONDS is 0"), (["a.wav", "--json", "--csv"], "JSON and CSV are both set"),
    (["a.wav", "-"], "-: standard input can't be combined"), (["-", "--labels"], "-: standard input can't be combined"),
    (["-", "--raven"], "-: standard input can't be combined"),
    (["-", "--embeddings", "e.npz"], "-: standard input can't be combined"),
    (["a.wav", "--weights", "none.hdf5"], "none.hdf5: does not exist; run train_network.py first.")])
def test_mistakes_are_one_sentence(predict, flags, sentence):
    result = predict(*flags)
    assert result.status == 1
    assert result.err.startswith(sentence)
    assert result.err.count("\n") == 1


def test_closed_standard_input_is_refused(predict, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert predict("-").err.startswith("standard input: is a terminal or closed; send a sound, as in `sox ")


def test_mistakes_are_found_before_keras_is_imported(run, home):
    result = run(SCRIPT, "a.wav", cwd=home, status=1, KERAS_BACKEND="none")
    assert result.stderr == "a.wav: does not exist; check the name.\n"


def test_help_shows_the_constants_and_imports_no_keras(run):
    text = run(SCRIPT, "--help", KERAS_BACKEND="none").stdout
    assert "--hop-seconds" in text
    assert "arecord -f cd" in text


@pytest.mark.long
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


@pytest.mark.long
def test_thousands_of_files(predict, tmp_path):
    names = [f"{i}.wav" for i in range(5000)]
    for i, name in enumerate(names):
        write(tmp_path / name, sine(LOW, 0.1 + i / 1e5))
    rows = rows_of(predict("--csv", *names, folder=tmp_path).out)
    assert [row["file"] for row in rows] == names
