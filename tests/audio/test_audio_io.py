"""Audio files: samples are read as they were written, and unusable files are reported by name."""

import errno
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import sine, write

from audio_utils.audio import audio_io, parts_file
from audio_utils.audio.audio_io import AudioError


@pytest.mark.parametrize(("extension", "subtype", "error"), [
    ("wav", "PCM_16", 2 ** -15), ("wav", "PCM_24", 2 ** -23), ("wav", "FLOAT", 0), ("WAV", "DOUBLE", 1e-7),
    ("flac", "PCM_16", 2 ** -15), ("aiff", "PCM_16", 2 ** -15), ("ogg", "VORBIS", 0.02), ("mp3", None, 0.02)])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_is_read_exactly(tmp_path, extension, subtype, error, channels):
    audio = sine(rate=44100, channels=channels) * np.linspace(1, 0.5, channels, dtype=np.float32)[:, None]
    path = write(tmp_path / f"ein Ton's “Größe”.{extension}", audio, 44100, subtype=subtype, format=extension.upper())
    back, rate = audio_io.read(path)
    assert (back.dtype, back.shape, rate) == (np.float32, audio.shape, 44100)
    assert np.abs(back - audio)[:, 2000:-2000].max() <= error
    assert np.array_equal(back.T, soundfile.read(path, dtype="float32", always_2d=True)[0])
    assert audio_io.info(path)[:4] == (44100, 44100, channels, False)


def test_the_format_is_detected_by_content_not_extension(tmp_path):
    path = write(tmp_path / "really_flac.wav", sine(), format="FLAC")
    assert audio_io.info(path).format == "FLAC"
    assert np.abs(audio_io.read(path)[0] - sine()).max() < 1e-4


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_part_of_a_file_is_read(tmp_path, channels):
    audio = np.random.default_rng(0).uniform(-1, 1, (channels, 1000)).astype(np.float32)
    path = write(tmp_path / "a.wav", audio, subtype="FLOAT")
    assert np.array_equal(audio_io.read(path, start=200, samples=300)[0], audio[:, 200:500])
    assert np.array_equal(audio_io.read(path, start=900, samples=300)[0], audio[:, 900:])
    assert audio_io.read(path, start=2000)[0].shape == (channels, 0)


@pytest.mark.parametrize(("content", "problem"), [
    (None, "does not exist"), ("folder", "is not a file"), (b"", "is empty"),
    (b"a,b\n1,2\n", "is not a readable audio file"), (b"RIFF\x00\x00\x00\x00WAVE", "is not a readable audio file"),
    (b"\x00" * 1000, "is not a readable audio file"), (b"ID3" + b"\xff" * 100, "is not a readable audio file")])
def test_files_that_are_not_audio_are_reported_by_name(tmp_path, content, problem):
    path = tmp_path / "x.wav"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    for read in (audio_io.info, audio_io.read):
        with pytest.raises(AudioError, match=f"x.wav: {problem}"):
            read(path)


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="is not a file"):
        audio_io.info(tmp_path / "pipe.wav")


def test_a_file_without_samples_is_refused(tmp_path):
    path = write(tmp_path / "x.wav", np.zeros((1, 0)))
    with pytest.raises(AudioError, match="contains no samples"):
        audio_io.read(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(tmp_path, bad):
    audio = sine()
    audio[0, 500] = bad
    path = write(tmp_path / "x.wav", audio, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN or infinite"):
        audio_io.read(path)


@pytest.mark.parametrize("extension", ["wav", "aiff", "ogg", "mp3"])
def test_a_truncated_file_is_read_as_far_as_it_goes(tmp_path, extension):
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 4 * 44100))
    path = write(tmp_path / f"x.{extension}", noise, 44100)
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    audio, _ = audio_io.read(path)
    assert 44100 < audio.shape[1] < 3 * 44100
    assert np.corrcoef(audio[0, 5000:40000], noise[0, 5000:40000])[0, 1] > 0.7  # mp3 preserves noise only roughly


def test_truncation_is_detected_and_unknown_sizes_are_not_truncation(tmp_path):
    path = write(tmp_path / "x.wav", sine())
    whole = path.read_bytes()
    path.write_bytes(whole[:4000])
    assert audio_io.info(path).cut_short
    for size in (0, 0x7FFFFFFF, 0xFFFFFFFF):  # sizes that sox, ffmpeg and arecord write into a pipe
        path.write_bytes(whole[:40] + size.to_bytes(4, "little") + whole[44:])
        if size:
            assert audio_io.info(path)[:4] == (8000, 8000, 1, False)


def test_a_truncated_flac_is_refused_as_damaged(tmp_path):
    noise = np.random.default_rng(0).uniform(-1, 1, (1, 100_000))
    path = write(tmp_path / "x.flac", noise)
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"x.flac: is damaged"):
        audio_io.read(path)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE", "PCM_24"])
