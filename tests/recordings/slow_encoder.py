"""An encoder that takes its time, so that a program with it can be killed on the way."""

import time

import numpy as np

from mla_jax.audio.encoder import Encoder


def peaks(examples: np.ndarray) -> np.ndarray:
    """The largest and the smallest sample."""
    time.sleep(0.02)
    return np.stack([examples.max(axis=1), examples.min(axis=1)], axis=1)


SLOW = Encoder(name="peaks", embed=peaks, num_features=2)
