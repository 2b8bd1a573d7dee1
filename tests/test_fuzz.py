"""Damaged and hostile files: every reader refuses them in a sentence or reads them, in little time and memory.

    python -m pytest tests/test_fuzz.py          # 600 mutated files
    python -m pytest tests/test_fuzz.py --long   # 10,000

The readers run in a process of their own, so that the crash of a C library is seen, with the file that did it.
"""

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

from audio_utils import audio_io, binauralify, dataset, melgram, weights_file
from audio_utils.melgram import MelgramSettings
from audio_utils.progress import COLUMNS, Progress
from audio_utils.safe_files import UserError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits its processes as POSIX does")

SETTINGS = MelgramSettings(sample_rate=8000, clip_samples=2000, channels=2, mels=16, window=256, fft=256, hop=100)
ARRAYS = [np.full((3, 4), 0.5, np.float32), np.arange(5, dtype=np.float32), np.array([1, 2], np.uint32)]
AUDIO = ("wav", "flac", "ogg", "mp3", "aiff")
LONG = {"audio": 5000, "npy": 1000, "settings": 1500, "weights": 1500, "sofa": 600, "keras": 400}
SHORT = {"audio": 250, "npy": 50, "settings": 100, "weights": 150, "sofa": 50}
SECONDS = 10  # that a reader may take for one file
BYTES = 1 << 30  # of memory, at most
MARGIN = 3 << 30  # of address space, so that what asks for more fails and does not press other programs


# --- the files that are mutated --------------------------------------------------------------------------------------

def make_originals(folder):
    """Good files of every kind: {kind: [paths]}."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 3000)).astype(np.float32)
    audio = [write(folder / f"x.{extension}", noise + sine(seconds=3000 / 8000), 8000) for extension in AUDIO]
    dataset.write_melgram(folder / "x.npy", np.zeros(SETTINGS.shape, np.float32), 0)
    (folder / "settings.json").write_text(json.dumps(record(), indent=1))
    write_weights(folder / "weights.hdf5")
    write_sofa(folder / "x.sofa")
    keras = [folder / "keras.hdf5"] if (folder / "keras.hdf5").exists() else []
    return {"audio": audio, "npy": [folder / "x.npy"], "settings": [folder / "settings.json"],
            "weights": [folder / "weights.hdf5"], "sofa": [folder / "x.sofa"], "keras": keras}


def record(**changes):
    constants = {"SAMPLE_RATE": None, "MONO": False, "TEST_FRACTION": 0.2, "SEED": 1, "KEEP_TOGETHER": "_s\\d+$"}
    return SETTINGS.to_dict() | {"constants": constants, "complete": True} | changes


def trained(**changes):
    row = dict.fromkeys(COLUMNS, 0.5)
    progress = {"constants": {"EPOCHS": 3}, "epoch": 1, "steps": 3, "best_loss": 0.5,
                "held_out": ["a/2.wav"], "validation": ["a/1.wav", "b/1.wav"], "history": [row]}
    scaling = weights_file.Scaling(np.zeros(SETTINGS.mels, np.float32), np.ones(SETTINGS.mels, np.float32))
    places = [f"model_weights/{i}" for i in range(len(ARRAYS))]
    return weights_file.Trained("vgg", ["a", "b"], SETTINGS, record(), scaling, progress, places)._replace(**changes)


def write_weights(path, **changes):
    """A file as weights.hdf5 is, but for what only Keras reads."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        for i, array in enumerate(ARRAYS):
            file[f"model_weights/{i}"] = array
    weights_file.write(path, trained(**changes), last=ARRAYS, average=ARRAYS, optimizer=ARRAYS)


