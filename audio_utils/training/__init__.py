"""The trainer and its parts: training state, schedule, EMA, early stopping, augmentation, cross-validation."""
