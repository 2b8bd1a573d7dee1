"""Place sounds around a listener's head: each becomes stereo files, as two ears hear it from each direction.

Reads   the files named                        any audio; several channels are mixed down to one
Writes  e0a<azimuth>/<file>_e0a<azimuth>.wav   in the working folder, N_AZ azimuths spaced evenly over 360°

    python audio_utils/binauralify.py 12 *.wav
    python audio_utils/binauralify.py 8 bird.wav --elevation-deg 30 --hrtf another_head.sofa

Azimuths are those of SOFA (AES69): counter-clockwise seen from above, 0° ahead, 90° at the left ear, 270° at the right.
Each is heard through the responses of the ears that were measured nearest to it. They come from any SOFA file of the
convention SimpleFreeFieldHRIR; by default from W. G. Gardner and K. D. Martin, "HRTF measurements of a KEMAR
dummy-head microphone", MIT Media Lab Perceptual Computing Technical Report 280, 1994.

Length and rate stay: what rings on after the end, some milliseconds, is cut. Where one azimuth of a file would clip,
all are lowered alike. Samples have the original's type where that is 16 or 24 bits or FLOAT, or the next best of these.
"""

import math
import subprocess
import sys
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder; a script knows only its own
from audio_utils import command_line  # first of all: it answers ^C from here on

# isort: split
import numpy as np

from audio_utils import audio_io, parallel
from audio_utils.safe_files import UserError, replacing

_SHIPPED = str(Path(__file__).with_name("MIT_KEMAR_normal_pinna.sofa"))
HRTF = _SHIPPED      # SOFA file of the ears' responses
ELEVATION_DEG = 0.0  # degrees above the plane of the ears
TOLERANCE_DEG = 5.0  # degrees that a measured direction may lie from the one that it stands for
OVERWRITE = False    # True: replace files that are there already
JOBS = None          # processes; None: one for each core

_BATCH = 1 << 21  # samples, of all ears and azimuths, that are convolved at a time; it bounds the memory
_FULL_SCALE = 1 - 2 ** -15  # the highest value of 16 bits
_SUBTYPES = {"PCM_24": "PCM_24", "PCM_32": "PCM_24", "FLOAT": "FLOAT", "DOUBLE": "FLOAT"}  # all others: PCM_16
_LOWEST_RATE = 1000  # Hz
_LONGEST = 1 << 16  # samples of a response; a longer one would be a room's
_MOST = 1 << 20  # directions in a SOFA file
_READ_TEXTS = "import h5py, sys; file = h5py.File(sys.argv[1]); [dict(each.attrs) for each in (file, *file.values())]"
_PATIENCE_SECONDS = 20  # for that; it takes less than one


def main():
    options = command_line.parse(globals(), [
        ("n_az", {"metavar": "N_AZ", "type": int, "help": "number of azimuths"}),
        ("files", {"metavar": "FILE", "nargs": "+", "help": "sounds"})])
    command_line.on_stop("Stopped; the files that were finished are kept.")
    command_line.check_number(options, "n_az", int, 1, 3600)
    command_line.check_number(options, "elevation_deg", float, -90, 90)
    command_line.check_number(options, "tolerance_deg", float, 0.1, 180)
    command_line.check_number(options, "jobs", int, 1, none=True)
    azimuths_deg = [360 * number / options.n_az for number in range(options.n_az)]
    folders = [f"e{options.elevation_deg:g}a{round(azimuth_deg, 2):g}" for azimuth_deg in azimuths_deg]
    responses, rate = read_responses(options.hrtf, azimuths_deg, options.elevation_deg, options.tolerance_deg)
    files = list(dict.fromkeys(map(Path, command_line.expand(options.files))))
    rivals = command_line.rivals(files, lambda path: path.stem)
    shared = (rivals, folders, responses, rate, options.overwrite)
    status = parallel.report(parallel.each(place, files, "Placing", options.jobs, shared, fewest=2))
    for folder in folders:
        with suppress(OSError):  # it holds something, as it should
            Path(folder).rmdir()
    return status


