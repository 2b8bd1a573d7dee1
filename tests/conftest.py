"""Shared by the tests: running a script as a user does, and sounds whose properties are known exactly."""

import gc
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job; the scripts would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="kill 100 times, and read 10,000 damaged files, instead of a "
                                                         "few")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a second; `tests/run.sh --quick` leaves it out")
    config.addinivalue_line("markers", "long: takes minutes, or a variant of another test; runs only with --long")


def pytest_collection_finish():
    gc.freeze()  # Keras collects garbage for each network: half a second with all modules and tests, which stay anyway


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="only with --long"))


@pytest.fixture(autouse=True, scope="session")
def _system_temporary_folder_is_unchanged():
    """A test that changes permissions, run as root, must not change those of this folder: other programs would fail."""
    mode = os.stat(tempfile.gettempdir()).st_mode
    yield
    assert os.stat(tempfile.gettempdir()).st_mode == mode


@pytest.fixture
def run(tmp_path):
    """Run a script of the suite in a folder (by default the test's own), as from the shell."""
    def run_script(script, *arguments, cwd=tmp_path, status=0, **environment):
        result = subprocess.run([sys.executable, str(ROOT / script), *map(str, arguments)], cwd=cwd, text=True,
                                capture_output=True, timeout=300, env=os.environ | environment)
        assert result.returncode == status, f"{result.returncode}:\n{result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stderr, result.stderr
        return result
    return run_script


@pytest.fixture
def run_here(tmp_path, monkeypatch, capsys):
    """The same as `run` in this process: saves the start and the imports."""
    def run_script(script, *arguments, cwd=tmp_path, status=0):
        from audio_utils.runtime import script as frame
        from audio_utils.runtime import signals
        main = importlib.import_module(script.removesuffix(".py").replace("/", ".")).main
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(signals, "install", lambda: None)  # these would end the tests' process
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            frame.run(main)
        found = SimpleNamespace(stdout=(streams := capsys.readouterr()).out, stderr=streams.err)
        assert end.value.code == status, found
        return found
    return run_script


def sine(frequency=440.0, seconds=1.0, rate=8000, channels=1, level=0.5):
    """float32 (channels, samples): the same sine in each channel."""
    wave = level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave.astype(np.float32), (channels, 1))


def write(path, audio, rate=8000, **keywords):
    """Write (channels, samples), creating the folders; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.T, rate, **keywords)
    return path


def tones(folder, classes=("low", "high"), files=10, seconds=0.25, channels=1):
    """A data set that is easy to learn: a tone for each class, at a different level in each file."""
    for i, name in enumerate(classes):
        for j in range(files):
            audio = sine(300 * (i + 1), seconds, 8000, channels, level=0.1 + 0.8 * j / files)
            write(folder / f"Samples/{name}/{j}.wav", audio)
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a script's main() in this process, in a folder; returns its output. Saves the start of Keras."""
    def call_main(module, folder, *flags):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [module.__name__ + ".py", *map(str, flags)])
        if "keras" in sys.modules:
            sys.modules["keras"].utils.clear_session()  # numbers layers from 1, as in a new process
        capsys.readouterr()
        module.main()
        return capsys.readouterr().out
    return call_main


@pytest.fixture
def call_main(tmp_path, monkeypatch, capsys):
    """Run a tool in this process, in the test's folder. Returns its exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run_tool(tool, *arguments):
        monkeypatch.setattr(sys, "argv", [tool.__file__, *map(str, arguments)])
        return tool.main(), *capsys.readouterr()
    return run_tool


def run_main(module, folder, *flags):
    """Run a script's main() in a folder, which is returned; for fixtures of wider scope, which can't use `call`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [module.__name__ + ".py", *map(str, flags)])
        module.main()
    return folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A folder with Samples/ and Preproc/ to copy from."""
    import preprocess_data
    return run_main(preprocess_data, tones(tmp_path_factory.mktemp("prepared")))


@pytest.fixture
def folder(prepared, tmp_path):
    """A copy of it; some modules have a folder of their own instead."""
    return shutil.copytree(prepared, tmp_path / "work")


@pytest.fixture(scope="module")
def small_network():
    """The network "small", for training in this process: Keras traces it sooner than "vgg"."""
    import networks

    import panotti_models
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(panotti_models.NETWORKS, "small", networks.small)
        yield


@pytest.fixture
def without_curves():
    """Training draws no training curves, which takes longer than its epochs in the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audio_utils.evaluation.plots.training_curves", lambda path, _history: path.touch())
        yield


