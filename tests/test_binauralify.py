"""binauralify.py: the nearer ear is louder and earlier, and no file is lost, overwritten or clipped."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, killed_at, sine, write

from audio_utils import binauralify
from audio_utils.audio import audio_io, tags
from audio_utils.evaluation import directions
from audio_utils.runtime.errors import UserError

SCRIPT = "audio_utils/binauralify.py"
AZIMUTHS = [0, 30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 330]
STEP = 1 / 32768  # of 16 bits


@pytest.fixture
def binauralize(tmp_path, monkeypatch, capsys):
    """Run the tool in this process, in the test's folder. Returns its exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run_main(*arguments):
        monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, arguments), "--jobs", "1"])
        return binauralify.main(), *capsys.readouterr()
    return run_main


def files(folder):
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*"))


def output(azimuth, name="a", elevation=0):
    """(2, samples) of the file for an azimuth."""
    folder = f"e{elevation}a{azimuth}"
    return audio_io.read(Path(folder) / f"{name}_{folder}.wav")[0]


def noise(seconds, rate, level=0.05, channels=1):
    return (level * np.random.default_rng(0).uniform(-1, 1, (channels, round(seconds * rate)))).astype(np.float32)


def level_db(ears):
    return 10 * np.log10((ears.astype(float) ** 2).mean(axis=1))


def lead_ms(ears, rate):
    """The delay of the right ear after the left one in milliseconds."""
    correlation = np.correlate(ears[1], ears[0], "full")
    return 1000 * (correlation.argmax() - ears.shape[1] + 1) / rate


def test_each_output_names_its_recording(binauralize, tmp_path):
    path = write(tmp_path / "a.wav", noise(0.1, 8000))
    steps = tags.steps_from(tags.BINAURALIFY, path)
    assert binauralize(3, "a.wav")[0] == 0
    assert [tags.read(each) for each in sorted(tmp_path.glob("e0a*/*.wav"))] == [steps] * 3


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 96000])
def test_a_source_on_the_left_is_louder_and_earlier_in_the_left_channel(binauralize, tmp_path, rate):
    write(tmp_path / "a.wav", noise(0.1, rate), rate, subtype="FLOAT")
    assert binauralize(12, "a.wav")[0] == 0
    assert files(tmp_path) == sorted(["a.wav", *(f"e0a{each}" for each in AZIMUTHS),
                                      *(f"e0a{each}/a_e0a{each}.wav" for each in AZIMUTHS)])
    for azimuth in (30, 60, 90, 120, 150):
        left, right = output(azimuth), output(360 - azimuth)
        louder_db = np.subtract(*level_db(left))
        assert louder_db > (5 if rate > 8000 else 3)
        assert 0.2 < lead_ms(left, rate) < 0.9
        assert np.subtract(*level_db(right)) == pytest.approx(-louder_db, abs=0.01)
        assert lead_ms(right, rate) == pytest.approx(-lead_ms(left, rate))
    assert lead_ms(output(90), rate) > lead_ms(output(30), rate)


def test_left_and_right_are_mirrored_and_ahead_differs_from_behind(binauralize, tmp_path):
    write(tmp_path / "a.wav", noise(0.2, 44100), 44100)
    binauralize(12, "a.wav")  # both ears of this set are mirror images, so it has no asymmetry of its own
    for azimuth in AZIMUTHS:
        assert np.array_equal(output(azimuth), output(-azimuth % 360)[::-1])
    assert level_db(output(0))[0] > level_db(output(180))[0] + 1


@pytest.mark.parametrize("n_az", [1, 2, 7, 16, 72])
def test_any_number_of_azimuths_that_the_set_resolves(binauralize, tmp_path, n_az):
    write(tmp_path / "a.wav", noise(0.02, 8000))
    assert binauralize(n_az, "a.wav")[1] == f"a.wav: {n_az} azimuths.\n"
    folders = sorted((each.name for each in tmp_path.glob("e0a*")), key=lambda name: float(name[3:]))
    assert folders == {1: ["e0a0"], 2: ["e0a0", "e0a180"],
                       7: ["e0a0", "e0a51.43", "e0a102.86", "e0a154.29", "e0a205.71", "e0a257.14", "e0a308.57"],
                       16: [f"e0a{22.5 * each:g}" for each in range(16)],
                       72: [f"e0a{5 * each}" for each in range(72)]}[n_az]
    assert [directions.parse(name).azimuth for name in folders] == [round(360 * i / n_az, 2) for i in range(n_az)]
    for number in range(1, n_az):
        left, right = (output(f"{round(360 * each / n_az, 2):g}") for each in (number, n_az - number))
        assert np.array_equal(left, right[::-1])


@pytest.mark.parametrize("samples", [1, 20, 5000])
def test_the_length_is_preserved(binauralize, tmp_path, samples):
    write(tmp_path / "a.wav", noise(samples / 48000, 48000), 48000)
    binauralize(2, "a.wav")
    assert output(180).shape == (2, samples)


