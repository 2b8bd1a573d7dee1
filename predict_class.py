"""Predict the classes of new sounds, with probabilities; print a timeline for a long recording.

Reads   weights.hdf5, and the given files (any audio, any length) or standard input (-: a wav, possibly endless)
Writes  <file>.labels.txt beside each file, with LABELS: a label track for Audacity
        <file>.selections.txt beside each file, with RAVEN: a selection table for Raven
        the file EMBEDDINGS: features of each window, the input of the network's last layer, for NumPy

    python predict_class.py new/*.wav
    python predict_class.py new                               # a folder: its files, and those of its folders
    python predict_class.py night.flac --min-probability 0.8 --labels
    python predict_class.py new --min-probability auto        # a threshold for each class, or "precision"
    python predict_class.py new/*.wav --csv > new.csv         # --json: one JSON object per line
    arecord -f cd | python predict_class.py -
    sox -d -t wav - | python predict_class.py - --hop-seconds 0.5

Sounds are preprocessed like the training sounds. A sound that is no longer than a training clip is padded; a longer one
is cut into windows of that length, each of which represents the time around its middle:

    |--------window-------|
              |--------window-------|
                      |--------window-------|    the last window ends with the sound
    |---------------|---------|-------------|

A sound or window of digital silence has the status "silence", unless training clips were silent too. One that is more
than 20 dB below the quietest training clip has the status "very quiet". Its class is then not reliable: the status is
printed first, is the last column of the CSV and the last field of the JSON, and replaces the class in a label track.
Adjacent windows of the same status and class become one line of the timeline. For standard input, each window is
printed immediately.

If a background class (BACKGROUND_CLASSES in train_network.py) is the most probable, the prediction is "none of these",
in the text, the CSV and the JSON, with the probabilities of all classes. Label tracks and selection tables then contain
no "none of these", so they show only the sounds that were found.

With MULTI_LABEL in preprocess_data.py, all classes that reach their thresholds are predicted; the others are printed in
parentheses. In the CSV and the JSON, the class is then "dog,rain"; the JSON also has a list, "classes". Label tracks
and selection tables have an entry for each class. The thresholds are those of "auto", or 0.5 for a class with fewer
than ten validation clips; MIN_PROBABILITY, unless it is 0, replaces them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # needed with PYTHONSAFEPATH
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
import os
from argparse import Namespace
from collections.abc import Callable, Collection

from tqdm import tqdm

from audio_utils.audio import streams
from audio_utils.audio.audio_io import AudioError
from audio_utils.data.sounds import visible
from audio_utils.evaluation import background, label_scores, thresholds
from audio_utils.inference import prediction_output
from audio_utils.inference.classifier import NONE_OF_THESE, Classifier, Result
from audio_utils.runtime import command_line, signals
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.console import warn
from audio_utils.runtime.errors import UserError, sentence

WEIGHTS = "weights.hdf5"  # the trained network
TOP_K = 3                 # classes printed per sound, the most probable first; JSON and CSV contain all
MIN_PROBABILITY = 0.0     # if the most probable class has a lower probability, the prediction is "none of these";
                          # "auto": each class has its own threshold, that with the highest F1; "precision": that with
                          # a precision of 90%; chosen in training, or better by train_network.py --folds 5
HOP_SECONDS = None        # seconds between windows of a long sound; None: half a window

JSON = False              # True: one JSON object per line
CSV = False               # True: a table with a column for each class
LABELS = False            # True: write a label track for Audacity beside each file; split_audio.py reads it, too
RAVEN = False             # True: write a selection table for Raven beside each file; split_audio.py reads it, too
EMBEDDINGS = ""           # file.npz: write the embedding of each window, for other programs; see audio_utils/README.md
OVERWRITE = False         # True: replace existing label tracks, selection tables and embeddings

BATCH_SIZE = 64           # clips; affects the memory needed, not the predictions
JOBS = None               # processes that read files; None: one per core

_LIMITS = {"TOP_K": Limits(int, 1), "MIN_PROBABILITY": thresholds.MIN_PROBABILITY, "BATCH_SIZE": Limits(int, 1),
           "HOP_SECONDS": Limits(float, 0.001, optional=True), "JOBS": Limits(int, 1, optional=True)}
_INPUT, _INPUT_NAME = "-", "standard input"
_AUDIO_SUFFIXES = set(".aac .aif .aifc .aiff .amr .ape .au .caf .flac .m4a .mka .mp3 .mp4 .mpc .oga .ogg .opus .rf64 "
                      ".snd .spx .w64 .wav .wave .webm .wma .wv".split())
_BLOCK_SECONDS = 0.1  # of standard input


def main() -> int:
    options = command_line.parse(globals(), _LIMITS, positional=[
        ("files", {"metavar": "FILE", "nargs": "+", "help": "sounds of any length, or folders; - is standard input"})])
    check(options)
    signals.on_stop("Stopped.")
    classifier = Classifier(options.weights, options.hop_seconds, options.min_probability, options.batch_size,
                            bool(options.embeddings))
    checkpoint = classifier.checkpoint
    for message in (label_scores.describe(options.min_probability, checkpoint.thresholds, checkpoint.class_names)
                    if checkpoint.multi_label else
                    thresholds.describe(options.min_probability, checkpoint.thresholds, checkpoint.background_classes)):
        warn(message)
    write = prediction_output.writer(options, classifier.class_names)
    if not checkpoint.background_classes and not checkpoint.multi_label:
        write = prediction_output.after_note(background.MISSING, write)
    if _INPUT in options.files:
        return classify_input(classifier, write)
    given = command_line.expand(options.files)
    inside = {folder: sounds_in(folder) for folder in given if os.path.isdir(folder)}
    files = list(dict.fromkeys(file for each in given for file in inside.get(each, [each])))
    new = [file for file in files if not refuse_to_replace(file, options)]
    may_be_most = checkpoint.background_classes or checkpoint.multi_label  # of a recording
    hidden = [NONE_OF_THESE] if may_be_most else []
    statuses, windows = [], {}
    for file, result in classifier.classify_files(new, options.jobs):
        statuses.append(finish(file, result, options, write, hidden))
        if options.embeddings and not statuses[-1]:
            windows[file] = result.windows
    if windows:
        prediction_output.write_embeddings(options.embeddings, windows, classifier.class_names)
    return max(statuses, default=0) if new == files and all(inside.values()) else 1


def check(options: Namespace) -> None:
    """Reject invalid combinations of options."""
    if options.json and options.csv:
        raise UserError("JSON and CSV are both set; choose one of them.")
    if options.embeddings:
        prediction_output.check_embeddings(options.embeddings, options.overwrite)
    if _INPUT not in options.files:
        return
    if len(options.files) > 1 or options.labels or options.raven or options.embeddings:
        raise UserError(f"{_INPUT}: {_INPUT_NAME} can't be combined with other files, LABELS, RAVEN or EMBEDDINGS; "
                        "leave them out.")
    if sys.stdin is None or os.isatty(sys.stdin.fileno()):
        raise UserError(f"{_INPUT_NAME}: is a terminal or closed; send a sound, as in `sox -d -t wav - | python …`.")


def classify_input(classifier: Classifier, write: Callable[..., None]) -> int:
    """Print each window of standard input as soon as it is complete, until the sound ends. Returns the exit status."""
    rate, channels, blocks = streams.streamed(sys.stdin.fileno(), _INPUT_NAME)
    block_samples = max(1, round(_BLOCK_SECONDS * rate))
    segments = classifier.classify_stream(blocks(block_samples), rate, channels, _INPUT_NAME)
    warn(f"Receiving {channels} channel{'s' * (channels > 1)} at {rate} Hz.")
    segment = None
    for segment in segments:
        write(_INPUT, [segment], live=True)
    if segment is None:
        raise AudioError(f"{_INPUT_NAME}: contains no samples; check the program that sends it.")
    return 0


def sounds_in(folder: str) -> list[str]:
    """The audio files in a folder and, one level down, in its folders; prints their number."""
    inside = entries_of(Path(folder))
    inside += [path for each in inside if each.is_dir() for path in entries_of(each)]
    sounds = [str(path) for path in inside if path.suffix.lower() in _AUDIO_SUFFIXES and not path.is_dir()]
    warn(f"{folder}: {len(sounds)} sound{'s' * (len(sounds) != 1)}." if sounds else
         f"{folder}: contains no sounds; choose a folder of audio files.")
    return sounds


def entries_of(folder: Path) -> list[Path]:
    """The files and folders in a folder; prints a message if it can't be read."""
    try:
        return visible(folder)
    except OSError as error:
        warn(sentence(error))
        return []


def refuse_to_replace(file: str, options: Namespace) -> bool:
    """Whether the file's label track or selection table exists and must be kept; prints a message if so."""
    wanted = [prediction_output.TRACK] * options.labels + [prediction_output.SELECTIONS] * options.raven
    existing = [each for each in wanted if not options.overwrite and os.path.lexists(file + each)]
    if existing:
        warn(f"{file}{existing[0]}: already exists; rename it or add --overwrite.")
    return bool(existing)


def finish(file: str, result: Result | Exception, options: Namespace, write: Callable[..., None],
           hidden: Collection[str]) -> int:
    """Write and print the result of a file. Returns the exit status.

    hidden: labels that are left out of label tracks and selection tables.
    """
    try:
        if isinstance(result, Exception):
            raise result
        if options.labels:
            prediction_output.write_labels(file + prediction_output.TRACK, result.segments, hidden)
        if options.raven:
            prediction_output.write_selections(file, result.segments, hidden)
    except (UserError, OSError) as error:
        result = Result([], sentence(error))
    with tqdm.external_write_mode():  # clears the progress bar
        if result.warning:
            warn(result.warning)
        if result.segments:
            write(file, result.segments)
    return 0 if result.segments else 1


if __name__ == "__main__":
    script.run(main)
