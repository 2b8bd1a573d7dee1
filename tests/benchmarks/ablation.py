"""Ablation of training: train with different flags and several seeds, and compare.

Reads   Preproc/      in the working directory
Writes  ablation/<flags>/<seed>/, a working directory per training run; a table to stdout

    python tests/benchmarks/ablation.py '' '--mixup 0.3' '--time-shift 0'      # '': the default constants
    python tests/benchmarks/ablation.py --seeds 5 -- '--precision float32' '--precision mixed_bfloat16'
    python tests/benchmarks/ablation.py --folds '_(jackson|lucas)_' -- '' --no-finish-on-all

Each seed has its own validation split, initial weights and order of clips. Without --folds, the table shows the epoch
with the best validation loss, and all epochs are validated; with --folds, it shows the scores of the sounds held out.
Test is not used. The same command continues an interrupted run.
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

from audio_utils.runtime import command_line, safe_files, script
from audio_utils.runtime.command_line import Limits

SEEDS = 3   # runs per variant
FOLDS = ""  # as FOLDS in train_network.py

_LIMITS = {"SEEDS": Limits(int, 1)}
_OUT = Path("ablation")


def main():
    options = command_line.parse(globals(), _LIMITS, positional=[("flags", {"nargs": "+", "metavar": "FLAGS"})])
    print_machine(f"{options.seeds} seeds, folds {options.folds or 'none'}")
    results = {flags: [] for flags in options.flags}
    for seed in range(1, options.seeds + 1):
        for flags, of_seeds in results.items():
            of_seeds.append(run(flags, seed, options.folds))
            print(f"seed {seed}, {flags or 'default'}: {of_seeds[-1]}", flush=True)
    print_table(("train_network.py", "accuracy", "loss", "epochs", "seconds"),
                *((flags or "default", *map(cell, ("accuracy", "loss", "epochs", "seconds"), [of_seeds] * 4))
                  for flags, of_seeds in results.items()))


def run(flags, seed, folds):
    """The result of one training run; read from its result.json if that exists."""
    folder = _OUT / (re.sub(r"\W+", "_", flags + folds) or "default") / str(seed)
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
    """Accuracy, loss and number of epochs of a training run."""
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


def cell(name, results):
    """The text of a table cell: mean and standard deviation over the seeds."""
    values = [each[name] for each in results]
    spread = np.std(values, ddof=1) if len(values) > 1 else 0
    return {"accuracy": f"{np.mean(values):.2%} ± {spread:.2%}", "loss": f"{np.mean(values):.4f} ± {spread:.4f}"}.get(
        name, f"{np.mean(values):.0f}")


if __name__ == "__main__":
    script.run(main)
