"""Compare the accuracy of the networks and of the SVM baseline, with 95% intervals: on one split, or over folds.

Reads   the given data sets: folders with a folder of sounds per class (or with Train/ and Test/ that hold these)
Writes  accuracy/<data set>/<network>/<flags>/, a working directory for the suite's scripts; a table to stdout

    python tests/benchmarks/accuracy.py ~/fsdd/Samples
    python tests/benchmarks/accuracy.py ~/esc10/Samples --folds '^\\d' '--preprocess=--group-by=-[A-Z]$'

The same command continues an interrupted run; finished results and their durations are read from their files. Runs
with other flags or sounds have their own working directory; its result.json lists these. Test sounds, and
the sounds of a fold, are scored once and have no influence on training.
"""

import hashlib
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import svm
from side_by_side import SUITE, print_machine, print_table, split_flags

from audio_utils.data import preproc, split
from audio_utils.evaluation import metrics
from audio_utils.evaluation.metrics import Evaluation
from audio_utils.inference import checkpoint
from audio_utils.runtime import command_line, safe_files, script
from audio_utils.runtime.command_line import Limits

NETWORKS = "vgg,auto,svm"  # auto, any of panotti_models.NETWORKS, and svm, separated by commas
FOLDS = ""       # as FOLDS in train_network.py; "": the split into Train and Test
PREPROCESS = ""  # flags for preprocess_data.py
TRAIN = ""       # flags for train_network.py
SEED = 1         # of training, of the folds and of the SVM's cross-validation

_LIMITS = {"SEED": Limits(int, 0, 2 ** 32 - 1)}
_OUT = Path("accuracy")


def main():
    options = command_line.parse(globals(), _LIMITS, positional=[("samples", {"nargs": "+", "metavar": "SAMPLES"})])
    print_machine(f"folds {options.folds or 'none'}; preprocess_data.py {options.preprocess}; "
                  f"train_network.py {options.train}; seed {options.seed}")
    rows = [("data", "network", "parameters", "accuracy", "95%", "macro AUC", "95%", "seconds")]
    for samples in map(Path, options.samples):
        name = samples.resolve().parent.name if samples.name == "Samples" else samples.name
        for network in options.networks.split(","):
            result = run(samples.resolve(), _OUT / name / network, network, options)
            rows.append((name, network, *cells(result)))
    print_table(*rows)


def run(samples, parent, network, options):
    """The result of one network on one data set; read from its result.json if that exists."""
    flags = {name: getattr(options, name) for name in ("folds", "preprocess", "train", "seed")}
    flags["samples"] = str(samples)
    folder = parent / hashlib.blake2b(json.dumps(flags).encode(), digest_size=4).hexdigest()
    result = folder / "result.json"
    if not result.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "Samples").exists():
            (folder / "Samples").symlink_to(samples)
        fraction = ["--test-fraction", "0"] if options.folds else []
        run_script("preprocess_data.py", folder, *fraction, *split_flags(options.preprocess))
        start = time.monotonic()
        scores = (svm_scores if network == "svm" else network_scores)(folder, network, options)
        safe_files.write_json(result, {"flags": flags, "seconds": time.monotonic() - start, **scores})
    return json.loads(result.read_text())


def network_scores(folder, network, options):
    """Train and score a network on Test or on the folds, with the suite's scripts."""
    folds = ["--folds", options.folds] if options.folds else []
    run_script("train_network.py", folder, "--network", network, "--seed", options.seed, *folds,
               *split_flags(options.train))
    if folds:
        scores = json.loads((folder / "folds/scores.json").read_text())
        weights = next(folder.glob("folds/*/weights.hdf5"))
    else:
        run_script("eval_network.py", folder)
        scores, weights = json.loads((folder / "scores.json").read_text()), folder / "weights.hdf5"
    return {**scores, "parameters": parameters(weights),
            "folds": {name: fold["accuracy"] for name, fold in scores.get("folds", {}).items()}}


def parameters(path):
    """The number of the network's weights, without the moving statistics of batch normalization."""
    import h5py
    weights = checkpoint.read(path).weights
    with h5py.File(path) as file:
        return sum(file[name].size for name in weights if not name.endswith(("moving_mean", "moving_variance")))


def svm_scores(folder, _, options):
    """Train and score the SVM on clip statistics. It needs no validation clips, and is trained on all of Train."""
    settings, preprocessing = preproc.read_settings(folder / "Preproc")
    train, _ = preproc.load(folder / "Preproc", "Train", settings)
    if options.folds:
        grouping = split.Grouping(preprocessing["constants"]["GROUP_BY"])
        folds, fold_of = split.assign_folds(train.names, options.folds, options.seed, grouping)
        groups = np.array([grouping.of(name) for name in train.names])
        results = []
        for fold in folds:
            held_out = np.array([fold_of.get(name) == fold for name in train.names])
            trained = ~np.isin(groups, groups[held_out])  # without the augmented copies of sounds held out
            results.append(evaluate_svm(train.melgrams[trained], train.labels[trained], train,
                                        np.flatnonzero(held_out), options))
    else:
        test, _ = preproc.load(folder / "Preproc", "Test", settings, train.class_names)
        folds, results = [], [evaluate_svm(train.melgrams, train.labels, test, np.arange(len(test)), options)]
    pooled = Evaluation.pooled(results)
    return {"parameters": None, "folds": dict(zip(folds, (each.accuracy for each in results), strict=False)),
            **metrics.score(pooled, metrics.roc_curves(pooled))}


def evaluate_svm(melgrams, labels, clips, indices, options):
    """Train on melgrams and labels, and evaluate the clips at `indices`."""
    return Evaluation.of(clips, svm.probabilities(melgrams, labels, clips.melgrams[indices], options.seed), indices)


def run_script(name, folder, *arguments):
    """Run one of the suite's scripts, and print its last lines."""
    print(f"\n{folder}: {name} {shlex.join(map(str, arguments))}", flush=True)
    done = subprocess.run([sys.executable, SUITE / name, *map(str, arguments)], cwd=folder, stdout=subprocess.PIPE,
                          text=True, check=True)
    print(*done.stdout.splitlines()[-3:], sep="\n", flush=True)


def cells(result):
    """The texts of a table row."""
    def interval(name, digits):
        return "{:.{d}f}–{:.{d}f}".format(*np.array(result[f"{name}_interval"]) * (100 if digits == 1 else 1), d=digits)

    folds = f" ({', '.join(f'{each:.1%}' for each in result['folds'].values())})" if result["folds"] else ""
    return (f"{result['parameters']:,}" if result["parameters"] else "", f"{result['accuracy']:.2%}{folds}",
            interval("accuracy", 1), f"{result['macro_auc']:.4f}", interval("macro_auc", 4), f"{result['seconds']:.0f}")


if __name__ == "__main__":
    script.run(main)
