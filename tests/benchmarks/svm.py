"""The baseline that others are compared with: a support vector machine on statistics of melgrams.

Reads   Preproc/      of the working folder, as preprocess_data.py makes it
Writes  the accuracy on Test, and which classes are taken for which, to stdout

    python tests/benchmarks/svm.py
    python tests/benchmarks/svm.py --seed 2

What statistics there are follows Stein, Abeßer, Dittmar and Schuller, "Automatic Detection of Audio Effects in Guitar
and Bass Recordings", AES Convention 128, 2010: of each band, of cepstra, and how they change in time. C and gamma of
the RBF kernel are chosen by cross-validation within Train. The probabilities are the softmax of the decision function:
their order is to be trusted, their values are not calibrated.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from audio_utils import command_line

# isort: split
import joblib
import numpy as np
import scipy.fft
import scipy.special
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from audio_utils import dataset, parallel

SEED = 1  # of the folds of the cross-validation

_MOST_FOR_GRID = 4000  # clips among which C and gamma are chosen; the time goes as their square
_CLIPS = 64  # whose statistics are computed at a time
_CEPSTRA, _BROAD_BANDS, _RATES = 20, 16, 12


def main():
    options = command_line.parse(globals())
    settings, _ = dataset.read_settings("Preproc")
    train, _ = dataset.load("Preproc", "Train", settings)
    test, _ = dataset.load("Preproc", "Test", settings, train.class_names)
    start = time.monotonic()
    guesses = probabilities(train.melgrams, train.labels, test.melgrams, options.seed).argmax(axis=1)
    print(f"{(guesses == test.labels).mean():.2%} of {len(test)} clips, after {len(train)} in "
          f"{time.monotonic() - start:.0f} s")
    confusion = confusion_matrix(test.labels, guesses, labels=range(len(test.class_names)))
    for name, counts in zip(test.class_names, confusion, strict=True):
        print(f"{name:16}" + "".join(f"{count or '.':>5}" for count in counts))


def probabilities(train_melgrams, train_labels, test_melgrams, seed):
    """Learn from melgrams (clips, mels, frames, channels) and labels (clips,): (test clips, classes)."""
    train, test = statistics(train_melgrams), statistics(test_melgrams)
    few, few_labels = train, train_labels
    if len(train) > _MOST_FOR_GRID:
        few, _, few_labels, _ = train_test_split(train, train_labels, train_size=_MOST_FOR_GRID, stratify=train_labels,
                                                 random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    machine = Pipeline([("scale", StandardScaler()), ("transform", "passthrough"), ("svm", SVC(cache_size=1000))])
    search = GridSearchCV(machine, grid(train.shape[1]), cv=folds, refit=False)
    with joblib.parallel_config("threading", n_jobs=parallel.cores()):
        machine.set_params(**search.fit(few, few_labels).best_params_)
    decisions = machine.fit(train, train_labels).decision_function(test)
    if decisions.ndim == 1:  # of two classes
        decisions = np.stack([-decisions, decisions], axis=1)
    return scipy.special.softmax(decisions, axis=1)


def grid(features):
    """What is tried. Transformed, the few features left vary by about 1 within a class, and by more between them."""
    transforms = [LinearDiscriminantAnalysis(solver="eigen", shrinkage=amount) for amount in (0.3, 0.6)]
    return [{"svm__C": [3, 30], "svm__gamma": [0.1 / features, 0.3 / features]},
            {"svm__C": [1], "svm__gamma": [0.005], "transform": transforms}]


def statistics(melgrams):
    """Melgrams (clips, mels, frames, channels) in dB → float32 (clips, features)."""
    return np.concatenate([_statistics(melgrams[start:start + _CLIPS]) for start in range(0, len(melgrams), _CLIPS)])


def _statistics(melgrams):
    loudest = melgrams.max(axis=(1, 2, 3), keepdims=True)
    bands = np.ascontiguousarray((melgrams - loudest).transpose(0, 3, 1, 2))  # (clips, channels, mels, frames)
    cepstra = scipy.fft.dct(bands, axis=2, norm="ortho")[:, :, :_CEPSTRA]
    edges = np.linspace(0, bands.shape[2], _BROAD_BANDS, endpoint=False, dtype=int)
    broad = np.add.reduceat(bands, np.unique(edges), axis=2)
    level = bands.mean(axis=3)
    found = [loudest, bands.max(axis=3), *spread(bands), *spread(cepstra), *modulations(broad), *modulations(cepstra),
             level[:, 1:] - level[:, :1]]  # how much louder each channel is than the first
    return np.concatenate([each.reshape(len(bands), -1) for each in found], axis=1).astype(np.float32)


def spread(series):
    """(..., frames) → mean, standard deviation, and those of the steps from frame to frame: four of (...)."""
    steps = np.diff(series, axis=-1)
    return series.mean(axis=-1), series.std(axis=-1), np.abs(steps).mean(axis=-1), steps.std(axis=-1)


def modulations(series):
    """How much (..., frames) goes up and down how fast, slow changes weighed more and less: two of (..., rates)."""
    return _log_power((series - series.mean(axis=-1, keepdims=True)) * np.hanning(series.shape[-1])), \
        _log_power(np.diff(series, axis=-1))


def _log_power(series):
    power = np.square(np.abs(scipy.fft.rfft(series, axis=-1)))[..., 1:]
    edges = np.geomspace(1, power.shape[-1], _RATES, endpoint=False).astype(int) - 1
    return np.log(np.add.reduceat(power, np.unique(edges), axis=-1) + 1)


if __name__ == "__main__":
    command_line.run(main)
