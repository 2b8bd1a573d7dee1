"""The length of a FLAC stream is that of its frames."""

import io

import numpy as np
import pytest
from conftest import write

from audio_utils.audio import flac


def stream(path, samples, channels=1, subtype="PCM_16", silent=False):
    """The bytes of a FLAC file, and the same without the number of samples."""
    noise = np.random.default_rng(samples).uniform(-1, 1, (channels, samples)) * (not silent)
    content = write(path, noise, 44100, subtype=subtype).read_bytes()
    return content, content[:18] + flac.with_samples(content, 0) + content[26:]


@pytest.mark.parametrize("samples", [1, 16, 17, 4096, 4097, 100_000, 4096 * 200, 4096 * 2100 + 5])
@pytest.mark.parametrize("silent", [False, True])  # its frames are shorter than the longest header
def test_the_length_is_found_from_the_last_frame(tmp_path, samples, silent):
    content, streamed = stream(tmp_path / "x.flac", samples, 1 if samples > 10 ** 6 else 2, silent=silent)
    assert flac.Header.of(content).samples == samples
    header = flac.Header.of(streamed)
    assert header.samples == 0
    assert flac.length(io.BytesIO(streamed), len(streamed), header) == (samples, len(streamed))
    assert streamed[:18] + flac.with_samples(streamed, samples) + streamed[26:] == content


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_24"])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_every_layout_is_supported(tmp_path, subtype, channels):
    _, streamed = stream(tmp_path / "x.flac", 10_000, channels, subtype)
    assert flac.length(io.BytesIO(streamed), len(streamed), flac.Header.of(streamed))[0] == 10_000


def test_a_cut_stream_ends_with_its_last_complete_frame(tmp_path):
    _, streamed = stream(tmp_path / "x.flac", 100_000)
    samples, end = flac.length(io.BytesIO(streamed), len(streamed) - 5000, flac.Header.of(streamed))
    assert samples % 4096 == 0
    assert 90_000 < samples < 100_000
    assert end <= len(streamed) - 5000


def test_a_tag_after_the_stream_is_not_a_part_of_it(tmp_path):
    _, streamed = stream(tmp_path / "x.flac", 5000)
    tagged = streamed + b"TAG" + bytes(125)
    assert flac.length(io.BytesIO(tagged), len(tagged), flac.Header.of(tagged)) == (5000, len(streamed))


@pytest.mark.parametrize(("number", "coded"), [(2, "02"), (127, "7f"), (300, "c4ac"), (8192, "e28080"),
                                               (1 << 33, "fe888080808080")])
@pytest.mark.parametrize("variable", [False, True])  # then the header holds the number of the sample, not of the frame
def test_the_header_of_a_frame_gives_the_samples_up_to_its_end(number, coded, variable):
    for code, extra, block in ((0xC, b"", 4096), (1, b"", 192), (6, b"\x63", 100), (7, b"\x01\xff", 512)):
        header = bytes([0xFF, 0xF8 + variable, code << 4, 0]) + bytes.fromhex(coded) + extra
        header += bytes([flac._crc(header, 8, 0x07)])
        assert flac._samples_until(header + b"x", 4096) == number * (1 if variable else 4096) + block
        assert flac._samples_until(header[:-1] + b"xx", 4096) == 0


def test_a_stream_without_frames_has_no_length(tmp_path):
    _, streamed = stream(tmp_path / "x.flac", 5000)
    assert flac.length(io.BytesIO(streamed), 100, flac.Header.of(streamed)) is None
    damaged = streamed[:200] + bytes(b ^ 0x55 for b in streamed[200:])
    assert flac.length(io.BytesIO(damaged), len(damaged), flac.Header.of(damaged)) is None
