"""Say what is in new sounds: the class of each and how probable it is; of a long recording, a timeline.

Reads   weights.hdf5, and the files named (any audio, any length) or standard input (-: wav, without end too)
Writes  <file>.labels.txt beside each file, where LABELS are asked for: a label track for Audacity

    python predict_class.py new/*.wav
    python predict_class.py night.flac --min-probability 0.8 --labels
    python predict_class.py new/*.wav --csv > new.csv         # --json: one JSON object a line
    arecord -f cd | python predict_class.py -
    sox -d -t wav - | python predict_class.py - --hop-seconds 0.5

Sounds are treated as those of training were. One that is no longer than a clip of training is padded as they were; a
longer one is heard in windows of a clip's length, and each stands for the time around its middle:

    |--------window-------|
              |--------window-------|
                      |--------window-------|    the last one ends where the sound ends
    |---------------|---------|-------------|

Neighbours of one class are one line of the timeline, but for standard input, where each window is printed when heard.
"""

from audio_utils import command_line  # first of all: it answers ^C from here on

# isort: split
import csv
import functools
import itertools
import json
import os
import queue
import sys
import threading
from collections import deque
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from audio_utils import audio_io, melgram, parallel, safe_files, weights_file
from audio_utils.audio_io import AudioError
from audio_utils.command_line import say, warn
from audio_utils.safe_files import UserError

WEIGHTS = "weights.hdf5"  # the trained network
TOP_K = 3                 # classes printed for a sound, the most probable first; JSON and CSV give all
MIN_PROBABILITY = 0.0     # where the most probable class has less, the answer is "none of these"
HOP_SECONDS = None        # seconds from window to window in a long sound; None: half a window

JSON = False              # True: one JSON object a line
CSV = False               # True: a table with a column for each class
LABELS = False            # True: write a label track beside each file
OVERWRITE = False         # True: replace label tracks that are there already

BATCH_SIZE = 64           # clips at a time; changes the memory needed, not the answers
JOBS = None               # processes that read files; None: one for each core

_NONE, _INPUT, _INPUT_NAME = "none of these", "-", "standard input"
_TRACK = ".labels.txt"
_BLOCK_SECONDS, _BLOCKS_AHEAD = 0.1, 600  # of standard input; what is kept while the network is not ready


class Clip(NamedTuple):
    """A short sound, or a window of a longer one."""
    start: float  # seconds; of the time that it stands for
    end: float  # seconds
    melgram: np.ndarray  # (mels, frames, channels)
    remark: str = ""


class Segment(NamedTuple):
    """A time of one class."""
    start: float  # seconds
    end: float  # seconds
    name: str  # of the class, or "none of these"
    probabilities: np.ndarray  # (classes,)


def main():
    options = command_line.parse(globals(), [
        ("files", {"metavar": "FILE", "nargs": "+", "help": "sounds of any length; - is standard input"})])
    check(options)
    command_line.on_stop("Stopped.")
    network = Network(options)
    write = writer(options, network.trained.class_names)
    if _INPUT in options.files:
        return hear_input(network, write)
    results = hear_files(command_line.expand(options.files), network)
    return max([finish(file, result, network, write) for file, result in results], default=0)


def check(options):
    """Refuse constants and flags that mean nothing."""
    command_line.check_number(options, "top_k", int, 1)
    command_line.check_number(options, "min_probability", float, 0, 1)
    command_line.check_number(options, "hop_seconds", float, 0.001, none=True)
    command_line.check_number(options, "batch_size", int, 1)
    command_line.check_number(options, "jobs", int, 1, none=True)
    if options.json and options.csv:
        raise UserError("JSON and CSV are both asked for; choose one of them.")
    if _INPUT not in options.files:
        return
    if len(options.files) > 1 or options.labels:
        raise UserError(f"{_INPUT}: stands for {_INPUT_NAME}, without other files and without LABELS; leave them out.")
    if sys.stdin is None or os.isatty(sys.stdin.fileno()):
        raise UserError(f"{_INPUT_NAME}: is the keyboard; send a sound, as in `sox -d -t wav - | python …`.")


# --- listening ------------------------------------------------------------------------------------------------------

