"""Sounds placed around the head: which ear hears them first and louder, exact convolution, SOFA files good and bad."""

import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
from conftest import ROOT, sine, write

from audio_utils import audio_io, binauralify
from audio_utils.safe_files import UserError

SCRIPT = "audio_utils/binauralify.py"
FULL = [0, 30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 330]
STEP = 1 / 32768  # of 16 bits


@pytest.fixture
def place(tmp_path, monkeypatch, capsys):
    """Run the tool in this process, in the test's folder. Returns its status, and what it said on stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run_main(*arguments):
        monkeypatch.setattr(sys, "argv", [SCRIPT, *map(str, arguments), "--jobs", "1"])
        return binauralify.main(), *capsys.readouterr()
    return run_main


def files(folder):
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*"))


def heard(azimuth, name="a", elevation=0):
    """(2, samples) of the file for an azimuth."""
    folder = f"e{elevation}a{azimuth}"
    return audio_io.read(Path(folder) / f"{name}_{folder}.wav")[0]


def noise(seconds, rate, level=0.05, channels=1):
    return (level * np.random.default_rng(0).uniform(-1, 1, (channels, round(seconds * rate)))).astype(np.float32)


def level_db(ears):
    return 10 * np.log10((ears.astype(float) ** 2).mean(axis=1))


def lead_ms(ears, rate):
    """By how many milliseconds the left ear hears a sound before the right one."""
    correlation = np.correlate(ears[1], ears[0], "full")
    return 1000 * (correlation.argmax() - ears.shape[1] + 1) / rate


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000, 96000])
def test_a_source_on_the_left_is_louder_and_earlier_in_the_left_channel(place, tmp_path, rate):
    write(tmp_path / "a.wav", noise(0.1, rate), rate, subtype="FLOAT")
    assert place(12, "a.wav")[0] == 0
    assert files(tmp_path) == sorted(["a.wav", *(f"e0a{each}" for each in FULL),
                                      *(f"e0a{each}/a_e0a{each}.wav" for each in FULL)])
    for azimuth in (30, 60, 90, 120, 150):
        left, right = heard(azimuth), heard(360 - azimuth)
        louder_db = np.subtract(*level_db(left))
        assert louder_db > (5 if rate > 8000 else 3)
        assert 0.2 < lead_ms(left, rate) < 0.9
        assert np.subtract(*level_db(right)) == pytest.approx(-louder_db, abs=0.01)
        assert lead_ms(right, rate) == pytest.approx(-lead_ms(left, rate))
    assert lead_ms(heard(90), rate) > lead_ms(heard(30), rate)


def test_ahead_and_behind_both_ears_hear_alike_and_left_and_right_mirror(place, tmp_path):
    write(tmp_path / "a.wav", noise(0.2, 44100), 44100)
    place(12, "a.wav")  # the ears of this set are one ear, mirrored: its own asymmetry is nothing
    for azimuth in FULL:
        assert np.array_equal(heard(azimuth), heard(-azimuth % 360)[::-1])
    assert level_db(heard(0))[0] > level_db(heard(180))[0] + 1  # and yet ahead is not behind


@pytest.mark.parametrize("n_az", [1, 2, 7, 16, 72])
def test_any_number_of_azimuths_that_the_set_resolves(place, tmp_path, n_az):
    write(tmp_path / "a.wav", noise(0.02, 8000))
    assert place(n_az, "a.wav")[1] == f"a.wav: {n_az} azimuths.\n"
    folders = sorted((each.name for each in tmp_path.glob("e0a*")), key=lambda name: float(name[3:]))
    assert folders == {1: ["e0a0"], 2: ["e0a0", "e0a180"],
                       7: ["e0a0", "e0a51.43", "e0a102.86", "e0a154.29", "e0a205.71", "e0a257.14", "e0a308.57"],
                       16: [f"e0a{22.5 * each:g}" for each in range(16)],
                       72: [f"e0a{5 * each}" for each in range(72)]}[n_az]
    for number in range(1, n_az):
        left, right = (heard(f"{round(360 * each / n_az, 2):g}") for each in (number, n_az - number))
        assert np.array_equal(left, right[::-1])


@pytest.mark.parametrize("batch", [1 << 21, 24 * 700, 24 * 100])  # blocks: one, some, some shorter than a response
def test_it_is_the_linear_convolution_with_the_nearest_response_cut_to_length(place, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(binauralify, "_BATCH", batch)
    sound = noise(0.1, 44100)
    sound[0, -1] = 0.05  # a click at the end must not come round to the beginning
    write(tmp_path / "a.wav", sound, 44100, subtype="FLOAT")
    place(12, "a.wav")
    with h5py.File(binauralify.HRTF) as file:
        for azimuth in FULL:
            row = np.flatnonzero((file["SourcePosition"][:, :2] == (azimuth, 0)).all(axis=1))[0]
            expected = [np.convolve(sound[0].astype(float), ear)[:sound.shape[1]] for ear in file["Data.IR"][row]]
            assert np.abs(heard(azimuth) - expected).max() < 1e-7


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 48000, 96000])
@pytest.mark.parametrize("hz", [300, 1000, 3000])
def test_at_every_rate_a_tone_is_as_loud_and_as_late_as_at_the_rate_of_the_measurement(rate, hz):
    at_home, home_rate = binauralify.read_responses(binauralify.HRTF, [0, 90, 210], 0, 5)

    def gain(responses, rate, early):
        time = (np.arange(responses.shape[2]) - early) / rate
        return responses @ np.exp(-2j * np.pi * hz * time)  # (azimuths, 2), complex: phase is lateness

    filters, lead = binauralify.at_rate(at_home, home_rate, rate)
    here, there = gain(filters, rate, lead), gain(at_home, home_rate, 0)
    assert 20 * np.log10(np.abs(here / there)) == pytest.approx(np.zeros((3, 2)), abs=0.1)
    late_samples = -np.angle(here / there) / (2 * np.pi * hz) * rate
    assert np.abs(late_samples).max() < 1
    assert np.ptp(late_samples) < 0.02  # what there is of it, both ears and all azimuths share


@pytest.mark.parametrize("samples", [1, 20, 5000])
def test_the_length_stays_whatever_the_rate(place, tmp_path, samples):
    write(tmp_path / "a.wav", noise(samples / 48000, 48000), 48000)
    place(2, "a.wav")
    assert heard(180).shape == (2, samples)


def test_one_gain_for_all_azimuths_of_a_file_keeps_them_from_clipping(place, tmp_path):
    write(tmp_path / "quiet.wav", noise(0.5, 44100, 0.05), 44100, subtype="FLOAT")
    write(tmp_path / "loud.wav", noise(0.5, 44100, 1), 44100)
    _, out, _ = place(12, "quiet.wav", "loud.wav")
    quiet, loud = (np.stack([heard(azimuth, name) for azimuth in FULL]) for name in ("quiet", "loud"))
    assert np.abs(loud).max() == pytest.approx(1, abs=2 * STEP)
    gain = np.abs(loud).max() / (20 * np.abs(quiet).max())
    assert np.abs(loud - 20 * gain * quiet).max() < 2 * STEP
    assert out == ("quiet.wav: 12 azimuths.\n"
                   f"loud.wav: 12 azimuths, lowered by {-20 * np.log10(gain):.1f} dB so that none clips.\n")


def test_several_channels_are_mixed_down_and_it_says_so(place, tmp_path):
    sound = noise(0.1, 8000, channels=3)
    write(tmp_path / "a.wav", sound, subtype="FLOAT")
    write(tmp_path / "mono.wav", sound.mean(axis=0, keepdims=True), subtype="FLOAT")
    assert place(3, "a.wav", "mono.wav")[1].splitlines()[0] == "a.wav: 3 azimuths, 3 channels mixed down."
    assert np.array_equal(heard(120), heard(120, "mono"))


@pytest.mark.parametrize(("extension", "subtype", "expected"), [
    ("wav", "PCM_16", "PCM_16"), ("wav", "PCM_24", "PCM_24"), ("wav", "PCM_32", "PCM_24"), ("wav", "FLOAT", "FLOAT"),
    ("wav", "DOUBLE", "FLOAT"), ("wav", "PCM_U8", "PCM_16"), ("flac", "PCM_24", "PCM_24"), ("ogg", "VORBIS", "PCM_16"),
    ("mp3", "MPEG_LAYER_III", "PCM_16")])
def test_any_format_in_and_wav_out(place, tmp_path, extension, subtype, expected):
    write(tmp_path / f"a.{extension}", noise(0.2, 44100), 44100, subtype=subtype)
    assert place(2, f"a.{extension}")[0] == 0
    facts = soundfile.info(tmp_path / "e0a0/a_e0a0.wav")
    assert (facts.format, facts.subtype, facts.samplerate, facts.channels) == ("WAV", expected, 44100, 2)
    assert facts.frames == soundfile.info(tmp_path / f"a.{extension}").frames


def test_bad_files_among_good_ones_are_named_and_skipped(run, tmp_path):
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
    result = run(SCRIPT, 2, "gone.wav", "a*.wav", "sub/a b 'ü'.wav", "there.wav", "nan.wav", "infinite.wav",
                 "slow.wav", "text.wav", "sub", cwd=folder, status=1)
    assert result.stdout == "a b 'ü'.wav: 2 azimuths.\n"
    assert sorted(result.stderr.splitlines()) == [
        "e0a0/there_e0a0.wav: is there already; remove it or add --overwrite.",
        "gone.wav: is not there; check the name.",
        "infinite.wav: holds NaN or infinite samples; repair or remove it.",
        "nan.wav: holds NaN or infinite samples; repair or remove it.",
        "slow.wav: its rate of 100 Hz is too low to hear directions by; leave it out.",
        "sub/a b 'ü'.wav: its files would have the names of those of a b 'ü'.wav; rename it.",
        "sub: is not a file; give audio files.",
        "text.wav: is no audio that can be read; convert it to wav or remove it."]
    assert (folder / "e0a0/there_e0a0.wav").read_text() == "mine"
    assert files(folder) == sorted([*before, "e0a180", "e0a0/a b 'ü'_e0a0.wav", "e0a180/a b 'ü'_e0a180.wav"])


def test_overwrite_replaces(place, tmp_path):
    for level in (0.01, 0.02):
        write(tmp_path / "a.wav", noise(0.1, 8000, level))
        assert place(2, "a.wav", "--overwrite")[0] == 0
    assert np.abs(heard(0)).max() > 0.02


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["0", "a.wav"], "N_AZ is 0; set it to a whole number of at least 1"),
    (["-3", "a.wav"], "N_AZ is -3; set it to a whole number of at least 1"),
    (["73", "a.wav"], "MIT_KEMAR_normal_pinna.sofa: resolves 72 of these 73 azimuths at elevation 0°; make N_AZ 72 or"),
    (["361", "a.wav"], "resolves 72 of these 361 azimuths"),
    (["61", "a.wav", "--elevation-deg", "30"], "resolves 60 of these 61 azimuths at elevation 30°; make N_AZ 60"),
    (["4", "a.wav", "--elevation-deg", "-60"], "the nearest direction to azimuth 0° at elevation -60° is 20.0° off"),
    (["4", "a.wav", "--elevation-deg", "100"], "ELEVATION_DEG is 100.0; set it to a number of at least -90"),
    (["4", "a.wav", "--tolerance-deg", "nan"], "TOLERANCE_DEG is nan; set it to a number"),
    (["4", "a.wav", "--hrtf", "gone.sofa"], "gone.sofa: is not there or no file; set HRTF to a SOFA file."),
    (["4", "a.wav", "--hrtf", "."], ".: is not there or no file; set HRTF to a SOFA file."),
    (["4", "a.wav", "--hrtf", "a.wav"], "a.wav: is not as SOFA has it ("),
])
def test_what_cannot_be_is_refused_before_anything_is_written(place, tmp_path, arguments, sentence):
    write(tmp_path / "a.wav", noise(0.1, 8000))
    with pytest.raises(UserError) as refusal:
        place(*arguments)
    assert sentence in str(refusal.value)
    assert files(tmp_path) == ["a.wav"]


def sofa(path, **changes):
    """A SOFA file of 8 directions around the head, each ear's response a click of its own height, parts changed."""
    azimuths = np.arange(0, 360, 45.0)
    clicks = np.eye(1, 16)[np.newaxis] * np.arange(1, 17).reshape(8, 2, 1) / 32
    parts = {"SourcePosition": np.stack([azimuths, 0 * azimuths, 1 + 0 * azimuths], axis=1),
             "ReceiverPosition": np.array([[0, 0.09, 0], [0, -0.09, 0]])[..., np.newaxis],
             "ListenerView": np.array([[1.0, 0, 0]]), "Data.SamplingRate": np.array([8000.0]),
             "Data.IR": clicks, "Data.Delay": np.zeros((1, 2))}
    cartesian = {"Type": "cartesian", "Units": "metre"}
    source = {"Type": changes.pop("Type", "spherical"), "Units": changes.pop("Units", "degree, degree, metre")}
    with h5py.File(path, "w") as file:
        file.attrs["SOFAConventions"] = np.bytes_(changes.pop("convention", "SimpleFreeFieldHRIR"))
        for name, value in (parts | {key.replace("Data_", "Data."): value for key, value in changes.items()}).items():
            if value is not None:
                file[name] = value
                file[name].attrs.update(source if name == "SourcePosition" else cartesian)
    return path


