"""Metrics, confidence intervals, plots and the report; everything here works on arrays, without Keras."""
