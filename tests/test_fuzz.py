"""Damaged and hostile files: every reader reads them or refuses them with a sentence, in little time and memory.

    python -m pytest tests/test_fuzz.py          # 600 mutated files
    python -m pytest tests/test_fuzz.py --long   # 10,000

The readers run in a process of their own, so that a crash of a C library is seen, with the file that caused it.
"""

import importlib
import json
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import traceback
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT, sine, write

from audio_utils.audio import audio_io, flac, hrtf, melgram
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import preproc, split
from audio_utils.data.standardization import Standardization
from audio_utils.inference import checkpoint
from audio_utils.inference.checkpoint import Checkpoint
from audio_utils.runtime.errors import UserError
from audio_utils.training.state import COLUMNS, TrainingState

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="limits processes by POSIX means")]

SETTINGS = MelgramSettings(sample_rate=8000, clip_samples=2000, channels=2, mels=16, window=256, fft=256, hop=100)
ARRAYS = [np.full((3, 4), 0.5, np.float32), np.arange(5, dtype=np.float32), np.array([1, 2], np.uint32)]
AUDIO = ("wav", "flac", "ogg", "mp3", "aiff")
LONG = {"audio": 5000, "npy": 1000, "settings": 1500, "weights": 1500, "sofa": 600, "keras": 400}
SHORT = {"audio": 250, "npy": 50, "settings": 100, "weights": 150, "sofa": 50}
MAX_SECONDS = 10  # for one file
MAX_BYTES = 1 << 30  # of memory
MAX_ADDRESS_SPACE = 3 << 30  # bytes; a request for more fails, and other programs keep their memory


# --- the files that are mutated --------------------------------------------------------------------------------------

def make_originals(folder):
    """Good files of every kind: {kind: [paths]}."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 3000)).astype(np.float32)
    audio = [write(folder / f"x.{extension}", noise + sine(seconds=3000 / 8000), 8000) for extension in AUDIO]
    audio += odd_audio(folder, audio)
    preproc.write_melgram(folder / "x.npy", np.zeros(SETTINGS.shape, np.float32))
    (folder / "settings.json").write_text(json.dumps(record(), indent=1))
    write_weights(folder / "weights.hdf5")
    write_sofa(folder / "x.sofa")
    keras = [folder / "keras.hdf5"] if (folder / "keras.hdf5").exists() else []
    return {"audio": audio, "npy": [folder / "x.npy"], "settings": [folder / "settings.json"],
            "weights": [folder / "weights.hdf5"], "sofa": [folder / "x.sofa"], "keras": keras}


def odd_audio(folder, audio):
    """Files that are read in parts: joined ones, and one without a length; audio: the others."""
    joined = [folder / f"joined{path.suffix}" for path in audio]
    for path, whole in zip(joined, audio, strict=True):
        path.write_bytes(whole.read_bytes() * 2)
    content = (folder / "x.flac").read_bytes()
    (folder / "piped.flac").write_bytes(content[:18] + flac.with_samples(content, 0) + content[26:])
    return [*joined, folder / "piped.flac"]


def record(**changes):
    constants = {"SAMPLE_RATE": None, "MONO": False, "TEST_FRACTION": 0.2, "SEED": 1, "GROUP_BY": "_s\\d+$"}
    return SETTINGS.to_dict() | {"constants": constants, "complete": True} | changes


def example_checkpoint(**changes):
    row = dict.fromkeys(COLUMNS, 0.5)
    state = {"constants": {"EPOCHS": 3}, "epoch": 1, "step": 3, "best_loss": 0.5,
             "held_out": ["a/2.wav"], "validation": ["a/1.wav", "b/1.wav"], "history": [row]}
    standardization = Standardization(np.zeros(SETTINGS.mels, np.float32), np.ones(SETTINGS.mels, np.float32))
    weights = [f"model_weights/{i}" for i in range(len(ARRAYS))]
    thresholds = {"source": "x", "clips": 2, "classes": {
        name: {"positives": 1, "max_f1": 0.5, "precision_90": None} for name in "ab"}}
    return Checkpoint("vgg", ["a", "b"], SETTINGS, record(), standardization, state, weights,
                      thresholds=thresholds)._replace(**changes)


def write_weights(path, **changes):
    """A weights.hdf5, without the parts that only Keras reads."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        for i, array in enumerate(ARRAYS):
            file[f"model_weights/{i}"] = array
    checkpoint.write(path, example_checkpoint(**changes), last=ARRAYS, average=ARRAYS, optimizer=ARRAYS)