def clicks(place, **changes):
    """What each ear hears of a click, from 8 azimuths: (azimuths, ears, samples)."""
    write(Path("a.wav"), np.eye(1, 8, dtype=np.float32), subtype="FLOAT")
    assert place(8, "a.wav", "--overwrite", "--hrtf", sofa("own.sofa", **changes))[0] == 0
    return np.stack([heard(45 * number) for number in range(8)])


def test_any_sofa_file_is_read_as_it_means(place):
    plain = clicks(place)
    assert plain[..., 0] == pytest.approx(np.arange(1, 17).reshape(8, 2) / 32)
    assert np.abs(plain[..., 1:]).max() < 1e-6
    azimuths = np.radians(np.arange(0, 360, 45))
    around = np.stack([1.4 * np.cos(azimuths), 1.4 * np.sin(azimuths), 0 * azimuths], axis=1)
    assert np.array_equal(clicks(place, SourcePosition=around, Type="cartesian", Units="metre"), plain)
    swapped = clicks(place, ReceiverPosition=np.array([[0, -0.09, 0], [0, 0.09, 0]]))
    assert np.array_equal(swapped, plain[:, ::-1])
    delayed = clicks(place, Data_Delay=np.array([[0, 3.0]]))
    assert np.array_equal(delayed[:, 0], plain[:, 0])
    assert delayed[:, 1, 3] == pytest.approx(plain[:, 1, 0])


