"""Audio files and streams, mel-spectrograms, altered copies, head-related transfer functions."""
