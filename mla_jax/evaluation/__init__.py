"""How good scores are: metrics by clip, thresholds, and how certain a difference is.

Takes scores and labels as arrays [num_clips, num_classes]; returns numbers, averaged and by class. NumPy
only: knows no model, no data format and no file.
"""
