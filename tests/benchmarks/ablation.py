"""What each ingredient of training is worth: the same training with and without it, with several seeds.

Reads   Preproc/      of the working folder
Writes  ablation/<flags>/<seed>/, a working folder for each training, and a table

    python tests/benchmarks/ablation.py '' '--mixup 0.3' '--time-shift 0'      # '': the constants as they are
    python tests/benchmarks/ablation.py --seeds 5 '--precision float32' '--precision mixed_bfloat16'
    python tests/benchmarks/ablation.py --folds '_(jackson|lucas)_' -- '' --no-finish-on-all

Each seed has a validation split, first weights and an order of its own. What is compared is the best epoch of
validation, which goes on to the end, or with --folds the accuracy on the sounds held out; Test is not looked at. The
same command goes on where it was stopped.
"""

import csv
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from side_by_side import SUITE, print_machine, print_table, split_flags

from audio_utils import command_line, safe_files

SEEDS = 3
FOLDS = ""  # as FOLDS of train_network.py

_OUT = Path("ablation")


def main():
    options = command_line.parse(globals(), [("flags", {"nargs": "+", "metavar": "FLAGS"})])
    print_machine(f"{options.seeds} seeds, folds {options.folds or 'none'}")
    found = {flags: [] for flags in options.flags}
    for seed in range(1, options.seeds + 1):
        for flags, results in found.items():
            results.append(trained(flags, seed, options.folds))
            print(f"seed {seed}, {flags or 'as it is'}: {results[-1]}", flush=True)
    print_table(("train_network.py", "accuracy", "loss", "epochs", "seconds"),
                *((flags or "as it is", *map(in_words, ("accuracy", "loss", "epochs", "seconds"), [results] * 4))
                  for flags, results in found.items()))


def trained(flags, seed, folds):
    """The figures of one training, from its result.json where that is there."""
    folder = _OUT / (re.sub(r"\W+", "_", flags + folds) or "as_it_is") / str(seed)
    result = folder / "result.json"
    if not result.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "Preproc").exists():
            (folder / "Preproc").symlink_to(Path("Preproc").resolve())
        start = time.monotonic()
        subprocess.run([sys.executable, SUITE / "train_network.py", "--seed", str(seed), *split_flags(flags),
                        *(["--folds", folds] if folds else ["--no-finish-on-all"])], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)
        safe_files.write_json(result, {"seconds": time.monotonic() - start, **figures(folder, folds)})
    return json.loads(result.read_text())


def figures(folder, folds):
    """Accuracy, loss and epochs."""
    if folds:
        scores = json.loads((folder / "folds/scores.json").read_text())
        return {"accuracy": scores["accuracy"], "loss": scores["loss"],
                "epochs": sum(len(rows(path)) for path in folder.glob("folds/*/history.csv"))}
    epochs = rows(folder / "history.csv")
    best = min(epochs, key=lambda row: float(row["val_loss"]))
    return {"accuracy": float(best["val_accuracy"]), "loss": float(best["val_loss"]), "epochs": len(epochs)}


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def in_words(name, results):
    """The mean and the standard deviation over the seeds."""
    values = [each[name] for each in results]
    spread = np.std(values, ddof=1) if len(values) > 1 else 0
    return {"accuracy": f"{np.mean(values):.2%} ± {spread:.2%}", "loss": f"{np.mean(values):.4f} ± {spread:.4f}"}.get(
        name, f"{np.mean(values):.0f}")


if __name__ == "__main__":
    command_line.run(main)
