"""The baseline: a support vector machine (SVM) on statistics of melgrams.

Reads   Preproc/      in the working directory, from preprocess_data.py
Writes  the accuracy on Test and the confusion matrix to stdout

    python tests/benchmarks/svm.py
    python tests/benchmarks/svm.py --seed 2

The statistics follow Stein, Abeßer, Dittmar and Schuller, "Automatic Detection of Audio Effects in Guitar and Bass
Recordings", AES Convention 128, 2010: they describe each band, the cepstrum, and their changes over time. C and gamma
of the RBF kernel are chosen by cross-validation within Train. The probabilities are the softmax of the decision
function: their order is meaningful, but their values are not calibrated.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
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

from audio_utils.data import preproc
from audio_utils.runtime import command_line, parallel, script
from audio_utils.runtime.command_line import Limits

SEED = 1  # of the cross-validation folds

_LIMITS = {"SEED": Limits(int, 0, 2 ** 32 - 1)}
_MAX_GRID_CLIPS = 4000  # for the choice of C and gamma; its time is proportional to the square of this
_CLIPS = 64  # per batch of the statistics
_CEPSTRA, _BROAD_BANDS, _RATES = 20, 16, 12


def main():
    options = command_line.parse(globals(), _LIMITS)
    settings, _ = preproc.read_settings("Preproc")
    train, _ = preproc.load("Preproc", "Train", settings)
    test, _ = preproc.load("Preproc", "Test", settings, train.class_names)
    start = time.monotonic()
    predicted = probabilities(train.melgrams, train.labels, test.melgrams, options.seed).argmax(axis=1)
    print(f"Accuracy {(predicted == test.labels).mean():.2%} of {len(test)} test clips; trained on {len(train)} clips "
          f"in {time.monotonic() - start:.0f} s.")
    confusion = confusion_matrix(test.labels, predicted, labels=range(len(test.class_names)))
    for name, counts in zip(test.class_names, confusion, strict=True):
        print(f"{name:16}" + "".join(f"{count or '.':>5}" for count in counts))


def probabilities(train_melgrams, train_labels, test_melgrams, seed):
    """Train on melgrams (clips, mels, frames, channels) and labels (clips,); returns (test clips, classes)."""
    train, test = statistics(train_melgrams), statistics(test_melgrams)
    subset, subset_labels = train, train_labels
    if len(train) > _MAX_GRID_CLIPS:
        subset, _, subset_labels, _ = train_test_split(train, train_labels, train_size=_MAX_GRID_CLIPS,
                                                       stratify=train_labels, random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    machine = Pipeline([("scale", StandardScaler()), ("transform", "passthrough"), ("svm", SVC(cache_size=1000))])
    search = GridSearchCV(machine, grid(train.shape[1]), cv=folds, refit=False)
    with joblib.parallel_config("threading", n_jobs=parallel.cores()):
        machine.set_params(**search.fit(subset, subset_labels).best_params_)
    decisions = machine.fit(train, train_labels).decision_function(test)
    if decisions.ndim == 1:  # there are two classes
        decisions = np.stack([-decisions, decisions], axis=1)
    return scipy.special.softmax(decisions, axis=1)


def grid(features):
    """The parameter grid. After the transform, the features have a variance of about 1 within each class."""
    transforms = [LinearDiscriminantAnalysis(solver="eigen", shrinkage=amount) for amount in (0.3, 0.6)]
    return [{"svm__C": [3, 30], "svm__gamma": [0.1 / features, 0.3 / features]},
            {"svm__C": [1], "svm__gamma": [0.005], "transform": transforms}]


def statistics(melgrams):
    """Melgrams (clips, mels, frames, channels) in dB → float32 (clips, features)."""
    return np.concatenate([_statistics(melgrams[start:start + _CLIPS]) for start in range(0, len(melgrams), _CLIPS)])


def _statistics(melgrams):
    maximum = melgrams.max(axis=(1, 2, 3), keepdims=True)
    bands = np.ascontiguousarray((melgrams - maximum).transpose(0, 3, 1, 2))  # (clips, channels, mels, frames)
    cepstra = scipy.fft.dct(bands, axis=2, norm="ortho")[:, :, :_CEPSTRA]
    edges = np.linspace(0, bands.shape[2], _BROAD_BANDS, endpoint=False, dtype=int)
    broad = np.add.reduceat(bands, np.unique(edges), axis=2)
    level = bands.mean(axis=3)
    parts = [maximum, bands.max(axis=3), *moments(bands), *moments(cepstra), *modulations(broad), *modulations(cepstra),
             level[:, 1:] - level[:, :1]]  # level difference of each channel from the first
    return np.concatenate([each.reshape(len(bands), -1) for each in parts], axis=1).astype(np.float32)


def moments(series):
    """(..., frames) → four of (...): mean and standard deviation, and those of the differences between frames."""
    steps = np.diff(series, axis=-1)
    return series.mean(axis=-1), series.std(axis=-1), np.abs(steps).mean(axis=-1), steps.std(axis=-1)


def modulations(series):
    """(..., frames) → two of (..., rates): modulation spectra, of the series and of its differences."""
    return _log_power((series - series.mean(axis=-1, keepdims=True)) * np.hanning(series.shape[-1])), \
        _log_power(np.diff(series, axis=-1))


def _log_power(series):
    power = np.square(np.abs(scipy.fft.rfft(series, axis=-1)))[..., 1:]
    edges = np.geomspace(1, power.shape[-1], _RATES, endpoint=False).astype(int) - 1
    return np.log(np.add.reduceat(power, np.unique(edges), axis=-1) + 1)


if __name__ == "__main__":
    script.run(main)
