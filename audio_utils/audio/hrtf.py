"""Head-related impulse responses (HRIRs) from SOFA files, and binaural files rendered with them.

HRTF.md gives the source and the license of the KEMAR responses.
"""

import math
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from audio_utils.audio import audio_io, tags
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.audio.melgram import cancels, mix_powers
from audio_utils.audio.resampling import filter_samples, resample
from audio_utils.runtime.errors import UserError
from audio_utils.runtime.parallel import Done
from audio_utils.runtime.safe_files import have_same_bytes, is_of_lost_attempt, replacing

if TYPE_CHECKING:
    import h5py

KEMAR = str(Path(__file__).with_name("MIT_KEMAR_normal_pinna.sofa"))

_LOWEST_RATE = 1000  # Hz; lower ones can't represent a direction
_MAX_TAPS = 1 << 16  # samples of an impulse response; a longer one is that of a room
_MAX_DIRECTIONS = 1 << 20  # in a SOFA file
_READ_ATTRIBUTES = "import h5py, sys; file = h5py.File(sys.argv[1]); " \
                   "[dict(each.attrs) for each in (file, *file.values())]"
_READ_SECONDS = 20  # timeout for that; it takes less than one second
_BATCH = 1 << 21  # samples, of all azimuths and both ears, convolved at a time; limits the memory
_FULL_SCALE = 1 - 2 ** -15  # the highest value of 16 bits
_SUBTYPES = {"PCM_24": "PCM_24", "PCM_32": "PCM_24", "FLOAT": "FLOAT", "DOUBLE": "FLOAT"}  # all others: PCM_16


# --- SOFA files -----------------------------------------------------------------------------------------------------

def read_responses(sofa: str, azimuths_deg: list[float], elevation_deg: float,
                   tolerance_deg: float) -> tuple[np.ndarray, int]:
    """Read the impulse responses of the measured directions nearest to the azimuths given.

    sofa: a file of the convention SimpleFreeFieldHRIR (AES69).
    Returns float32 (azimuths, 2: left and right, taps), and their sample rate in Hz.
    Raises UserError if the file is not valid, or lacks a direction within the tolerance.
    """
    if not Path(sofa).is_file():
        raise UserError(f"{sofa}: is not a file; set HRTF to a SOFA file.")
    if sofa != KEMAR:
        _check_attributes(sofa)
    import h5py
    try:
        with h5py.File(sofa, "r") as file:
            convention = _text(file.attrs["SOFAConventions"])
            _require(convention == "SimpleFreeFieldHRIR", f"its convention is {convention}, not SimpleFreeFieldHRIR")
            view = _vectors(file["ListenerView"])
            _require((view[:, 0] > 0).all() and not view[:, 1:].any(), "its listener does not look along the x axis")
            measured = _vectors(file["SourcePosition"])
            rows = _nearest(sofa, measured, azimuths_deg, elevation_deg, tolerance_deg)
            rates = np.unique(file["Data.SamplingRate"][...])
            _require(len(rates) == 1 and rates[0] in range(_LOWEST_RATE, audio_io.HIGHEST_RATE),
                     f"its Data.SamplingRate is {rates}")
            return _responses(file, rows, len(measured)), int(rates[0])
    except UserError:
        raise
    except Exception as error:  # a damaged file makes h5py and NumPy raise almost any exception
        reason = str(error).strip("'\"")
        raise UserError(f"{sofa}: is not a valid SOFA file ({reason}); set HRTF to another one.") from None


def _check_attributes(sofa: str) -> None:
    """Raise UserError if the text attributes can't be read in finite time.

    On damaged text, HDF5 can loop forever and ignore ^C; so another process, which can be killed, reads it first.
    """
    command = [sys.executable, "-c", _READ_ATTRIBUTES, sofa]
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_READ_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"{sofa}: is damaged, its attributes can't be read; set HRTF to another SOFA file.") from None


def _text(attribute: bytes | str) -> str:
    return attribute.decode(errors="replace") if isinstance(attribute, bytes) else str(attribute)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _vectors(positions: "h5py.Dataset") -> np.ndarray:
    """Positions as (rows, 3): x ahead, y left, z up. Spherical coordinates become unit vectors."""
    name, shape = positions.name.strip("/"), positions.shape
    _require(len(shape) in (2, 3) and shape[1] == 3 and 0 < shape[0] <= _MAX_DIRECTIONS,
             f"its {name} has the shape {shape}")
    values = np.asarray(positions[..., 0] if len(shape) == 3 else positions[...], np.float64)
    _require(np.isfinite(values).all(), f"its {name} contains NaN or infinity")
    if _text(positions.attrs["Type"]) == "cartesian":
        return values
    _require(_text(positions.attrs["Units"]).startswith("degree"), f"its {name} is not in degrees")
    return unit_vectors(values[:, 0], values[:, 1])


