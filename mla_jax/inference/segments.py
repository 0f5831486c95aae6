r"""What a model says of the segments of clips.

A score of a segment that knows nothing but the segment ranks seconds worse than the probability of the whole
clip written under each of them: one second of sound says little, its clip says much. So the segment score
takes both. With $z(\cdot)$ the model's logit for a class of any stretch of segments, taken as a clip,

$$s_t = \sigma\big(0.6\, z(\text{clip}) + 0.2\, z(x_{t-1}, x_t, x_{t+1}) + 0.2\, z(x_t)\big),$$

where windows end at the ends of the clip. In a clip of one segment, or of equal segments, it is the clip's
probability; played backwards, a clip has the same scores backwards. It lives on the scale of the clip
probabilities, so thresholds chosen on clips apply. It needs no attention: every form of the model has it.

The other quantities, each `[clips, time, ...]`:

- alone: the model applied to the segment as a clip of its own, $\sigma(z(x_t))$; for where the clip must not
  matter;
- clip: the clip's probability, under every segment: what any other score must beat;
- for each level, the attention $a$, which says how much each segment counts for a class of that level;
- for each level, the classification $f$ of each segment (paper, Eqs. 1 to 4).

Where a model has several levels, its output layer mixes all units of all of them, and nothing ties unit k of
a level to class k: $a$ and $f$ show how a level works, not when class k sounds.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.config import parse_architecture
from mla_jax.data.embedding import Scaling
from mla_jax.errors import UserError
from mla_jax.models.inputs import model_inputs
from mla_jax.models.multi_level import MultiLevelModel, Variables
from mla_jax.models.windows import Blend

IN_CONTEXT = Blend(clip=0.6, windows=((1, 0.2), (3, 0.2)))
"""The segment score."""

SEGMENT_SCORES: dict[str, Blend] = {
    "in_context": IN_CONTEXT,
    "alone": Blend(clip=0, windows=((1, 1),)),
    "clip": Blend(clip=1, windows=()),
}
"""The scores of segments by name: the default, the segment alone, and the clip's probability repeated."""

DEFAULT_SCORE = "in_context"


def require_known_score(name: str) -> None:
    """Checks that a segment score has this name.

    Raises:
      UserError: none has.
    """
    if name not in SEGMENT_SCORES:
        raise UserError(
            f"segment_score={name!r} is not known: choose from {', '.join(SEGMENT_SCORES)}"
        )


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
      levels: the levels, the shallowest first; empty unless asked for.
    """

    probs: np.ndarray
    scores: np.ndarray
    levels: tuple[Level, ...]


@partial(jax.jit, static_argnames=("model", "scaling", "use_mask", "with_levels", "score"))
def segment_output(
    model: MultiLevelModel,
    variables: Variables,
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
    require_known_score(score)
    logits, sown = model.apply(
        variables, inputs, mask, segments=SEGMENT_SCORES[score], mutable=["intermediates"]
    )
    probs: jax.Array = jax.nn.sigmoid(logits)
    time = inputs.shape[1]
    present = (jnp.arange(time)[None, :] < num_segments[:, None])[:, :, None]

    def nan_in_padding(values: jax.Array) -> jax.Array:
        return jnp.where(present, values, jnp.nan)

    levels = []
    if with_levels:
        for a, f in _levels(model, sown["intermediates"]):
            levels.append(Level(a, None if f is None else nan_in_padding(f)))  # type: ignore[arg-type]
    return SegmentOutput(probs[:, 0], nan_in_padding(probs[:, 1:]), tuple(levels))  # type: ignore[arg-type]


def _levels(model: MultiLevelModel, sown: Variables) -> list[tuple[jax.Array, jax.Array | None]]:
    """Attention and segment probabilities of each level; a shared head has sown once for each."""
    found = []
    for level in range(len(parse_architecture(model.config.architecture))):
        head, call = ("head_0", level) if model.config.share_heads else (f"head_{level}", 0)
        values = sown[head]
        f = values["segment_probs"][call] if "segment_probs" in values else None
        found.append((values["attention"][call], f))
    return found
