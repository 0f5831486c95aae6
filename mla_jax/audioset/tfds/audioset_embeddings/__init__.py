"""The data set `audioset_embeddings`; TensorFlow Datasets wants a package of its own for a builder."""
