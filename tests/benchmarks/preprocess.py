"""Compare the speed of preprocess_data.py, a plain method with librosa, and a lower bound, start-up included.

The plain method is `librosa.load`, `melspectrogram`, `power_to_db` and `np.save`; the lower bound is decoding by
soundfile and the float32 FFT of the frames. All three run as commands, in turn, on the same files, which are in the
page cache. Two more tables show the time of each stage and the peak memory.

Writes  tables of medians to stdout; sounds and melgrams in a temporary folder, which is removed at the end

    python tests/benchmarks/preprocess.py
    python tests/benchmarks/preprocess.py --clips 40 --rounds 1 --memory-clips 50,200    # a short trial
"""

import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace

import numpy as np
import scipy.fft
import soundfile
from side_by_side import (
    SUITE,
    in_fresh_process,
    medians,
    on_cores,
    peaks_of,
    print_machine,
    print_table,
    ratio,
    run_seconds,
    usable_cores,
)

import preprocess_data
from audio_utils.audio import melgram
from audio_utils.data import compute, plan, preproc
from audio_utils.runtime import command_line, parallel, script
from audio_utils.runtime.command_line import Limits

CLIPS = 400                 # of each kind
CLIP_SECONDS = 2.0          # length of each
ROUNDS = 5                  # for the medians; one more is the warm-up
MEMORY_CLIPS = (200, 5000)  # numbers of clips for which the peak memory is measured
PROFILED_CLIPS = 100        # of each kind, for the time of each stage; 0: none

_LIMITS = {"CLIPS": Limits(int, 1), "CLIP_SECONDS": Limits(float, 0.1), "ROUNDS": Limits(int, 1),
           "PROFILED_CLIPS": Limits(int, 0)}
_RATE, _CLASSES = 44100, 4
_KINDS = {"mono wav": (1, "wav"), "stereo wav": (2, "wav"), "mono mp3": (1, "mp3"), "stereo mp3": (2, "mp3")}
_TOLERANCE_DB = 1e-3
_MIN_SPEED, _MAX_TIME, _MAX_MEGABYTES = 2.5, 2, 400  # targets: × plain, × lower bound, of each process
_STAGES = ("decode", "FFT", "window, power, mel", "dB", "write")

_PLAIN = """
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # else the BLAS threads of all processes compete for the cores
import librosa
import numpy as np

def convert(path):
    audio, rate = librosa.load(path, sr=None, mono=False)
    audio -= audio.mean(axis=-1, keepdims=True, dtype=np.float64).astype(np.float32)
    power = librosa.feature.melspectrogram(y=audio, sr=rate, n_fft=2048, hop_length=512, n_mels=96)
    np.save(f"Plain/{path.name}.npy", librosa.power_to_db(power, ref=1.0, top_db=80))

if __name__ == "__main__":
    Path("Plain").mkdir()
    with ProcessPoolExecutor(int(sys.argv[1])) as pool:
        list(pool.map(convert, Path("Samples").glob("*/*"), chunksize=10))
"""

_BOUND = """
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import scipy.fft
import soundfile

def transform(path):
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    for channel in audio.T:
        scipy.fft.rfft(np.lib.stride_tricks.sliding_window_view(np.pad(channel, 1024), 2048)[::512])

if __name__ == "__main__":
    paths, processes = Path("Samples").glob("*/*"), int(sys.argv[1])
    if processes == 1:
        list(map(transform, paths))
    else:
        with ProcessPoolExecutor(processes) as pool:
            list(pool.map(transform, paths, chunksize=10))
"""


def main():
    options = command_line.parse(globals(), _LIMITS)
    print_machine(f"{options.clips} clips of {options.clip_seconds:g} s, {_RATE} Hz; medians of {options.rounds}")
    with tempfile.TemporaryDirectory() as root:
        folders = {kind: Path(root, kind) for kind in _KINDS}
        for kind, folder in folders.items():
            make_sounds(folder, options.clips, *_KINDS[kind], options.clip_seconds)
        seconds = compare(folders, options)
        if options.profiled_clips:
            print_stages(folders, seconds, options)
        print_memory(Path(root), options)


# --- sounds ---------------------------------------------------------------------------------------------------------

def make_sounds(folder, count, channels, kind, clip_seconds):
    """Write clips of brown noise (-6 dB per octave) with a floor of white noise to Samples/<class>/."""
    for number in range(_CLASSES):
        Path(folder, "Samples", f"class {number}").mkdir(parents=True)
    paths = [Path(folder, "Samples", f"class {i % _CLASSES}", f"{i}.{kind}") for i in range(count)]
    for _, error in parallel.each(make_sound, paths, "Making sounds", shared=(channels, clip_seconds)):
        if error:
            raise error


def make_sound(path, channels, clip_seconds):
    white = np.random.default_rng([*path.name.encode()]).random((channels, round(clip_seconds * _RATE))) - 0.5
    brown = np.cumsum(white, axis=1)
    soundfile.write(path, (brown / np.abs(brown).max() * 0.9 + white * 0.01).T, _RATE)


# --- speed ----------------------------------------------------------------------------------------------------------

def compare(folders, options):
    """Print the speeds of the three variants. Returns (kind, cores) → variant → seconds."""
    rows = [["clips/s", "ours", "(a) plain", "(b) bound", f"speed ours/(a), ≥ {_MIN_SPEED}",
             f"time ours/(b), ≤ {_MAX_TIME}"]]
    seconds = {}
    for kind, folder in folders.items():
        for cores in (1, 2)[:len(usable_cores())]:
            with on_cores(cores):
                found = seconds[kind, cores] = medians(variants(folder, cores), options.rounds)
            rows.append([f"{kind}, {cores} core{'s' * (cores > 1)}",
                         *(f"{options.clips / found[variant]:.0f}" for variant in ("ours", "plain", "bound")),
                         ratio(found, "plain", "ours", at_least=_MIN_SPEED),
                         ratio(found, "ours", "bound", at_most=_MAX_TIME)])
        require_equal(folder)
    print_table(*rows)
    return seconds


