"""A wav through a pipe: every sample arrives, whatever size the header gives, and other data are refused."""

import os
import struct
import threading

import numpy as np
import pytest
from conftest import sine, write

from audio_utils.audio import audio_io
from audio_utils.audio.audio_io import AudioError
from audio_utils.audio.streams import streamed


def wav(audio, tag=1, bits=16, rate=8000, size=None, before=b""):
    """The bytes of a wav; size: of the samples as the header gives it."""
    if tag == 3:
        samples = audio.T.astype(f"<f{bits // 8}").tobytes()
    else:
        whole = np.rint(audio.T * (2 ** (bits - 1) - 1)).astype("<i4")
        samples = (whole + 128).astype("u1").tobytes() if bits == 8 else \
            whole[..., np.newaxis].view("u1")[..., :bits // 8].tobytes()
    frame = len(audio) * bits // 8
    fmt = struct.pack("<HHIIHH", tag, len(audio), rate, rate * frame, frame, bits)
    return (b"RIFF\xff\xff\xff\xffWAVE" + before + b"fmt " + struct.pack("<I", len(fmt)) + fmt
            + b"data" + struct.pack("<I", len(samples) if size is None else size) + samples)


def extensible(audio):
    """A 16-bit wav with the format tag WAVE_FORMAT_EXTENSIBLE."""
    plain = wav(audio)
    fmt = struct.pack("<H", 0xFFFE) + plain[22:36] + struct.pack("<HHIH", 22, 16, 0, 1) + bytes(14)
    return plain[:16] + struct.pack("<I", len(fmt)) + fmt + plain[36:]


@pytest.fixture
def pipe():
    """Send bytes through a pipe from another thread. Returns the descriptor to read from."""
    opened = []

    def send(content):
        receiver, sender = os.pipe()
        opened.append(receiver)

        def write_all():
            with os.fdopen(sender, "wb") as file:
                file.write(content)
        threading.Thread(target=write_all, daemon=True).start()
        return receiver
    yield send
    for descriptor in opened:
        os.close(descriptor)


def received(descriptor, block=1000):
    rate, channels, blocks = streamed(descriptor, "input")
    pieces = list(blocks(block))
    assert all(piece.shape == (channels, block) for piece in pieces[:-1])
    return np.concatenate(pieces, axis=1), rate


@pytest.mark.parametrize(("tag", "bits"), [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_sample_type_arrives(pipe, tag, bits, channels):
    audio = sine(channels=channels) * np.linspace(1, 0.5, channels, dtype=np.float32)[:, None]
    found, rate = received(pipe(wav(audio, tag, bits)))
    assert (rate, found.shape, found.dtype) == (8000, (channels, 8000), np.float32)
    assert np.abs(found - audio).max() < (2 ** -6 if bits == 8 else 2 ** -14)


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])  # of sox, ffmpeg and arecord
def test_an_unknown_size_is_read_to_the_end_of_the_pipe(pipe, size):
    assert received(pipe(wav(sine(), size=size)))[0].shape == (1, 8000)


def test_data_after_the_samples_are_not_read(pipe):
    assert received(pipe(wav(sine()) + b"LIST" + bytes(100)))[0].shape == (1, 8000)


@pytest.mark.parametrize("after", [b"", b"LIST\3\0\0\0abc\0", b"LIST\4\0\0\0abcd" * 2])
@pytest.mark.parametrize(("tag", "bits", "samples"), [(1, 16, 8000), (1, 8, 7999), (3, 32, 5)])
def test_joined_wavs_are_all_read(pipe, after, tag, bits, samples):
    audio = sine()[:, :samples]
    one = wav(audio, tag, bits) + bytes(samples * bits // 8 % 2) + after
    found, _ = received(pipe(one * 3), block=samples)
    assert found.shape == (1, 3 * samples)
    assert np.abs(found - np.tile(audio, 3)).max() < 2 ** -6


def test_joined_wavs_that_differ_are_refused(pipe):
    for other in (wav(sine(), rate=16000), wav(sine(channels=2)), wav(sine(), 3, 32)):
        with pytest.raises(AudioError, match="input: is joined from recordings with different sample rates"):
            received(pipe(wav(sine()) + other))


def test_chunks_before_the_samples_are_skipped(pipe):
    assert received(pipe(wav(sine(), before=b"LIST\x03\x00\x00\x00abc\x00")))[0].shape == (1, 8000)


def test_an_extensible_header_is_read(pipe):
    assert received(pipe(extensible(sine(channels=2))))[0].shape == (2, 8000)


def test_a_regular_file_of_any_format_is_read(tmp_path):
    path = write(tmp_path / "a.flac", sine())
    with open(path, "rb") as file:
        found, _ = received(file.fileno())
    assert np.array_equal(found, audio_io.read(path)[0])


@pytest.mark.parametrize("content", [
    b"", b"RIFF", bytes(10000), b"fLaC" + bytes(100), wav(sine(), tag=7), wav(sine(), rate=0),
    wav(sine(), rate=1 << 24), wav(np.zeros((0, 8))), b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\xff"],
    ids=lambda content: str(content[:16]))
def test_other_data_are_refused_by_name(pipe, content):
    with pytest.raises(AudioError, match="input: is not a wav stream; send one"):
        streamed(pipe(content), "input")