@pytest.mark.parametrize(("changes", "reason"), [
    ({"convention": "SingleRoomDRIR"}, "its convention is SingleRoomDRIR, not SimpleFreeFieldHRIR"),
    ({"SourcePosition": None}, "SourcePosition"),
    ({"SourcePosition": np.full((8, 3), np.nan)}, "its SourcePosition holds NaN"),
    ({"SourcePosition": np.zeros((8, 2))}, "its SourcePosition has the shape (8, 2)"),
    ({"SourcePosition": np.zeros((0, 3))}, "its SourcePosition has the shape (0, 3)"),
    ({"SourcePosition": np.bytes_("text")}, "its SourcePosition has the shape ()"),
    ({"SourcePosition": np.zeros((8, 3)), "Type": "cartesian"}, "a source of it stands where the listener is"),
    ({"Units": "radian, radian, metre"}, "its SourcePosition is not in degrees"),
    ({"ListenerView": np.array([[0, 1.0, 0]])}, "its listener does not look along the x axis"),
    ({"ReceiverPosition": np.zeros((3, 3))}, "it has 3 ears"),
    ({"Data_IR": None}, "Data.IR"),
    ({"Data_IR": np.zeros((7, 2, 16))}, "its Data.IR has the shape (7, 2, 16)"),
    ({"Data_IR": np.zeros((8, 2, 0))}, "its Data.IR has the shape (8, 2, 0)"),
    ({"Data_IR": np.full((8, 2, 16), np.inf)}, "its Data.IR holds NaN or infinity"),
    ({"Data_SamplingRate": np.array([np.nan])}, "its Data.SamplingRate is [nan]"),
    ({"Data_SamplingRate": np.array([44100.0, 48000])}, "its Data.SamplingRate is [44100. 48000.]"),
    ({"Data_Delay": np.array([[0, 1e9]])}, "its Data.Delay is out of bounds"),
    ({"Data_Delay": np.zeros((5, 2))}, "broadcast"),
])
def test_a_sofa_file_that_is_none_is_a_sentence(place, tmp_path, changes, reason):
    write(tmp_path / "a.wav", noise(0.1, 8000))
    sofa("bad.sofa", **changes)
    with pytest.raises(UserError) as refusal:
        place(4, "a.wav", "--hrtf", "bad.sofa")
    assert str(refusal.value).startswith("bad.sofa: ")
    assert reason in str(refusal.value)
    assert files(tmp_path) == ["a.wav", "bad.sofa"]