def write_sofa(path):
    """The responses to 8 directions, as SOFA has them.

    Its texts are of fixed length, as in KEMAR's file: in one damaged text of variable length HDF5 1.14 looked for ever.
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
    changes = [put_token] if content[:1] == b"{" and rng.random() < 0.7 else CHANGES  # what is no JSON is soon refused
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        changes[rng.integers(len(changes))](content, place(content, rng), rng)
    return bytes(content)


def place(content, rng):
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
    """Replace a value of JSON, wherever in a file it stands."""
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
    clips, remarks = dataset.load(path.parent, "Train", SETTINGS)
    assert len(clips) + len(remarks) == 1
    if remarks:
        raise UserError(remarks[0])


def read_settings(path):
    os.replace(path, path.parent / "settings.json")
    settings, values = dataset.read_settings(path.parent)
    dataset.load(path.parent, "Test", settings)
    dataset.group_of("a/x_s1.wav", values["constants"].get("KEEP_TOGETHER", ""))


def read_weights(path):
    found = weights_file.read(path)
    weights_file.read_best(path, found, ARRAYS)
    weights_file.read_state(path, "last", ARRAYS)
    weights_file.read_state(path, "average", ARRAYS)
    weights_file.read_state(path, "optimizer", ARRAYS)
    try:
        Progress.of(found.progress)
    except (TypeError, KeyError):  # as resume() does
        raise UserError(f"{path}: no training") from None


def read_sofa(path):
    binauralify._SHIPPED = path  # no look from another process first: each takes as long as 100 files do here
    responses, _ = binauralify.read_responses(path, [0, 90], 0, 5)
    assert np.isfinite(responses).all()


def read_keras(path):
    import panotti_models
    found = weights_file.read(path)
    model = panotti_models.load(path, found)
    panotti_models.predict(model, np.zeros((1, *found.settings.shape), np.float32))


READERS = {"audio": read_audio, "npy": read_npy, "settings": read_settings, "weights": read_weights,
           "sofa": read_sofa, "keras": read_keras}


def outcome(kind, path):
    """What a reader makes of a file: "read", "refused", or the traceback of what should not be."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)  # its signal ends the process
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
    """Mutate and read files from number `first` on; print a line of JSON for each, and the peak of memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if kind != "keras":  # TensorFlow takes much address space, and little of it memory
        resource.setrlimit(resource.RLIMIT_AS, (MARGIN, MARGIN))
    originals = [(path.suffix, path.read_bytes()) for path in make_originals(folder)[kind]]
    for number in range(first, last):
        suffix, original = originals[number % len(originals)]
        path = folder / f"mutated{suffix}"
        path.write_bytes(mutate(original, np.random.default_rng([7, number])))
        found = outcome(kind, path)
        print(json.dumps([number, found, peak_bytes()]), flush=True)


def peak_bytes():
    """The most memory this process has had: on Linux, getrusage counts what its parent had before it was started."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except OSError:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- tests -----------------------------------------------------------------------------------------------------------