def read_responses(sofa, azimuths_deg, elevation_deg, tolerance_deg):
    """The ears' responses, from a SOFA file, to the measured directions nearest to those asked for.

    Returns (azimuths, 2: left and right, taps) float32, and their rate in Hz.
    """
    if not Path(sofa).is_file():
        raise UserError(f"{sofa}: is not there or no file; set HRTF to a SOFA file.")
    if sofa != _SHIPPED:
        refuse_endless(sofa)
    import h5py
    try:
        with h5py.File(sofa, "r") as file:
            convention = text(file.attrs["SOFAConventions"])
            check(convention == "SimpleFreeFieldHRIR", f"its convention is {convention}, not SimpleFreeFieldHRIR")
            view = vectors(file["ListenerView"])
            check((view[:, 0] > 0).all() and not view[:, 1:].any(), "its listener does not look along the x axis")
            measured = vectors(file["SourcePosition"])
            rows = nearest(sofa, measured, azimuths_deg, elevation_deg, tolerance_deg)
            rates = np.unique(file["Data.SamplingRate"][...])
            check(len(rates) == 1 and rates[0] in range(_LOWEST_RATE, audio_io.HIGHEST_RATE),
                  f"its Data.SamplingRate is {rates}")
            return ears(file, rows, len(measured)), int(rates[0])
    except UserError:
        raise
    except Exception as error:  # a damaged file makes h5py and numpy raise almost any
        reason = str(error).strip("'\"")
        raise UserError(f"{sofa}: is not as SOFA has it ({reason}); set HRTF to another SOFA file.") from None


def refuse_endless(sofa):
    """Refuse a file whose texts can't be read to an end.

    In a damaged text HDF5 may go round for ever, deaf to ^C; so another process, which can be ended, reads them first.
    """
    command = [sys.executable, "-c", _READ_TEXTS, sofa]
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"{sofa}: is damaged, its texts have no end; set HRTF to another SOFA file.") from None


def text(attribute):
    return attribute.decode(errors="replace") if isinstance(attribute, bytes) else str(attribute)


def check(holds, otherwise):
    if not holds:
        raise ValueError(otherwise)


def vectors(positions):
    """A SOFA variable of positions as (rows, 3): x ahead, y left, z up; where it is spherical, of length 1."""
    name, shape = positions.name.strip("/"), positions.shape
    check(len(shape) in (2, 3) and shape[1] == 3 and 0 < shape[0] <= _MOST, f"its {name} has the shape {shape}")
    values = np.asarray(positions[..., 0] if len(shape) == 3 else positions[...], np.float64)
    check(np.isfinite(values).all(), f"its {name} holds NaN or infinity")
    if text(positions.attrs["Type"]) == "cartesian":
        return values
    check(text(positions.attrs["Units"]).startswith("degree"), f"its {name} is not in degrees")
    return unit_vectors(values[:, 0], values[:, 1])


def unit_vectors(azimuths_deg, elevations_deg):
    azimuths, elevations = np.radians(azimuths_deg), np.radians(elevations_deg)
    x, y = np.cos(elevations) * np.cos(azimuths), np.cos(elevations) * np.sin(azimuths)
    return np.stack(np.broadcast_arrays(x, y, np.sin(elevations)), axis=1)


def nearest(sofa, measured, azimuths_deg, elevation_deg, tolerance_deg):
    """The row of the measured direction (rows, 3) nearest to each azimuth; refuse what the set does not resolve."""
    check(measured.any(axis=1).all(), "a source of it stands where the listener is")
    measured = measured / np.linalg.norm(measured, axis=1, keepdims=True)
    asked = unit_vectors(azimuths_deg, elevation_deg)
    tie = 1e-9 * measured[:, 0]  # of two that are equally near, the one ahead: left and right stay mirrored
    rows = [int(np.argmax(measured @ direction + tie)) for direction in asked]
    off_deg = np.degrees(np.arccos(np.clip((measured[rows] * asked).sum(axis=1), -1, 1)))
    worst, resolved = int(np.argmax(off_deg)), len(set(rows))
    if off_deg[worst] > tolerance_deg:
        raise UserError(f"{sofa}: the nearest direction to azimuth {azimuths_deg[worst]:g}° at elevation "
                        f"{elevation_deg:g}° is {off_deg[worst]:.1f}° off; choose others, or raise TOLERANCE_DEG.")
    if resolved < len(rows):
        raise UserError(f"{sofa}: resolves {resolved} of these {len(rows)} azimuths at elevation {elevation_deg:g}°; "
                        f"make N_AZ {resolved} or less.")
    return rows


def ears(file, rows, directions):
    """The responses (rows, 2, taps) float32 of these rows, the left ear's first, each after its delay."""
    sides, shape = vectors(file["ReceiverPosition"])[:, 1], file["Data.IR"].shape
    check(len(sides) == 2, f"it has {len(sides)} ears")
    check(shape[:2] == (directions, 2) and 0 < shape[2] <= _LONGEST, f"its Data.IR has the shape {shape}")
    with np.errstate(all="ignore"):  # what does not fit becomes infinite
        responses = np.stack([file["Data.IR"][row] for row in rows]).astype(np.float32)
    check(np.isfinite(responses).all(), "its Data.IR holds NaN or infinity")
    delays = np.broadcast_to(np.rint(file["Data.Delay"][...]), (directions, 2))[rows]  # samples
    check(((delays >= 0) & (delays <= _LONGEST)).all(), "its Data.Delay is out of bounds")
    responses = np.pad(responses, ((0, 0), (0, 0), (0, int(delays.max()))))
    for row, ear in np.ndindex(delays.shape):
        responses[row, ear] = np.roll(responses[row, ear], int(delays[row, ear]))
    return responses[:, np.argsort(-sides, kind="stable")]  # y is positive on the left


