"""How fast preprocess_data.py is, start-up included, beside the plain way with librosa and the floor.

The plain way is `librosa.load`, `melspectrogram`, `power_to_db` and `np.save`; the floor is what can't be left out:
decoding by soundfile and the float32 FFT of the frames. All three are run as a command, in turn, on the same files,
which are in the page cache. Then: where the time of a clip goes, and how much memory the largest process takes.

Writes  tables of medians to stdout; sounds and melgrams in a temporary folder, for as long as it runs

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
from audio_utils import audio_io, command_line, dataset, melgram, parallel
from audio_utils.melgram import MelgramSettings

CLIPS = 400                 # of each kind
CLIP_SECONDS = 2.0          # length of each
ROUNDS = 5                  # of which the medians are given; one more warms up
MEMORY_CLIPS = (200, 5000)  # with so many, the memory of a process should be the same
PROFILED_CLIPS = 100        # of each kind, whose time is looked into; 0: none

_RATE, _CLASSES = 44100, 4
_KINDS = {"mono wav": (1, "wav"), "stereo wav": (2, "wav"), "mono mp3": (1, "mp3"), "stereo mp3": (2, "mp3")}
_CLOSE_DB = 1e-3
_LEAST_SPEED, _MOST_TIME, _MOST_MEGABYTES = 2.5, 2, 400  # the targets: × plain, × floor, of each process
_PARTS = ("decode", "FFT", "window, power, mel", "dB", "write")

_PLAIN = """
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # else the BLAS threads of the processes hinder one another, many times over
import librosa
import numpy as np

def convert(path):
    audio, rate = librosa.load(path, sr=None, mono=False)
    power = librosa.feature.melspectrogram(y=audio, sr=rate, n_fft=2048, hop_length=512, n_mels=96)
    np.save(f"Plain/{path.name}.npy", librosa.power_to_db(power, ref=1.0, top_db=80))

if __name__ == "__main__":
    Path("Plain").mkdir()
    with ProcessPoolExecutor(int(sys.argv[1])) as pool:
        list(pool.map(convert, Path("Samples").glob("*/*"), chunksize=10))
"""

_FLOOR = """
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
    options = command_line.parse(globals())
    print_machine(f"{options.clips} clips of {options.clip_seconds:g} s, {_RATE} Hz; medians of {options.rounds}")
    with tempfile.TemporaryDirectory() as root:
        folders = {kind: Path(root, kind) for kind in _KINDS}
        for kind, folder in folders.items():
            make_sounds(folder, options.clips, *_KINDS[kind], options.clip_seconds)
        seconds = compare(folders, options)
        if options.profiled_clips:
            print_parts(folders, seconds, options)
        print_memory(Path(root), options)


# --- sounds ---------------------------------------------------------------------------------------------------------

def make_sounds(folder, count, channels, kind, clip_seconds):
    """Write Samples/<class>/ with clips of noise that falls by about 6 dB an octave and ends in white noise."""
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
    """Print the speeds of the three sides. Returns (kind, cores) → side → seconds."""
    rows = [["clips/s", "ours", "(a) plain", "(b) floor", f"speed ours/(a), ≥ {_LEAST_SPEED}",
             f"time ours/(b), ≤ {_MOST_TIME}"]]
    seconds = {}
    for kind, folder in folders.items():
        for cores in (1, 2)[:len(usable_cores())]:
            with on_cores(cores):
                found = seconds[kind, cores] = medians(sides(folder, cores), options.rounds)
            rows.append([f"{kind}, {cores} core{'s' * (cores > 1)}",
                         *(f"{options.clips / found[side]:.0f}" for side in ("ours", "plain", "floor")),
                         ratio(found, "plain", "ours", least=_LEAST_SPEED),
                         ratio(found, "ours", "floor", most=_MOST_TIME)])
        require_equal(folder)
    print_table(*rows)
    return seconds


def sides(folder, cores):
    """Name → function that runs the side anew and returns its seconds."""
    Path(folder, "plain.py").write_text(_PLAIN)
    Path(folder, "floor.py").write_text(_FLOOR)
    return {"ours": partial(run_anew, folder, "Preproc", SUITE / "preprocess_data.py"),
            "plain": partial(run_anew, folder, "Plain", "plain.py", str(cores)),
            "floor": partial(run_anew, folder, "Nothing", "floor.py", str(cores))}


def run_anew(folder, output, *command):
    rmtree(folder / output, ignore_errors=True)
    return run_seconds([sys.executable, *command], folder)