def write_sofa(path):
    """The impulse responses of 8 directions as a SOFA file.

    Its texts are of fixed length, as in KEMAR's file: HDF5 1.14 never returned from a damaged text of variable length.
    """
    cartesian = {"Type": np.bytes_("cartesian")}
    with h5py.File(path, "w") as file:
        file.attrs["SOFAConventions"] = np.bytes_("SimpleFreeFieldHRIR")
        file["ListenerView"] = np.array([[1.0, 0, 0]])
        file["ListenerView"].attrs.update(cartesian)
        file["SourcePosition"] = np.array([[azimuth, 0, 1.4] for azimuth in range(0, 360, 45)], float)
        file["SourcePosition"].attrs.update(Type=np.bytes_("spherical"), Units=np.bytes_("degree, degree, metre"))
        file["ReceiverPosition"] = np.array([[0, 0.09, 0], [0, -0.09, 0]])[..., None]
        file["ReceiverPosition"].attrs.update(cartesian)
        file["Data.SamplingRate"] = np.array([44100.0])
        file["Data.IR"] = np.random.default_rng(1).normal(size=(8, 2, 64))
        file["Data.Delay"] = np.zeros((1, 2))


# --- mutations -------------------------------------------------------------------------------------------------------

EXTREMES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2 ** 63 - 1]
TOKENS = [b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"1" * 5000, b"2147483648", b'"\\ud800"', b"[]", b"{}",
          b'"("', b"[" * 3000, b"0.5", b'""', b"1048576", b'"../../x"']


def mutate(content, rng):
    """A few random changes to bytes, half of them near the beginning, where the header is."""
    changes = [put_token] if content[:1] == b"{" and rng.random() < 0.7 else CHANGES  # other JSON is refused early
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        changes[rng.integers(len(changes))](content, random_position(content, rng), rng)
    return bytes(content)


def random_position(content, rng):
    end = max(1, len(content))
    return int(rng.integers(min(end, 200) if rng.random() < 0.5 else end))


def flip(content, start, rng):
    if content:
        content[start] ^= 1 << rng.integers(8)


def scatter(content, start, rng):
    for i in rng.integers(0, max(1, len(content)), 10):
        content[i:i + 1] = rng.bytes(1)


def put_extreme(content, start, rng):
    value, size = EXTREMES[rng.integers(len(EXTREMES))], int(rng.choice([1, 2, 4, 8]))
    order = "little" if rng.random() < 0.5 else "big"
    content[start:start + size] = (value % (1 << 8 * size)).to_bytes(size, order)


def cut(content, start, rng):
    del content[start:]


def remove(content, start, rng):
    del content[start:start + int(rng.integers(1, 50))]


def insert(content, start, rng):
    content[start:start] = rng.bytes(int(rng.integers(1, 50)))


def repeat(content, start, rng):
    content[start:start] = content[start:start + int(rng.integers(1, 500))]


def put_token(content, start, rng):
    """Replace a JSON value, anywhere in a file."""
    values = [found.span() for found in re.finditer(rb'(?<=[:,\[] )("[^"]{0,99}"|-?[\d.]+|true|null)', content)]
    if values:
        first, last = values[rng.integers(len(values))]
        token = TOKENS[rng.integers(len(TOKENS))]
        content[first:last] = token if content[:1] == b"{" else token[:last - first].ljust(last - first)


CHANGES = [flip, scatter, put_extreme, put_extreme, cut, remove, insert, repeat, put_token, put_token]


# --- the readers -----------------------------------------------------------------------------------------------------

