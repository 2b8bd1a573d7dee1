"""Files of unknown length, and joined ones, are read to their end, with the right number of samples."""

import struct

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.audio import audio_io, flac, melgram, parts_file
from audio_utils.audio.audio_io import AudioError
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.audio.streams import streamed

RATE = 8000


def noise(seconds, channels=1, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, (channels, round(RATE * seconds))).astype(np.float32)


def replaced(content, offset, new):
    return content[:offset] + new + content[offset + len(new):]


def piped(folder, kind, audio):
    """A file as a program writes it into a pipe: without a length in its header."""
    extension, _, size = kind.partition(" ")
    content = write(folder / f"whole.{extension}", audio, RATE, subtype="PCM_16").read_bytes()
    little, big = struct.pack("<I", int(size or "0", 16)), struct.pack(">I", int(size or "0", 16))
    data = content.find(b"data")
    if extension == "wav":
        content = replaced(replaced(content, 4, little), data + 4, little)
    elif extension == "flac":
        content = replaced(content, 18, flac.with_samples(content, 0))
    elif extension == "au":
        content = replaced(content, 8, big)
    elif extension == "aiff":
        content = replaced(replaced(content, 4, big), content.find(b"SSND") + 4, big)
    elif extension == "rf64":
        content = replaced(content, content.find(b"ds64") + 16, little * 2)
    elif extension == "caf":
        content = replaced(content, data + 4, big * 2)
    path = folder / f"piped.{extension}"
    path.write_bytes(content)
    return path


PIPED = ["flac", "wav 0", "wav ffffffff", "wav 7ffff000", "wav 7fffffff", "wav 80000000", "au 0", "au ffffffff",
         "au 7fffffff", "aiff 0", "aiff 7f000000", "rf64 0", "rf64 ffffffff", "caf ffffffff"]


@pytest.mark.parametrize("kind", PIPED)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_file_of_unknown_length_is_read_to_its_end(tmp_path, kind, channels):
    audio = noise(40, channels)  # more than a block
    path = piped(tmp_path, kind, audio)
    assert audio_io.info(path)[:4] == (audio.shape[1], RATE, channels, False)
    found, _ = audio_io.read(path)
    assert found.shape == audio.shape
    assert np.abs(found - audio).max() <= 2 ** -15
    assert np.array_equal(audio_io.read(path, 100_000, 1000)[0], found[:, 100_000:101_000])
    assert np.array_equal(audio_io.read_seconds(path, 0.5)[0], found[:, :4000])
    settings = MelgramSettings.of(RATE, 50 * RATE, channels, 40, 32, 16)
    assert melgram.of_file(path, settings)[1] == ""
    with audio_io.opened(path, exact=True, block=1000) as (header, blocks):
        exact = np.concatenate(list(blocks(header.samples)), axis=1)
    assert np.array_equal(exact / np.float32(2 ** 31), found)


@pytest.mark.parametrize("kind", ["flac", "wav 0", "caf ffffffff"])
def test_it_is_also_read_from_standard_input(tmp_path, kind):
    audio = noise(3)
    with open(piped(tmp_path, kind, audio), "rb") as file:
        _, _, blocks = streamed(file.fileno(), "input")
        assert sum(block.shape[1] for block in blocks(5000)) == audio.shape[1]


