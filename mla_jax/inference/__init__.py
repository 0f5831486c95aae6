"""Applying a model to clips: compiled, a batch at a time, on one device or several.

Takes a model, its variables and a `ClipSet`; returns NumPy arrays: clip probabilities
(`predictor.Predictor.predict`), or what the model says of each segment (`predict_segments`). Everything
that concerns batches, padding, devices and running ahead of the host is in `predictor`; what is said of
segments is defined in `segments`. Reads and writes no file, and knows no runs.
"""
