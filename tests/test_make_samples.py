"""make_samples.py: the spectra of the noises, the harmonics of the square wave, levels, and the seed."""

import resource
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from audio_utils import make_samples
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