@pytest.mark.parametrize("size", [0, 5, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wrong_size_of_the_whole_wav_does_not_matter(tmp_path, size):
    path = write(tmp_path / "x.wav", noise(1))
    whole = audio_io.read(path)[0]
    path.write_bytes(replaced(path.read_bytes(), 4, struct.pack("<I", size)))
    assert np.array_equal(audio_io.read(path)[0], whole)


def test_a_cut_flac_stream_is_read_up_to_its_last_complete_frame(tmp_path):
    audio = noise(10)
    path = piped(tmp_path, "flac", audio)
    path.write_bytes(path.read_bytes()[:-3000])
    header = audio_io.info(path)
    assert header.cut_short
    found, _ = audio_io.read(path)
    assert 9 * RATE < found.shape[1] == header.samples < 10 * RATE
    assert np.abs(found - audio[:, :header.samples]).max() <= 2 ** -15


def test_a_flac_stream_without_a_complete_frame_is_refused(tmp_path):
    path = piped(tmp_path, "flac", noise(10))
    path.write_bytes(path.read_bytes()[:2000])
    for read in (audio_io.info, audio_io.read):
        with pytest.raises(AudioError, match="is damaged and has no known length"):
            read(path)


# --- joined files ----------------------------------------------------------------------------------------------------

def joined(folder, extension, *sounds, rates=(RATE, RATE)):
    subtype = {"opus": "OPUS", "ogg": "VORBIS", "mp3": None}.get(extension, "PCM_16")
    format = {"opus": "OGG", "rf64": "RF64", "w64": "W64"}.get(extension)
    paths = [write(folder / f"{i}.{extension}", audio, rates[i], subtype=subtype, format=format)
             for i, audio in enumerate(sounds)]
    path = folder / f"joined.{extension}"
    path.write_bytes(b"".join(each.read_bytes() for each in paths))
    return path, [audio_io.read(each)[0] for each in paths]


@pytest.mark.parametrize("extension", ["ogg", "opus", "mp3", "flac", "wav", "aiff", "au", "caf", "rf64", "w64"])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_part_of_a_joined_file_is_read(tmp_path, extension, channels):
    path, separate = joined(tmp_path, extension, noise(3, channels), noise(1, channels, 1))
    whole = np.concatenate(separate, axis=1)
    assert audio_io.info(path)[:4] == (whole.shape[1], RATE, channels, False)
    assert np.abs(audio_io.read(path)[0] - whole).max() < 1e-6
    for start in (0, 3000, 23_999, 24_000, 30_000):
        found, _ = audio_io.read(path, start, 2000)
        assert found.shape == (channels, 2000)
        if extension not in ("ogg", "opus", "mp3"):  # after a jump, their decoders differ from what they gave before
            assert np.array_equal(found, whole[:, start:start + 2000])
    assert np.abs(audio_io.read_seconds(path, 3.5)[0] - whole[:, :28_000]).max() < 1e-6


@pytest.mark.parametrize("extension", ["ogg", "mp3", "flac"])
def test_a_file_joined_with_itself_is_twice_as_long(tmp_path, extension):
    path, (audio,) = joined(tmp_path, extension, noise(2))
    path.write_bytes(path.read_bytes() * 2)
    assert np.abs(audio_io.read(path)[0] - np.tile(audio, 2)).max() < 1e-6  # mp3 decoders differ by rounding


@pytest.mark.parametrize("extension", ["ogg", "mp3", "flac", "wav", "aiff", "au"])
def test_parts_that_differ_are_refused(tmp_path, extension):
    for sounds, rates in (((noise(2), noise(2)), (8000, 16000)), ((noise(2), noise(2, channels=2)), (8000, 8000))):
        path, _ = joined(tmp_path, extension, *sounds, rates=rates)
        for read in (audio_io.info, audio_io.read):
            with pytest.raises(AudioError, match=f"joined.{extension}: is joined from .*; replace it with"):
                read(path)


@pytest.mark.parametrize("extension", ["ogg", "opus", "mp3", "flac", "wav", "aiff", "au"])
@pytest.mark.parametrize("tag", [b"ID3\3\0\0\0\0\x10\0" + bytes(2048), b"TAG" + bytes(125), bytes(700),
                                 b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0xA0000000) + bytes(40)],
                         ids=["ID3v2", "ID3v1", "zeros", "APE"])
def test_tags_around_each_part_are_not_read_as_sound(tmp_path, extension, tag):
    path, separate = joined(tmp_path, extension, noise(1), noise(1, seed=1))
    contents = [(tmp_path / f"{i}.{extension}").read_bytes() for i in (0, 1)]
    for count in (1, 2):
        path.write_bytes(b"".join(tag + each + tag for each in contents[:count]))
        assert not audio_io.info(path).cut_short
        whole = np.concatenate(separate[:count], axis=1)
        assert np.abs(audio_io.read(path)[0] - whole).max() < 1e-6


def test_joined_streams_of_unknown_length_are_read(tmp_path):
    for kind in ("flac", "wav 0", "wav ffffffff", "wav 7ffff000"):
        audio = noise(3)
        path = piped(tmp_path, kind, audio)
        path.write_bytes(path.read_bytes() * 3)
        assert np.abs(audio_io.read(path)[0] - np.tile(audio, 3)).max() <= 2 ** -15


def test_a_last_part_that_is_damaged_counts_as_truncation(tmp_path):
    path, (first, _) = joined(tmp_path, "ogg", noise(2), noise(2))
    path.write_bytes(path.read_bytes()[:(tmp_path / "0.ogg").stat().st_size + 1000])
    assert audio_io.info(path).cut_short
    assert np.array_equal(audio_io.read(path)[0], first)


def test_a_part_that_cannot_be_opened_counts_as_truncation(tmp_path):
    path, (first, _) = joined(tmp_path, "wav", noise(2), noise(2))
    whole = path.read_bytes()
    start = (tmp_path / "0.wav").stat().st_size
    path.write_bytes(whole[:start + 12] + b"\xff" * 30 + whole[start + 42:])
    assert audio_io.info(path).cut_short
    assert np.array_equal(audio_io.read(path)[0], first)


def test_memory_and_open_files_do_not_grow_with_the_parts(tmp_path):
    path, _ = joined(tmp_path, "ogg", noise(0.1))
    path.write_bytes(path.read_bytes() * 300)
    assert audio_io.read(path)[0].shape == (1, 300 * 800)


def test_a_joined_file_of_thousands_of_parts_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parts_file, "_MAX_PARTS", 3)
    path, _ = joined(tmp_path, "ogg", sine())
    path.write_bytes(path.read_bytes() * 4)
    with pytest.raises(AudioError, match="is joined from 4 recordings"):
        audio_io.info(path)
