"""Files of other formats are named, with a command that converts them."""

import shutil
import struct
import subprocess

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.audio import audio_io, formats
from audio_utils.audio.audio_io import AudioError

HEADS = {
    "M4A": b"\0\0\0\x20ftypM4A \0\0\0\0", "MP4": b"\0\0\0\x1cftypisom\0\0\0\0", "3GP": b"\0\0\0\x18ftyp3gp4",
    "AAC": b"\xff\xf1\x50\x80\x02\x1f\xfc\xde", "WMA": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "WebM": b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01", "AMR": b"#!AMR\n<", "Monkey's Audio": b"MAC \x96\x0f",
    "WavPack": b"wvpk\x18\0\0\0", "Musepack": b"MPCKSH", "AC-3": b"\x0b\x77\x11\x22", "AVI": b"RIFF\0\0\0\0AVI LIST",
    "Speex": b"OggS\0\2" + bytes(20) + b"\x01\x50Speex   1.2"}


@pytest.mark.parametrize("extension", ["m4a", "wav", "mp3"])  # formats are recognized by content
@pytest.mark.parametrize("name", HEADS)
def test_a_format_that_is_not_read_is_named_with_the_command_that_converts_it(tmp_path, name, extension):
    path = tmp_path / f"a b.{extension}"
    path.write_bytes(HEADS[name] + bytes(range(1, 200)) * 20)
    target = "a b_converted.wav" if extension == "wav" else "a b.wav"
    for read in (audio_io.info, audio_io.read):
        with pytest.raises(AudioError) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: is in the format ")
        assert name in str(error.value)
        assert f"(ffmpeg -i '{path}' '{tmp_path / target}')" in str(error.value)


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
                                     b"/annex/objects/SHA256E-s1048576--0123.wav\n"])
def test_a_pointer_to_a_file_elsewhere_is_named(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match=r"a.wav: is a pointer to a file .*git lfs pull"):
        audio_io.info(tmp_path / "a.wav")


def wav(*chunks):
    content = b"WAVE" + b"".join(name + struct.pack("<I", len(data)) + data for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


FMT, DATA = (b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)), (b"data", sine().astype("<f2").tobytes())
UNUSUAL = {
    "two data chunks": wav(FMT, DATA, DATA), "data before fmt": wav(DATA, FMT),
    "mp3": wav((b"fmt ", struct.pack("<HHIIHH", 0x55, 1, 8000, 1000, 1, 0)), DATA),
    "extensible without a type": wav((b"fmt ", struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 16000, 2, 16, 22, 16, 0)
                                      + bytes(16)), DATA),
    "extensible of an unknown type": wav((b"fmt ", struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 16000, 2, 16, 22, 16, 0)
                                          + b"x" * 16), DATA)}


@pytest.mark.parametrize("content", UNUSUAL.values(), ids=UNUSUAL)
def test_an_unusual_wav_is_refused_with_the_command_that_converts_it(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match=r"a.wav: is in the format WAV with an unusual codec or header.*ffmpeg -i"):
        audio_io.info(tmp_path / "a.wav")


def test_a_wav_whose_sample_type_is_ambiguous_is_refused(tmp_path):
    samples = np.random.default_rng(0).normal(0, 1 << 28, 8000).astype("<i4").tobytes()
    (tmp_path / "a.wav").write_bytes(wav((b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 32000, 4, 24)),
                                         (b"data", samples)))  # 24 bits in four bytes, or in three
    with pytest.raises(AudioError, match="a.wav: its header gives an ambiguous sample type; convert it"):
        audio_io.info(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.au", "a.snd", "a.AU"])  # libsndfile takes any content of such a file for samples
@pytest.mark.parametrize("content", [b"some text\n" * 100, bytes(range(1, 256)) * 20, HEADS["M4A"] + b"x" * 1000])
def test_a_sun_file_without_a_header_is_not_audio(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for read in (audio_io.info, audio_io.read):
        with pytest.raises(AudioError, match=rf"{name}: is (not a readable audio file|in the format M4A)"):
            read(tmp_path / name)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
@pytest.mark.parametrize("extension", ["m4a", "webm", "wma"])
def test_the_command_converts(tmp_path, extension):
    write(tmp_path / "x.wav", sine())
    path = tmp_path / f"it's.{extension}"
    subprocess.run(["ffmpeg", "-i", tmp_path / "x.wav", path], check=True, capture_output=True)
    with pytest.raises(AudioError, match="is in the format"):
        audio_io.info(path)
    subprocess.run(formats.conversion(path), shell=True, check=True, capture_output=True)
    assert np.abs(audio_io.read(path.with_suffix(".wav"))[0]).max() > 0.3
