r"""What a model says of the segments of clips.

For each segment a score (`mla_jax.inference.segment_scores`), and for each level

- the attention $a$, which says how much each segment counts for a class of that level;
- the classification $f$ of each segment (paper, Eqs. 1 to 4).

Where an output layer mixes the levels, it mixes all units of all of them, and nothing ties unit k of a level
to class k: $a$ and $f$ show how a level works, not when class k sounds.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.data.embedding import Scaling
from mla_jax.inference.segment_scores import SegmentWeights, clip_and_segment_probs
from mla_jax.models.folded import ModelForm
from mla_jax.models.inputs import model_inputs

if TYPE_CHECKING:
    from mla_jax.models.multi_level import MultiLevelModel


class Level(NamedTuple):
    """What the head of one level says of each segment; float32.

    Attributes:
      attention: a, [clips, time, classes]; with `attend_to=features` that of the features, [clips, time,
        hidden_units]. Sums to one over time. Padding has 0, or its share where it counts
        (`use_mask=False`).
      segment_probs: f, [clips, time, classes]; NaN in padding. None with `attend_to=features`, where
        segments are pooled before anything is classified.
    """

    attention: np.ndarray
    segment_probs: np.ndarray | None

    def contributions(self) -> np.ndarray:
        """What each segment adds to the level's clip probabilities, a f, [clips, time, classes].

        0 in padding. (Where padding counts it adds to them as well; that is left out.)
        """
        assert self.segment_probs is not None, "features are attended to"
        return self.attention * np.nan_to_num(self.segment_probs)


class SegmentOutput(NamedTuple):
    """What a model says of clips and their segments; float32.

    Attributes:
      probs: the clips' probabilities, [clips, classes].
      scores: the segments' scores, [clips, time, classes]; NaN in padding, whether it is masked or not.
      levels: the levels of segments, the shallowest first; empty unless asked for.
      level_probs: of each level, the clips' probabilities, [clips, classes]: of the levels of segments, then
        of that of the whole clip, if there is one; empty unless asked for.
    """

    probs: np.ndarray
    scores: np.ndarray
    levels: tuple[Level, ...] = ()
    level_probs: tuple[np.ndarray, ...] = ()


@partial(jax.jit, static_argnames=("model", "scaling", "use_mask", "with_levels", "score"))
def segment_output(
    model: "ModelForm | MultiLevelModel",
    weights: SegmentWeights,
    embeddings: jax.Array,
    num_segments: jax.Array,
    *,
    scaling: Scaling,
    use_mask: bool,
    with_levels: bool,
    score: str,
) -> SegmentOutput:
    """The compiled program behind `Predictor.predict_segments`: its output, on the device."""
    inputs, mask = model_inputs(
        embeddings,
        num_segments,
        offset=scaling.offset,
        scale=scaling.scale,
        use_mask=use_mask,
    )
    probs, scores, found = clip_and_segment_probs(model.config, weights, inputs, mask, score)
    present = (jnp.arange(inputs.shape[1])[None, :] < num_segments[:, None])[:, :, None]

    def nan_in_padding(values: jax.Array) -> jax.Array:
        return jnp.where(present, values, jnp.nan)

    levels: list[Any] = []
    level_probs: list[jax.Array] = []
    if with_levels:
        decides = model.config.attend_to == "decisions"
        for level in found.of_segments:
            f = nan_in_padding(jax.nn.sigmoid(level.values)) if decides else None
            levels.append((level.attention(mask), f))
        level_probs = [jax.nn.sigmoid(logits) for logits in found.of_clips(mask)]
    # JAX's arrays here, and NumPy's once they are on the host.
    output: Any = (
        probs,
        nan_in_padding(scores),
        tuple(Level(*level) for level in levels),
        tuple(level_probs),
    )
    return SegmentOutput(*output)
