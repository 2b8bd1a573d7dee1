"""How good a network is after how much time: ours beside the recipe of the first Panotti, on guitar effects.

Both start from the same sounds of guitar_effects.py and the same melgrams. The first Panotti's recipe (2017) is its
network in float32 on melgrams as they are, Adadelta with a learning rate of 1.0, batches of 40, the best epoch by
validation loss. It gets as many seconds of training as ours took until it stopped by itself. The Test clips are scored
once, at the end.

Writes  time_to_accuracy/      the sounds, the melgrams and both networks; a table

    python tests/benchmarks/time_to_accuracy.py                  # 12 × 400 clips
    python tests/benchmarks/time_to_accuracy.py --clips 1667     # as many as the first Panotti had
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from side_by_side import SUITE, print_machine, print_table, run_seconds

from audio_utils import command_line

CLIPS = 400  # of each effect
SEED = 1     # of the sounds
TRAIN = ""   # flags for train_network.py

_FOLDER = Path("time_to_accuracy")
_RECIPE_OF_2017 = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
import panotti_models, preprocess_data
from audio_utils import dataset, evaluation
from audio_utils.evaluation import Evaluation
keras, budget, start = panotti_models.keras, float(sys.argv[2]), time.monotonic()
data = preprocess_data.open_data()
clips, _ = data.load("Train")
test, _ = data.load("Test", clips.class_names)
held = dataset.deal(clips.names, {}, 0.2, 1)
training, validation = (np.array([i for i, name in enumerate(clips.names) if held[name] is side])
                        for side in (False, True))
keras.utils.set_random_seed(1)
inputs = keras.Input(data.settings.shape)
model = keras.Model(inputs, panotti_models.vgg(inputs, len(clips.class_names)))
model.compile(keras.optimizers.Adadelta(1.0), "categorical_crossentropy")
truth = np.eye(len(clips.class_names), dtype=np.float32)[clips.labels]
best = np.inf, None, 0, 0
epochs = 0
while time.monotonic() - start < budget:
    model.fit(clips.melgrams[training], truth[training], 40, verbose=0)
    epochs += 1
    found = Evaluation.of(clips, panotti_models.predict(model, clips.melgrams, places=validation), validation)
    if found.loss < best[0]:
        best = found.loss, model.get_weights(), epochs, time.monotonic() - start
model.set_weights(best[1])
found = Evaluation.of(test, panotti_models.predict(model, test.melgrams))
scores = evaluation.score(found, evaluation.roc_curves(found))
print(epochs, best[2], best[3], scores["accuracy"], scores["macro_auc"])
"""


def main():
    options = command_line.parse(globals())
    print_machine(f"12 × {options.clips} clips, of which a fifth are Test")
    _FOLDER.mkdir(exist_ok=True)
    run_seconds([sys.executable, SUITE / "tests/benchmarks/guitar_effects.py", str(options.clips), "--seed",
                 str(options.seed)], _FOLDER)
    preprocessing = run_seconds([sys.executable, SUITE / "preprocess_data.py"], _FOLDER)
    training, *ours = by_ours(options)
    theirs = by_2017(training)
    print_table(("", "epochs", "epoch kept", "seconds to it", "Test accuracy", "macro AUC"),
                ("ours", *in_words(ours, preprocessing)), ("2017", *in_words(theirs, preprocessing)))
    print(f"Seconds are from Samples/ on, {preprocessing:.0f} of them for preprocessing; each trained for "
          f"{training:.0f} s.")


def by_ours(options):
    """(seconds of training, epochs, the epoch kept, seconds to it, accuracy, macro AUC)."""
    start, seconds = time.monotonic(), {}
    command = [sys.executable, str(SUITE / "train_network.py"), "--fresh", *options.train.split()]
    with subprocess.Popen(command, cwd=_FOLDER, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("epoch"):
                epoch = int(line.split()[1])
                seconds[epoch] = time.monotonic() - start
            elif line.startswith("Done"):
                whole, kept = time.monotonic() - start, int(re.search(r"epoch (\d+) is kept", line)[1])
    subprocess.run([sys.executable, SUITE / "eval_network.py"], cwd=_FOLDER, check=True, stdout=subprocess.DEVNULL)
    scores = json.loads((_FOLDER / "scores.json").read_text())
    return whole, len(seconds), kept, seconds[kept], scores["accuracy"], scores["macro_auc"]


def by_2017(budget):
    """(epochs, best epoch, seconds to it, accuracy, macro AUC)."""
    done = subprocess.run([sys.executable, "-c", _RECIPE_OF_2017, str(SUITE), str(budget)], cwd=_FOLDER, check=True,
                          stdout=subprocess.PIPE, text=True)
    epochs, best, seconds, accuracy, auc = map(float, done.stdout.split()[-5:])
    return epochs, best, seconds, accuracy, auc


def in_words(found, preprocessing):
    epochs, best, seconds, accuracy, auc = found
    return f"{epochs:.0f}", f"{best:.0f}", f"{preprocessing + seconds:.0f}", f"{accuracy:.2%}", f"{auc:.5f}"


if __name__ == "__main__":
    command_line.run(main)
