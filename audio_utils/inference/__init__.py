"""Trained networks: the device, the checkpoint, predictions, export."""