def read_audio(path):
    audio_io.info(path)
    audio, _ = audio_io.read(path)
    assert audio.dtype == np.float32
    assert np.isfinite(audio).all()
    found, _ = melgram.of_file(path, SETTINGS)
    assert found.shape == SETTINGS.shape
    assert np.isfinite(found).all()


def read_npy(path):
    folder = path.parent / "Train/a"
    folder.mkdir(parents=True, exist_ok=True)
    os.replace(path, folder / "x.npy")
    clips, warnings = preproc.load(path.parent, "Train", SETTINGS)
    assert len(clips) + len(warnings) == 1
    if warnings:
        raise UserError(warnings[0])


def read_settings(path):
    os.replace(path, path.parent / "settings.json")
    settings, values = preproc.read_settings(path.parent)
    preproc.load(path.parent, "Test", settings)
    split.Grouping(values["constants"].get("GROUP_BY", "")).of("a/x_s1.wav")


def read_weights(path):
    found = checkpoint.read(path)
    checkpoint.read_best(path, found, ARRAYS)
    checkpoint.read_state(path, "last", ARRAYS)
    checkpoint.read_state(path, "average", ARRAYS)
    checkpoint.read_state(path, "optimizer", ARRAYS)
    try:
        TrainingState.from_dict(found.training_state)
    except (TypeError, KeyError):  # as in resume.initial_state
        raise UserError(f"{path}: no training") from None


def read_sofa(path):
    hrtf.KEMAR = path  # no attributes are read in another process first, which takes as long as 100 files
    responses, _ = hrtf.read_responses(path, [0, 90], 0, 5)
    assert np.isfinite(responses).all()


def read_keras(path):
    from audio_utils.inference import network
    found = checkpoint.read(path)
    network.predict(network.load(path, found), np.zeros((1, *found.settings.shape), np.float32))


READERS = {"audio": read_audio, "npy": read_npy, "settings": read_settings, "weights": read_weights,
           "sofa": read_sofa, "keras": read_keras}


def outcome(kind, path):
    """The outcome of reading a file: "read", "refused", or the traceback of another exception."""
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)  # its signal ends the process
    try:
        READERS[kind](path)
        return "read"
    except UserError as error:
        return "refused" if path.parent.name in str(error) else f"names no file: {error}"
    except Exception:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def read_all(kind, first, last, folder):
    """Mutate and read files from number `first` on; print a line of JSON for each, with the peak memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if kind != "keras":  # TensorFlow reserves much address space, but uses little memory
        resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE, MAX_ADDRESS_SPACE))
    else:
        importlib.import_module("audio_utils.inference.network")  # not within the time for the first file
    originals = [(path.suffix, path.read_bytes()) for path in make_originals(folder)[kind]]
    for number in range(first, last):
        suffix, original = originals[number % len(originals)]
        path = folder / f"mutated{suffix}"
        path.write_bytes(mutate(original, np.random.default_rng([7, number])))
        found = outcome(kind, path)
        print(json.dumps([number, found, peak_bytes()]), flush=True)


def peak_bytes():
    """The peak memory of this process. On Linux, getrusage includes the peak of its parent before it was started."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except OSError:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- tests -----------------------------------------------------------------------------------------------------------