def variants(folder, cores):
    """Name → function that runs the variant from the beginning and returns its seconds."""
    Path(folder, "plain.py").write_text(_PLAIN)
    Path(folder, "bound.py").write_text(_BOUND)
    return {"ours": partial(run_anew, folder, "Preproc", SUITE / "preprocess_data.py"),
            "plain": partial(run_anew, folder, "Plain", "plain.py", str(cores)),
            "bound": partial(run_anew, folder, "Nothing", "bound.py", str(cores))}


def run_anew(folder, output, *command):
    rmtree(folder / output, ignore_errors=True)
    return run_seconds([sys.executable, *command], folder)


def require_equal(folder):
    """Stop if one of our melgrams differs from that of the plain method."""
    for path in Path(folder, "Preproc").glob("T*/*/*.npy"):
        plain = np.load(folder / "Plain" / path.name)  # ([channels,] mels, frames)
        ours = np.moveaxis(np.load(path), -1, 0).reshape(plain.shape)
        ours = np.maximum(ours, plain.max() - melgram.TOP_DB)  # librosa's lower limit is the same in all channels
        error_db = np.abs(ours - plain).max()
        if not error_db <= _TOLERANCE_DB:
            raise SystemExit(f"{path}: differs from librosa's melgram by {error_db:g} dB.")


# --- stages ---------------------------------------------------------------------------------------------------------

def print_stages(folders, seconds, options):
    """Print the milliseconds per clip of each stage, ours and the lower bound's, on one core."""
    rows = [["ms per clip, 1 core", *_STAGES, "start-up, plan, …", "end to end"]]
    for kind, folder in folders.items():
        with on_cores(1):
            stages = in_fresh_process(measure_stages, folder, options.profiled_clips, options.rounds)
        for name, variant in ((kind, "ours"), ("  lower bound", "bound")):
            total = 1000 * seconds[kind, 1][variant] / options.clips
            rows.append([name, *(f"{stage:.2f}" if stage else "-" for stage in stages[variant]),
                         f"{total - sum(stages[variant]):.2f}", f"{total:.2f}"])
    print_table(*rows)


def measure_stages(folder, count, rounds):
    """Variant → ms per clip of each of _STAGES, all in this process."""
    whole = plan.make_plan(command_line.constants(preprocess_data, {}), folder / "Samples")
    entries = dict(list(whole.entries.items())[:count])  # all are stale
    profiled = whole._replace(entries=entries, clips=list(entries))
    profiled.settings.tables  # noqa: B018  computed before the measurement
    spent = instrument()
    results = medians({"ours": lambda: our_stages(profiled, folder / "Stages", spent),
                       "bound": lambda: bound_stages(profiled)}, rounds)
    return {variant: list(1000 / len(profiled.stale) * seconds) for variant, seconds in results.items()}


def instrument():
    """Time the functions of each stage from here on. Returns a counter that adds up their seconds."""
    spent = Counter()

    def watch(owner, name, stage):
        function = getattr(owner, name)

        def timed(*arguments, **keywords):
            start = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                spent[stage] += time.perf_counter() - start

        setattr(owner, name, timed)

    melgram.np = SimpleNamespace(**vars(np))  # a copy of NumPy for melgram.py alone
    for name in ("log10", "maximum", "ascontiguousarray"):
        watch(melgram.np, name, "dB")
    watch(scipy.fft, "rfft", "FFT")
    watch(melgram, "melgram", "melgram")
    watch(melgram, "of_file", "of_file")
    watch(preproc, "write_melgram", "write")
    return spent


def our_stages(profiled, folder, spent):
    rmtree(folder, ignore_errors=True)  # replacing a file takes ten times as long as creating one
    folder.mkdir()
    spent.clear()
    compute.compute(profiled, folder, jobs=1, prune=False)
    return (spent["of_file"] - spent["melgram"], spent["FFT"], spent["melgram"] - spent["FFT"] - spent["dB"],
            spent["dB"], spent["write"])


def bound_stages(profiled):
    start = time.perf_counter()
    audios = [soundfile.read(clip.path, dtype="float32", always_2d=True)[0] for clip in profiled.stale]
    decoded = time.perf_counter()
    for channel in (channel for audio in audios for channel in audio.T):
        scipy.fft.rfft(np.lib.stride_tricks.sliding_window_view(np.pad(channel, 1024), 2048)[::512])
    return decoded - start, time.perf_counter() - decoded, 0, 0, 0


# --- memory ---------------------------------------------------------------------------------------------------------

def print_memory(root, options):
    """Print the peak memory of the processes of preprocess_data.py, for few files and for many."""
    rows = [["peak MB (VmHWM, polled)", "main process", "largest worker", f"≤ {_MAX_MEGABYTES}"]]
    for count in options.memory_clips:
        folder = root / f"{count} files"
        make_sounds(folder, count, *_KINDS["mono wav"], options.clip_seconds)
        main_process, worker = peaks_of([sys.executable, SUITE / "preprocess_data.py"], folder)
        rows.append([f"{count} mono wav", f"{main_process:.0f}", f"{worker:.0f}",
                     "missed" if max(main_process, worker) > _MAX_MEGABYTES else "met"])
        rmtree(folder)
    print_table(*rows)


if __name__ == "__main__":
    script.run(main)
