"""The parts of gpu.sh that measure one backend of Keras; gpu.sh runs them, each within a time limit.

Reads   Preproc/ in the working directory
Writes  RESULTS/<part>-<backend>.json, which gpu_table.py reads; training runs in folders of the working directory

    gpu.py train jax     train_network.py for SECONDS: speed, accuracy over time, GPU memory
    gpu.py steps jax     the stages of a training step, timed within this process
    gpu.py plain jax     the same network with a plain Keras `fit` on the same arrays
    gpu.py resume jax    a run that is killed and resumed, compared with an uninterrupted one
"""

import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from gpu_device import Stopwatch, gpu_names, used_memory
from gpu_table import difference
from side_by_side import SUITE, seconds_of

from audio_utils.runtime import command_line, script

RESULTS = "results"    # folder
SECONDS = 90.0         # of training, start-up included
STEPS_CLIPS = 3200     # clips per epoch when the stages of a step are timed,
STEPS_SECONDS = 8.0    # and the duration of that after the first epoch
PLAIN_CLIPS = 6400     # clips per epoch of the plain `fit`,
PLAIN_SECONDS = 6.0    # and the time after which no further epoch of it begins
RESUME_FILES = 24      # clips of each class in the runs that are killed and resumed,
RESUME_CLIPS = 4000    # and clips per epoch: long enough to be killed within one

_RESUME_EPOCHS, _KILLED_AFTER, _PLAIN_BATCHES = 4, 2, (16, 128)
_figures = {}


def main() -> None:
    options = command_line.parse(globals(), positional=[("part", {"choices": ["train", "steps", "plain", "resume"]}),
                                                        ("backend", {"choices": ["jax", "torch"]})])
    options.results = Path(options.results).absolute()
    if importlib.util.find_spec(options.backend) is None:
        note(options, missing=f"{options.backend}: not installed")
        return
    os.environ["KERAS_BACKEND"] = options.backend
    try:
        {"train": train, "steps": steps, "plain": plain, "resume": resume}[options.part](options)
    except Exception as error:
        note(options, error=" ".join(f"{type(error).__name__}: {error}".split())[-300:])
        raise


def note(options, **figures: object) -> None:
    """Write figures to the part's JSON file immediately, so that they survive its time limit."""
    _figures.update(figures)
    print("".join(f"{name}: {text}\n" for name, text in figures.items() if isinstance(text, str)), end="", flush=True)
    (options.results / f"{options.part}-{options.backend}.json").write_text(json.dumps(_figures, indent=1))


# === The suite's internals: everything that depends on their names is between this line and the next one like it ====

EPOCH_LINE = re.compile(r"epoch +(\d+) .* (\d+) +([\d.]+) s")  # number, clips/s, seconds without validation
NETWORK_LINE = re.compile(r"Network .* on (.*)\.")  # device (backend, precision)
ACCURACY_COLUMN = "val_accuracy"  # of history.csv


def load_clips() -> tuple:
    """The data set of the working directory and the Clips of Train."""
    import preprocess_data
    from audio_utils.data import dataset
    data = dataset.open_dataset(command_line.constants(preprocess_data, {}))
    return data, data.load("Train")


def load_for_plain() -> tuple:
    """Melgrams (clips, mels, frames, channels), one-hot targets, precision, and a function that builds the network."""
    import panotti_models
    from audio_utils.data.standardization import Standardization
    from audio_utils.inference import device
    data, clips = load_clips()
    precision, standardization = device.best_precision(), Standardization.of(clips.melgrams[::10])
    return clips.melgrams, clips.targets, precision, lambda: panotti_models.build(
        "residual", data.settings.shape, len(clips.class_names), standardization, precision)


def new_trainer(epoch_clips: int):
    """A trainer in this process; in a dry run it uses the DeviceFeed, as on a GPU."""
    import train_network
    from audio_utils.inference import device
    from audio_utils.training import resume
    from audio_utils.training.trainer import Trainer
    if not gpu_names():
        device.on_gpu = lambda: True
    options = command_line.parse(vars(train_network), argv=["--epoch-clips", "1"])
    data, clips = load_clips()
    state = resume.initial_state(Path("weights.hdf5"), None, options, clips, [], {})
    trainer = Trainer(options, Path(), data, clips, state, None)
    indices = np.random.default_rng(1).permutation(trainer.split.training)[:epoch_clips]
    trainer.split = trainer.split._replace(training=indices)
    return trainer


def stages(trainer) -> tuple:
    """The model that Keras trains, and the functions to time: a list of (owner, name, label)."""
    return trainer.compiled, [
        (trainer.feed, "draw", "draw parameters"), (trainer, "_update_ema", "EMA"),
        (trainer, "_train_epoch", "rest of a step"), (trainer, "_validate", "validation"), (trainer, "_save", "saving"),
        (trainer, "run_epoch", "rest of an epoch")]


def one_epoch(trainer) -> int:
    """Train one epoch, with validation and saving; returns the number of its steps."""
    before = trainer.state.step
    trainer.run_epoch()
    return trainer.state.step - before

# === End of the suite's internals ===================================================================================

def start_training(folder: Path, *flags: object, **environment: str) -> subprocess.Popen:
    """Start train_network.py in a folder that has Preproc; its lines come through a pipe."""
    return subprocess.Popen([sys.executable, SUITE / "train_network.py", *map(str, flags)], cwd=folder, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | environment)


