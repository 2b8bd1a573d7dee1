"""How fast the epochs of train_network.py are, beside a plain float32 Keras `fit` of the same network.

Both learn from the same melgrams, random ones of a second's reading, in turn, each in a process of its own; an epoch's
clips are divided by its seconds, validation and saving not counted, and the first epoch of each process, in which the
graph is made, is left out.

Writes  a table of medians to stdout; melgrams in a temporary folder, for as long as it runs

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
from audio_utils import command_line, dataset
from audio_utils.melgram import MelgramSettings

CLIPS = 400         # that are trained on
CLIP_SECONDS = 2.0
EPOCHS = 4          # in each process, of which the first is not counted
ROUNDS = 2          # of all sides, of which the medians are given
BATCH_SIZE = train_network.BATCH_SIZE
NETWORKS = "residual,vgg"  # with commas between them

_RATE, _CLASSES = 44100, 12
_PLAIN = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
import panotti_models, preprocess_data
from audio_utils.weights_file import Scaling
keras = panotti_models.keras
network, epochs, batch_size = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
data = preprocess_data.open_data()
clips, _ = data.load("Train")
model = panotti_models.build(network, data.settings.shape, len(clips.class_names), Scaling.of(clips.melgrams))
model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.monotonic()
    def on_epoch_end(self, epoch, logs=None):
        print(f"{len(clips) / (time.monotonic() - self.start):.1f} clips/s", flush=True)
model.fit(clips.melgrams, np.eye(len(clips.class_names), dtype=np.float32)[clips.labels], batch_size, epochs,
          verbose=0, callbacks=[Clock()])
"""


def main():
    options = command_line.parse(globals())
    print_machine(f"{options.clips} clips of {options.clip_seconds:g} s, batches of {options.batch_size}; "
                  f"medians of {options.rounds}")
    rows = [("clips a second", "plain float32 fit", "ours, float32", "ratio", "ours", "ratio")]
    for network in options.networks.split(","):
        for channels in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                make_melgrams(Path(folder), channels, options)
                ours = partial(speed_of_ours, folder, network, options)
                found = medians({"plain": partial(speed_of_plain, folder, network, options),
                                 "float32": partial(ours, "float32"), "ours": partial(ours, "auto")}, options.rounds,
                                warm_up=0)
            rows.append((f"{network}, {'stereo' if channels == 2 else 'mono'}", f"{found['plain']:.0f}",
                         f"{found['float32']:.0f}", ratio(found, "float32", "plain", least=1),
                         f"{found['ours']:.0f}", ratio(found, "ours", "plain", least=2)))
    print_table(*rows)


def make_melgrams(folder, channels, options):
    """A Preproc/ of noise, which trains as fast as any sound."""
    settings = MelgramSettings.of(_RATE, round(options.clip_seconds * _RATE), channels, preprocess_data.MELS,
                                  preprocess_data.WINDOW_MS, preprocess_data.HOP_MS)
    rng = np.random.default_rng(1)
    for i in range(math.ceil(options.clips / (1 - train_network.VALIDATION_FRACTION))):
        path = dataset.melgram_path(folder / "Preproc", "Train", f"{i % _CLASSES}/{i}")
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.write_melgram(path, rng.normal(-40, 15, settings.shape).astype(np.float32), 0)
    dataset.safe_files.write_json(folder / "Preproc/settings.json", settings.to_dict() | {"complete": True})


def speed_of_ours(folder, network, options, precision):
    return speed([SUITE / "train_network.py", "--network", network, "--epochs", options.epochs, "--epoch-clips", 1,
                  "--batch-size", options.batch_size, "--precision", precision, "--fresh"], folder)


def speed_of_plain(folder, network, options):
    return speed(["-c", _PLAIN, SUITE, network, options.epochs, options.batch_size], folder)


def speed(command, folder):
    """The median speed of the epochs, but for the first, that a command prints, in clips a second."""
    said = subprocess.run([sys.executable, *map(str, command)], cwd=folder, check=True, stdout=subprocess.PIPE,
                          text=True).stdout
    return np.median([float(each) for each in re.findall(r"([\d.]+) clips/s", said)][1:])


if __name__ == "__main__":
    command_line.run(main)