def place(path, rivals, folders, responses, response_rate, overwrite):
    """Write one sound from all azimuths. Returns a sentence that says what was done."""
    if path in rivals:
        raise UserError(f"{path}: its files would have the names of those of {rivals[path]}; rename it.")
    outputs = [Path(folder) / f"{path.stem}_{folder}.wav" for folder in folders]
    there = [output for output in outputs if output.exists()]
    if there and not overwrite:
        raise UserError(f"{there[0]}: is there already; remove it or add --overwrite.")
    facts = audio_io.info(path)
    if facts.rate < _LOWEST_RATE:
        raise UserError(f"{path}: its rate of {facts.rate} Hz is too low to hear directions by; leave it out.")
    peak = max(float(np.abs(heard).max(initial=0)) for heard in hear(path, responses, response_rate))
    gain = _FULL_SCALE / max(peak, _FULL_SCALE)
    write(outputs, (heard * np.float32(gain) for heard in hear(path, responses, response_rate)), facts)
    return (f"{path}: {len(outputs)} azimuths"
            + (f", {facts.channels} channels mixed down" if facts.channels > 1 else "")
            + (f", lowered by {-20 * math.log10(gain):.1f} dB so that none clips" if gain < 1 else "") + ".")


def hear(path, responses, response_rate):
    """Yield (azimuths, 2, n): a file as the ears hear it, piece by piece."""
    with audio_io.opened(path, block=_BATCH // (2 * len(responses))) as (facts, blocks):
        filters, lead = at_rate(responses, response_rate, facts.rate)
        yield from convolve(mix_down(path, blocks(facts.samples)), filters, lead)


def mix_down(path, blocks):
    """Yield blocks (channels, n) as (1, n)."""
    for block in blocks:
        if not np.isfinite(block).all():
            raise UserError(f"{path}: holds NaN or infinite samples; repair or remove it.")
        yield block.mean(axis=0, keepdims=True)


def at_rate(responses, from_rate, to_rate):
    """Resample responses (azimuths, 2, taps). Returns them and by how many samples they begin early.

    Resampled, a response also rings before its beginning; silence in front (and behind) makes room for that. It is
    scaled, for where its samples lie twice as close, twice as many add up.
    """
    if from_rate == to_rate:
        return responses, 0
    margin = 64 * -(-from_rate // to_rate)  # 64 samples at the lower rate
    padded = np.pad(responses, ((0, 0), (0, 0), (margin, margin)))
    flat = audio_io.resample(padded.reshape(-1, padded.shape[-1]), from_rate, to_rate) * np.float32(from_rate / to_rate)
    return flat.reshape(*responses.shape[:2], -1), margin * to_rate // from_rate


def convolve(blocks, filters, lead):
    """Convolve blocks (1, n) with filters (azimuths, 2, taps) that begin `lead` early. Yields (azimuths, 2, n).

        block 1  |-----------|tail|               tails are added to what comes after them; that of the
        block 2              |-----------|tail|   last block is cut, so that the length stays
    """
    from scipy.signal import oaconvolve
    tail = np.zeros((*filters.shape[:2], filters.shape[2] - 1), np.float32)
    for block in chain(blocks, [np.zeros((1, lead), np.float32)] if lead else []):
        heard = oaconvolve(block[np.newaxis], filters, axes=-1)
        heard[..., :tail.shape[-1]] += tail
        heard, tail = np.split(heard, [block.shape[1]], axis=-1)
        early = min(lead, block.shape[1])
        lead -= early
        yield heard[..., early:]


def write(outputs, pieces, facts):
    """Write pieces (azimuths, 2, n), each azimuth to its file; all files or, where one fails, none."""
    subtype = _SUBTYPES.get(facts.subtype, "PCM_16")
    for output in outputs:
        output.parent.mkdir(exist_ok=True)
    with ExitStack() as finished, ExitStack() as files:  # every file is closed before the first is renamed
        unfinished = [finished.enter_context(replacing(output)) for output in outputs]
        writers = [files.enter_context(audio_io.writing(each, facts.rate, 2, subtype, samples=facts.samples))
                   for each in unfinished]
        for piece in pieces:
            for write_block, stereo in zip(writers, piece, strict=True):
                write_block(stereo)


if __name__ == "__main__":
    command_line.run(main)
