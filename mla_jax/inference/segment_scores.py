r"""The score of a segment: what a model says of it in its clip.

A score of a segment that knows nothing but the segment ranks seconds worse than the probability of the whole
clip written under each of them: one second of sound says little, its clip says much. So the segment score
takes both. With $z(\cdot)$ the model's logit for a class of any stretch of segments, taken as a clip,

$$s_t = \sigma\big(0.7\, z(\text{clip}) + 0.15\, z(x_{t-1}, x_t, x_{t+1}) + 0.15\, z(x_t) + 0.15\, r_t\big),$$

where windows end at the ends of the clip. Where unit k of every level is class k (one level, or
`model.join=mean`), $r_t$ is what the attention says of the segment against the others of its clip,
$\log a_t - \frac1T \sum_s \log a_s$, mean over the levels; else, and without attention, it is 0.

In a clip of one segment, or of equal segments, the score is the clip's probability; played backwards, a clip
has the same scores backwards. It lives on the scale of the clip probabilities, so thresholds chosen on clips
apply. Every form of the model has it.

Other scores have names of their own:

- alone: the model applied to the segment as a clip of its own, $\sigma(z(x_t))$; for where the clip must not
  matter;
- clip: the clip's probability, under every segment: what any other score must beat.
"""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from mla_jax.config import parse_architecture
from mla_jax.errors import UserError
from mla_jax.models.folded import ModelForm
from mla_jax.models.pooling import POOLINGS
from mla_jax.models.variables import Variables
from mla_jax.models.windows import Blend

if TYPE_CHECKING:
    from mla_jax.models.multi_level import MultiLevelModel


class SegmentScore(NamedTuple):
    """What the score of a segment is made of.

    Attributes:
      blend: of the logits of the clip and of windows around the segment.
      attention: the weight of r, what attention says of the segment.
    """

    blend: Blend
    attention: float = 0.0


SEGMENT_SCORES: dict[str, SegmentScore] = {
    "in_context": SegmentScore(Blend(clip=0.7, windows=((1, 0.15), (3, 0.15))), attention=0.15),
    "alone": SegmentScore(Blend(clip=0, windows=((1, 1),))),
    "clip": SegmentScore(Blend(clip=1, windows=())),
}
"""The scores of segments by name: the default, the segment alone, and the clip's probability repeated."""

DEFAULT_SCORE = "in_context"

_LEAST_ATTENTION = 1e-30  # below that of any segment that counts


def require_known_score(name: str) -> None:
    """Checks that a segment score has this name.

    Raises:
      UserError: none has.
    """
    if name not in SEGMENT_SCORES:
        raise UserError(
            f"segment_score={name!r} is not known: choose from {', '.join(SEGMENT_SCORES)}"
        )


def clip_and_segment_logits(
    model: "ModelForm | MultiLevelModel",
    variables: Variables,
    inputs: jax.Array,
    mask: jax.Array | None,
    score: str = DEFAULT_SCORE,
) -> tuple[jax.Array, list[tuple[jax.Array, jax.Array | None]]]:
    """The logits of clips and segments, [clips, 1 + time, classes]; and attention and f of each level.

    Args:
      model, variables: what is applied.
      inputs: [clips, time, features] float32, scaled.
      mask: [clips, time] bool, which segments count; None: all of them.
      score: of the segments, by its name.

    Raises:
      UserError: there is no such score.
    """
    require_known_score(score)
    # Clips alone do not need Flax.
    from mla_jax.models.multi_level import build_model

    blend, weight = SEGMENT_SCORES[score]
    whole = build_model(model.config, model.num_classes)
    logits, sown = whole.apply(variables, inputs, mask, segments=blend, mutable=["intermediates"])
    levels = _levels(whole, sown["intermediates"])
    if weight and whole.units_are_classes and POOLINGS[model.config.pooling].uses_attention:
        says = sum(_against_the_clip(a, mask) for a, _ in levels) / len(levels)
        logits = logits.at[:, 1:].add(weight * says)
    return logits, levels


def _against_the_clip(attention: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Log a minus its mean over the segments that count; 0 for others."""
    counts = jnp.ones(attention.shape[:2], bool) if mask is None else mask
    there = counts[:, :, None]
    log_a = jnp.where(there, jnp.log(jnp.maximum(attention, _LEAST_ATTENTION)), 0)
    number = jnp.maximum(jnp.sum(there, axis=1, keepdims=True), 1)
    return jnp.where(there, log_a - jnp.sum(log_a, axis=1, keepdims=True) / number, 0)


def _levels(model: "MultiLevelModel", sown: Variables) -> list[tuple[jax.Array, jax.Array | None]]:
    """Attention and segment probabilities of each level; a shared head has sown once for each."""
    found = []
    for level in range(len(parse_architecture(model.config.architecture))):
        head, call = ("head_0", level) if model.config.share_heads else (f"head_{level}", 0)
        values = sown[head]
        f = values["segment_probs"][call] if "segment_probs" in values else None
        found.append((values["attention"][call], f))
    return found
