"""What the scripts of Panotti share, and the tools that make, cut and look at sounds."""

from audio_utils import command_line as command_line  # first of all: it answers ^C from here on
