"""What any script needs, whatever it does: flags, errors, signals, atomic files, processes."""