class Network:
    """The trained network, and how its sounds were treated; Keras is loaded when there is something to hear."""

    def __init__(self, options):
        self.options = options
        self.trained = weights_file.read(options.weights)
        settings = self.settings = self.trained.settings
        if options.hop_seconds and options.hop_seconds > settings.clip_seconds:
            raise UserError(f"HOP_SECONDS is {options.hop_seconds}; set it to at most {settings.clip_seconds:.4g}, "
                            "the length of a window.")
        self.hop = max(1, round((options.hop_seconds or settings.clip_seconds / 2) * settings.sample_rate))  # samples

    @functools.cached_property
    def predict(self):
        """The function melgrams (clips, mels, frames, channels) → probabilities (clips, classes)."""
        import panotti_models
        return functools.partial(panotti_models.predict, panotti_models.load(self.options.weights, self.trained))

    def segments(self, clips, batch_size):
        """Listen to Clips, so many at a time, and yield the Segment of each."""
        for batch in batches(clips, batch_size):
            melgrams = np.stack([clip.melgram for clip in batch])
            for clip, probabilities in zip(batch, self.predict(melgrams), strict=True):
                sure = probabilities.max() >= self.options.min_probability
                name = self.trained.class_names[probabilities.argmax()] if sure else _NONE
                yield Segment(clip.start, clip.end, name, probabilities)

    def windows(self, blocks, rate, name):
        """The Clips of a sound that comes in blocks (channels, n) at `rate` Hz."""
        wanted = self.settings
        matched = (melgram.match_channels(finite(block, name), wanted.channels, name) for block in blocks)
        blocks = audio_io.resample_blocks(matched, wanted.channels, rate, wanted.sample_rate)
        for start, end, audio in cut(blocks, wanted.clip_samples, self.hop):
            yield Clip(start / wanted.sample_rate, end / wanted.sample_rate, melgram.melgram(audio, wanted))


def batches(items, size):
    items = iter(items)
    return iter(lambda: list(itertools.islice(items, size)), [])


def finite(block, name):
    if not np.isfinite(block).all():
        raise AudioError(f"{name}: holds NaN or infinite samples; repair or remove it.")
    return block


def cut(blocks, clip, hop):
    """Cut a sound in blocks (channels, n) into windows of `clip` samples: yield (start, end, window).

    start, end: the samples that the window stands for, without gap or overlap. The last window ends where the sound
    does; the only one of a shorter sound is padded with silence.
    """
    held, at = np.zeros((1, 0), np.float32), 0  # what is held begins `at` samples into the sound
    coming, start = 0, 0
    for block in blocks:
        held = np.concatenate([held, block], axis=1) if held.size else block
        while at + held.shape[1] > coming + clip:  # a window that ends with the sound is the last
            held, at = held[:, coming - at:], coming
            end = at + (clip + hop) / 2
            yield start, end, held[:, :clip]
            coming, start = at + hop, end
    samples = at + held.shape[1]
    if samples:
        yield start, samples, audio_io.fix_length(held[:, max(0, samples - clip) - at:], clip)


def merged(segments):
    """Make one Segment of neighbours with the same name; its probabilities are the mean over its time."""
    for name, same in itertools.groupby(segments, key=lambda segment: segment.name):
        same = list(same)
        lengths = [segment.end - segment.start for segment in same]
        probabilities = np.average([segment.probabilities for segment in same], axis=0, weights=lengths)
        yield Segment(same[0].start, same[-1].end, name, probabilities)


# --- files ----------------------------------------------------------------------------------------------------------

def hear_files(files, network):
    """Yield (file, result) in the order of the files.

    result: ([Segment], a remark or "") of a short sound, None for a long one, or what is wrong with the file.
    """
    options, waiting, done = network.options, deque(files), {}
    found = parallel.each(read, files, "Listening", options.jobs, (network.settings, options))
    for batch in batches(found, options.batch_size):
        clips = {file: result for file, result in batch if isinstance(result, Clip)}
        segments = network.segments(clips.values(), options.batch_size)
        done |= dict(batch) | {file: ([next(segments)], clip.remark) for file, clip in clips.items()}
        while waiting and waiting[0] in done:
            yield waiting[0], done.pop(waiting.popleft())


def read(file, settings, options):
    """The Clip of a sound no longer than one; None for a longer one, after a look at its header."""
    if options.labels and not options.overwrite and os.path.lexists(file + _TRACK):
        raise UserError(f"{file}{_TRACK}: is there already; rename it or add --overwrite.")
    facts = audio_io.info(file)
    check_channels(facts.channels, settings, file)
    if facts.samples * settings.sample_rate > settings.clip_samples * facts.rate:
        return None
    result, remark = melgram.of_file(file, settings)
    return Clip(0.0, facts.samples / facts.rate, result, remark)


def check_channels(channels, settings, name):
    if channels > settings.channels > 1:
        raise AudioError(f"{name}: has {channels} channels, the network {settings.channels}; leave some out.")


def finish(file, result, network, write):
    """Print the answer for a file, after listening where it is long. Returns the exit status."""
    try:
        if isinstance(result, Exception):
            raise result
        segments, remark = result or hear_long(file, network)
        if network.options.labels:
            write_labels(file + _TRACK, segments)
    except (UserError, OSError) as error:
        segments, remark = None, command_line.describe_os_error(error) if isinstance(error, OSError) else str(error)
    with tqdm.external_write_mode():  # the bar makes room
        if remark:
            warn(remark)
        if segments:
            write(file, segments)
    return 0 if segments else 1


