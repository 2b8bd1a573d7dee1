"""The infrastructure of all scripts: flags, errors, signals, atomic files, processes."""

import sys

from audio_utils.runtime import installation

if installation.is_old_python():
    sys.exit(installation.describe_unsupported_python())