def fuzz(kind, count, folder):
    """The outcomes of `count` mutated files, {outcome: count}, and the peak memory in bytes."""
    outcomes, peak, first = Counter(), 0, 0
    while first < count:
        command = [sys.executable, __file__, kind, str(first), str(count), str(folder)]
        child = subprocess.run(command, text=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
        results = [json.loads(line) for line in child.stdout.splitlines()]
        outcomes.update(found for _, found, _ in results)
        peak = max([peak, *(bytes for _, _, bytes in results)])
        first += len(results)
        if child.returncode:  # a crash, or SIGALRM because it took too long
            outcomes[f"file {first} ended the process with {child.returncode}: {child.stderr[-2000:]}"] += 1
            first += 1
    return outcomes, peak


@pytest.mark.parametrize("kind", LONG)
def test_mutated_files(kind, tmp_path, request, capsys):
    count = (LONG if request.config.getoption("--long") else SHORT).get(kind)
    if not count:
        pytest.skip("only with --long")
    if kind == "keras":
        make_keras(tmp_path / "keras.hdf5")
    outcomes, peak = fuzz(kind, count, tmp_path)
    with capsys.disabled():
        print(f"\n{kind}: {count} files, {dict(outcomes)}, {peak / 1e6:.0f} MB peak")
    assert set(outcomes) <= {"read", "refused"}
    assert peak < MAX_BYTES


def make_keras(path):
    """A real weights.hdf5."""
    import panotti_models
    from audio_utils.training import checkpointing
    made = example_checkpoint()
    model = panotti_models.build("vgg", SETTINGS.shape, 2, made.standardization)
    optimizer = panotti_models.keras.optimizers.AdamW()
    optimizer.build(model.trainable_variables)
    checkpointing.save(path, made, model, *[model.get_weights()] * 2, optimizer)


# --- hostile files ---------------------------------------------------------------------------------------------------

def refused(read, *arguments):
    """The sentence with which a reader refuses a file."""
    with pytest.raises(UserError) as error:
        read(*arguments)
    return str(error.value)


class Bait:
    """When unpickled, it creates a folder."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_npy_never_unpickles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("Train/a").mkdir(parents=True)
    np.save("Train/a/x.npy", np.array([Bait()], dtype=object), allow_pickle=True)
    Path("Train/a/y.npy").write_bytes(pickle.dumps(Bait()))
    os.mkfifo("Train/a/pipe.npy")
    clips, warnings = preproc.load(".", "Train", SETTINGS)
    assert len(clips) == 0
    assert [warning.partition(":")[0] for warning in warnings] == ["Train/a/x.npy", "Train/a/y.npy"]
    assert not Path("harm").exists()


@pytest.mark.parametrize("content", [
    "[" * 100_000, "{" * 100_000, '{"a":' * 100_000, "[]", "null", "", '"x"', "\xff", '{"format_version": 1}',
    json.dumps(record(constants=[])), json.dumps(record(constants={"GROUP_BY": "("})),
    json.dumps(record(constants={"GROUP_BY": 3})), json.dumps(record(mels=16.0)), json.dumps(record(mels=True)),
    json.dumps(record(clip_samples=2 ** 31, hop=1, mels=4096)), json.dumps(record(channels=1024, clip_samples=2 ** 31)),
    json.dumps(record(mels=10 ** 400))], ids=range(17))
def test_hostile_settings_are_refused(tmp_path, content):
    path = tmp_path / "settings.json"
    path.write_bytes(content.encode("latin-1"))
    assert str(path) in refused(preproc.read_settings, tmp_path)


def replace(file, path, **keywords):
    del file[path]
    file.create_dataset(path, **keywords)


def external_link(file):
    del file["model_weights/0"]
    file["model_weights/0"] = h5py.ExternalLink("other.hdf5", "model_weights/0")


def external_link_to_a_pipe(file):
    os.mkfifo("pipe")
    del file["panotti/last"]
    file["panotti/last"] = h5py.ExternalLink("pipe", "panotti/last")


def soft_link(file):
    del file["panotti/scaling/00000"]
    file["panotti/scaling/00000"] = h5py.SoftLink("/panotti/scaling/00001")


def external_bytes(file):
    replace(file, "model_weights/0", shape=(3, 4), dtype="f4", external=[("/etc/passwd", 0, 48)])


def virtual(file):
    layout = h5py.VirtualLayout((3, 4), "f4")
    layout[...] = h5py.VirtualSource("other.hdf5", "model_weights/0", (3, 4))
    del file["model_weights/0"]
    file.create_virtual_dataset("model_weights/0", layout)


def declared_only(file):
    replace(file, "panotti/about", shape=(1 << 23,), dtype="u1")


def huge(file):
    replace(file, "panotti/about", shape=(1 << 50,), dtype="u1", chunks=(1 << 20,))


def bomb(file):
    replace(file, "panotti/about", data=np.full(1 << 23, ord("["), np.uint8), compression="gzip")


def one_huge_chunk(file):
    replace(file, "model_weights/0", shape=(3, 4), dtype="f4", maxshape=(None, None), chunks=(1 << 15, 1 << 14))


def not_a_number(file):
    file["model_weights/0"][0, 0] = np.nan


def other_shape(file):
    replace(file, "model_weights/0", data=np.zeros((4, 3), np.float32))


def other_type(file):
    replace(file, "model_weights/0", data=np.zeros((3, 4), np.float64))


def a_group_instead(file):
    del file["model_weights/0"]
    file.create_group("model_weights/0")


def negative_variance(file):
    file["panotti/scaling/00001"][0] = -1


def about_text(text):
    def change(file):
        replace(file, "panotti/about", data=np.frombuffer(text.encode(), np.uint8))
    return change


def about(**changes):
    """The content of "panotti/about", changed."""
    whole = example_checkpoint()._asdict() | {"format_version": checkpoint.FORMAT_VERSION,
                                              "settings": SETTINGS.to_dict()}
    del whole["standardization"]
    return about_text(json.dumps(whole | changes))


STATE, THRESHOLDS = example_checkpoint().training_state, example_checkpoint().thresholds


@pytest.mark.parametrize("harm", [
    external_link, external_link_to_a_pipe, soft_link, external_bytes, virtual, declared_only, huge, bomb,
    one_huge_chunk, not_a_number, other_shape, other_type, a_group_instead, negative_variance,
    about_text("[" * 100_000), about_text("{}"), about_text("null"), about(weights="abc"),
    about(weights=["/etc", "..", "."]), about(class_names=["a", "a"]), about(class_names="ab"),
    about(class_names=[1, 2]), about(network=["vgg"]), about(preprocessing=[]), about(training_state=3),
    about(preprocessing={"constants": []}), about(format_version=99), about(more=1),
    about(settings=record(clip_samples=2 ** 31, hop=1)), about(training_state={"epoch": "x"}),
    about(training_state=STATE | {"history": [3]}), about(training_state=STATE | {"epoch": None}),
    about(training_state=STATE | {"constants": [3]}), about(thresholds=None),
    about(thresholds=THRESHOLDS | {"more": 1}), about(thresholds=THRESHOLDS | {"classes": [["a", "b"]]}),
    about(thresholds=THRESHOLDS | {"clips": 1e999})])
def test_hostile_weights_are_refused(tmp_path, monkeypatch, harm):
    monkeypatch.chdir(tmp_path)
    write_weights("other.hdf5")
    write_weights("weights.hdf5")
    read_weights(Path("weights.hdf5"))
    with h5py.File("weights.hdf5", "r+") as file:
        harm(file)
    assert refused(read_weights, Path("weights.hdf5")).startswith("weights.hdf5: ")


def test_a_layer_that_would_run_code_is_never_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from audio_utils.inference import network
    from panotti_models import keras
    make_keras(Path("weights.hdf5"))
    inputs = keras.Input((2,))
    harm = keras.Model(inputs, keras.layers.Lambda(lambda x: os.mkdir("harm") or x, output_shape=(2,))(inputs))
    harm.save("harm.hdf5")
    with h5py.File("weights.hdf5", "r+") as file, h5py.File("harm.hdf5") as source:
        file.attrs["model_config"] = source.attrs["model_config"]
    network.load("weights.hdf5", checkpoint.read("weights.hdf5"))
    with pytest.raises(ValueError, match="disallowed by default"):  # by Keras itself, with its default options
        keras.saving.load_model("weights.hdf5")
    assert not Path("harm").exists()


def test_a_network_larger_than_its_file_is_refused_before_it_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from audio_utils.inference import network
    make_keras(Path("weights.hdf5"))
    vast = SETTINGS.to_dict() | {"clip_samples": 1 << 23, "hop": 1}  # 1 GB a melgram, and 17 GB of weights
    with h5py.File("weights.hdf5", "r+") as file:
        found = json.loads(file["panotti/about"][...].tobytes()) | {"settings": vast}
        about_text(json.dumps(found))(file)
    found = checkpoint.read("weights.hdf5")
    assert "weights.hdf5: is damaged" in refused(network.load, "weights.hdf5", found)


if __name__ == "__main__":
    read_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
