"""The remedies in messages work when they are followed to the letter."""

import re
import shlex

import pytest
from conftest import sine, tones, write

import preprocess_data
from audio_utils import binauralify, concat_audio, split_audio
from audio_utils.data import preproc
from audio_utils.runtime.errors import UserError


def shape(folder):
    settings, _ = preproc.read_settings(folder / "Preproc")
    return settings.clip_seconds, settings.channels


@pytest.fixture
def preprocess(call, tmp_path, capsys):
    """Run preprocess_data.py in the test's folder. Returns its warnings."""
    def run_preprocess(*flags):
        warnings = []
        original = capsys.readouterr

        def keep():
            out = original()
            warnings.append(out.err)
            return out
        capsys.readouterr = keep
        call(preprocess_data, tmp_path, *flags)
        del capsys.readouterr
        return warnings[-1]
    return run_preprocess


def suggested(text):
    """The flags in a message, as the shell splits them."""
    return shlex.split(re.search(r"--clip-seconds [\d.]+(?: --overwrite)?", text)[0])


@pytest.mark.slow
@pytest.mark.parametrize(("longest", "length"), [(2.001, 2.01), (0.9, 0.25)])  # seconds; the others have 0.25
def test_the_clip_length_suggested_against_cuts_or_padding_applies_and_stays(preprocess, tmp_path, longest, length):
    tones(tmp_path, files=24)
    write(tmp_path / "Samples/low/long.wav", sine(seconds=longest))
    flags = suggested(preprocess())
    for again in (flags, [], []):
        assert "long.wav" not in preprocess(*again)
        assert shape(tmp_path) == (length, 1)


@pytest.mark.slow
def test_a_changed_constant_is_set_back_or_applied_by_overwrite(preprocess, tmp_path):
    tones(tmp_path)
    preprocess()
    for _ in range(2):
        with pytest.raises(UserError, match=r"MELS = 96, now it is 40; set it back, or use --overwrite"):
            preprocess("--mels", 40)
        preprocess("--mels", 96)
    preprocess("--mels", 40, "--overwrite")
    assert preproc.read_settings(tmp_path / "Preproc")[0].mels == 40
    preprocess()


@pytest.mark.slow
def test_overwrite_keeps_the_channels_of_new_stereo_sounds(preprocess, tmp_path):
    tones(tmp_path)
    preprocess()
    write(tmp_path / "Samples/low/stereo.wav", sine(seconds=0.25, channels=2))
    assert "stereo.wav: more channels" in preprocess()
    assert shape(tmp_path) == (0.25, 1)
    assert "stereo.wav: more channels" not in preprocess("--overwrite")
    assert shape(tmp_path) == (0.25, 2)


def test_the_remedy_of_concat_audio_joins_the_clips(call_main, tmp_path):
    for i in (1, 2):
        write(tmp_path / f"x_s{i}.wav", sine())
    write(tmp_path / "y.wav", sine())
    _, _, error = call_main(concat_audio, "x_s2.wav", "y.wav")
    assert "x_s2.wav: clip 1 of the recording is missing; give all its clips." in error
    assert "y.wav: has no clip number; rename it to y_s1.wav or leave it out." in error
    (tmp_path / "y.wav").rename(tmp_path / "y_s1.wav")
    status, out, _ = call_main(concat_audio, "x_s2.wav", "x_s1.wav", "y_s1.wav")
    assert status == 0
    assert out.splitlines() == ["x.wav: 2 clips, 2 s.", "y.wav: 1 clip, 1 s."]
    assert "add --overwrite" in call_main(concat_audio, "y_s1.wav")[2]
    assert call_main(concat_audio, "y_s1.wav", "--overwrite")[0] == 0
    (tmp_path / "y.wav").rename(tmp_path / "z.wav")
    assert call_main(concat_audio, "y_s1.wav")[0] == 0


def test_the_remedy_of_split_audio_writes_the_clips(call_main, tmp_path, monkeypatch):
    write(tmp_path / "x.wav", sine(seconds=3))
    write(tmp_path / "x.flac", sine(seconds=3))
    assert "x.flac: its clips would have the same names as those of x.wav; rename it" in \
        call_main(split_audio, 1, "x.wav", "x.flac")[2]
    (tmp_path / "x.flac").rename(tmp_path / "y.flac")
    assert call_main(split_audio, 1, "y.flac")[0] == 0
    write(tmp_path / "x_s1.wav", sine(550))
    assert "remove such clips or add --overwrite" in call_main(split_audio, 1, "x.wav")[2]
    assert call_main(split_audio, 1, "x.wav", "--overwrite")[0] == 0
    assert "x_s3.wav already exists; it belongs to another split; remove it" in \
        call_main(split_audio, 1.5, "x.wav", "--overwrite")[2]
    (tmp_path / "x_s3.wav").unlink()
    assert call_main(split_audio, 1.5, "x.wav", "--overwrite")[0] == 0
    monkeypatch.setattr(split_audio, "_MAX_CLIPS", 5)
    assert "y.flac: would become 300 clips; give more seconds" in call_main(split_audio, 0.01, "y.flac")[2]
    for clip in tmp_path.glob("y_s*"):
        clip.unlink()
    assert call_main(split_audio, 0.6, "y.flac")[0] == 0
    assert len(list(tmp_path.glob("y_s*"))) == 5


def test_the_remedy_of_binauralify_renders_the_sound(call_main, tmp_path):
    write(tmp_path / "x.wav", sine(seconds=0.01, rate=44100), 44100)
    for n_az, elevation_deg in ((12, 85), (47, 50), (5, 90)):
        flags = ("--elevation-deg", elevation_deg, "--overwrite")
        with pytest.raises(UserError, match=f"of these {n_az} azimuths at elevation {elevation_deg}°") as refused:
            call_main(binauralify, n_az, "x.wav", *flags)
        assert call_main(binauralify, re.search(r"set N_AZ to (\d+)\.", str(refused.value))[1], "x.wav", *flags)[0] == 0
    flags = ("--elevation-deg", 73)
    with pytest.raises(UserError, match=r"elevation 73° is 3.5° off; choose others, or raise TOLERANCE_DEG"):
        call_main(binauralify, 5, "x.wav", *flags, "--tolerance-deg", 3)
    assert call_main(binauralify, 5, "x.wav", *flags, "--tolerance-deg", 3.6)[0] == 0