def unit_vectors(azimuths_deg: np.ndarray | list[float], elevations_deg: np.ndarray | float) -> np.ndarray:
    """float (directions, 3): ahead, to the left and up; angles as in SOFA (AES69)."""
    azimuths, elevations = np.radians(azimuths_deg), np.radians(elevations_deg)
    x, y = np.cos(elevations) * np.cos(azimuths), np.cos(elevations) * np.sin(azimuths)
    return np.stack(np.broadcast_arrays(x, y, np.sin(elevations)), axis=1)


def _nearest(sofa: str, measured: np.ndarray, azimuths_deg: list[float], elevation_deg: float,
             tolerance_deg: float) -> list[int]:
    """The row of the measured direction (rows, 3) nearest to each azimuth; all must differ."""
    _require(measured.any(axis=1).all(), "a source is at the position of its listener")
    measured = measured / np.linalg.norm(measured, axis=1, keepdims=True)
    rows, errors_deg = _nearest_rows(measured, azimuths_deg, elevation_deg)
    worst, resolved = int(np.argmax(errors_deg)), len(set(rows))
    if errors_deg[worst] > tolerance_deg:
        raise UserError(f"{sofa}: the nearest direction to azimuth {azimuths_deg[worst]:g}° at elevation "
                        f"{elevation_deg:g}° is {errors_deg[worst]:.1f}° off; choose others, or raise TOLERANCE_DEG.")
    if resolved < len(rows):
        count = _max_azimuths(measured, resolved, elevation_deg, tolerance_deg)
        raise UserError(f"{sofa}: resolves {resolved} of these {len(rows)} azimuths at elevation {elevation_deg:g}°; "
                        f"set N_AZ to {count}.")
    return rows


def _nearest_rows(measured: np.ndarray, azimuths_deg: list[float],
                  elevation_deg: float) -> tuple[list[int], np.ndarray]:
    """The row of the unit vector (rows, 3) nearest to each azimuth, and its distance from it in degrees."""
    wanted = unit_vectors(azimuths_deg, elevation_deg)
    tie_break = 1e-9 * measured[:, 0]  # prefers the front one of two equally near: left and right stay symmetric
    rows = [int(np.argmax(measured @ direction + tie_break)) for direction in wanted]
    return rows, np.degrees(np.arccos(np.clip((measured[rows] * wanted).sum(axis=1), -1, 1)))


def _max_azimuths(measured: np.ndarray, limit: int, elevation_deg: float, tolerance_deg: float) -> int:
    """The largest number, up to a limit, of evenly spaced azimuths that are all resolved."""
    for count in range(limit, 1, -1):
        rows, errors_deg = _nearest_rows(measured, [360 * i / count for i in range(count)], elevation_deg)
        if len(set(rows)) == count and errors_deg.max() <= tolerance_deg:
            return count
    return 1


def _responses(file: "h5py.File", rows: list[int], directions: int) -> np.ndarray:
    """The impulse responses of these rows, with their delays: float32 (rows, 2: left and right, taps)."""
    leftward, shape = _vectors(file["ReceiverPosition"])[:, 1], file["Data.IR"].shape
    _require(len(leftward) == 2, f"it has {len(leftward)} receivers, not 2")
    _require(shape[:2] == (directions, 2) and 0 < shape[2] <= _MAX_TAPS, f"its Data.IR has the shape {shape}")
    with np.errstate(all="ignore"):  # values beyond float32 become infinite
        responses = np.stack([file["Data.IR"][row] for row in rows]).astype(np.float32)
    _require(np.isfinite(responses).all(), "its Data.IR contains NaN or infinity")
    delays = np.broadcast_to(np.rint(file["Data.Delay"][...]), (directions, 2))[rows]  # samples
    _require(((delays >= 0) & (delays <= _MAX_TAPS)).all(), "its Data.Delay is out of range")
    responses = np.pad(responses, ((0, 0), (0, 0), (0, int(delays.max()))))
    for row, ear in np.ndindex(delays.shape):
        responses[row, ear] = np.roll(responses[row, ear], int(delays[row, ear]))
    return responses[:, np.argsort(-leftward, kind="stable")]


# --- rendering ------------------------------------------------------------------------------------------------------

