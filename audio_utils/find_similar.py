"""Find the sounds of Samples/ that are most similar to given sounds, and those that are likely mislabeled.

Reads   weights.hdf5; Preproc/ (or Samples/ if nothing is preprocessed); the given sounds, if any;
        folds/likely_mislabeled.csv, which train_network.py --folds writes
Writes  nothing

    python audio_utils/find_similar.py new/*.wav
    python audio_utils/find_similar.py Samples/dog/1.wav --n 10
    python audio_utils/find_similar.py                        # only the sounds that are likely mislabeled

Similarity is the cosine similarity of embeddings (the input of the network's last layer), 1 for the same sound. A long
given sound is compared by the most similar of its windows. Augmented copies, and the given sound itself, are left out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
import itertools
from argparse import Namespace
from collections.abc import Iterator

import numpy as np

import preprocess_data
from audio_utils.data import dataset
from audio_utils.data.preproc import PREPROC
from audio_utils.data.sound import Stat, sound_of_clip
from audio_utils.data.sounds import SAMPLES, SPLITS, Sound, find_sounds
from audio_utils.evaluation import mislabeled
from audio_utils.inference.checkpoint import WEIGHTS
from audio_utils.inference.classifier import Classifier, Result
from audio_utils.inference.similarity import Collection, most_similar
from audio_utils.runtime import command_line, safe_files, signals
from audio_utils.runtime.command_line import Limits
from audio_utils.runtime.console import say, warn
from audio_utils.runtime.errors import sentence

N = 5            # similar sounds listed for each given sound
BATCH_SIZE = 64  # clips; affects the memory needed, not the result
JOBS = None      # processes that read files; None: one per core

_LIMITS = {"N": Limits(int, 1), "BATCH_SIZE": Limits(int, 1), "JOBS": Limits(int, 1, optional=True)}
_FOLDS = Path("folds")


def main() -> int:
    options = command_line.parse(globals(), _LIMITS, positional=[
        ("files", {"metavar": "SOUND", "nargs": "*", "help": "sounds of any length, also of Samples/"})])
    signals.on_stop("Stopped.")
    sounds = {sound.name: sound for sound in find_sounds(SAMPLES)[0]}
    statuses = search(options, sounds) if options.files else []
    for line in mislabeled.describe(_FOLDS, SAMPLES, set(sounds)):
        say(line)
    return max(statuses, default=0)


def search(options: Namespace, sounds: dict[str, Sound]) -> list[int]:
    """Print the most similar sounds of each file; sounds: those of Samples/ by name. Returns the exit statuses."""
    classifier = Classifier(WEIGHTS, batch_size=options.batch_size, embeddings=True)
    collection = embed_samples(classifier, options)
    statuses = []
    for file, result in classifier.classify_files(command_line.expand(options.files), options.jobs):
        if isinstance(result, Exception):
            warn(sentence(result))
        else:
            for line in describe(file, result, collection, sounds, options.n):
                say(line)
        statuses.append(int(isinstance(result, Exception)))
    return statuses


def embed_samples(classifier: Classifier, options: Namespace) -> Collection:
    """The embeddings of all clips except augmented copies; prints their number."""
    constants = command_line.constants(preprocess_data, classifier.checkpoint.preprocessing_constants)
    data = dataset.open_dataset(constants, classifier.settings, WEIGHTS, memory_gb=0)
    parts, warnings = zip(*(data.source(split, None) for split in SPLITS), strict=True)
    for each in itertools.chain(*warnings):
        warn(each)
    kept = [part.subset(np.array([i for i, name in enumerate(part.names) if not data.grouping.is_copy(name)], int))
            for part in parts if len(part)]
    from audio_utils.inference import embeddings
    vectors = np.concatenate([embeddings.of_melgrams(classifier.model, part.melgrams, options.batch_size)
                              for part in kept])
    names = [name for part in kept for name in part.names]
    source = SAMPLES if data.training is not None else PREPROC
    say(f"Cosine similarity of {vectors.shape[1]} features to {len(names)} clips of {source}/:")
    return Collection(names, vectors)


def describe(file: str, result: Result, collection: Collection, sounds: dict[str, Sound], count: int) -> Iterator[str]:
    """The lines about a file: its predicted class, and up to `count` similar sounds."""
    stat, windows = Stat.of(file), np.stack([window.embedding for window in result.windows])
    own = {name for name, sound in sounds.items() if sound.stat == stat}
    sound_of = {name: name if name in sounds else (sound_of_clip(name) or (name, 0))[0] for name in collection.names}
    yield f"{file}: {result.segments[0].name if len(result.segments) == 1 else f'{len(windows)} windows'}"
    for clip, similarity, window in most_similar(windows, collection, sound_of, own, count):
        sound = sounds.get(sound_of[clip])
        same = ", identical content" if sound and safe_files.have_same_bytes(file, sound.path) else ""
        at = f", at {result.windows[window].start:.2f} s" if len(windows) > 1 else ""
        yield f"    {similarity:.4f}  {clip}{at}{same}"


if __name__ == "__main__":
    script.run(main)