def test_a_sofa_file_that_keeps_hdf5_for_ever_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(binauralify, "_READ_TEXTS", "while True: pass")
    monkeypatch.setattr(binauralify, "_PATIENCE_SECONDS", 0.5)
    path = sofa(tmp_path / "x.sofa")
    with pytest.raises(UserError, match="x.sofa: is damaged, its texts have no end"):
        binauralify.read_responses(path, [0, 90], 0, 5)


@pytest.mark.parametrize("kept", [0, 10, 1000, 100_000, 1_000_000])
def test_a_sofa_file_cut_short_is_a_sentence(place, tmp_path, kept):
    (tmp_path / "bad.sofa").write_bytes(Path(binauralify.HRTF).read_bytes()[:kept])
    with pytest.raises(UserError, match=r"^bad.sofa: is not as SOFA has it \(.*\); set HRTF to another SOFA file\.$"):
        place(4, "a.wav", "--hrtf", "bad.sofa")


def test_a_full_disk_leaves_neither_files_nor_folders(tmp_path):
    write(tmp_path / "big.wav", sine(seconds=10))
    result = subprocess.run(
        [sys.executable, ROOT / SCRIPT, "4", "big.wav"], cwd=tmp_path, text=True, capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    assert result.returncode == 1
    assert result.stderr.endswith("_e0a0.wav: the disk is full; make room and run the same command again.\n")
    assert files(tmp_path) == ["big.wav"]


def test_help_and_arguments_that_are_none(run):
    assert "--hrtf" in run(SCRIPT, "--help").stdout
    assert "N_AZ" in run(SCRIPT, "many", "a.wav", status=2).stderr
    assert "FILE" in run(SCRIPT, "12", status=2).stderr
