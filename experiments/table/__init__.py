"""The table that `experiments.table1` makes of its runs, and the picture that goes with it.

`comparison` turns the results of runs into plain values and Markdown, `figure` into a picture; `folds` and
`exports` are the tables of `experiments.esc10` and `experiments.exports`. None trains, and none reads flags.
"""
