"""Files of other formats are named, with a command that converts them."""

import shutil
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
