"""Measure the time and memory to load the melgrams of Preproc/ into one array, and the time to compute them instead.

Computing is measured on a few sounds and scaled to the same number; (a) is the plain method, with librosa. Each variant
runs in a new process on one core; its start-up and the memory of Python and the libraries are not counted. The files
are in the page cache. Before each measurement another process allocates and frees as much memory, which a virtual
machine may have returned while idle. float16 files are measured for comparison; the suite stores float32.

Writes  a table of medians to stdout; sounds and melgrams in a temporary folder, which is removed at the end

    python tests/benchmarks/load.py
    python tests/benchmarks/load.py --channels 2
    python tests/benchmarks/load.py --melgrams 500 --sounds 20 --rounds 1    # a short trial
"""

import tempfile
import time
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from preprocess import make_sounds
from side_by_side import in_fresh_process, medians, on_cores, peak_megabytes, print_machine, print_table, ratio

import preprocess_data
from audio_utils.audio import audio_io, melgram
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import preproc
from audio_utils.data.sounds import find_sounds
from audio_utils.runtime import command_line, parallel, script
from audio_utils.runtime.command_line import Limits

MELGRAMS = 5000  # number of melgrams to load
SOUNDS = 200     # from which they are made, and on which computing is measured
CHANNELS = 1     # of each sound
ROUNDS = 5       # for the medians; one more is the warm-up

_LIMITS = {"MELGRAMS": Limits(int, 1), "SOUNDS": Limits(int, 1), "CHANNELS": Limits(int, 1), "ROUNDS": Limits(int, 1)}
_CLIP_SECONDS = 2.0
_MIN_SPEED, _MAX_MEMORY, _MAX_ERROR_DB = 100, 1.2, 0.1  # targets: × (a), × the array, of float16
_PLAIN, _OURS = "(a) librosa, from audio", "ours, from audio"
_FLOAT32, _WIDENED, _FLOAT16 = "preproc.load, float32", "float16 files to float32", "float16 files to float16"


def main():
    options = command_line.parse(globals(), _LIMITS)
    with tempfile.TemporaryDirectory() as root, on_cores(1):
        folder = Path(root)
        make_sounds(folder, options.sounds, options.channels, "wav", _CLIP_SECONDS)
        sounds = find_sounds(folder / "Samples")[0]
        settings = settings_of(sounds[0])
        print_machine(f"{options.melgrams} melgrams of {settings.shape}; computing measured on {options.sounds} and "
                      f"scaled; medians of {options.rounds}")
        array_bytes = options.melgrams * settings.bytes
        error_db = write_melgrams(folder, sounds, settings, options.melgrams)
        results = medians({
            _FLOAT32: partial(with_memory, array_bytes, load_ours, folder, settings),
            _WIDENED: partial(with_memory, array_bytes, load_half, folder, settings, np.float32),
            _FLOAT16: partial(with_memory, array_bytes, load_half, folder, settings, np.float16),
            _OURS: partial(in_fresh_process, compute_ours, sounds, settings, options.melgrams),
            _PLAIN: partial(in_fresh_process, compute_plain, sounds, options.melgrams)}, options.rounds)
        sizes = {name: megabytes(folder / name) for name in ("Preproc", "Half")}
    print_results(results, sizes, array_bytes / 1e6, error_db)


# --- the files ------------------------------------------------------------------------------------------------------

def settings_of(sound):
    """The settings that preprocess_data.py would choose."""
    info = audio_io.info(sound.path)
    return MelgramSettings.of(info.rate, info.samples, info.channels, preprocess_data.MELS,
                              preprocess_data.WINDOW_MS, preprocess_data.HOP_MS)


def write_melgrams(folder, sounds, settings, count):
    """Write `count` melgrams, as float32 and as float16. Returns the maximum error of float16, in dB."""
    melgrams = [melgram.of_file(sound.path, settings)[0] for sound in sounds]
    for i, (sound, each) in enumerate(islice(cycle(zip(sounds, melgrams, strict=True)), count)):
        for name, stored in (("Preproc", each), ("Half", each.astype(np.float16))):
            path = preproc.melgram_path(folder / name, "Train", f"{sound.class_name}/{i}.wav")
            path.parent.mkdir(parents=True, exist_ok=True)
            preproc.write_melgram(path, stored)
    return max(np.abs(each.astype(np.float16).astype(np.float32) - each).max() for each in melgrams)


def megabytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*.npy")) / 1e6


# --- the variants: each returns (seconds, increase of the peak memory in MB) ------------------------------------------

def with_memory(count, variant, *arguments):
    """The result of a variant in a new process, after another process has allocated and freed `count` bytes."""
    in_fresh_process(np.ones, count, np.uint8)
    return in_fresh_process(variant, *arguments)


def load_ours(folder, settings):
    return measured(lambda: require_all(preproc.load(folder / "Preproc", "Train", settings)))


def require_all(loaded):
    clips, warnings = loaded
    if warnings:
        raise SystemExit(warnings[0])
    return clips


def load_half(folder, settings, kind):
    """preproc.load as it would be with float16 files: the same steps, the same check."""
    return measured(lambda: read_half(folder / "Half", settings, kind))


def read_half(folder, settings, kind):
    """All float16 melgrams of a folder in one array; kind: its type, float16 or float32."""
    found = preproc.find_melgrams(folder)
    melgrams = np.empty((len(found), *settings.shape), kind)
    stored = np.empty(settings.shape, np.float16)
    for i, (split, name) in enumerate(found):
        target = melgrams[i] if kind == np.float16 else stored
        with open(preproc.melgram_path(folder, split, name), "rb", buffering=0) as file:
            file.seek(-stored.nbytes, 2)  # past the header
            file.readinto(memoryview(target).cast("B"))
        if kind != np.float16:
            melgrams[i] = stored
        if not np.isfinite(melgrams[i].sum(dtype=np.float32)):
            raise SystemExit(f"{name}: contains NaN or infinite values.")
    return melgrams


def measured(load):
    before, start = peak_megabytes(), time.perf_counter()
    array = load()  # alive until the peak is read
    return time.perf_counter() - start, peak_megabytes() - before if array is not None else 0


def compute_ours(sounds, settings, count):
    settings.tables  # noqa: B018  computed before the measurement
    paths = [sound.path for sound in sounds]
    return scaled(lambda: list(parallel.each(melgram.of_file, paths, "", 1, (settings,))), sounds, count)


def compute_plain(sounds, count):
    import librosa

    def compute(sound):
        audio, rate = librosa.load(sound.path, sr=None, mono=False)
        power = librosa.feature.melspectrogram(y=audio, sr=rate, n_fft=2048, hop_length=512, n_mels=96)
        return librosa.power_to_db(power, ref=1.0, top_db=80)

    compute(sounds[0])  # librosa imports its parts at the first call
    return scaled(lambda: [compute(sound) for sound in sounds], sounds, count)


def scaled(work, sounds, count):
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * count / len(sounds), 0


# --- results --------------------------------------------------------------------------------------------------------

def print_results(results, sizes, array_megabytes, error_db):
    seconds = {name: float(each[0]) for name, each in results.items()}
    rows = [["", "seconds", f"speed × (a), ≥ {_MIN_SPEED}", "peak MB", f"× the array, ≤ {_MAX_MEMORY}",
             "MB on disk", f"error dB, ≤ {_MAX_ERROR_DB}"]]
    for name, disk, array in ((_FLOAT32, "Preproc", 1), (_WIDENED, "Half", 1), (_FLOAT16, "Half", 0.5)):
        memory = {"peak": results[name][1], "array": array_megabytes * array}
        rows.append([name, f"{seconds[name]:.3f}", ratio(seconds, _PLAIN, name, at_least=_MIN_SPEED),
                     f"{memory['peak']:.0f}", ratio(memory, "peak", "array", at_most=_MAX_MEMORY),
                     f"{sizes[disk]:.0f}", f"{error_db:.3f}" if disk == "Half" else "0"])
    for name in (_OURS, _PLAIN):
        rows.append([name, f"{seconds[name]:.1f}", ratio(seconds, _PLAIN, name), "", "", "", ""])
    print_table(*rows)


if __name__ == "__main__":
    script.run(main)