@pytest.fixture
def tensorboard(monkeypatch):
    """Keras's callback keeps the epochs in memory: folder → [(epoch, logs, learning rate)]."""
    import panotti_models
    from audio_utils.training import tensorboard_scalars

    class Callback:
        def __init__(self, folder, write_graph):
            self.log_dir, self._writers = str(folder), {}
            self.written = written.setdefault(self.log_dir, [])

        def set_model(self, model):
            self.model = model

        def on_epoch_end(self, epoch, logs):
            self.written.append((epoch, logs, float(np.asarray(self.model.optimizer.learning_rate))))

    written = {}
    monkeypatch.setattr(panotti_models.keras.callbacks, "TensorBoard", Callback)
    monkeypatch.setattr(tensorboard_scalars, "_PACKAGES", ())
    monkeypatch.setattr(tensorboard_scalars, "_losses", lambda folder: {
        epoch: np.float32(logs["loss"]) for epoch, logs, _ in written.get(str(folder), [])})
    return written


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def tree(folder):
    """{path: content} of all files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def require_completed_after_each_kill(folder, tmp_path, preprocess):
    """Stopped at any replacement or deletion of a file, or new row of the index, the next run completes a folder.

    preprocess: called with copies of the folder.
    """
    from audio_utils.data import index
    whole = shutil.copytree(folder, tmp_path / "whole")
    preprocess(whole)
    expected = tree(whole)
    for stop_at in range(200):
        broken, count = shutil.copytree(folder, tmp_path / "broken"), 0

        def stop(original):
            def call(*arguments, **keywords):
                nonlocal count
                count += 1
                if count > stop_at:  # noqa: B023
                    raise KeyboardInterrupt
                return original(*arguments, **keywords)
            return call

        with pytest.MonkeyPatch.context() as patch:
            for owner, name in ((os, "replace"), (Path, "unlink"), (index.Appender, "add")):
                patch.setattr(owner, name, stop(getattr(owner, name)))
            with suppress(KeyboardInterrupt):
                preprocess(broken)
                break
        preprocess(broken)
        assert tree(broken) == expected, stop_at
        shutil.rmtree(broken)
    assert 5 < stop_at < 199


def ramp(samples, channels=1):
    """float32 (channels, samples): consecutive 16-bit values, so that a lost or moved sample is detected."""
    return (np.arange(channels * samples, dtype=np.float32).reshape(channels, samples) - 20000) / 32768


def full_scale_noise(samples, channels, dtype):
    """(channels, samples) over the full range of a type."""
    rng = np.random.default_rng(0)
    if dtype in ("int16", "int32"):
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (channels, samples), dtype, endpoint=True)
    return (3 * rng.standard_normal((channels, samples))).astype(dtype)  # beyond ±1 too


@contextmanager
def killed_at(write):
    """Within, the process stops at this renaming or deletion of a file, counted from 0, and does none after it."""
    count = 0

    def stop(original):
        def call(*arguments, **keywords):
            nonlocal count
            count += 1
            if count > write:
                raise KeyboardInterrupt
            return original(*arguments, **keywords)
        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((os, "replace"), (Path, "unlink")):
            patch.setattr(owner, name, stop(getattr(owner, name)))
        yield


@contextmanager
def spoil(value, at="end"):
    """Within, each epoch of training starts, or ends, with this bias of the first class.

    With a large one every clip is assigned to that class, with NaN no loss is finite, on every processor. The effect
    of a huge learning rate, instead, depends on how the processor rounds.
    """
    from audio_utils.inference.network import arrays
    from audio_utils.training.trainer import Trainer

    def assign(trainer):
        bias = trainer.model.layers[-1].bias
        bias.assign(np.r_[value, np.zeros(bias.shape[0] - 1)])
        trainer.ema.weights = arrays(trainer.model.weights)

    def spoiled(trainer):
        if at == "start":
            assign(trainer)
        result = train_epoch(trainer)
        if at == "end":
            assign(trainer)
        return result

    train_epoch = Trainer._train_epoch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_train_epoch", spoiled)
        yield