def test_one_gain_for_all_azimuths_of_a_file_prevents_clipping(binauralize, tmp_path):
    write(tmp_path / "quiet.wav", noise(0.5, 44100, 0.05), 44100, subtype="FLOAT")
    write(tmp_path / "loud.wav", noise(0.5, 44100, 1), 44100)
    _, out, _ = binauralize(12, "quiet.wav", "loud.wav")
    quiet, loud = (np.stack([output(azimuth, name) for azimuth in AZIMUTHS]) for name in ("quiet", "loud"))
    assert np.abs(loud).max() == pytest.approx(1, abs=2 * STEP)
    gain = np.abs(loud).max() / (20 * np.abs(quiet).max())
    assert np.abs(loud - 20 * gain * quiet).max() < 2 * STEP
    assert out == ("quiet.wav: 12 azimuths.\n"
                   f"loud.wav: 12 azimuths, attenuated by {-20 * np.log10(gain):.1f} dB to prevent clipping.\n")


def test_several_channels_are_mixed_to_mono_and_reported(binauralize, tmp_path):
    sound = noise(0.1, 8000, channels=3)
    write(tmp_path / "a.wav", sound, subtype="FLOAT")
    write(tmp_path / "mono.wav", sound.mean(axis=0, keepdims=True), subtype="FLOAT")
    assert binauralize(3, "a.wav", "mono.wav")[1].splitlines()[0] == "a.wav: 3 azimuths, 3 channels mixed to mono."
    assert np.array_equal(output(120), output(120, "mono"))


def test_channels_that_cancel_each_other_are_reported(binauralize, tmp_path):
    sound = noise(0.1, 8000)
    write(tmp_path / "a.wav", np.concatenate([sound, -sound]))
    assert binauralize(3, "a.wav")[1] == ("a.wav: 3 azimuths, 2 channels mixed to mono, which cancel each other out: "
                                          "invert or remove one of them.\n")


@pytest.mark.parametrize(("extension", "subtype", "expected"), [
    ("wav", "PCM_16", "PCM_16"), ("wav", "PCM_24", "PCM_24"), ("wav", "PCM_32", "PCM_24"), ("wav", "FLOAT", "FLOAT"),
    ("wav", "DOUBLE", "FLOAT"), ("wav", "PCM_U8", "PCM_16"), ("flac", "PCM_24", "PCM_24"), ("ogg", "VORBIS", "PCM_16"),
    ("mp3", "MPEG_LAYER_III", "PCM_16")])
def test_every_format_is_read_and_written_as_the_closest_wav_type(binauralize, tmp_path, extension, subtype, expected):
    write(tmp_path / f"a.{extension}", noise(0.2, 44100), 44100, subtype=subtype)
    assert binauralize(2, f"a.{extension}")[0] == 0
    info = soundfile.info(tmp_path / "e0a0/a_e0a0.wav")
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", expected, 44100, 2)
    assert info.frames == soundfile.info(tmp_path / f"a.{extension}").frames


@pytest.mark.slow
def test_unusable_files_are_reported_and_the_others_rendered(run_here, tmp_path):
    folder = tmp_path / "work folder"
    write(folder / "a b 'ü'.wav", noise(0.1, 8000))
    write(folder / "sub/a b 'ü'.wav", noise(0.1, 8000))
    write(folder / "there.wav", noise(0.1, 8000))
    (folder / "e0a0").mkdir()
    (folder / "e0a0/there_e0a0.wav").write_text("mine")
    write(folder / "nan.wav", np.full((1, 100), np.nan), subtype="FLOAT")
    write(folder / "infinite.wav", np.full((1, 100), np.inf), subtype="FLOAT")
    write(folder / "slow.wav", noise(1, 100), 100)
    (folder / "text.wav").write_text("no sound")
    before = files(folder)
    result = run_here(SCRIPT, 2, "gone.wav", "a*.wav", "sub/a b 'ü'.wav", "there.wav", "nan.wav", "infinite.wav",
                      "slow.wav", "text.wav", "sub", cwd=folder, status=1)
    assert result.stdout == "a b 'ü'.wav: 2 azimuths.\n"
    assert sorted(result.stderr.splitlines()) == [
        "e0a0/there_e0a0.wav: already exists; remove it or add --overwrite.",
        "gone.wav: does not exist; check the name.",
        "infinite.wav: contains NaN or infinite samples; repair or remove it.",
        "nan.wav: contains NaN or infinite samples; repair or remove it.",
        "slow.wav: its sample rate of 100 Hz is too low for directions; leave it out.",
        "sub/a b 'ü'.wav: its output files would have the same names as those of a b 'ü'.wav; rename it.",
        "sub: is not a file; give audio files.",
        "text.wav: is not a readable audio file; convert it to wav or remove it."]
    assert (folder / "e0a0/there_e0a0.wav").read_text() == "mine"
    assert files(folder) == sorted([*before, "e0a180", "e0a0/a b 'ü'_e0a0.wav", "e0a180/a b 'ü'_e0a180.wav"])