def fuzz(kind, count, folder):
    """The outcomes of `count` mutated files, {outcome: how often}, and the peak of memory in bytes."""
    outcomes, peak, first = Counter(), 0, 0
    while first < count:
        command = [sys.executable, __file__, kind, str(first), str(count), str(folder)]
        child = subprocess.run(command, text=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
        results = [json.loads(line) for line in child.stdout.splitlines()]
        outcomes.update(found for _, found, _ in results)
        peak = max([peak, *(bytes for _, _, bytes in results)])
        first += len(results)
        if child.returncode:  # a crash, or SIGALRM: it took too long
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
        print(f"\n{kind}: {count} files, {dict(outcomes)}, {peak / 1e6:.0f} MB at most")
    assert set(outcomes) <= {"read", "refused"}
    assert peak < BYTES


def make_keras(path):
    """A real weights.hdf5."""
    import panotti_models
    keras, made = panotti_models.keras, trained()
    model = panotti_models.build("vgg", SETTINGS.shape, 2, made.scaling)
    optimizer = keras.optimizers.AdamW()
    optimizer.build(model.trainable_variables)
    panotti_models.save(path, made, model, *[model.get_weights()] * 2, optimizer)


# --- made by hand, to do harm ----------------------------------------------------------------------------------------

def refused(read, *arguments):
    """What the reader says of a file that it refuses."""
    with pytest.raises(UserError) as error:
        read(*arguments)
    return str(error.value)


class Bait:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_npy_never_unpickles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("Train/a").mkdir(parents=True)
    np.save("Train/a/x.npy", np.array([Bait()], dtype=object), allow_pickle=True)
    Path("Train/a/y.npy").write_bytes(pickle.dumps(Bait()))
    os.mkfifo("Train/a/pipe.npy")
    clips, remarks = dataset.load(".", "Train", SETTINGS)
    assert len(clips) == 0
    assert [remark.partition(":")[0] for remark in remarks] == ["Train/a/x.npy", "Train/a/y.npy"]
    assert not Path("harm").exists()


@pytest.mark.parametrize("content", [
    "[" * 100_000, "{" * 100_000, '{"a":' * 100_000, "[]", "null", "", '"x"', "\xff", '{"format_version": 1}',
    json.dumps(record(constants=[])), json.dumps(record(constants={"KEEP_TOGETHER": "("})),
    json.dumps(record(constants={"KEEP_TOGETHER": 3})), json.dumps(record(mels=16.0)), json.dumps(record(mels=True)),
    json.dumps(record(clip_samples=2 ** 31, hop=1, mels=4096)), json.dumps(record(channels=1024, clip_samples=2 ** 31)),
    json.dumps(record(mels=10 ** 400))], ids=range(17))
def test_settings_to_do_harm(tmp_path, content):
    path = tmp_path / "settings.json"
    path.write_bytes(content.encode("latin-1"))
    assert str(path) in refused(dataset.read_settings, tmp_path)


def test_a_file_of_json_as_long_as_the_memory_is_not_read(tmp_path):
    with open(tmp_path / "settings.json", "w") as file:
        file.truncate(100 << 30)  # a hole: it takes no room on the disk
    assert "settings.json: is damaged" in refused(dataset.read_settings, tmp_path)


def replace(file, place, **keywords):
    del file[place]
    file.create_dataset(place, **keywords)


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


def no_scaling(file):
    file["panotti/scaling/00001"][0] = -1


def says(text):
    def change(file):
        replace(file, "panotti/about", data=np.frombuffer(text.encode(), np.uint8))
    return change


def about(**changes):
    """What "panotti/about" holds, changed."""
    whole = trained()._asdict() | {"format_version": weights_file.FORMAT_VERSION, "settings": SETTINGS.to_dict()}
    del whole["scaling"]
    return says(json.dumps(whole | changes))


@pytest.mark.parametrize("harm", [
    external_link, external_link_to_a_pipe, soft_link, external_bytes, virtual, declared_only, huge, bomb,
    one_huge_chunk, not_a_number, other_shape, other_type, a_group_instead, no_scaling, says("[" * 100_000), says("{}"),
    says("null"), about(weights="abc"), about(weights=["/etc", "..", "."]), about(class_names=["a", "a"]),
    about(class_names="ab"), about(class_names=[1, 2]), about(network=["vgg"]), about(record=[]), about(progress=3),
    about(record={"constants": []}), about(format_version=99), about(more=1),
    about(settings=record(clip_samples=2 ** 31, hop=1)), about(progress={"epoch": "x"}),
    about(progress=trained().progress | {"history": [3]}), about(progress=trained().progress | {"epoch": None})])
def test_weights_to_do_harm(tmp_path, monkeypatch, harm):
    monkeypatch.chdir(tmp_path)
    write_weights("other.hdf5")
    write_weights("weights.hdf5")
    read_weights(Path("weights.hdf5"))
    with h5py.File("weights.hdf5", "r+") as file:
        harm(file)
    assert refused(read_weights, Path("weights.hdf5")).startswith("weights.hdf5: ")


def test_a_layer_that_would_run_code_is_never_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import panotti_models
    keras = panotti_models.keras
    make_keras(Path("weights.hdf5"))
    inputs = keras.Input((2,))
    harm = keras.Model(inputs, keras.layers.Lambda(lambda x: os.mkdir("harm") or x, output_shape=(2,))(inputs))
    harm.save("harm.hdf5")
    with h5py.File("weights.hdf5", "r+") as file, h5py.File("harm.hdf5") as source:
        file.attrs["model_config"] = source.attrs["model_config"]
    panotti_models.load("weights.hdf5", weights_file.read("weights.hdf5"))
    with pytest.raises(ValueError, match="disallowed by default"):  # Keras itself, as long as it is not told otherwise
        keras.saving.load_model("weights.hdf5")
    assert not Path("harm").exists()


def test_a_network_that_asks_for_more_than_the_file_holds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import panotti_models
    make_keras(Path("weights.hdf5"))
    vast = SETTINGS.to_dict() | {"clip_samples": 1 << 23, "hop": 1}  # 1 GB a melgram, and 17 GB of weights
    with h5py.File("weights.hdf5", "r+") as file:
        found = json.loads(file["panotti/about"][...].tobytes()) | {"settings": vast}
        says(json.dumps(found))(file)
    found = weights_file.read("weights.hdf5")
    assert "weights.hdf5: is damaged" in refused(panotti_models.load, "weights.hdf5", found)


if __name__ == "__main__":
    read_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
