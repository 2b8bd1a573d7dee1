"""The table of gpu.sh: a column for each backend, then the outcome of each part.

Reads   RESULTS/<part>-<backend>.json, which gpu.py wrote, and RESULTS/parts.txt
Writes  Markdown to stdout

    gpu_table.py jax,torch
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from gpu_device import gpu_names
from side_by_side import usable_cores, with_version

from audio_utils.runtime import command_line, script

RESULTS = "results"  # folder

_ACCURACIES = 0.95, 0.98, 0.99
_STEP = "draw parameters", "transfer", "device", "EMA", "rest of a step"  # of gpu.py's labels
_EPOCH = "validation", "saving", "rest of an epoch"
_RUNS = {"killed": "killed (SIGKILL)", "control": "two uninterrupted runs", "resumed": "killed and resumed",
         "anew": "killed and resumed, compiled anew"}
_GROUPS = {"model_weights/": "best", "panotti/last/": "last", "panotti/average/": "average",
           "panotti/optimizer/": "optimizer", "": "other"}  # of weights.hdf5, by the beginning of the path


def main() -> None:
    options = command_line.parse(globals(), positional=[("backends", {"help": "with commas between them"})])
    backends, folder = options.backends.split(","), Path(options.results)
    columns = {backend: column(folder, backend) for backend in backends}
    print(*gpu_names() or [f"no GPU: dry run on the CPU ({len(usable_cores())} cores)"], sep="\n")
    print(f"Python {sys.version.split()[0]},", ", ".join(map(with_version, ("keras", "jax", "torch"))), end="\n\n")
    print("|", " | ".join(["", *backends]), "|\n|" + "---|" * (1 + len(backends)))
    for name in dict.fromkeys(name for rows in columns.values() for name in rows):
        print("|", " | ".join([name, *(columns[backend].get(name, "–") for backend in backends)]), "|")
    print("\n| part | seconds | outcome |\n|---|---|---|")
    for line in (folder / "parts.txt").read_text().splitlines():
        print("|", line.replace("|", " | "), "|")


def column(folder: Path, backend: str) -> dict:
    """The figures of a backend, {row: text}; a part that is missing or failed has a row with the reason."""
    found = {part: json.loads(path.read_text()) if (path := folder / f"{part}-{backend}.json").exists() else {}
             for part in ("train", "steps", "plain", "resume")}
    failures = {f"{part}: failure": (figures.get("missing") or figures["error"]).replace("|", "/")
                for part, figures in found.items() if figures.keys() & {"missing", "error"}}
    rows = training_rows(found["train"]) | step_rows(found["steps"])
    rows |= {f"plain Keras fit, {name}": text for name, text in found["plain"].items() if name.startswith("batches")}
    return rows | {label: found["resume"][name] for name, label in _RUNS.items() if name in found["resume"]} | failures


def training_rows(found: dict) -> dict:
    rows = {"device": found["device"]} if "device" in found else {}
    if epochs := found.get("epochs"):
        later = epochs[1:] or epochs
        seconds, best = np.median([each["seconds"] for each in later]), max(epochs, key=lambda each: each["accuracy"])
        rows |= {"clips/s, median": f"{np.median([each['speed'] for each in later]):.0f}",
                 "seconds per epoch, median": f"{seconds:.2f} ({len(epochs)} epochs)",
                 "first epoch ended after": f"{epochs[0]['at']:.1f} s (loaded: {found['loaded']:.1f} s, compilation: "
                                            f"{epochs[0]['seconds'] - seconds:.1f} s)",
                 "best validation accuracy": f"{best['accuracy']:.2%} after {best['at']:.0f} s"}
        for least in _ACCURACIES:
            reached = [f"{each['at']:.0f} s" for each in epochs if each["accuracy"] >= least]
            rows[f"validation accuracy {least:.0%} after"] = reached[0] if reached else "not reached"
    return rows | ({"peak GPU memory": found["memory"]} if "memory" in found else {})


def step_rows(found: dict) -> dict:
    """Milliseconds of each stage; the device is synchronized after each, so nothing overlaps."""
    if "seconds" not in found:
        return {}
    seconds = Counter(found["seconds"])
    return {f"a step: {label}": f"{1000 * seconds[label] / found['steps']:.2f} ms" for label in _STEP} | {
        f"an epoch: {label}": f"{seconds[label] / found['epochs']:.2f} s" for label in _EPOCH}


def difference(one: Path, other: Path) -> str:
    """The differences of weights.hdf5 and history.csv between two folders; the largest one in each group."""
    (first, second), (history, other_history) = (
        [(folder / name).read_bytes() for folder in (one, other)] for name in ("weights.hdf5", "history.csv"))
    if first == second and history == other_history:
        return "same bytes"
    first, second = arrays(one / "weights.hdf5"), arrays(other / "weights.hdf5")
    counts, largest = Counter(), Counter()
    for path in first.keys() | second.keys():
        group = next(group for start, group in _GROUPS.items() if path.startswith(start))
        a, b = first.get(path, np.empty(0)), second.get(path, np.empty(0))
        if not np.array_equal(a, b):
            counts[group] += 1
            if a.shape == b.shape and a.dtype.kind == "f":
                largest[group] = max(largest[group], float(np.abs(a.astype(float) - b).max()))
    parts = [f"{group}: {counts[group]} arrays differ by at most {largest[group]:.2g}"
             for group in _GROUPS.values() if counts[group]] or ["weights.hdf5: the same arrays in other bytes"]
    rows = zip(history.splitlines(), other_history.splitlines(), strict=False)
    epoch = next((i for i, (a, b) in enumerate(rows) if a != b), None)
    return "; ".join([*parts, "history.csv " + (f"differs from epoch {epoch} on" if epoch else "is the same")])


def arrays(path: Path) -> dict:
    """{its path in the HDF5 file: array} of all datasets."""
    import h5py
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


if __name__ == "__main__":
    script.run(main)
