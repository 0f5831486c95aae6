"""The models: embeddings [batch, time, features] and a mask in, clip logits [batch, classes] out.

`pooling` is pure functions, `batch_norm` and `multi_level` are Linen modules, `fold` and `folded` apply what
was trained by fewer products and without Flax, `inputs` scales embeddings as they are stored. What a model
looks like is said by `mla_jax.config.ModelConfig`; this room knows no data set, no training and no file.
"""
