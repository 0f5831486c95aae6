"""Models that come from elsewhere, or go there, as folders that `mla_jax.runs.trained` opens.

`models/` has those that come with the package (`mla_jax.runs.names` names them), and `store` makes one of a
run. `import_keras` takes a file of weights of another program and writes a folder with a config and a
checkpoint at step 0, of which `inference` and `tagging` cannot tell where it came from. Runs nothing that is
in the file. `keras/` reads Keras HDF5 files without Keras.
"""
