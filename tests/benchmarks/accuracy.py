"""How accurate the networks are beside the SVM baseline, with 95% intervals: on a split, or over folds.

Reads   folders with a folder of sounds for each class (or Train/ and Test/ with such folders), each a data set
Writes  accuracy/<data set>/<network>/, a working folder in which the suite's own scripts are run, and a table

    python tests/benchmarks/accuracy.py ~/fsdd/Samples
    python tests/benchmarks/accuracy.py ~/esc10/Samples --folds '^\\d' '--preprocess=--keep-together=-[A-Z]$'

The same command goes on where it was stopped; what is done is not done again, and its seconds are remembered. Test
sounds, and those of a fold, are scored once, by networks that chose everything on the others.
"""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import svm
from side_by_side import SUITE, print_machine, print_table, split_flags

from audio_utils import command_line, dataset, evaluation, safe_files, weights_file
from audio_utils.evaluation import Evaluation

NETWORKS = "vgg,residual,svm"  # any of panotti_models.NETWORKS, and svm, with commas between them
FOLDS = ""       # as FOLDS of train_network.py; "": the split into Train and Test
PREPROCESS = ""  # flags for preprocess_data.py
TRAIN = ""       # flags for train_network.py
SEED = 1

_OUT = Path("accuracy")


def main():
    options = command_line.parse(globals(), [("samples", {"nargs": "+", "metavar": "SAMPLES"})])
    print_machine(f"folds {options.folds or 'none'}; preprocess_data.py {options.preprocess}; "
                  f"train_network.py {options.train}; seed {options.seed}")
    rows = [("data", "network", "parameters", "accuracy", "95%", "macro AUC", "95%", "seconds")]
    for samples in map(Path, options.samples):
        name = samples.resolve().parent.name if samples.name == "Samples" else samples.name
        for network in options.networks.split(","):
            found = measured(samples.resolve(), _OUT / name / network, network, options)
            rows.append((name, network, *in_words(found)))
    print_table(*rows)


def measured(samples, folder, network, options):
    """The figures of one network on one data set, from its result.json where that is there."""
    result = folder / "result.json"
    if not result.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "Samples").exists():
            (folder / "Samples").symlink_to(samples)
        fraction = ["--test-fraction", "0"] if options.folds else []
        script("preprocess_data.py", folder, *fraction, *split_flags(options.preprocess))
        start = time.monotonic()
        figures = (by_svm if network == "svm" else by_network)(folder, network, options)
        safe_files.write_json(result, {"seconds": time.monotonic() - start, **figures})
    return json.loads(result.read_text())


def by_network(folder, network, options):
    """Train, and score on Test or on the folds, with the suite's own scripts."""
    folds = ["--folds", options.folds] if options.folds else []
    script("train_network.py", folder, "--network", network, "--seed", options.seed, *folds,
           *split_flags(options.train))
    if folds:
        scores = json.loads((folder / "folds/scores.json").read_text())
        weights = next(folder.glob("folds/*/weights.hdf5"))
    else:
        script("eval_network.py", folder)
        scores, weights = json.loads((folder / "scores.json").read_text()), folder / "weights.hdf5"
    return {**scores, "parameters": parameters(weights),
            "folds": {name: fold["accuracy"] for name, fold in scores.get("folds", {}).items()}}


def parameters(path):
    """How many numbers of the best network training has found."""
    import h5py
    places = weights_file.read(path).weights
    with h5py.File(path) as file:
        return sum(file[place].size for place in places if not place.endswith(("moving_mean", "moving_variance")))


def by_svm(folder, _, options):
    """The same with the SVM on clip statistics, which needs no validation and so learns from all of Train."""
    settings, record = dataset.read_settings(folder / "Preproc")
    train, _ = dataset.load(folder / "Preproc", "Train", settings)
    if options.folds:
        together = record["constants"]["KEEP_TOGETHER"]
        called, fold_of = dataset.folds(train.names, options.folds, options.seed, together)
        groups = np.array([dataset.group_of(name, together) for name in train.names])
        found = []
        for fold in called:
            held_out = np.array([fold_of.get(name) == fold for name in train.names])
            learnt = ~np.isin(groups, groups[held_out])  # of what is held out no copies either
            found.append(by_svm_on(train.melgrams[learnt], train.labels[learnt], train, np.flatnonzero(held_out),
                                   options))
    else:
        test, _ = dataset.load(folder / "Preproc", "Test", settings, train.class_names)
        called, found = [], [by_svm_on(train.melgrams, train.labels, test, np.arange(len(test)), options)]
    return {"parameters": None, "folds": dict(zip(called, (each.accuracy for each in found), strict=False)),
            **score(Evaluation.pooled(found))}


def score(found):
    return evaluation.score(found, evaluation.roc_curves(found))


def by_svm_on(melgrams, labels, clips, places, options):
    return Evaluation.of(clips, svm.probabilities(melgrams, labels, clips.melgrams[places], options.seed), places)


def script(name, folder, *arguments):
    """Run one of the suite's scripts; its last lines are printed."""
    print(f"\n{folder}: {name} {shlex.join(map(str, arguments))}", flush=True)
    done = subprocess.run([sys.executable, SUITE / name, *map(str, arguments)], cwd=folder, stdout=subprocess.PIPE,
                          text=True, check=True)
    print(*done.stdout.splitlines()[-3:], sep="\n", flush=True)


def in_words(found):
    """The cells of a row."""
    def interval(name, digits):
        return "{:.{d}f}–{:.{d}f}".format(*np.array(found[f"{name}_interval"]) * (100 if digits == 1 else 1), d=digits)

    folds = f" ({', '.join(f'{each:.1%}' for each in found['folds'].values())})" if found["folds"] else ""
    return (f"{found['parameters']:,}" if found["parameters"] else "", f"{found['accuracy']:.2%}{folds}",
            interval("accuracy", 1), f"{found['macro_auc']:.4f}", interval("macro_auc", 4), f"{found['seconds']:.0f}")


if __name__ == "__main__":
    command_line.run(main)
