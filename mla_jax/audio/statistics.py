"""An encoder that needs no download: the mean and deviation of each log-mel band, second by second.

Good for tests and demonstrations, and the simplest example of a user's own function.
"""

import jax
import jax.numpy as jnp

from mla_jax.audio.encoder import Encoder
from mla_jax.audio.log_mel import VGGISH, log_mel


@jax.jit
def band_statistics(examples: jax.Array) -> jax.Array:
    """The mean over time of each of the 64 log-mel bands, then the deviation of each.

    Args:
      examples: float32 [examples, samples] at 16 kHz.

    Returns:
      float32 [examples, 128], roughly from -1 to 1.
    """
    mel = log_mel(examples, VGGISH)
    return jnp.concatenate([mel.mean(1) / 4, mel.std(1) / 2], axis=-1)


LOG_MEL_STATISTICS = Encoder(
    name="log_mel_statistics", embed=band_statistics, num_features=2 * VGGISH.bands
)
