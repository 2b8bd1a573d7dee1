"""Where the recordings within a file begin and end, and which headers are corrected."""

import io
import os
import re
import struct

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.audio.containers import Part, parts

FORMATS = {"rf64": "RF64", "w64": "W64", "nist": "NIST", "mat": "MAT5", "opus": "OGG"}
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32 + 18, 1, 0x80000000) + bytes(8)  # its header, and its footer
TAGS = {"nothing": b"", "ID3v2": b"ID3\3\0\0\0\0\x10\0" + bytes(2048), "ID3v1": b"TAG" + bytes(125),
        "zeros": bytes(2000), "APE": APE + struct.pack("<II", 8, 0) + b"T\0" + b"12345678" + APE}
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


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("before", TAGS)
@pytest.mark.parametrize("after", TAGS)
def test_tags_around_each_part_are_left_out(tmp_path, extension, before, after):
    content = content_of(tmp_path, extension)
    starts = [len(TAGS[before]), len(TAGS[before] + content + TAGS[after] + TAGS[before])]
    for count in (1, 2):
        found = parts_of(tmp_path, (TAGS[before] + content + TAGS[after]) * count)
        assert [part.start for part in found] == starts[:count]
        assert not any(part.cut_short for part in found)


@pytest.mark.parametrize("extension", ["aiff", "au", "caf", "rf64", "w64", "nist", "voc", "mat"])
def test_parts_of_formats_that_give_their_size_are_separated(tmp_path, extension):
    format = FORMATS.get(extension)
    one, other = (write(tmp_path / f"x.{extension}", sine(seconds=each), subtype="PCM_16", format=format).read_bytes()
                  for each in (1, 0.3))
    for gap in (b"", bytes(1000), b"\n"):
        found = parts_of(tmp_path, one + gap + other + gap + one)
        assert [part.start for part in found] == [0, len(one + gap), len(one + gap + other + gap)]


def test_streams_of_an_ogg_file_that_begin_together_are_one_part(tmp_path):
    one, other = content_of(tmp_path, "ogg"), content_of(tmp_path, "ogg", seed=1)
    first, second = one.index(b"OggS", 1), other.index(b"OggS", 1)  # the ends of their first pages
    content = one[:first] + other[:second] + one[first:] + other[second:]
    assert [part[:2] for part in parts_of(tmp_path, content)] == [(0, len(content))]
    assert len(parts_of(tmp_path, content * 2)) == 2


@pytest.mark.parametrize("size", [0, 36, 0x7FFFFFFF, 0xFFFFFFFF, -8])  # -8: with the header, as some programs count
def test_joined_wavs_are_separated_although_their_size_is_wrong(tmp_path, size):
    content = content_of(tmp_path, "wav")
    content = content[:4] + struct.pack("<I", len(content) if size < 0 else size) + content[8:]
    size = len(content)
    assert [part[:2] for part in parts_of(tmp_path, content * 2)] == [(0, size), (size, 2 * size)]


@pytest.mark.parametrize("extension", ["au", "caf", "rf64", "w64", "ogg", "opus"])
def test_truncation_is_detected_where_libsndfile_does_not(tmp_path, extension):
    content = write(tmp_path / f"x.{extension}", sine(seconds=5), format=FORMATS.get(extension)).read_bytes()
    assert not parts_of(tmp_path, content)[0].cut_short
    for cut in (10, len(content) // 3):
        assert parts_of(tmp_path, content[:-cut])[0].cut_short


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
    pattern = re.compile(rb"OggS\0\x02")
    assert list(containers._find_all(io.BytesIO(data), pattern)) == \
        [i for i in range(len(data)) if data[i:i + 6] == b"OggS\0\2"]
    assert list(containers._find_all(io.BytesIO(sine().tobytes()), pattern)) == []
