"""Compiled, batched inference."""

import collections
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh

from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError
from mla_jax.models.inputs import model_inputs
from mla_jax.models.multi_level import MultiLevelModel, Variables
from mla_jax.training.mesh import mesh_of, padded_size, spread

# So many batches are with the device while the host takes the results of those before.
_BATCHES_AHEAD = 2


@partial(jax.jit, static_argnames=("model", "offset", "scale", "use_mask"))
def _probabilities(
    model: MultiLevelModel,
    variables: Variables,
    embeddings: jax.Array,
    num_segments: jax.Array,
    *,
    offset: float,
    scale: float,
    use_mask: bool,
) -> jax.Array:
    inputs, mask = model_inputs(
        embeddings, num_segments, offset=offset, scale=scale, use_mask=use_mask
    )
    logits: jax.Array = model.apply(variables, inputs, mask)  # type: ignore[assignment]
    return jax.nn.sigmoid(logits)


def predict_batches(
    model: MultiLevelModel,
    variables: Variables,
    clips: ClipSet,
    *,
    batch_size: int = 500,
    use_mask: bool = True,
) -> Iterator[np.ndarray]:
    """Clip probabilities, a batch at a time and in order, for sets that do not fit in memory.

    Yields:
      [up to batch_size, num_classes] float32.

    Raises:
      UserError: the clips' vectors have another size than the model was made for.
    """
    require_same_features(variables, clips)
    ahead: collections.deque[tuple[jax.Array, int]] = collections.deque()
    for start in range(0, len(clips), batch_size):
        part = clips[start : start + batch_size]
        ahead.append((_dispatch(model, variables, part, batch_size, use_mask), len(part)))
        if len(ahead) > _BATCHES_AHEAD:
            probs, count = ahead.popleft()
            yield np.asarray(probs)[:count]
    for probs, count in ahead:
        yield np.asarray(probs)[:count]


def start_prediction(
    model: MultiLevelModel,
    variables: Variables,
    clips: ClipSet,
    *,
    batch_size: int = 500,
    use_mask: bool = True,
) -> Callable[[], np.ndarray]:
    """Gives the device all batches at once, for sets whose probabilities fit beside what else it holds.

    Returns:
      What waits for the clip probabilities, [num_clips, num_classes] float32; any thread may call it.

    Raises:
      UserError: the clips' vectors have another size than the model was made for.
    """
    require_same_features(variables, clips)
    batches = [
        _dispatch(model, variables, clips[start : start + batch_size], batch_size, use_mask)
        for start in range(0, len(clips), batch_size)
    ]
    return lambda: np.concatenate([np.asarray(probs)[:batch_size] for probs in batches])[
        : len(clips)
    ]


def _dispatch(
    model: MultiLevelModel, variables: Variables, part: ClipSet, batch_size: int, use_mask: bool
) -> jax.Array:
    return _probabilities(
        model,
        variables,
        *put_batch(variables, part, batch_size),
        offset=part.scaling.offset,
        scale=part.scaling.scale,
        use_mask=use_mask,
    )


def put_batch(
    variables: Variables, part: ClipSet, batch_size: int
) -> tuple[jax.Array | np.ndarray, jax.Array | np.ndarray]:
    """Embeddings and numbers of segments of up to `batch_size` clips, on the devices of the variables.

    Filled up with clips of no segments, so that one program serves all batches, and to a multiple of the
    devices where several share them.
    """
    mesh = mesh_of(variables)
    fill = padded_size(batch_size, mesh) - len(part)
    embeddings, num_segments = np.asarray(part.embeddings), np.asarray(part.num_segments)
    if fill:
        embeddings = np.pad(embeddings, ((0, fill), (0, 0), (0, 0)))
        num_segments = np.pad(num_segments, (0, fill))
    return _shared(embeddings, mesh), _shared(num_segments, mesh)


def _shared(array: np.ndarray, mesh: Mesh | None) -> jax.Array | np.ndarray:
    if mesh is None:
        return array
    return spread(array.shape, lambda start, stop: array[start:stop], mesh)


def require_same_features(variables: Variables, clips: ClipSet) -> None:
    """Raises UserError where the clips' vectors have another size than the model was made for."""
    expected = _num_features(variables)
    if expected != clips.num_features:
        raise UserError(
            f"the clips have {clips.num_features} features a segment, the model takes {expected}; "
            "give it embeddings of the encoder that it was trained on"
        )


def predict(
    model: MultiLevelModel,
    variables: Variables,
    clips: ClipSet,
    *,
    batch_size: int = 500,
    use_mask: bool = True,
    on_progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Clip probabilities.

    Args:
      model: the model, and its `variables`.
      clips: N clips of any number of segments.
      batch_size: clips in one compiled call.
      use_mask: as in training.
      on_progress: called with the number of clips done, after each batch.

    Returns:
      [N, num_classes] float32.

    Raises:
      UserError: the clips' vectors have another size than the model was made for.
    """
    probs = np.empty((len(clips), model.num_classes), np.float32)
    done = 0
    for batch in predict_batches(model, variables, clips, batch_size=batch_size, use_mask=use_mask):
        probs[done : done + len(batch)] = batch
        done += len(batch)
        if on_progress:
            on_progress(done)
    return probs


def average_predictions(predictions: Iterable[np.ndarray]) -> np.ndarray:
    """The mean of several predictions of the same clips, [N, num_classes] float32.

    The published programs average the probabilities of their evaluations in this way.
    """
    total, count = None, 0
    for probs in predictions:
        total = probs.astype(np.float64) if total is None else total + probs
        count += 1
    if total is None:
        raise UserError("there are no predictions to average")
    return (total / count).astype(np.float32)


def _num_features(variables: Variables) -> int:
    params = variables["params"]
    return int(params["block_0"]["dense"]["kernel"].shape[0])
