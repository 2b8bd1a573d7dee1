"""Classify sounds with a trained network.

    classifier = Classifier("weights.hdf5")
    for segment in classifier.classify_file("new/bird.wav"):
        print(segment.start, segment.end, segment.name, segment.probabilities)
"""

import functools
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from audio_utils.audio import audio_io, melgram
from audio_utils.audio.audio_io import AudioError
from audio_utils.evaluation import label_scores, thresholds
from audio_utils.inference import checkpoint as checkpoints
from audio_utils.inference import levels, windows
from audio_utils.inference.windows import Clip, Segment
from audio_utils.runtime import parallel, tables
from audio_utils.runtime.console import warn
from audio_utils.runtime.errors import UserError

NONE_OF_THESE = "none of these"  # the prediction if no class is probable enough, or a background class is
_NAME = "the sound"  # of an array or a stream, in messages


class Result(NamedTuple):
    """The classification of a file."""
    segments: list[Segment]
    warning: str = ""  # if the file is silent or truncated, or its channels cancel each other out
    windows: list[Segment] = []  # noqa: RUF012  before adjacent ones are merged, if embeddings are computed


class Classifier:
    """A trained network, and the settings of the sounds it was trained on; Keras is imported on first use.

    weights: the file that train_network.py writes. hop_seconds: between windows of a long sound, by default half a
    window. min_probability: if the most probable class has a lower probability, the segment is "none of these"; "auto"
    or "precision": each class has its own threshold, as in predict_class.py. It is "none of these" too if a background
    class is the most probable. With MULTI_LABEL, a segment has all classes that reach this probability or, with "auto"
    or 0, their thresholds. batch_size: clips; affects the memory needed, not the probabilities.
    embeddings: whether each window of `classify_files` gets its embedding, the input of the network's last layer.
    class_names: in the order of the probabilities. settings: the MelgramSettings.
    Raises UserError if the file can't be used.
    """

    def __init__(self, weights: str | Path = checkpoints.WEIGHTS, hop_seconds: float | None = None,
                 min_probability: float | str = 0.0, batch_size: int = 64, embeddings: bool = False) -> None:
        self.weights, self.min_probability, self.batch_size = weights, min_probability, batch_size
        self.embeddings = embeddings
        self.checkpoint = checkpoints.read(weights)
        self.class_names, self.settings = self.checkpoint.class_names, self.checkpoint.settings
        known = (min_probability, self.checkpoint.thresholds, self.class_names, weights)
        self._min_probabilities = label_scores.decision_thresholds(*known) if self.checkpoint.multi_label else \
            thresholds.lowest_probabilities(*known, self.checkpoint.background_classes)
        if hop_seconds and hop_seconds > self.settings.clip_seconds:
            raise UserError(f"HOP_SECONDS is {hop_seconds}; set it to at most {self.settings.clip_seconds:.4g}, "
                            "the length of a window.")
        hop_seconds = hop_seconds or self.settings.clip_seconds / 2
        self._hop_samples = max(1, round(hop_seconds * self.settings.sample_rate))

    @functools.cached_property
    def model(self) -> Any:
        """The Keras model: melgrams (clips, mels, frames, channels) → probabilities (clips, classes)."""
        from audio_utils.inference import network
        return network.load(self.weights, self.checkpoint)

    @functools.cached_property
    def _model_with_embeddings(self) -> Any:
        """The same with the features after the probabilities: → (clips, classes + features)."""
        from audio_utils.inference import embeddings
        return embeddings.with_embeddings(self.model)

    def predict(self, melgrams: np.ndarray) -> np.ndarray:
        """Probabilities float32 (clips, classes) for melgrams (clips, mels, frames, channels)."""
        from audio_utils.inference import network
        return network.predict(self.model, melgrams, self.batch_size)

    # --- sounds ----------------------------------------------------------------------------------------------------

    def classify(self, audio: np.ndarray, sample_rate: int) -> list[Segment]:
        """The Segments of float32 audio (channels, samples) or (samples,) at `sample_rate` Hz.

        They are those of `classify_file` for a file with the same samples. Raises AudioError if there are too many
        channels, no samples, or NaN, infinite or absurdly large ones.
        """
        audio = audio_io.checked(np.atleast_2d(np.asarray(audio, np.float32)), _NAME)
        windows.require_channels(len(audio), self.settings, _NAME)
        samples = audio.shape[1]
        if not samples:
            raise AudioError(f"{_NAME}: contains no samples.")
        if windows.fits_in_clip(samples, sample_rate, self.settings):
            conformed = melgram.conform(audio, sample_rate, self.settings)
            return list(self._classify([Clip(0.0, samples / sample_rate, melgram.melgram(conformed, self.settings))]))
        blocks = (audio[:, start:start + audio_io.BLOCK] for start in range(0, samples, audio_io.BLOCK))
        return list(windows.merge(self._classify(self._windows(blocks, sample_rate, _NAME))))

    def classify_file(self, path: str | Path) -> list[Segment]:
        """The Segments of a file of any length; prints the warning of the Result. Raises AudioError."""
        clip = windows.read_clip(path, self.settings)
        result = Result(list(self._classify([clip])), clip.warning) if clip else self._classify_long(path)
        if result.warning:
            warn(result.warning)
        return result.segments

    def classify_files(self, paths: Iterable[str | Path],
                       jobs: int | None = None) -> Iterator[tuple[str | Path, Result | Exception]]:
        """Yield (path, Result or error) in the order of the paths, each once; files are read on all cores.

        jobs: processes that read files, by default one per core. They import the main script, which must not call this
        outside of `if __name__ == "__main__":`.
        """
        waiting, done = deque(dict.fromkeys(paths)), {}
        clips = parallel.each(windows.read_clip, list(waiting), "Reading", jobs, (self.settings,))
        for batch in _batches(clips, self.batch_size):
            done |= self._classify_batch(dict(batch))
            while waiting and waiting[0] in done:
                path = waiting.popleft()
                yield path, done.pop(path) or self._try_long(path)

    def classify_stream(self, blocks: Iterable[np.ndarray], sample_rate: int, channels: int,
                        name: str = _NAME) -> Iterator[Segment]:
        """The Segment of each window of a live sound, as soon as the window is complete.

        blocks: float32 (channels, n), read in advance by a thread. name: for messages.
        """
        windows.require_channels(channels, self.settings, name)
        arriving = windows.prefetched(blocks)  # blocks are buffered while the network is loaded, which takes seconds
        _ = self.model
        powers = np.zeros(2)
        segments = self._classify(self._windows(arriving, sample_rate, name, powers), 1)
        return _warning_once(segments, powers, name)

    # --- clips -----------------------------------------------------------------------------------------------------

    def _classify(self, clips: Iterable[Clip], batch_size: int | None = None) -> Iterator[Segment]:
        """The Segment of each Clip."""
        for batch in _batches(clips, batch_size or self.batch_size):
            predictions = self._predict(np.stack([clip.melgram for clip in batch]))
            for clip, (probabilities, embedding) in zip(batch, predictions, strict=True):
                name, classes = self._decide(probabilities)
                yield Segment(clip.start, clip.end, name, probabilities, levels.status(clip.melgram, self.checkpoint),
                              embedding, classes)

    def _decide(self, probabilities: np.ndarray) -> tuple[str, tuple[int, ...] | None]:
        """The `name` and the `classes` of a Segment."""
        enough = probabilities >= self._min_probabilities
        if self.checkpoint.multi_label:
            return label_scores.text_of(self.class_names, enough, NONE_OF_THESE), tuple(np.flatnonzero(enough).tolist())
        best = probabilities.argmax()
        return self.class_names[best] if enough[best] else NONE_OF_THESE, None

    def _predict(self, melgrams: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """(probabilities, embedding or None) of each melgram."""
        if not self.embeddings:
            return zip(self.predict(melgrams), itertools.repeat(None), strict=False)
        from audio_utils.inference import network
        both = network.predict(self._model_with_embeddings, melgrams, self.batch_size)
        return zip(*np.split(both, [len(self.class_names)], axis=1), strict=True)

    def _classify_batch(self, found: dict[str | Path, Clip | Exception | None]) -> dict:
        """The same dictionary with Results for Clips."""
        clips = {path: clip for path, clip in found.items() if isinstance(clip, Clip)}
        segments = self._classify(clips.values())
        results = zip(clips.items(), segments, strict=True)
        return found | {path: Result([segment], clip.warning, [segment] * self.embeddings)
                        for (path, clip), segment in results}

    def _try_long(self, path: str | Path) -> Result | Exception:
        try:
            return self._classify_long(path)
        except (UserError, OSError) as error:
            return error

    def _classify_long(self, path: str | Path) -> Result:
        """The timeline of a file that may be too long for memory."""
        powers, single = np.zeros(2), []
        with audio_io.opened(path) as (header, blocks):
            seconds = header.samples / header.rate
            segments = self._classify(self._windows(blocks(header.samples), header.rate, path, powers))
            if self.embeddings:
                segments = _recorded(segments, single)
            expected = round(seconds * self.settings.sample_rate / self._hop_samples)
            timeline = list(windows.merge(tqdm(segments, Path(path).name, expected, unit=" windows", leave=False,
                                               disable=None, ncols=tables.bar_columns())))
        truncated = header.cut_short or timeline[-1].end < seconds - 0.01
        warning = f"{path}: is truncated; the available part is used." if truncated else ""
        return Result(timeline, melgram.canceled(path) if melgram.cancels(*powers) else warning, single)

    def _windows(self, blocks: Iterable[np.ndarray], rate: int, name: str | Path,
                 powers: np.ndarray | None = None) -> Iterator[Clip]:
        return windows.windows(blocks, rate, self.settings, self._hop_samples, name, powers)


def _recorded(segments: Iterable[Segment], record: list[Segment]) -> Iterator[Segment]:
    """The same Segments, which are appended to `record`."""
    for segment in segments:
        record.append(segment)
        yield segment


def _warning_once(segments: Iterable[Segment], powers: np.ndarray, name: str) -> Iterator[Segment]:
    """The same Segments; prints a warning as soon as the channels cancel each other out in the mono mix."""
    warned = False
    for segment in segments:
        if not warned and melgram.cancels(*powers):
            warn(melgram.canceled(name))
            warned = True
        yield segment


def _batches(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    return iter(lambda: list(itertools.islice(iterator, size)), [])
