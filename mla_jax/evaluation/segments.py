r"""What a model says of the segments of clips: compiled, in batches.

Three quantities, each `[clips, time, ...]`:

- the segment score: the model applied to the segment as a clip of its own, $\mathrm{model}(x_t)$;
- for each level, the attention $a$, which says how much each segment counts for a class of that level;
- for each level, the classification $f$ of each segment (paper, Eqs. 1 to 4).

The score is the one to read by class. Where a model has several levels, its output layer mixes all units of
all of them, and nothing ties unit k of a level to class k: $a$ and $f$ show how a level works, not when
class k sounds. The score goes through the whole model, so it lives on the scale of the clip
probabilities: that of a clip of one segment is the clip's own, and thresholds chosen on clips apply. With one
level it is $f$. It needs no attention, so that every form of the model has it.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.config import parse_architecture
from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError
from mla_jax.evaluation.predict import put_batch, require_same_features
from mla_jax.models.inputs import model_inputs
from mla_jax.models.multi_level import MultiLevelModel, Variables


class Level(NamedTuple):
    """What the head of one level says of each segment; float32.

    Attributes:
      attention: a, [clips, time, classes]; with `attend_to=features` that of the features, [clips, time,
        hidden_units]. Sums to one over time. Padding has 0, or where it counts (`use_mask=False`) its share.
      segment_probs: f, [clips, time, classes]; NaN in padding. None with `attend_to=features`, where
        segments are pooled before anything is classified.
    """

    attention: np.ndarray
    segment_probs: np.ndarray | None


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


@partial(jax.jit, static_argnames=("model", "offset", "scale", "use_mask", "with_levels"))
def _apply(
    model: MultiLevelModel,
    variables: Variables,
    embeddings: jax.Array,
    num_segments: jax.Array,
    *,
    offset: float,
    scale: float,
    use_mask: bool,
    with_levels: bool,
) -> tuple[jax.Array, jax.Array, list[tuple[jax.Array, jax.Array | None]]]:
    inputs, mask = model_inputs(
        embeddings, num_segments, offset=offset, scale=scale, use_mask=use_mask
    )
    logits, sown = model.apply(variables, inputs, mask, mutable=["intermediates"])
    batch, time, features = inputs.shape
    single: jax.Array = model.apply(  # type: ignore[assignment]
        variables, inputs.reshape(batch * time, 1, features)
    )
    there = (jnp.arange(time)[None, :] < num_segments[:, None])[:, :, None]

    def of_segments(values: jax.Array) -> jax.Array:
        return jnp.where(there, values, jnp.nan)

    levels = []
    if with_levels:
        for a, f in _levels(model, sown["intermediates"]):
            levels.append((a, None if f is None else of_segments(f)))
    scores = jax.nn.sigmoid(single).reshape(batch, time, -1)
    return jax.nn.sigmoid(logits), of_segments(scores), levels


def _levels(model: MultiLevelModel, sown: Variables) -> list[tuple[jax.Array, jax.Array | None]]:
    """Attention and segment probabilities of each level; a shared head has sown once for each."""
    found = []
    for level in range(len(parse_architecture(model.config.architecture))):
        head, call = ("head_0", level) if model.config.share_heads else (f"head_{level}", 0)
        said = sown[head]
        f = said["segment_probs"][call] if "segment_probs" in said else None
        found.append((said["attention"][call], f))
    return found


def start_segments(
    model: MultiLevelModel,
    variables: Variables,
    clips: ClipSet,
    *,
    batch_size: int = 500,
    use_mask: bool = True,
    with_levels: bool = False,
) -> Callable[[], SegmentOutput]:
    """Gives the device one batch.

    Args:
      model: the model, and its `variables`.
      clips: up to `batch_size` clips.
      batch_size: what the batch is filled up to, so that one program serves all.
      use_mask: as in training.
      with_levels: whether `levels` are wanted; each is several times what the scores are.

    Returns:
      What waits for the output of these clips.

    Raises:
      UserError: the clips' vectors have another size than the model was made for, or there are too many.
    """
    require_same_features(variables, clips)
    count = len(clips)
    if count > batch_size:
        raise UserError(f"{count} clips are more than batch_size={batch_size}; give fewer at once")
    probs, scores, levels = _apply(
        model,
        variables,
        *put_batch(variables, clips, batch_size),
        offset=clips.scaling.offset,
        scale=clips.scaling.scale,
        use_mask=use_mask,
        with_levels=with_levels,
    )
    return lambda: SegmentOutput(
        np.asarray(probs)[:count],
        np.asarray(scores)[:count],
        tuple(
            Level(np.asarray(a)[:count], None if f is None else np.asarray(f)[:count])
            for a, f in levels
        ),
    )


def segment_batches(
    model: MultiLevelModel,
    variables: Variables,
    clips: ClipSet,
    *,
    batch_size: int = 500,
    use_mask: bool = True,
    with_levels: bool = False,
) -> Iterator[SegmentOutput]:
    """The output for clips, a batch at a time and in order, for sets whose scores do not fit in memory.

    Arguments as for `start_segments`; any number of clips.

    Raises:
      UserError: the clips' vectors have another size than the model was made for.
    """
    waiting: Callable[[], SegmentOutput] | None = None
    for start in range(0, len(clips), batch_size):
        following = start_segments(
            model,
            variables,
            clips[start : start + batch_size],
            batch_size=batch_size,
            use_mask=use_mask,
            with_levels=with_levels,
        )
        if waiting is not None:
            yield waiting()
        waiting = following
    if waiting is not None:
        yield waiting()


def predict_segments(
    model: MultiLevelModel,
    variables: Variables,
    clips: ClipSet,
    *,
    batch_size: int = 500,
    use_mask: bool = True,
    with_levels: bool = False,
) -> SegmentOutput:
    """The output for all clips at once: 4 * time * classes bytes a clip, and with levels more.

    Arguments as for `start_segments`; any number of clips but none.

    Raises:
      UserError: there is no clip, or their vectors have another size than the model was made for.
    """
    parts = list(
        segment_batches(
            model,
            variables,
            clips,
            batch_size=batch_size,
            use_mask=use_mask,
            with_levels=with_levels,
        )
    )
    if not parts:
        raise UserError("there are no clips to predict segments of; give at least one")
    levels = []
    for level in zip(*(part.levels for part in parts), strict=True):
        fs = [part.segment_probs for part in level if part.segment_probs is not None]
        attention = np.concatenate([part.attention for part in level])
        levels.append(Level(attention, np.concatenate(fs) if fs else None))
    return SegmentOutput(
        np.concatenate([part.probs for part in parts]),
        np.concatenate([part.scores for part in parts]),
        tuple(levels),
    )
