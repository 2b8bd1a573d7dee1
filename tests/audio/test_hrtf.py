"""Head-related impulse responses: exact convolution with the nearest one at every rate, SOFA files valid and not."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import write

from audio_utils.audio import audio_io, hrtf
from audio_utils.runtime.errors import UserError

AZIMUTHS = list(range(0, 360, 45))


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rendered(sound, rate, azimuths_deg, sofa=hrtf.KEMAR):
    """float32 (azimuths, 2, samples): a sound (1, samples) from each azimuth."""
    path = write(Path("a.wav"), sound, rate, subtype="FLOAT")
    folders = [f"e0a{azimuth}" for azimuth in azimuths_deg]
    hrtf.binauralize(path, {}, folders, *hrtf.read_responses(sofa, azimuths_deg, 0, 5), overwrite=True)
    return np.stack([audio_io.read(f"{folder}/a_{folder}.wav")[0] for folder in folders])


@pytest.mark.parametrize("batch", [1 << 21, 24 * 700, 24 * 100])  # one block, some, some shorter than a response
def test_rendering_is_the_linear_convolution_with_the_nearest_response_cut_to_length(monkeypatch, batch):
    monkeypatch.setattr(hrtf, "_BATCH", batch)
    azimuths_deg = list(range(0, 360, 30))
    sound = (0.05 * np.random.default_rng(0).uniform(-1, 1, (1, 4410))).astype(np.float32)
    sound[0, -1] = 0.05  # a click at the end must not wrap around to the beginning
    found = rendered(sound, 44100, azimuths_deg)
    with h5py.File(hrtf.KEMAR) as file:
        for azimuth, ears in zip(azimuths_deg, found, strict=True):
            row = np.flatnonzero((file["SourcePosition"][:, :2] == (azimuth, 0)).all(axis=1))[0]
            expected = [np.convolve(sound[0].astype(float), ear)[:sound.shape[1]] for ear in file["Data.IR"][row]]
            assert np.abs(ears - expected).max() < 1e-7


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 48000, 96000])
@pytest.mark.parametrize("hz", [300, 1000, 3000])
def test_resampled_responses_preserve_level_and_delay_of_a_tone(rate, hz):
    measured, measured_rate = hrtf.read_responses(hrtf.KEMAR, [0, 90, 210], 0, 5)

    def gain(responses, rate, early):
        time = (np.arange(responses.shape[2]) - early) / rate
        return responses @ np.exp(-2j * np.pi * hz * time)  # (azimuths, 2), complex: the phase is a delay

    filters, lead = hrtf.resample_responses(measured, measured_rate, rate)
    ratio = gain(filters, rate, lead) / gain(measured, measured_rate, 0)
    assert 20 * np.log10(np.abs(ratio)) == pytest.approx(np.zeros((3, 2)), abs=0.1)
    delay_samples = -np.angle(ratio) / (2 * np.pi * hz) * rate
    assert np.abs(delay_samples).max() < 1
    assert np.ptp(delay_samples) < 0.02  # the same for both ears and all azimuths


def sofa(path, **changes):
    """A SOFA file of 8 directions around the head with parts changed; each response is a click of another height."""
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


def clicks(**changes):
    """The response to a click from 8 azimuths: (azimuths, ears, samples)."""
    return rendered(np.eye(1, 8, dtype=np.float32), 8000, AZIMUTHS, sofa("own.sofa", **changes))


def test_every_layout_of_sofa_is_read():
    plain = clicks()
    assert plain[..., 0] == pytest.approx(np.arange(1, 17).reshape(8, 2) / 32)
    assert np.abs(plain[..., 1:]).max() < 1e-6
    azimuths = np.radians(np.arange(0, 360, 45))
    around = np.stack([1.4 * np.cos(azimuths), 1.4 * np.sin(azimuths), 0 * azimuths], axis=1)
    assert np.array_equal(clicks(SourcePosition=around, Type="cartesian", Units="metre"), plain)
    swapped = clicks(ReceiverPosition=np.array([[0, -0.09, 0], [0, 0.09, 0]]))
    assert np.array_equal(swapped, plain[:, ::-1])
    delayed = clicks(Data_Delay=np.array([[0, 3.0]]))
    assert np.array_equal(delayed[:, 0], plain[:, 0])
    assert delayed[:, 1, 3] == pytest.approx(plain[:, 1, 0])


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "reason"), [
    ({"convention": "SingleRoomDRIR"}, "its convention is SingleRoomDRIR, not SimpleFreeFieldHRIR"),
    ({"SourcePosition": None}, "SourcePosition"),
    ({"SourcePosition": np.full((8, 3), np.nan)}, "its SourcePosition contains NaN"),
    ({"SourcePosition": np.zeros((8, 2))}, "its SourcePosition has the shape (8, 2)"),
    ({"SourcePosition": np.zeros((0, 3))}, "its SourcePosition has the shape (0, 3)"),
    ({"SourcePosition": np.bytes_("text")}, "its SourcePosition has the shape ()"),
    ({"SourcePosition": np.zeros((8, 3)), "Type": "cartesian"}, "a source is at the position of its listener"),
    ({"Units": "radian, radian, metre"}, "its SourcePosition is not in degrees"),
    ({"ListenerView": np.array([[0, 1.0, 0]])}, "its listener does not look along the x axis"),
    ({"ReceiverPosition": np.zeros((3, 3))}, "it has 3 receivers, not 2"),
    ({"Data_IR": None}, "Data.IR"),
    ({"Data_IR": np.zeros((7, 2, 16))}, "its Data.IR has the shape (7, 2, 16)"),
    ({"Data_IR": np.zeros((8, 2, 0))}, "its Data.IR has the shape (8, 2, 0)"),
    ({"Data_IR": np.full((8, 2, 16), np.inf)}, "its Data.IR contains NaN or infinity"),
    ({"Data_SamplingRate": np.array([np.nan])}, "its Data.SamplingRate is [nan]"),
    ({"Data_SamplingRate": np.array([44100.0, 48000])}, "its Data.SamplingRate is [44100. 48000.]"),
    ({"Data_Delay": np.array([[0, 1e9]])}, "its Data.Delay is out of range"),
    ({"Data_Delay": np.zeros((5, 2))}, "broadcast"),
])
def test_an_invalid_sofa_file_is_refused_in_one_sentence(changes, reason):
    sofa("bad.sofa", **changes)
    with pytest.raises(UserError) as refusal:
        hrtf.read_responses("bad.sofa", [0, 90, 180, 270], 0, 5)
    assert str(refusal.value).startswith("bad.sofa: ")
    assert reason in str(refusal.value)


def test_a_sofa_file_that_hdf5_never_finishes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hrtf, "_READ_ATTRIBUTES", "while True: pass")
    monkeypatch.setattr(hrtf, "_READ_SECONDS", 0.5)
    path = sofa(tmp_path / "x.sofa")
    with pytest.raises(UserError, match="x.sofa: is damaged, its attributes can't be read"):
        hrtf.read_responses(path, [0, 90], 0, 5)


@pytest.mark.parametrize("kept", [0, 10, 1000, 100_000, 1_000_000])
def test_a_truncated_sofa_file_is_refused_in_one_sentence(kept):
    Path("bad.sofa").write_bytes(Path(hrtf.KEMAR).read_bytes()[:kept])
    with pytest.raises(UserError, match=r"^bad.sofa: is not a valid SOFA file \(.*\); set HRTF to another one\.$"):
        hrtf.read_responses("bad.sofa", [0, 90, 180, 270], 0, 5)
