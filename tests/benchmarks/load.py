"""How long it takes, and how much memory, to have the melgrams of Preproc/ as one array, beside computing them.

Computing is done for a few sounds, and its time scaled to the same number; (a) is the plain way, with librosa. Each
side runs in a new process on one core, whose start is not counted, nor the memory that Python and the libraries take.
The files are in the page cache, and what memory a virtual machine gave back while idle is fetched again before the
clock runs. Beside the float32 that is stored, the same stored as float16 is tried.

Writes  a table of medians to stdout; sounds and melgrams in a temporary folder, for as long as it runs

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
from audio_utils import audio_io, command_line, dataset, melgram, parallel
from audio_utils.melgram import MelgramSettings

MELGRAMS = 5000  # that are loaded
SOUNDS = 200     # of which they are made, and on which computing is measured
CHANNELS = 1     # of each
ROUNDS = 5       # of which the medians are given; one more warms up

_CLIP_SECONDS = 2.0
_LEAST_SPEED, _MOST_MEMORY, _MOST_ERROR_DB = 100, 1.2, 0.1  # the targets: × (a), × the array, of float16
_PLAIN, _OURS = "(a) librosa, from audio", "ours, from audio"
_FLOAT32, _WIDENED, _FLOAT16 = "dataset.load, float32", "float16 made float32", "float16 kept"


def main():
    options = command_line.parse(globals())
    with tempfile.TemporaryDirectory() as root, on_cores(1):
        folder = Path(root)
        make_sounds(folder, options.sounds, options.channels, "wav", _CLIP_SECONDS)
        sounds = dataset.find_sounds(folder / "Samples")[0]
        settings = settings_of(sounds[0])
        print_machine(f"{options.melgrams} melgrams of {settings.shape}; computing measured on {options.sounds} and "
                      f"scaled; medians of {options.rounds}")
        array_bytes = options.melgrams * settings.bytes
        error_db = write_melgrams(folder, sounds, settings, options.melgrams)
        found = medians({
            _FLOAT32: partial(with_memory, array_bytes, load_ours, folder, settings),
            _WIDENED: partial(with_memory, array_bytes, load_half, folder, settings, np.float32),
            _FLOAT16: partial(with_memory, array_bytes, load_half, folder, settings, np.float16),
            _OURS: partial(in_fresh_process, compute_ours, sounds, settings, options.melgrams),
            _PLAIN: partial(in_fresh_process, compute_plain, sounds, options.melgrams)}, options.rounds)
        sizes = {name: megabytes(folder / name) for name in ("Preproc", "Half")}
    print_found(found, sizes, array_bytes / 1e6, error_db)


# --- the files ------------------------------------------------------------------------------------------------------

def settings_of(sound):
    facts = audio_io.info(sound.path)
    return MelgramSettings.of(facts.rate, facts.samples, facts.channels, preprocess_data.MELS,
                              preprocess_data.WINDOW_MS, preprocess_data.HOP_MS)


def write_melgrams(folder, sounds, settings, count):
    """Write so many melgrams, as float32 and as float16. Returns the largest error of the latter, in dB."""
    melgrams = [melgram.of_file(sound.path, settings)[0] for sound in sounds]
    for i, (sound, each) in enumerate(islice(cycle(zip(sounds, melgrams, strict=True)), count)):
        for name, stored in (("Preproc", each), ("Half", each.astype(np.float16))):
            path = dataset.melgram_path(folder / name, "Train", f"{sound.class_name}/{i}.wav")
            path.parent.mkdir(parents=True, exist_ok=True)
            dataset.write_melgram(path, stored, 0)
    return max(np.abs(each.astype(np.float16).astype(np.float32) - each).max() for each in melgrams)


def megabytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*.npy")) / 1e6


# --- the sides: each returns (seconds, MB that its process takes at the peak, less what it took before) ---------------

def with_memory(count, side, *arguments):
    """What a side returns in a new process, after another has taken so many bytes of memory and given them back."""
    in_fresh_process(np.ones, count, np.uint8)
    return in_fresh_process(side, *arguments)


def load_ours(folder, settings):
    return measured(lambda: require_all(dataset.load(folder / "Preproc", "Train", settings)))


def require_all(loaded):
    clips, remarks = loaded
    if remarks:
        raise SystemExit(remarks[0])
    return clips


def load_half(folder, settings, kind):
    """What dataset.load would be with float16 in the files: the same steps, the same check."""
    return measured(lambda: read_half(folder / "Half", settings, kind))


def read_half(folder, settings, kind):
    """All float16 melgrams of a folder as one array of this kind, float16 or float32."""
    found = dataset.find_melgrams(folder)
    melgrams = np.empty((len(found), *settings.shape), kind)
    stored = np.empty(settings.shape, np.float16)
    for i, (side, name) in enumerate(found):
        target = melgrams[i] if kind == np.float16 else stored
        with open(dataset.melgram_path(folder, side, name), "rb", buffering=0) as file:
            file.seek(-stored.nbytes, 2)  # past the header
            file.readinto(memoryview(target).cast("B"))
        if kind != np.float16:
            melgrams[i] = stored
        if not np.isfinite(melgrams[i].sum(dtype=np.float32)):
            raise SystemExit(f"{name}: holds values that are not numbers.")
    return melgrams


def measured(load):
    before, start = peak_megabytes(), time.perf_counter()
    kept = load()
    return time.perf_counter() - start, peak_megabytes() - before if kept is not None else 0


def compute_ours(sounds, settings, count):
    settings.tables  # noqa: B018  made before the clock runs
    return scaled(lambda: list(parallel.each(preprocess_data.melgram_of, sounds, "", 1, (settings,))), sounds, count)


def compute_plain(sounds, count):
    import librosa

    def compute(sound):
        audio, rate = librosa.load(sound.path, sr=None, mono=False)
        power = librosa.feature.melspectrogram(y=audio, sr=rate, n_fft=2048, hop_length=512, n_mels=96)
        return librosa.power_to_db(power, ref=1.0, top_db=80)

    compute(sounds[0])  # librosa starts when it is first used
    return scaled(lambda: [compute(sound) for sound in sounds], sounds, count)


def scaled(work, sounds, count):
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * count / len(sounds), 0


# --- what was found -------------------------------------------------------------------------------------------------

def print_found(found, sizes, array_megabytes, error_db):
    seconds = {name: float(each[0]) for name, each in found.items()}
    rows = [["", "seconds", f"× (a), ≥ {_LEAST_SPEED}", "MB at the peak", f"× the array, ≤ {_MOST_MEMORY}",
             "MB on disk", f"error dB, ≤ {_MOST_ERROR_DB}"]]
    for name, disk, array in ((_FLOAT32, "Preproc", 1), (_WIDENED, "Half", 1), (_FLOAT16, "Half", 0.5)):
        memory = {"peak": found[name][1], "array": array_megabytes * array}
        rows.append([name, f"{seconds[name]:.3f}", ratio(seconds, _PLAIN, name, least=_LEAST_SPEED),
                     f"{memory['peak']:.0f}", ratio(memory, "peak", "array", most=_MOST_MEMORY),
                     f"{sizes[disk]:.0f}", f"{error_db:.3f}" if disk == "Half" else "0"])
    for name in (_OURS, _PLAIN):
        rows.append([name, f"{seconds[name]:.1f}", ratio(seconds, _PLAIN, name), "", "", "", ""])
    print_table(*rows)


if __name__ == "__main__":
    command_line.run(main)
