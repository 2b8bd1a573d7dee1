"""The infrastructure of all scripts: flags, errors, signals, atomic files, processes."""
