"""A trained model as a file that other programs run, without this package.

Takes a run; writes one file, or for TensorFlow one folder, in a format that `formats.FORMATS` has by its
ending. In every format the same two arrays go in, the same two come out, and a description travels inside it
(`tagger.Tagger`): classes, thresholds, what the embeddings are. Only this room imports Keras, TensorFlow's
converters and ONNX.
"""
