"""Tagging: clips in, a file of their most probable labels out, in bounded memory.

`tag.predict_to_file` reads clips as a stream, cuts long ones into windows (`data.windows`), applies a trained
model and writes JSON Lines, CSV or Parquet (`formats`). Takes a run's folder and a path of clips. It only
reads from the run's folder, and knows nothing of training.
"""
