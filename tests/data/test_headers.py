"""Headers of many sounds."""

from conftest import sine, write

from audio_utils.data import index
from audio_utils.data.headers import read_headers
from audio_utils.data.sounds import find_sounds


def test_headers_problems_and_samples_of_the_content(tmp_path):
    for name in ("a/1.wav", "a/2.wav"):
        path = write(tmp_path / name, sine(channels=2, seconds=len(name) / 10))
    (tmp_path / "a/3.wav").write_bytes(b"no audio")
    sounds, _ = find_sounds(tmp_path)
    headers, errors, samples = read_headers(sounds, 1, {path.stat().st_size})
    assert [(header.samples, header.rate, header.channels) for header in headers.values()] == [(5600, 8000, 2)] * 2
    assert list(errors) == [str(tmp_path / "a/3.wav")]
    assert samples[str(path)] == index.sample_of(path)
