"""AudioSet's released features for TensorFlow Datasets.

`import mla_jax.audioset.tfds` makes the name known: `tfds.load("audioset_embeddings")`.
"""

from mla_jax.audioset.tfds.audioset_embeddings.audioset_embeddings_dataset_builder import (
    Builder,
    Config,
)

__all__ = ["Builder", "Config"]