def test_overwrite_replaces_existing_files(binauralize, tmp_path):
    for level in (0.01, 0.02):
        write(tmp_path / "a.wav", noise(0.1, 8000, level))
        assert binauralize(2, "a.wav", "--overwrite")[0] == 0
    assert np.abs(output(0)).max() > 0.02


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_run_killed_between_two_outputs_is_completed_by_the_same_command(binauralize, tmp_path, subtype):
    write(tmp_path / "a.wav", noise(0.1, 8000), subtype=subtype)
    assert binauralize(3, "a.wav")[0] == 0
    expected = {name: (tmp_path / name).read_bytes() for name in files(tmp_path) if name.endswith(".wav")}
    assert len(expected) == 4
    for write_number in range(1, 5):  # each output is renamed, then its unfinished file is deleted, if it exists
        for folder in tmp_path.glob("e*"):
            shutil.rmtree(folder)
        with killed_at(write_number), pytest.raises(KeyboardInterrupt):
            binauralize(3, "a.wav")
        assert len(list(tmp_path.glob("e*/a*.wav"))) in (1, 2)
        assert binauralize(3, "a.wav")[::2] == (0, "")
        assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path) if name.endswith(".wav")} == expected


def test_an_output_with_other_bytes_is_kept_and_no_other_one_written(binauralize, tmp_path):
    write(tmp_path / "a.wav", noise(0.1, 8000))
    write(tmp_path / "e0a0/a_e0a0.wav", noise(0.1, 8000, channels=2))
    mine = (tmp_path / "e0a0/a_e0a0.wav").read_bytes()
    assert binauralize(2, "a.wav")[::2] == (1, "e0a0/a_e0a0.wav: already exists; remove it or add --overwrite.\n")
    assert files(tmp_path) == ["a.wav", "e0a0", "e0a0/a_e0a0.wav"]
    assert (tmp_path / "e0a0/a_e0a0.wav").read_bytes() == mine


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["0", "a.wav"], "N_AZ is 0; set it to a whole number of at least 1"),
    (["-3", "a.wav"], "N_AZ is -3; set it to a whole number of at least 1"),
    (["73", "a.wav"], "MIT_KEMAR_normal_pinna.sofa: resolves 72 of these 73 azimuths at elevation 0°; set N_AZ to 72"),
    (["361", "a.wav"], "resolves 72 of these 361 azimuths"),
    (["61", "a.wav", "--elevation-deg", "30"], "resolves 60 of these 61 azimuths at elevation 30°; set N_AZ to 60"),
    (["4", "a.wav", "--elevation-deg", "-60"], "the nearest direction to azimuth 0° at elevation -60° is 20.0° off"),
    (["4", "a.wav", "--elevation-deg", "100"], "ELEVATION_DEG is 100.0; set it to a number of at least -90"),
    (["4", "a.wav", "--tolerance-deg", "nan"], "TOLERANCE_DEG is nan; set it to a number"),
    (["4", "a.wav", "--hrtf", "gone.sofa"], "gone.sofa: is not a file; set HRTF to a SOFA file."),
    (["4", "a.wav", "--hrtf", "."], ".: is not a file; set HRTF to a SOFA file."),
    (["4", "a.wav", "--hrtf", "a.wav"], "a.wav: is not a valid SOFA file ("),
])
def test_invalid_arguments_are_refused_before_anything_is_written(binauralize, tmp_path, arguments, sentence):
    write(tmp_path / "a.wav", noise(0.1, 8000))
    with pytest.raises(UserError) as refusal:
        binauralize(*arguments)
    assert sentence in str(refusal.value)
    assert files(tmp_path) == ["a.wav"]


@pytest.mark.slow
def test_a_full_disk_leaves_neither_files_nor_folders(tmp_path):
    write(tmp_path / "big.wav", sine(seconds=10))
    result = subprocess.run(
        [sys.executable, ROOT / SCRIPT, "4", "big.wav"], cwd=tmp_path, text=True, capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    assert result.returncode == 1
    assert result.stderr.endswith("_e0a0.wav: the disk is full; make room and run the same command again.\n")
    assert files(tmp_path) == ["big.wav"]


@pytest.mark.parametrize(("arguments", "named"), [(["many", "a.wav"], "N_AZ"), (["12"], "FILE")])
def test_missing_arguments_are_a_wrong_command(binauralize, capsys, arguments, named):
    with pytest.raises(SystemExit, match="2"):
        binauralize(*arguments)
    assert named in capsys.readouterr().err


def test_help(run):
    assert "--hrtf" in run(SCRIPT, "--help").stdout
