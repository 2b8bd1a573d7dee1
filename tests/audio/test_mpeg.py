"""An mp3 is as long as its frames, whatever its header says, and its recordings are found."""

import io
import os
import re
import time

import numpy as np
import pytest
from conftest import write

from audio_utils.audio import audio_io, mpeg
from audio_utils.audio.audio_io import AudioError

TAG = b"ID3\3\0\0\0\0\x10\0" + bytes(2048)


def encoded(folder, seconds=3.0, rate=8000, channels=1, seed=0):
    """An mp3 of variable bit rate: quiet in its first half, then noise."""
    noise = np.random.default_rng(seed).normal(0, 0.1, (channels, round(rate * seconds)))
    noise[:, :noise.shape[1] // 2] *= 1e-3
    return write(folder / "encoded.mp3", noise.astype(np.float32), rate).read_bytes()


def without_info(content):
    """As a program writes it that can't go back to the beginning: without the first frame."""
    assert re.search(rb"Xing|Info", content[:200])
    return content[mpeg._frame(content[:4]).size:]


def found_in(content):
    return mpeg.recordings(io.BytesIO(content), len(content))


def read(folder, content):
    path = folder / "x.mp3"
    path.write_bytes(content)
    header, (audio, _) = audio_io.info(path), audio_io.read(path)
    assert header.samples == audio.shape[1]
    return audio, header


@pytest.mark.parametrize(("header", "size"), [
    ("fffb9064", 417), ("fffb9264", 418), ("fff38064", 208), ("ffe318c4", 72), ("fffd9004", 522), ("ffff9004", 312),
    ("fff000ff", 0), ("fffb0064", 0), ("fffbf064", 0), ("fffb9c64", 0), ("ffeb9064", 0), ("fff15080", 0), ("fff9", 0)])
def test_the_size_of_a_frame_follows_from_its_header(header, size):
    assert mpeg._frame(bytes.fromhex(header)).size == size


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_without_an_info_frame_is_read_to_its_end(tmp_path, rate, channels):
    content = encoded(tmp_path, rate=rate, channels=channels)
    whole, header = read(tmp_path, content)
    assert header[:4] == (3 * rate, rate, channels, False)
    streamed, header = read(tmp_path, without_info(content))
    assert header[1:4] == (rate, channels, False)
    delay = 576  # samples of this encoder; the information about it was in that frame
    assert 0 <= streamed.shape[1] - whole.shape[1] - delay < 2 * 1152
    assert np.abs(streamed[:, delay:delay + whole.shape[1]] - whole).max() < 1e-6
    assert np.abs(audio_io.read(tmp_path / "x.mp3", rate, 1000)[0] - streamed[:, rate:rate + 1000]).max() < 1e-3


@pytest.mark.parametrize("between", [b"", TAG, b"TAG" + bytes(125), bytes(4000), bytes(range(200)) * 50])
def test_recordings_without_an_info_frame_are_read_although_other_data_lie_between(tmp_path, between):
    one, other = (without_info(encoded(tmp_path, seconds, seed=seconds)) for seconds in (3, 2))
    separate = [read(tmp_path, each)[0] for each in (one, other)]
    joined, header = read(tmp_path, one + between + other)
    assert not header.cut_short
    if between:
        assert np.abs(joined - np.concatenate(separate, axis=1)).max() < 1e-6
    else:  # one stream: the decoder starts only once
        assert joined.shape[1] == separate[0].shape[1] + separate[1].shape[1] + 529


@pytest.mark.parametrize("info", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("other", [{"rate": 16000}, {"rate": 48000}, {"channels": 2}])
def test_a_change_of_rate_or_channels_is_refused(tmp_path, info, other):
    one, two = encoded(tmp_path), encoded(tmp_path, **other)
    for first, second in ((one, two), (two, one)):
        content = [each if kept else without_info(each) for each, kept in zip((first, second), info, strict=True)]
        for between in (b"", TAG):
            with pytest.raises(AudioError, match=r"x.mp3: is joined from recordings with different sample rates"):
                read(tmp_path, between.join(content))


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_mp3_is_as_long_as_its_remaining_frames(tmp_path, kept):
    content = encoded(tmp_path, 10)
    whole, _ = read(tmp_path, content)
    audio, header = read(tmp_path, content[:int(len(content) * kept)])
    assert header.cut_short
    assert 0 < audio.shape[1] < whole.shape[1]
    assert np.abs(audio - whole[:, :audio.shape[1]])[:, :-1152].max() < 1e-6


def test_a_recording_after_a_truncated_one_is_read(tmp_path):
    content, other = encoded(tmp_path, 3, 44100), encoded(tmp_path, 2, 44100, seed=1)
    cut = content[:len(content) // 2]
    audio, header = read(tmp_path, cut + other)
    assert header.cut_short
    assert audio.shape[1] == read(tmp_path, cut)[0].shape[1] + 2 * 44100


@pytest.mark.parametrize("missing", [1, 50, 200])
def test_a_stream_that_begins_within_a_frame_is_read(tmp_path, missing):
    content = without_info(encoded(tmp_path))
    audio, _ = read(tmp_path, content[missing:])
    assert audio.shape[1] == read(tmp_path, content)[0].shape[1] - 576


def test_frames_that_the_encoder_did_not_count_are_not_a_recording(tmp_path):
    content = encoded(tmp_path)
    offsets = [offset for offset, _, _ in mpeg._frames(io.BytesIO(content), 0)]
    for few in (1, 4):
        uncounted = content[offsets[10]:offsets[10 + few]]
        assert found_in(content + uncounted) == []
        assert [each.end - each.start for each in found_in((content + uncounted) * 2)] == [len(content)] * 2


def test_damage_within_an_mp3_does_not_separate_it(tmp_path):
    content = bytearray(without_info(encoded(tmp_path, 10)))
    frames = [offset for offset, _, _ in mpeg._frames(io.BytesIO(content), 0)]
    for damaged in frames[20:-5:20]:
        content[damaged] = 0
    recording, = found_in(bytes(content))
    assert recording[:2] == (0, len(content))
    assert not recording.complete
    assert recording.frames == len(frames) - len(frames[20:-5:20])


@pytest.mark.parametrize("content", [
    b"", b"\xff", b"\xff\xfb\x90\x64", b"\xff" * 5000, b"\xff\xfb" * 5000, b"\xff\xfb\x90\x64" * 2000, bytes(5000),
    b"ID3\3\0\0\x7f\x7f\x7f\x7f" * 500, b"APETAGEX" * 500, b"TAG" * 500, b"Xing" * 500])
def test_other_data_are_not_recordings(content):
    assert found_in(content) == []


@pytest.mark.slow
@pytest.mark.parametrize("unit", [b"ID3\3\0\0\0\0\0\0", b"TAG", b"APETAGEX" + bytes(24), b"\0", b"\xff\xfb\x90\x64"])
def test_a_large_file_of_tags_alone_is_refused_quickly(tmp_path, unit):
    path = tmp_path / "x.mp3"
    path.write_bytes(unit * ((8 << 20) // len(unit)))
    os.truncate(path, 1 << 33)  # zeros follow
    start = time.monotonic()
    with pytest.raises(AudioError, match="is not a readable audio file"):
        audio_io.info(path)
    assert time.monotonic() - start < 10


def test_info_frames_alone_are_not_a_recording(tmp_path):
    content = encoded(tmp_path)
    frame = content[:mpeg._frame(content[:4]).size]
    empty = frame.replace(frame[mpeg._frame(frame[:4]).info + 4:][:4], bytes(4))  # as written into a pipe
    for each in found_in(empty * 2000) + found_in(frame * 20):
        assert each.frames <= 0