def require_equal(folder):
    """Stop where a melgram of ours is not that of the plain way."""
    for path in Path(folder, "Preproc").glob("T*/*/*.npy"):
        plain = np.load(folder / "Plain" / path.name)  # ([channels,] mels, frames)
        ours = np.moveaxis(np.load(path), -1, 0).reshape(plain.shape)
        ours = np.maximum(ours, plain.max() - melgram.TOP_DB)  # librosa's ends there in all channels alike
        error_db = np.abs(ours - plain).max()
        if not error_db <= _CLOSE_DB:
            raise SystemExit(f"{path}: differs from librosa's melgram by {error_db:g} dB.")


# --- where the time goes --------------------------------------------------------------------------------------------

def print_parts(folders, seconds, options):
    """Print the milliseconds of each part of the work on a clip, and of the floor's, on one core."""
    rows = [["ms per clip, 1 core", *_PARTS, "start-up, plan, …", "end to end"]]
    for kind, folder in folders.items():
        with on_cores(1):
            parts = in_fresh_process(measure_parts, folder, options.profiled_clips, options.rounds)
        for name, side in ((kind, "ours"), ("  its floor", "floor")):
            all_of_it = 1000 * seconds[kind, 1][side] / options.clips
            rows.append([name, *(f"{part:.2f}" if part else "-" for part in parts[side]),
                         f"{all_of_it - sum(parts[side]):.2f}", f"{all_of_it:.2f}"])
    print_table(*rows)


def measure_parts(folder, count, rounds):
    """Side → ms per clip of each of _PARTS, all in this process."""
    sounds = dataset.find_sounds(folder / "Samples")[0][:count]
    facts = audio_io.info(sounds[0].path)
    settings = MelgramSettings.of(facts.rate, facts.samples, facts.channels, preprocess_data.MELS,
                                  preprocess_data.WINDOW_MS, preprocess_data.HOP_MS)
    settings.tables  # noqa: B018  made before the clock runs
    preprocess_data.PREPROC = folder / "Parts"
    spent = watched()
    found = medians({"ours": lambda: ours_by_part(sounds, settings, spent), "floor": lambda: floor_by_part(sounds)},
                    rounds)
    return {side: list(1000 / len(sounds) * seconds) for side, seconds in found.items()}


def watched():
    """Watch the functions of each part from here on. Returns a counter that grows by the seconds they take."""
    spent = Counter()

    def watch(owner, name, part):
        function = getattr(owner, name)

        def timed(*arguments, **keywords):
            start = time.perf_counter()
            try:
                return function(*arguments, **keywords)
            finally:
                spent[part] += time.perf_counter() - start

        setattr(owner, name, timed)

    melgram.np = SimpleNamespace(**vars(np))  # numpy as melgram.py sees it, and no one else
    for name in ("log10", "maximum", "ascontiguousarray"):
        watch(melgram.np, name, "dB")
    watch(scipy.fft, "rfft", "FFT")
    watch(melgram, "melgram", "melgram")
    watch(melgram, "of_file", "of_file")
    watch(dataset, "write_melgram", "write")
    return spent


def ours_by_part(sounds, settings, spent):
    rmtree(preprocess_data.PREPROC, ignore_errors=True)  # to replace a file takes ten times as long as to make one
    for folder in {dataset.melgram_path(preprocess_data.PREPROC, "Train", sound.name).parent for sound in sounds}:
        folder.mkdir(parents=True)
    spent.clear()
    jobs = [(sound, "Train") for sound in sounds]
    list(parallel.each(preprocess_data.make_melgram, jobs, "Melgrams", 1, (settings,)))
    return (spent["of_file"] - spent["melgram"], spent["FFT"], spent["melgram"] - spent["FFT"] - spent["dB"],
            spent["dB"], spent["write"])


def floor_by_part(sounds):
    start = time.perf_counter()
    audios = [soundfile.read(sound.path, dtype="float32", always_2d=True)[0] for sound in sounds]
    decoded = time.perf_counter()
    for channel in (channel for audio in audios for channel in audio.T):
        scipy.fft.rfft(np.lib.stride_tricks.sliding_window_view(np.pad(channel, 1024), 2048)[::512])
    return decoded - start, time.perf_counter() - decoded, 0, 0, 0


# --- memory ---------------------------------------------------------------------------------------------------------

def print_memory(root, options):
    """Print the most memory that the processes of preprocess_data.py take, for few files and for many."""
    rows = [["peak MB (VmHWM, polled)", "main process", "largest other", f"≤ {_MOST_MEGABYTES}"]]
    for count in options.memory_clips:
        folder = root / f"{count} files"
        make_sounds(folder, count, *_KINDS["mono wav"], options.clip_seconds)
        main, other = peaks_of([sys.executable, SUITE / "preprocess_data.py"], folder)
        rows.append([f"{count} mono wav", f"{main:.0f}", f"{other:.0f}",
                     "missed" if max(main, other) > _MOST_MEGABYTES else "kept"])
        rmtree(folder)
    print_table(*rows)


if __name__ == "__main__":
    command_line.run(main)
