"""Measure the training speed of train_network.py, and of a plain float32 Keras `fit` of the same network.

Both train on the same random melgrams, in turn, each in its own process. The speed is the number of clips in an epoch
divided by its seconds, without validation and saving. The first epoch of each process, which builds the graph, is left
out.

Writes  a table of medians to stdout; melgrams in a temporary folder, which is removed at the end

    python tests/benchmarks/train.py
    python tests/benchmarks/train.py --clips 200 --rounds 1 --epochs 2    # a short trial
    KERAS_BACKEND=jax python tests/benchmarks/train.py --clips 16000      # on a GPU
"""

import math
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from side_by_side import SUITE, medians, print_machine, print_table, ratio

import preprocess_data
import train_network
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import preproc
from audio_utils.runtime import command_line, script
from audio_utils.runtime.command_line import Limits

CLIPS = 400         # training clips
CLIP_SECONDS = 2.0  # length of each
EPOCHS = 4          # per process; the first is not counted
ROUNDS = 2          # of all variants, for the medians
BATCH_SIZE = train_network.BATCH_SIZE
NETWORKS = "residual,vgg"  # separated by commas

_LIMITS = {"CLIPS": Limits(int, 1), "CLIP_SECONDS": Limits(float, 0.1), "EPOCHS": Limits(int, 2),
           "ROUNDS": Limits(int, 1), "BATCH_SIZE": Limits(int, 1)}

_RATE, _CLASSES = 44100, 12
SPEED = r"^(?:epoch .* )?([\d.]+)(?: clips/s$| +[\d.]+ s\b)"  # of the plain program, and of our line of an epoch
_PLAIN = """
import sys, time
sys.path.insert(0, sys.argv[1])
import panotti_models, preprocess_data
from audio_utils.data import dataset
from audio_utils.data.standardization import Standardization
from audio_utils.runtime import command_line
keras = panotti_models.keras
network, epochs, batch_size = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
data = dataset.open_dataset(command_line.constants(preprocess_data, {}))
clips = data.load("Train")
standardization = Standardization.of(clips.melgrams)
model = panotti_models.build(network, data.settings.shape, len(clips.class_names), standardization)
model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.monotonic()
    def on_epoch_end(self, epoch, logs=None):
        print(f"{len(clips) / (time.monotonic() - self.start):.1f} clips/s", flush=True)
model.fit(clips.melgrams, clips.targets, batch_size, epochs, verbose=0, callbacks=[Clock()])
"""


def main():
    options = command_line.parse(globals(), _LIMITS)
    print_machine(f"{options.clips} clips of {options.clip_seconds:g} s, batches of {options.batch_size}; "
                  f"medians of {options.rounds}")
    rows = [("clips/s", "plain float32 fit", "ours, float32", "ratio", "ours", "ratio")]
    for network in options.networks.split(","):
        for channels in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                make_melgrams(Path(folder), channels, options)
                ours = partial(speed_of_ours, folder, network, options)
                speeds = medians({"plain": partial(speed_of_plain, folder, network, options),
                                  "float32": partial(ours, "float32"), "ours": partial(ours, "auto")},
                                 options.rounds, warm_up=0)
            rows.append((f"{network}, {'stereo' if channels == 2 else 'mono'}", f"{speeds['plain']:.0f}",
                         f"{speeds['float32']:.0f}", ratio(speeds, "float32", "plain", at_least=1),
                         f"{speeds['ours']:.0f}", ratio(speeds, "ours", "plain", at_least=2)))
    print_table(*rows)


def make_melgrams(folder, channels, options):
    """Write a Preproc/ of random melgrams; the speed does not depend on their values."""
    settings = MelgramSettings.of(_RATE, round(options.clip_seconds * _RATE), channels, preprocess_data.MELS,
                                  preprocess_data.WINDOW_MS, preprocess_data.HOP_MS)
    rng = np.random.default_rng(1)
    for i in range(math.ceil(options.clips / (1 - train_network.VALIDATION_FRACTION))):
        path = preproc.melgram_path(folder / "Preproc", "Train", f"{i % _CLASSES}/{i}")
        path.parent.mkdir(parents=True, exist_ok=True)
        preproc.write_melgram(path, rng.normal(-40, 15, settings.shape).astype(np.float32))
    preproc.write_settings(folder / "Preproc", settings.to_dict() | {"complete": True, "constants": {}})


def speed_of_ours(folder, network, options, precision):
    return speed([SUITE / "train_network.py", "--network", network, "--epochs", options.epochs, "--epoch-clips", 1,
                  "--batch-size", options.batch_size, "--precision", precision, "--fresh"], folder)


def speed_of_plain(folder, network, options):
    return speed(["-c", _PLAIN, SUITE, network, options.epochs, options.batch_size], folder)


def speed(command, folder):
    """The median of the clips/s that a command prints, without the first epoch."""
    output = subprocess.run([sys.executable, *map(str, command)], cwd=folder, check=True, stdout=subprocess.PIPE,
                            text=True).stdout
    return np.median([float(each) for each in re.findall(SPEED, output, re.MULTILINE)][1:])


if __name__ == "__main__":
    script.run(main)
