"""Where the recordings within a file begin and end, and which headers are corrected."""

import io
import os
import struct

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.audio.containers import Part, parts

EXTENSIONS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "opus": "OPUS", "mp3": None}


def content_of(folder, extension, seconds=1.0, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.1, (1, round(8000 * seconds))).astype(np.float32)
    format = "OGG" if extension == "opus" else extension.upper()
    return write(folder / f"part.{extension}", noise, format=format, subtype=EXTENSIONS[extension]).read_bytes()


def parts_of(folder, content):
    (folder / "x").write_bytes(content)
    with open(folder / "x", "rb") as file:
        return parts(file)


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("seconds", [0.3, 1, 30])
def test_an_ordinary_file_is_one_part_without_changes(tmp_path, extension, seconds):
    content = content_of(tmp_path, extension, seconds)
    assert parts_of(tmp_path, content) == [Part(0, len(content), {})]


@pytest.mark.slow
@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("seconds", [0.3, 1, 30])
def test_joined_files_are_separated(tmp_path, extension, count, seconds):
    one, other = content_of(tmp_path, extension, seconds), content_of(tmp_path, extension, 2 * seconds, 1)
    for joined in ([one] * count, [one, other] * count):  # copies of one Ogg file have the same stream number
        ends = np.cumsum([len(each) for each in joined]).tolist()
        assert [(part.start, part.end) for part in parts_of(tmp_path, b"".join(joined))] == \
            list(zip([0, *ends], ends, strict=False))


@pytest.mark.parametrize("after", [b"TAG" + bytes(125), b"APETAGEX" + os.urandom(20_000), os.urandom(1000),
                                   b"LYRICSBEGIN" + bytes(5000)], ids=["ID3v1", "APE", "few", "lyrics"])
def test_tags_after_an_mp3_are_no_part(tmp_path, after):
    content = content_of(tmp_path, "mp3")
    assert len(parts_of(tmp_path, content + after)) == 1


def test_tags_before_each_mp3_belong_to_it(tmp_path):
    tagged = b"ID3\x03\0\0\0\0\x10\0" + bytes(2048) + content_of(tmp_path, "mp3")
    for after in (b"", b"TAG" + bytes(125)):
        whole = len(tagged + after)
        assert [part[:2] for part in parts_of(tmp_path, (tagged + after) * 2)] == [(0, whole), (whole, 2 * whole)]


def test_a_wav_that_is_really_empty_stays_so(tmp_path):
    empty = write(tmp_path / "a.wav", np.zeros((1, 0))).read_bytes()
    for content in (empty, empty + b"LIST\4\0\0\0abcd", empty + b"LIST\3\0\0\0abc\0bext\2\0\0\0ab"):
        assert parts_of(tmp_path, content)[0].replaced == {}


@pytest.mark.parametrize("content", [
    b"", b"RIFF", b"fLaC", b"OggS", b"OggS\0\2" * 9, b"RF64" + bytes(40), b".snd", b"caff" + bytes(8),
    b"caff\0\1\0\0desc" + b"\x7f" * 300, b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 3000, b"ID3",
    b"ID3\3\0\0\x7f\x7f\x7f\x7f", b"\xff\xfb" + bytes(300),
    b"RIFF" + struct.pack("<I", 4) + b"WAVE" + b"RIFF\0\0\0\0WAVE" * 3])
def test_incomplete_headers_are_no_error(tmp_path, content):
    assert parts_of(tmp_path, content)


def test_an_occurrence_across_two_reads_is_found(monkeypatch):
    from audio_utils.audio import containers
    monkeypatch.setattr(containers, "_CHUNK", 7)
    data = b"".join(b"x" * gap + b"OggS\0\2" for gap in range(20))
    assert containers._find_all(io.BytesIO(data), b"OggS\0\2") == \
        [i for i in range(len(data)) if data[i:i + 6] == b"OggS\0\2"]
    assert containers._find_all(io.BytesIO(sine().tobytes()), b"OggS\0\2") == []
