"""Compare accuracy at equal training time: train_network.py and the original Panotti's recipe, on guitar effects.

Both use the same sounds of guitar_effects.py and the same melgrams. The recipe of the original Panotti (2017) is its
network in float32 on unnormalized melgrams, Adadelta with a learning rate of 1.0, batches of 40, and the epoch with
the best validation loss. It trains for as long as train_network.py took until it stopped. Test is scored once, at the
end.

Writes  time_to_accuracy/      sounds, melgrams and our network; a table to stdout

    python tests/benchmarks/time_to_accuracy.py                  # 12 × 400 clips
    python tests/benchmarks/time_to_accuracy.py --clips 1667     # as many as in the original Panotti
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from side_by_side import SUITE, print_machine, print_table, run_seconds

from audio_utils.runtime import command_line, script
from audio_utils.runtime.command_line import Limits

CLIPS = 400  # of each effect
SEED = 1     # of the sounds
TRAIN = ""   # flags for train_network.py

_LIMITS = {"CLIPS": Limits(int, 1, 99999), "SEED": Limits(int, 0)}
_FOLDER = Path("time_to_accuracy")
_RECIPE_OF_2017 = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
import panotti_models, preprocess_data
from audio_utils.data import dataset, split
from audio_utils.evaluation import metrics
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference import network
from audio_utils.runtime import command_line
keras, budget, start = panotti_models.keras, float(sys.argv[2]), time.monotonic()
data = dataset.open_dataset(command_line.constants(preprocess_data, {}))
clips = data.load("Train")
test = data.load("Test", clips.class_names)
held_out = split.hold_out(clips.names, {}, 0.2, 1)
training, validation = (np.array([i for i, name in enumerate(clips.names) if held_out[name] is part])
                        for part in (False, True))
keras.utils.set_random_seed(1)
inputs = keras.Input(data.settings.shape)
model = keras.Model(inputs, panotti_models.vgg(inputs, len(clips.class_names)))
model.compile(keras.optimizers.Adadelta(1.0), "categorical_crossentropy")
best = np.inf, None, 0, 0
epochs = 0
while time.monotonic() - start < budget:
    model.fit(clips.melgrams[training], clips.targets[training], 40, verbose=0)
    epochs += 1
    result = Evaluation.of(clips, network.predict(model, clips.melgrams, indices=validation), validation)
    if result.loss < best[0]:
        best = result.loss, model.get_weights(), epochs, time.monotonic() - start
model.set_weights(best[1])
result = Evaluation.of(test, network.predict(model, test.melgrams))
scores = metrics.score(result, metrics.roc_curves(result))
print(epochs, best[2], best[3], scores["accuracy"], scores["macro_auc"])
"""


def main():
    options = command_line.parse(globals(), _LIMITS)
    print_machine(f"12 × {options.clips} clips, a fifth of them in Test")
    _FOLDER.mkdir(exist_ok=True)
    run_seconds([sys.executable, SUITE / "tests/benchmarks/guitar_effects.py", str(options.clips), "--seed",
                 str(options.seed)], _FOLDER)
    preprocessing = run_seconds([sys.executable, SUITE / "preprocess_data.py"], _FOLDER)
    training, *ours = run_ours(options)
    recipe_of_2017 = run_2017(training)
    print_table(("", "epochs", "epoch kept", "seconds until then", "Test accuracy", "macro AUC"),
                ("ours", *cells(ours, preprocessing)), ("2017", *cells(recipe_of_2017, preprocessing)))
    print(f"The seconds include {preprocessing:.0f} s of preprocessing; each trained for {training:.0f} s.")


def run_ours(options):
    """(seconds of training, epochs, epoch kept, seconds until then, accuracy, macro AUC)."""
    start, seconds = time.monotonic(), {}
    command = [sys.executable, str(SUITE / "train_network.py"), "--fresh", *options.train.split()]
    with subprocess.Popen(command, cwd=_FOLDER, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("epoch"):
                epoch = int(line.split()[1])
                seconds[epoch] = time.monotonic() - start
            elif line.startswith("Done"):
                total, kept = time.monotonic() - start, int(re.search(r"epoch (\d+) is kept", line)[1])
    subprocess.run([sys.executable, SUITE / "eval_network.py"], cwd=_FOLDER, check=True, stdout=subprocess.DEVNULL)
    scores = json.loads((_FOLDER / "scores.json").read_text())
    return total, len(seconds), kept, seconds[kept], scores["accuracy"], scores["macro_auc"]


def run_2017(budget):
    """(epochs, best epoch, seconds until then, accuracy, macro AUC); budget: seconds of training."""
    done = subprocess.run([sys.executable, "-c", _RECIPE_OF_2017, str(SUITE), str(budget)], cwd=_FOLDER, check=True,
                          stdout=subprocess.PIPE, text=True)
    epochs, best, seconds, accuracy, auc = map(float, done.stdout.split()[-5:])
    return epochs, best, seconds, accuracy, auc


def cells(result, preprocessing):
    """The texts of a table row."""
    epochs, best, seconds, accuracy, auc = result
    return f"{epochs:.0f}", f"{best:.0f}", f"{preprocessing + seconds:.0f}", f"{accuracy:.2%}", f"{auc:.5f}"


if __name__ == "__main__":
    script.run(main)
