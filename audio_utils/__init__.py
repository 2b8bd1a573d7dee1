"""What the scripts of Panotti share, and the tools that make, cut and look at sounds."""

import signal

_held = hasattr(signal, "pthread_sigmask") and signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
from audio_utils import command_line as command_line  # first of all: it answers ^C from here on

if _held is not False:
    signal.pthread_sigmask(signal.SIG_SETMASK, _held)