def binauralize(path: Path, collisions: dict[Path, Path], folders: list[str], responses: np.ndarray,
                response_rate: int, overwrite: bool) -> Done:
    """Write one file from all azimuths: <folder>/<file>_<folder>.wav.

    collisions: file → an earlier file with the same outputs. folders: one per azimuth.
    """
    if path in collisions:
        raise UserError(f"{path}: its output files would have the same names as those of {collisions[path]}; "
                        "rename it.")
    outputs = [Path(folder) / f"{path.stem}_{folder}.wav" for folder in folders]
    existing = [] if overwrite else [output for output in outputs
                                     if output.exists() and not is_of_lost_attempt(output)]
    if len(existing) == len(outputs):  # otherwise a run may have been killed before it had renamed all
        raise _already_exists(existing[0])
    header = audio_io.info(path)
    if header.rate < _LOWEST_RATE:
        raise UserError(f"{path}: its sample rate of {header.rate} Hz is too low for directions; leave it out.")
    powers = np.zeros(2)
    peak = max(float(np.abs(block).max(initial=0)) for block in _render(path, responses, response_rate, powers))
    gain = _FULL_SCALE / max(peak, _FULL_SCALE)
    blocks = (block * np.float32(gain) for block in _render(path, responses, response_rate, np.zeros(2)))
    _write(outputs, blocks, header, tags.text(tags.steps_from(tags.BINAURALIFY, path)), existing)
    return Done(f"{path}: {len(outputs)} azimuths"
                + (f", {header.channels} channels mixed to mono" if header.channels > 1 else "")
                + (", which cancel each other out: invert or remove one of them" if cancels(*powers) else "")
                + (f", attenuated by {-20 * math.log10(gain):.1f} dB to prevent clipping" if gain < 1 else "") + ".",
                len(outputs), cancels(*powers))


def _already_exists(output: Path) -> UserError:
    return UserError(f"{output}: already exists; remove it or add --overwrite.")


def _render(path: Path, responses: np.ndarray, response_rate: int, powers: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (azimuths, 2, n): a file from all azimuths, in blocks; adds its `mix_powers` to `powers`."""
    with audio_io.opened(path, block=_BATCH // (2 * len(responses))) as (header, blocks):
        filters, lead = resample_responses(responses, response_rate, header.rate)
        yield from _convolve(_mono(blocks(header.samples), powers), filters, lead)


def _mono(blocks: Iterable[np.ndarray], powers: np.ndarray) -> Iterator[np.ndarray]:
    """Yield blocks (channels, n) as (1, n)."""
    for block in blocks:
        powers += mix_powers(block)
        yield block.mean(axis=0, keepdims=True)


def resample_responses(responses: np.ndarray, from_rate: int, to_rate: int) -> tuple[np.ndarray, int]:
    """Resample responses (azimuths, 2, taps). Returns them, and the number of samples by which they begin early.

    A resampled response also rings before its beginning, so silence is added on both sides first. The gain
    compensates for the number of samples that are summed in the convolution.
    """
    if from_rate == to_rate:
        return responses, 0
    margin = filter_samples(from_rate, to_rate)
    padded = np.pad(responses, ((0, 0), (0, 0), (margin, margin)))
    flat = resample(padded.reshape(-1, padded.shape[-1]), from_rate, to_rate) * np.float32(from_rate / to_rate)
    return flat.reshape(*responses.shape[:2], -1), margin * to_rate // from_rate


def _convolve(blocks: Iterable[np.ndarray], filters: np.ndarray, lead: int) -> Iterator[np.ndarray]:
    """Convolve blocks (1, n) with filters (azimuths, 2, taps) that begin `lead` early. Yields (azimuths, 2, n).

        block 1  |-----------|tail|               each tail is added to the next block; that of the last
        block 2              |-----------|tail|   block is cut, which preserves the length
    """
    from scipy.signal import oaconvolve
    tail = np.zeros((*filters.shape[:2], filters.shape[2] - 1), np.float32)
    for block in chain(blocks, [np.zeros((1, lead), np.float32)] if lead else []):
        output = oaconvolve(block[np.newaxis], filters, axes=-1)
        output[..., :tail.shape[-1]] += tail
        output, tail = np.split(output, [block.shape[1]], axis=-1)
        early = min(lead, block.shape[1])
        lead -= early
        yield output[..., early:]


def _write(outputs: list[Path], blocks: Iterable[np.ndarray], header: AudioInfo, comment: str,
           existing: list[Path]) -> None:
    """Write blocks (azimuths, 2, n), one file per azimuth: all files or, on failure, none.

    existing: outputs that are replaced only by the same bytes; otherwise a UserError is raised.
    """
    subtype = _SUBTYPES.get(header.subtype, "PCM_16")
    for output in outputs:
        output.parent.mkdir(exist_ok=True)
    with ExitStack() as finished:
        unfinished = {output: finished.enter_context(replacing(output)) for output in outputs}
        with ExitStack() as files:  # every file is closed before the first is renamed
            writers = [files.enter_context(audio_io.writing(each, header.rate, 2, subtype, samples=header.samples,
                                                            comment=comment)) for each in unfinished.values()]
            for block in blocks:
                for write_block, stereo in zip(writers, block, strict=True):
                    write_block(stereo)
        for output in existing:
            if not have_same_bytes(unfinished[output], output):
                raise _already_exists(output)
