"""Files as VGGish and YAMNet are published, with random numbers in them."""

from pathlib import Path

import numpy as np

from mla_jax.audio import vggish
from mla_jax.audio.pca import MEANS, VECTORS


def random_vggish(seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays with the names and shapes of the published ones, such that embeddings are of size 1."""
    random = np.random.default_rng(seed)
    arrays = {}
    for name, shape in vggish.shapes().items():
        if name.endswith("biases"):
            arrays[name] = random.normal(0, 0.05, shape).astype(np.float32)
        else:
            arrays[name] = random.standard_normal(shape, np.float32)
            arrays[name] *= np.sqrt(2 / np.prod(shape[:-1]), dtype=np.float32)
    return arrays


def write_checkpoint(path: Path, arrays: dict[str, np.ndarray], version: int = 1) -> Path:
    """A checkpoint by TensorFlow's own saver, of version 1 as VGGish's is, with a variable more."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        variables = []
        for name, array in {**arrays, "global_step": np.zeros((), np.int64)}.items():
            initial = v1.placeholder(array.dtype, array.shape)
            variables.append(v1.Variable(initial, name=name, use_resource=False))
            session.run(variables[-1].initializer, {initial: array})
        write = v1.train.SaverDef.V1 if version == 1 else v1.train.SaverDef.V2
        v1.train.Saver(variables, write_version=write).save(
            session, str(path), write_meta_graph=False, write_state=False
        )
    return path


def write_pca(path: Path, seed: int = 0) -> Path:
    """As vggish_pca_params.npz."""
    random = np.random.default_rng(seed)
    np.savez(
        path,
        **{VECTORS: np.linalg.qr(random.normal(size=(128, 128)))[0], MEANS: np.zeros((128, 1))},
    )
    return path
