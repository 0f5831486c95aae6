"""Weights that other programs trained, as a run's folder that `mla_jax.runs.trained` opens.

Takes a file of weights; writes a folder with a config and a checkpoint at step 0, of which `inference` and
`tagging` cannot tell where it came from. Runs nothing that is in the file. `keras/` reads Keras HDF5 files
without Keras.
"""