def hear_long(file, network):
    """The timeline of a sound that need not fit into memory: ([Segment], a remark or "")."""
    with audio_io.opened(file) as (facts, blocks):
        seconds = facts.samples / facts.rate
        windows = network.windows(blocks(facts.samples), facts.rate, file)
        segments = network.segments(windows, network.options.batch_size)
        timeline = list(merged(tqdm(segments, os.path.basename(file), unit=" windows", leave=False, disable=None,
                                    total=round(seconds * network.settings.sample_rate / network.hop))))
    cut_short = facts.cut_short or timeline[-1].end < seconds - 0.01
    return timeline, f"{file}: is cut short; what is there is used." if cut_short else ""


# --- standard input -------------------------------------------------------------------------------------------------

def hear_input(network, write):
    """Print the answer for each window of standard input as soon as it is heard, until the sound ends."""
    rate, channels, blocks = audio_io.streamed(sys.stdin.fileno(), _INPUT_NAME)
    check_channels(channels, network.settings, _INPUT_NAME)
    coming = ahead(blocks(max(1, round(_BLOCK_SECONDS * rate))))
    _ = network.predict  # Keras takes seconds to load; meanwhile the sound is kept
    warn(f"Listening to {channels} channel{'s' * (channels > 1)} at {rate} Hz.")
    segment = None
    for segment in network.segments(network.windows(coming, rate, _INPUT_NAME), 1):
        write(_INPUT, [segment], live=True)
    if segment is None:
        raise AudioError(f"{_INPUT_NAME}: holds no sample; look at what sends it.")


def ahead(blocks):
    """Yield blocks that a thread reads some ahead, so that a live sound loses nothing while Python is busy."""
    kept = queue.Queue(_BLOCKS_AHEAD)

    def read_on():
        try:
            for block in blocks:
                kept.put(block)
            kept.put(None)
        except Exception as error:
            kept.put(error)

    def take():
        while (block := kept.get()) is not None:
            if isinstance(block, Exception):
                raise block
            yield block

    threading.Thread(target=read_on, daemon=True).start()
    return take()


# --- what is printed ------------------------------------------------------------------------------------------------

def writer(options, class_names):
    """The function (file, segments, live=False) that prints in the form that was asked for."""
    if options.json:
        return functools.partial(print_json, class_names)
    if options.csv:
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # names as they are
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(["file", "start", "end", "class", "probability", *("p_" + name for name in class_names)])
        return functools.partial(print_csv, table)
    return functools.partial(print_text, class_names, options.top_k)


def print_json(class_names, file, segments, live=False):
    for segment in segments:
        each = [round(float(value), 6) for value in segment.probabilities]
        say(json.dumps({"file": file, "start": round(segment.start, 3), "end": round(segment.end, 3),
                        "class": segment.name, "probability": max(each),
                        "probabilities": dict(zip(class_names, each, strict=True))}))


def print_csv(table, file, segments, live=False):
    for segment in segments:
        each = [f"{value:.6f}" for value in segment.probabilities]
        table.writerow([file, f"{segment.start:.3f}", f"{segment.end:.3f}", segment.name, max(each), *each])
    sys.stdout.flush()


def print_text(class_names, top_k, file, segments, live=False):
    """One line for a sound of one class; else, and live, a line for each segment."""
    if len(segments) == 1 and not live:
        say(f"{file}: {best(segments[0], class_names, top_k)}")
        return
    if not live:
        say(f"{file}:")
    for segment in segments:
        say(f"{clock(segment.start):>11} {clock(segment.end):>11}  {best(segment, class_names, top_k)}")


def best(segment, class_names, top_k):
    """The most probable classes with their probabilities."""
    places = np.argsort(-segment.probabilities, kind="stable")[:top_k]
    text = "  ".join(f"{class_names[place]} {segment.probabilities[place]:.1%}" for place in places)
    return f"{_NONE} ({text})" if segment.name == _NONE else text


def clock(seconds):
    minutes, seconds = divmod(round(seconds, 2), 60)
    return f"{int(minutes // 60)}:{int(minutes % 60):02}:{seconds:05.2f}"


def write_labels(path, segments):
    """Audacity's label track: start and end in seconds and the label, between tabs."""
    with safe_files.replacing(path) as unfinished, \
            open(unfinished, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for segment in segments:
            file.write(f"{segment.start:.6f}\t{segment.end:.6f}\t{' '.join(segment.name.split())}\n")


if __name__ == "__main__":
    command_line.run(main)
