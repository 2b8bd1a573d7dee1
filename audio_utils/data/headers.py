"""The headers of many sounds, read on all cores."""

from collections.abc import Container

from audio_utils.audio import audio_io
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.data import index
from audio_utils.data.sound import Sound
from audio_utils.runtime import parallel

_HEADERS_PER_POOL = 4000  # headers; with fewer, starting processes takes longer than reading them


def read_headers(sounds: list[Sound], jobs: int | None,
                 sizes: Container[int] = ()) -> tuple[dict[str, AudioInfo], dict[str, str], dict[str, str]]:
    """File → AudioInfo of the sounds that can be read, → the problem with each of the others, → sample of its content.

    sizes: those of files of which the sample is read.
    """
    good, errors, samples, distinct = {}, {}, {}, {}
    for (file, _), found in parallel.each(_header, [(sound.file, sound.stat.size in sizes) for sound in sounds],
                                          "Reading headers", jobs, min_parallel=_HEADERS_PER_POOL):
        if isinstance(found, Exception):
            errors[file] = str(found)
            continue
        header, samples[file] = found
        good[file] = distinct.setdefault(header, header)  # most are equal
    return {sound.file: good[sound.file] for sound in sounds if sound.file in good}, errors, samples


def _header(job: tuple[str, bool]) -> tuple[AudioInfo, str]:
    file, is_sampled = job
    return audio_io.info(file), index.sample_of(file) if is_sampled else ""