def lines_of(process: subprocess.Popen, statuses: tuple = (0,)) -> Iterator[str]:
    """Print and yield the lines of a process; raise an error if it ends with another exit status than these."""
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line.strip() or last
        yield line
    if process.wait() not in statuses:
        raise RuntimeError(f"train_network.py ended with {process.returncode}: {last}")


def after(seconds: float, function: Callable) -> None:
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()


def new_folder(folder: Path | str, preproc: Path) -> Path:
    folder = Path(folder).absolute()
    folder.mkdir()
    (folder / "Preproc").symlink_to(preproc.absolute())
    return folder


# --- train ----------------------------------------------------------------------------------------------------------

def train(options) -> None:
    folder, start, epochs = new_folder(f"train-{options.backend}", Path("Preproc")), time.monotonic(), []
    process = start_training(folder)
    threading.Thread(target=poll_memory, args=(process,), daemon=True).start()
    after(options.seconds, process.terminate)
    for line in lines_of(process, (0, 143)):
        seconds = time.monotonic() - start
        if found := NETWORK_LINE.match(line):
            note(options, device=found[1], loaded=seconds)
        if found := EPOCH_LINE.match(line):
            with open(folder / "history.csv") as file:
                accuracy = list(csv.DictReader(file))[-1][ACCURACY_COLUMN]
            epochs.append({"at": seconds, "speed": float(found[2]), "seconds": float(found[3]),
                           "accuracy": float(accuracy or 0)})  # there is none if all clips are used for training
            note(options, epochs=epochs)


def poll_memory(process: subprocess.Popen) -> None:
    """Find the peak GPU memory of a process; it is written with the next epoch."""
    peak = 0
    while process.poll() is None:
        megabytes, whose = used_memory(process.pid)
        if megabytes > peak:
            peak = megabytes
            _figures["memory"] = f"{peak} MiB ({whose})"
        time.sleep(1)


# --- steps ----------------------------------------------------------------------------------------------------------

def steps(options) -> None:
    """Time the stages of training for some seconds, except for the first epoch, in which the graph is compiled."""
    os.chdir(new_folder(f"steps-{options.backend}", Path("Preproc")))
    trainer, watch, count, epochs = new_trainer(options.steps_clips), Stopwatch(options.backend), 0, 0
    model, timed = stages(trainer)
    watch.time_device(model)
    for owner, name, label in timed:
        setattr(owner, name, watch.timed(label, getattr(owner, name)))
    one_epoch(trainer)
    watch.seconds.clear()
    start = time.monotonic()
    while not epochs or time.monotonic() - start < options.steps_seconds:
        count, epochs = count + one_epoch(trainer), epochs + 1
        note(options, seconds=watch.seconds, steps=count, epochs=epochs)


# --- plain ----------------------------------------------------------------------------------------------------------

def plain(options) -> None:
    melgrams, targets, precision, build = load_for_plain()
    indices = np.random.default_rng(1).permutation(len(targets))[:options.plain_clips]
    inputs, outputs = melgrams[indices], targets[indices]
    for batch_size in _PLAIN_BATCHES:
        model, seconds = build(), []
        model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        while len(seconds) < 2 or sum(seconds) < options.plain_seconds:
            seconds.append(seconds_of(lambda: model.fit(inputs, outputs, batch_size, verbose=0)))  # noqa: B023
        speed = len(inputs) / np.median(seconds[1:])
        note(options, **{f"batches of {batch_size}": f"{speed:.0f} clips/s ({precision})"})


# --- resume ---------------------------------------------------------------------------------------------------------

def resume(options) -> None:
    """Kill a run within an epoch, resume it, and compare; all JAX runs except the last share a compilation cache."""
    base = Path(f"resume-{options.backend}").absolute()
    os.environ["OMP_NUM_THREADS"] = "1"  # the torch threads of two concurrent runs on the CPU slow each other down
    for folder in Path("Preproc/Train").iterdir():
        (base / folder).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:options.resume_files]:
            shutil.copy2(path, base / path)
    shutil.copy2("Preproc/settings.json", base / "Preproc")
    whole, control, killed = (new_folder(base / name, base / "Preproc") for name in ("whole", "control", "killed"))
    flags = "--epochs", _RESUME_EPOCHS, "--epoch-clips", options.resume_clips
    cache = {"JAX_COMPILATION_CACHE_DIR": str(base / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    list(lines_of(start_training(whole, *flags, **cache)))
    second = start_training(control, *flags, **cache)
    note(options, killed=kill_within_epoch(start_training(killed, *flags, **cache)))
    list(lines_of(second))
    note(options, control=difference(whole, control))
    anew = Path(shutil.copytree(killed, base / "anew", symlinks=True))
    resumed = start_training(killed, *flags, **cache), start_training(anew, *flags)
    for name, folder, process in zip(("resumed", "anew"), (killed, anew), resumed, strict=True):
        list(lines_of(process))
        note(options, **{name: difference(whole, folder)})


def kill_within_epoch(process: subprocess.Popen) -> str:
    """Kill a run (SIGKILL) half an epoch after the line of epoch _KILLED_AFTER."""
    for line in lines_of(process, (0, -9)):
        if found := EPOCH_LINE.match(line):
            last = int(found[1])
            if last == _KILLED_AFTER:
                after(float(found[3]) / 2, process.kill)
    return f"exit status {process.returncode} in epoch {last + 1} of {_RESUME_EPOCHS}"


if __name__ == "__main__":
    script.run(main)
