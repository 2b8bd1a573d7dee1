"""Render sounds binaurally: one stereo file per direction, as it would arrive at a listener's two ears.

Reads   the given files                        any audio; several channels are mixed to mono
Writes  e0a<azimuth>/<file>_e0a<azimuth>.wav   in the working directory, for N_AZ azimuths spaced evenly over 360°

    python audio_utils/binauralify.py 12 *.wav
    python audio_utils/binauralify.py 8 a.wav --elevation-deg 30 --hrtf my.sofa

Azimuths follow SOFA (AES69): counterclockwise seen from above, 0° ahead, 90° at the left ear, 270° at the right ear.
Each azimuth uses the nearest measured impulse responses of a SOFA file (convention SimpleFreeFieldHRIR). The default is
the KEMAR set of W. G. Gardner and K. D. Martin, "HRTF measurements of a KEMAR dummy-head microphone", MIT Media Lab
Perceptual Computing Technical Report 280, 1994.

Length and sample rate are preserved; the tail after the end, a few milliseconds, is cut. If one azimuth of a
file would clip, all are attenuated equally. The outputs are 16-bit, 24-bit or FLOAT, whichever is closest to the input.
A tag in their comment names the input, so that preprocess_data.py keeps sounds made from one recording in one split.
"""

import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the suite's folder
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
from audio_utils.audio import hrtf
from audio_utils.runtime import command_line, parallel, signals
from audio_utils.runtime.command_line import Limits

HRTF = hrtf.KEMAR    # SOFA file of the head-related impulse responses
ELEVATION_DEG = 0.0  # degrees above the horizontal plane
TOLERANCE_DEG = 5.0  # degrees; maximum angle between a direction and the nearest measured one
OVERWRITE = False    # True: replace existing files
JOBS = None          # processes; None: one per core; or the address of a Dask scheduler
                     # ("tcp://host:8786"), whose workers share this folder: see audio_utils/README.md

_LIMITS = {"N_AZ": Limits(int, 1, 3600), "ELEVATION_DEG": Limits(float, -90, 90),
           "TOLERANCE_DEG": Limits(float, 0.1, 180), "JOBS": Limits(int, 1, optional=True, address=True)}
_MIN_PARALLEL = 2  # files; with fewer, one process is faster


def main() -> int:
    options = command_line.parse(globals(), _LIMITS, positional=[
        ("n_az", {"metavar": "N_AZ", "type": int, "help": "number of azimuths"}),
        ("files", {"metavar": "FILE", "nargs": "+", "help": "sounds"})])
    signals.on_stop("Stopped. Finished files are kept.")
    azimuths_deg = [360 * number / options.n_az for number in range(options.n_az)]
    folders = [f"e{options.elevation_deg:g}a{round(azimuth_deg, 2):g}" for azimuth_deg in azimuths_deg]
    responses, rate = hrtf.read_responses(options.hrtf, azimuths_deg, options.elevation_deg, options.tolerance_deg)
    files = list(dict.fromkeys(map(Path, command_line.expand(options.files))))
    collisions = command_line.name_collisions(files, lambda path: path.stem)
    shared = (collisions, folders, responses, rate, options.overwrite)
    results = parallel.each(hrtf.binauralize, files, "Rendering", options.jobs, shared, _MIN_PARALLEL)
    status = parallel.report(results, len(files), f"sounds from {options.n_az} azimuths")
    for folder in folders:
        with suppress(OSError):  # the folder is not empty, unless all its files failed
            Path(folder).rmdir()
    return status


if __name__ == "__main__":
    script.run(main)