def test_the_bytes_of_a_file_do_not_depend_on_the_time(tmp_path, subtype):
    audio_io.write(tmp_path / "a.wav", sine(), 8000, subtype, comment="a")
    assert b"PEAK" not in (tmp_path / "a.wav").read_bytes()  # of version 1, and seconds since 1970
    assert audio_io.info(tmp_path / "a.wav").subtype == subtype


def test_written_samples_are_read_back_and_no_other_file_is_left(tmp_path):
    audio_io.write(tmp_path / "x.wav", sine(channels=3), 8000, subtype="FLOAT")
    assert np.array_equal(audio_io.read(tmp_path / "x.wav")[0], sine(channels=3))
    assert soundfile.info(tmp_path / "x.wav").subtype == "FLOAT"
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]


# --- refusals of the operating system --------------------------------------------------------------------------------

@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_missing_permission_is_named():
    with tempfile.TemporaryDirectory() as name:  # tmp_path lies in folders that only root enters
        os.chmod(name, 0o755)
        path = write(Path(name) / "folder/x.wav", sine())
        for locked in (path, path.parent):
            mode = locked.stat().st_mode
            locked.chmod(0)
            try:
                if os.geteuid() == 0:  # root may read everything
                    os.seteuid(65534)
                for read in (audio_io.info, audio_io.read):
                    with pytest.raises(AudioError, match=r"x.wav: permission denied; make it readable \(chmod \+r\)\."):
                        read(path)
            finally:
                if os.getuid() == 0:
                    os.seteuid(0)
                locked.chmod(mode)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_an_input_error_is_named_not_taken_for_another_format(tmp_path, monkeypatch, extension):
    class Failing(io.BytesIO):
        def read(self, *_count):
            raise OSError(errno.EIO, "Input/output error")

    path = write(tmp_path / f"x.{extension}", sine())
    monkeypatch.setattr(audio_io, "open_sound", lambda *_: (_ for _ in ()).throw(soundfile.LibsndfileError(1)))
    monkeypatch.setattr(audio_io, "open", lambda *_: Failing(), raising=False)
    with pytest.raises(AudioError, match=f"x.{extension}: input/output error; check the disk"):
        audio_io.info(path)


def test_an_input_error_within_a_joined_file_is_named(tmp_path, monkeypatch, capfd):
    class Failing(io.FileIO):
        def read(self, *_count):
            raise OSError(errno.EIO, "Input/output error")

    path = write(tmp_path / "x.ogg", sine())
    path.write_bytes(path.read_bytes() * 2)
    with audio_io.opened(path) as (header, blocks):
        monkeypatch.setattr(parts_file, "_opened", Failing)
        monkeypatch.setattr(audio_io, "open", lambda *_: Failing(path), raising=False)
        with pytest.raises(AudioError, match="x.ogg: input/output error"):
            list(blocks(header.samples))
    assert capfd.readouterr().err == ""


def test_a_dangling_link_is_named(tmp_path):
    (tmp_path / "x.wav").symlink_to(tmp_path / "gone.wav")
    with pytest.raises(AudioError, match=r"x.wav: is a link to a file that does not exist"):
        audio_io.info(tmp_path / "x.wav")


# --- absurd samples --------------------------------------------------------------------------------------------------

@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("value", "text"), [(3e38, r"samples of absurd magnitude \(3e38\)"),
                                             (-3e38, r"samples of absurd magnitude \(3e38\)"),
                                             (1e11, r"samples of absurd magnitude \(1e11\)"),
                                             (1e300, "NaN or infinite"), (np.nan, "NaN or infinite")])
@pytest.mark.parametrize("count", [1, 8000])
def test_absurd_samples_are_refused_without_warnings(tmp_path, value, text, count):
    audio = sine().astype(np.float64)
    audio[0, :count] = value
    path = write(tmp_path / "x.wav", audio, subtype="DOUBLE")
    for read in (audio_io.read, lambda path: audio_io.read_seconds(path, 1)):
        with pytest.raises(AudioError, match=f"x.wav: contains {text}"):
            read(path)


def test_samples_are_checked_in_every_block_unless_copied_exactly(tmp_path):
    audio = sine(seconds=3)
    audio[0, -1] = 3e38
    path = write(tmp_path / "x.wav", audio, subtype="FLOAT")
    with audio_io.opened(path, block=1000) as (header, blocks), pytest.raises(AudioError, match="absurd"):
        list(blocks(header.samples))
    with audio_io.opened(path, exact=True) as (header, blocks):
        assert np.array_equal(np.concatenate(list(blocks(header.samples)), axis=1), audio)
