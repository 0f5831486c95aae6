"""A Keras HDF5 file, read without Keras, as a `ModelConfig` and the variables of our model.

`file` reads it, `graph` its layers and connections. `walk` and `form` find the parts of the model in the
graph, `names` finds them in weights without a graph; both return a `layout`, from which `weights` fills the
variables.
"""
