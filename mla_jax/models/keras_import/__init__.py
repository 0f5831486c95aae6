"""A Keras HDF5 file, read without Keras, as variables of our model: file -> graph -> form -> weights."""
