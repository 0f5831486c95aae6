"""The table that `experiments.table1` makes of its runs, and the picture that goes with it.

`comparison` turns the results of runs into plain values and Markdown, `figure` into a picture. Neither
trains, and neither reads flags.
"""
