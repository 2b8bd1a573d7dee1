"""make_samples.py: the spectra of the noises, the harmonics of the square wave, levels, the seed; the background."""

import resource
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import ROOT, names, sine, write

from audio_utils import make_samples
from audio_utils.audio import tags
from audio_utils.data.recordings import find_recordings
from audio_utils.data.sounds import find_sounds
from audio_utils.data.split import Grouping
from audio_utils.runtime.errors import UserError

SCRIPT = "audio_utils/make_samples.py"
NAMES = ["brownnoise.wav", "pinknoise.wav", "square1k.wav", "whitenoise.wav"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    subprocess.run([sys.executable, ROOT / SCRIPT, "--seconds", "20"], cwd=folder, check=True)
    return folder


@pytest.fixture
def make(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run_main(*arguments):
        monkeypatch.setattr(sys, "argv", [SCRIPT, *arguments])
        return make_samples.main(), capsys.readouterr()
    return run_main


def test_files_are_mono_16_bit_at_44100_hz_and_of_the_given_length(folder):
    assert sorted(each.name for each in folder.iterdir()) == NAMES
    for name in NAMES:
        info = soundfile.info(folder / name)
        assert (info.frames, info.samplerate, info.channels, info.subtype) == (20 * 44100, 44100, 1, "PCM_16")


@pytest.mark.parametrize(("name", "slope"), [("whitenoise.wav", 0), ("pinknoise.wav", -3.01),
                                             ("brownnoise.wav", -6.02)])
def test_noise_has_its_slope_in_db_per_octave(folder, name, slope):
    from scipy.signal import welch
    hz, power = welch(*soundfile.read(folder / name), nperseg=8192)
    octaves = np.linspace(np.log2(50), np.log2(15000), 60)  # all octaves have the same weight
    level_db = np.interp(octaves, np.log2(hz[1:]), 10 * np.log10(power[1:]))
    assert np.polyfit(octaves, level_db, 1)[0] == pytest.approx(slope, abs=0.1)
    assert np.abs(level_db - np.polyval(np.polyfit(octaves, level_db, 1), octaves)).max() < 1.5  # a straight line


def test_the_square_wave_consists_of_its_odd_harmonics_only(folder):
    wave, rate = soundfile.read(folder / "square1k.wav")
    amplitude = np.abs(np.fft.rfft(wave[:rate * 10])) / (rate * 5)  # bins of 0.1 Hz
    harmonics = np.arange(1, 22, 2)
    assert amplitude[harmonics * 10000] == pytest.approx(amplitude[10000] / harmonics, rel=1e-3)
    amplitude[harmonics * 10000] = 0
    assert 20 * np.log10(amplitude.max()) < -100


@pytest.mark.parametrize(("name", "rms"), [("whitenoise.wav", 0.577), ("brownnoise.wav", 0.25), ("pinknoise.wav", 0.22),
                                           ("square1k.wav", 0.85)])
def test_levels_are_near_full_scale_and_like_those_of_sox(folder, name, rms):  # sox's brown noise: 0.57, but clipped
    wave, _ = soundfile.read(folder / name)
    assert np.sqrt(np.mean(wave ** 2)) == pytest.approx(rms, rel=0.3)
    assert 0.96 < np.abs(wave).max() < 0.98


def test_the_seed_determines_the_noise(make, tmp_path):
    made = {}
    for seed in ("1", "1", "2"):
        assert make("--seconds", "0.5", "--seed", seed, "--overwrite")[0] == 0
        before, made = made, {name: (tmp_path / name).read_bytes() for name in NAMES}
        assert [made[name] == before.get(name) for name in NAMES] == (
            [False] * 4 if not before else [True] * 4 if seed == "1" else [False, False, True, False])
    assert made["whitenoise.wav"] != made["pinknoise.wav"]


def test_several_noises_of_a_kind_are_independent(make, tmp_path):
    assert make("--seconds", "2", "--count", "3")[0] == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        f"{kind}{number}.wav" for kind in ("brownnoise", "pinknoise", "whitenoise") for number in (1, 2, 3)]
    for kind in ("whitenoise", "brownnoise", "pinknoise"):
        waves = [soundfile.read(tmp_path / f"{kind}{number}.wav")[0] for number in (1, 2, 3)]
        assert np.abs(np.corrcoef(waves) - np.eye(3)).max() < 0.3  # brown noise varies slowly


def test_an_existing_file_is_kept_and_reported_and_the_others_written(make, tmp_path):
    (tmp_path / "pinknoise.wav").write_text("mine")
    status, said = make("--seconds", "0.1")
    assert (status, said.err) == (1, "pinknoise.wav: already exists; rename it or add --overwrite.\n")
    assert (tmp_path / "pinknoise.wav").read_text() == "mine"
    assert sorted(each.name for each in tmp_path.iterdir()) == NAMES


@pytest.mark.parametrize(("flag", "value"), [("--seconds", "0"), ("--seconds", "-1"), ("--seconds", "nan"),
                                             ("--seconds", "1e9"), ("--rate", "0"), ("--seed", "-1")])
def test_numbers_out_of_range_are_refused(make, tmp_path, flag, value):
    with pytest.raises(UserError, match=f"{flag[2:].upper()} is .*; set it to a"):
        make(flag, value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [8000, 11025, 44101, 48000])
def test_the_square_wave_has_no_aliasing_at_any_rate(rate):
    wave = make_samples.square(1000, rate, rate)
    amplitude = np.abs(np.fft.rfft(wave)) / (rate / 2)  # bins of 1 Hz
    harmonics = np.arange(1000, rate / 2, 2000).astype(int)
    assert amplitude[harmonics] == pytest.approx(1000 / harmonics)
    amplitude[harmonics] = 0
    assert amplitude.max() < 1e-9


def test_a_full_disk_is_one_sentence_and_leaves_no_file(tmp_path):
    result = subprocess.run(
        [sys.executable, ROOT / SCRIPT, "--seconds", "5"], cwd=tmp_path, text=True, capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    assert result.returncode == 1
    assert sorted(result.stderr.splitlines()) == [
        f"{name}: the disk is full; make room and run the same command again." for name in NAMES]
    assert not list(tmp_path.iterdir())


def test_help(run):
    assert "--seconds" in run(SCRIPT, "--help").stdout


# --- background -----------------------------------------------------------------------------------------------------

def recording(folder, name, quiet=1.0, rate=8000, channels=1, **keywords):
    """A sound with a loud tone after some seconds of faint noise."""
    noise = 1e-3 * np.random.default_rng(1).standard_normal((channels, round((quiet + 0.5) * rate)))
    noise[:, -rate // 2:] += sine(seconds=0.5, rate=rate)
    return write(folder / "Samples" / name, noise, rate, **keywords)


def test_the_background_of_each_recording_is_written_and_tagged(make, tmp_path):
    source = recording(tmp_path, "dog/a bü.wav", channels=2, subtype="PCM_24")
    recording(tmp_path, "cat/1.flac", rate=16000)
    recording(tmp_path, "cat/quick.wav", quiet=0.2)
    status, said = make("--background")
    assert status == 0
    made = tmp_path / "Samples/background"
    assert names(made) == ["cat_1.wav", "dog_a bü.wav"]
    info = soundfile.info(made / "dog_a bü.wav")
    assert (info.frames, info.samplerate, info.channels, info.subtype) == (12000, 8000, 2, "PCM_24")
    assert np.sqrt(np.mean(np.square(soundfile.read(made / "cat_1.wav")[0]))) == pytest.approx(1e-3, rel=0.1)
    [step] = tags.read(made / "dog_a bü.wav")
    assert (step.tool, step.digest) == ("make_samples.py", tags.digest_of(source))
    assert said.out.splitlines()[:2] == [
        "Samples/background/cat_1.wav: 1.5 s, made of 0.9 s of quiet.",
        "Samples/cat/quick.wav: has no quiet stretches."]
    assert said.out.endswith("then run preprocess_data.py, and train_network.py --background-classes background "
                             "--fresh.\n")


def test_a_recording_and_its_background_stay_in_one_split(make, tmp_path):
    for i in range(10):
        recording(tmp_path, f"dog/{i}.wav", quiet=1 + i / 10)
    make("--background")
    sounds, _ = find_sounds(tmp_path / "Samples")
    recordings = find_recordings(sounds, {}, {})
    assert len(set(recordings.values())) == 10
    grouping = Grouping(recordings={sound.name: recordings[sound] for sound in sounds})
    assert all(grouping.of(f"dog/{i}.wav") == grouping.of(f"background/dog_{i}.wav") for i in range(10))


def test_existing_background_is_kept_and_new_recordings_are_added(make, tmp_path):
    recording(tmp_path, "dog/1.wav")
    mine = write(tmp_path / "Samples/background/dog_1.wav", sine(), 8000)
    before = mine.read_bytes()
    recording(tmp_path, "dog/2.wav")
    status, said = make("--background")
    assert (status, mine.read_bytes()) == (0, before)
    assert said.out.startswith("Samples/background/dog_1.wav: already exists and is kept; --overwrite replaces it.\n"
                               "Samples/background/dog_2.wav: 1.5 s")
    assert make("--background", "--overwrite")[0] == 0
    assert mine.read_bytes() != before
    assert names(mine.parent) == ["dog_1.wav", "dog_2.wav"]


def test_a_file_in_place_of_the_folder_is_one_sentence(make, tmp_path):
    recording(tmp_path, "dog/1.wav")
    (tmp_path / "Samples/background").write_text("mine")
    with pytest.raises(UserError, match="Samples/background: is a file, but a folder of this name is needed; rename"):
        make("--background")
    assert (tmp_path / "Samples/background").read_text() == "mine"


def test_in_the_users_own_split_background_is_written_into_the_same_split(make, tmp_path):
    for split in ("Train", "Test"):
        recording(tmp_path, f"{split}/dog/{split}.wav")
    assert make("--background")[0] == 0
    for split in ("Train", "Test"):
        assert names(tmp_path / "Samples" / split / "background") == [f"dog_{split}.wav"]
    assert names(tmp_path / "Samples") == ["Test", "Train"]


def test_bad_recordings_and_equal_names_are_named_and_the_others_used(make, tmp_path):
    for name in ("a_b/c.wav", "a/b_c.wav", "a/1.wav", "a/1.flac"):
        recording(tmp_path, name)
    (tmp_path / "Samples/a/bad.wav").write_text("hello")
    status, said = make("--background")
    assert status == 1
    assert names(tmp_path / "Samples/background") == ["a_1.wav", "a_b_c.wav"]
    assert len(said.err.splitlines()) == 3
    assert "Samples/a_b/c.wav: its background would have the same name as that of Samples/a/b_c.wav; rename it." in \
        said.err
    assert "Samples/a/bad.wav: is not a readable audio file" in said.err


@pytest.mark.parametrize(("sounds", "flags", "sentence"), [
    ([], [], "Samples/: does not exist; create it"),
    (["dog/a.wav"], ["--rate", "8000"], "RATE: is of generated sounds; leave it out with BACKGROUND."),
    (["background/a.wav"], [], "Samples/: contains no recordings but those of background/; add some."),
    (["dog/a.wav"], ["--quiet-db", "0"], "QUIET_DB is 0.0; set it to a number of at least 6")])
def test_mistakes_are_one_sentence(make, tmp_path, sounds, flags, sentence):
    for name in sounds:
        recording(tmp_path, name)
    with pytest.raises(UserError) as error:
        make("--background", *flags)
    assert str(error.value).startswith(sentence)
    assert not (tmp_path / "Samples/background/dog_a.wav").exists()
