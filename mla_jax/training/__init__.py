"""The steps of training: which clips they see, the loss, the optimizer, and the loop around them.

Takes a model, a `TrainState`, a `ClipSet` and a `Config`; returns the new state, and losses on the way
(`loop.fit`, `loop.Trainer`). Everything is in memory: reads and writes no file, and knows no runs.
"""
