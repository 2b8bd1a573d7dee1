"""From Samples/ to clips: sounds, their split, the plan, Preproc/, checks of the data."""
