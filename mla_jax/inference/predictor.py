"""The one way to apply a model to clips: compiled, in batches, on the devices that hold its variables."""

import abc
import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import jax
import numpy as np

from mla_jax.config import ModelConfig
from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import Scaling
from mla_jax.errors import UserError
from mla_jax.inference.segment_scores import DEFAULT_SCORE, SegmentWeights, segment_weights
from mla_jax.inference.segments import SegmentOutput, segment_output
from mla_jax.models.fold import FoldedWeights, fold
from mla_jax.models.folded import ModelForm, folded_logits
from mla_jax.models.inputs import model_inputs
from mla_jax.models.variables import Variables
from mla_jax.parallel.mesh import mesh_of, spread

if TYPE_CHECKING:
    from mla_jax.models.multi_level import MultiLevelModel

# So many batches are with the device while the host takes the results of those before.
_BATCHES_AHEAD = 2

# The least batch that is made for few clips. Of fewer rows a product is another sum, of other last bits.
_LEAST_BATCH = 64


def default_batch_size() -> int:
    """Clips in one compiled call: so few on a CPU that what a batch goes through stays in its caches."""
    return 128 if jax.default_backend() == "cpu" else 500


T = TypeVar("T")


@partial(jax.jit, static_argnames=("model", "scaling", "use_mask"))
def clip_probabilities(
    model: "ModelForm | MultiLevelModel",
    weights: FoldedWeights,
    embeddings: jax.Array,
    num_segments: jax.Array,
    *,
    scaling: Scaling,
    use_mask: bool,
) -> jax.Array:
    """The compiled program behind `Predictor.predict`: [clips, classes], on the device."""
    inputs, mask = model_inputs(
        embeddings,
        num_segments,
        offset=scaling.offset,
        scale=scaling.scale,
        use_mask=use_mask,
    )
    return jax.nn.sigmoid(folded_logits(model.config, weights, inputs, mask))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ClipPredictor(abc.ABC):
    """What gives clips and their segments probabilities: one model (`Predictor`), or several as one.

    Clips are taken `batch_size` at a time. Every method raises a UserError if the clips' vectors have another
    size than a model was made for.

    Attributes:
      batch_size: clips in one compiled call.
    """

    batch_size: int = dataclasses.field(default_factory=default_batch_size)

    @property
    @abc.abstractmethod
    def num_classes(self) -> int:
        """K, of the probabilities."""

    @abc.abstractmethod
    def start(self, clips: ClipSet) -> Callable[[], np.ndarray]:
        """Gives the device all batches at once; for sets whose probabilities fit into its memory.

        Returns:
          A function that blocks until they are there and returns the clip probabilities, [clips, classes]
          float32; any thread may call it.
        """

    @abc.abstractmethod
    def start_segments(
        self, clips: ClipSet, *, score: str = DEFAULT_SCORE, with_levels: bool = False
    ) -> Callable[[], SegmentOutput]:
        """As `start`, for segments."""

    def predict(
        self, clips: ClipSet, on_progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Clip probabilities, [clips, classes] float32.

        Args:
          clips: any number of clips.
          on_progress: called after each batch with the number of clips done so far.
        """
        probs = np.empty((len(clips), self.num_classes), np.float32)
        done, fitted = 0, self.fitted(len(clips))
        for part, found in run_ahead(fitted._batches(clips), fitted.start):
            probs[done : done + len(part)] = found
            done += len(part)
            if on_progress:
                on_progress(done)
        return probs

    def predict_segments(
        self, clips: ClipSet, *, score: str = DEFAULT_SCORE, with_levels: bool = False
    ) -> SegmentOutput:
        """What the model says of each segment of any number of clips.

        Args:
          clips: any number of clips.
          score: which score of a segment, one of `mla_jax.inference.segment_scores.SEGMENT_SCORES`.
          with_levels: whether what each level says is wanted, too.

        The scores alone take 4 * time * classes bytes a clip, and each level several times that; where
        that is too much, take them from `segment_batches`.
        """
        return _joined(list(self.segment_batches(clips, score=score, with_levels=with_levels)))

    def segment_batches(
        self, clips: ClipSet, *, score: str = DEFAULT_SCORE, with_levels: bool = False
    ) -> Iterator[SegmentOutput]:
        """The same, a batch at a time and in order."""
        fitted = self.fitted(len(clips))
        start = partial(fitted.start_segments, score=score, with_levels=with_levels)
        for _, output in run_ahead(fitted._batches(clips), start):
            yield output

    def fitted(self, count: int) -> Self:
        """One whose batches are no larger than so many clips need, to the next power of two."""
        least = max(_LEAST_BATCH, 1 << max(0, count - 1).bit_length())
        return dataclasses.replace(self, batch_size=min(self.batch_size, least))

    def _batches(self, clips: ClipSet) -> Iterator[ClipSet]:
        """The clips, `batch_size` at a time; of no clips an empty batch."""
        for first in range(0, max(1, len(clips)), self.batch_size):
            yield clips[first : first + self.batch_size]


@dataclasses.dataclass(frozen=True, eq=False)
class ReadyWeights:
    """What the compiled programs take of a model's variables: made when it is first needed, then kept.

    Attributes:
      config: what the model looks like.
      variables: its variables, on the devices that the weights go to.
    """

    config: ModelConfig
    variables: Variables

    @functools.cached_property
    def of_clips(self) -> FoldedWeights:
        """What `clip_probabilities` takes."""
        return self._placed(fold(self.config, self.variables))

    @functools.cached_property
    def of_segments(self) -> SegmentWeights:
        """What `mla_jax.inference.segments.segment_output` takes."""
        return self._placed(segment_weights(self.config, self.variables))

    def _placed(self, weights: T) -> T:
        (first, *_) = jax.tree.leaves(self.variables)
        placed: T = jax.device_put(weights, getattr(first, "sharding", None))
        return placed


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor(ClipPredictor):
    """A model with its variables, ready to be applied to clips.

    The last batch is filled up with clips of no segments, so that one compiled program serves all. Where
    several devices hold the variables, each takes its share of a batch.

    Attributes:
      model: what it looks like.
      variables: what `MultiLevelModel.apply` takes.
      use_mask: as in training; False makes padding count as segments, as the original programs do.
      ready: what is made of the variables; that of others, or left out, is made anew.
    """

    model: "ModelForm | MultiLevelModel"
    variables: Variables
    use_mask: bool = True
    ready: ReadyWeights | None = None

    def __post_init__(self) -> None:
        config, ready = self.model.config, self.ready
        if ready is None or ready.variables is not self.variables or ready.config != config:
            object.__setattr__(self, "ready", ReadyWeights(config, self.variables))

    @property
    def num_classes(self) -> int:
        """K, of the probabilities."""
        return self.model.num_classes

    @property
    def _weights(self) -> ReadyWeights:
        assert self.ready is not None  # __post_init__ sees to it
        return self.ready

    def start(self, clips: ClipSet) -> Callable[[], np.ndarray]:
        """As `ClipPredictor.start`."""
        return self._start(clips, clip_probabilities, self._weights.of_clips)

    def start_segments(
        self, clips: ClipSet, *, score: str = DEFAULT_SCORE, with_levels: bool = False
    ) -> Callable[[], SegmentOutput]:
        """As `ClipPredictor.start_segments`."""
        program = partial(segment_output, score=score, with_levels=with_levels)
        return self._start(clips, program, self._weights.of_segments)

    def _start(
        self, clips: ClipSet, program: Callable[..., Any], weights: Any
    ) -> Callable[[], Any]:
        """Starts a program whose output is an array, or a tuple of arrays, each [clips, ...]."""
        self._require_same_features(clips)
        batches = [
            (self._dispatch(part, program, weights), len(part)) for part in self._batches(clips)
        ]
        return lambda: _joined([_on_host(output, count) for output, count in batches])

    def _dispatch(self, part: ClipSet, program: Callable[..., Any], weights: Any) -> Any:
        """Gives the device one batch; the output has `batch_size` clips, or a few more on several devices."""
        mesh, fill = mesh_of(self.variables), self.batch_size - len(part)

        def put(values: np.ndarray) -> jax.Array:
            filled = np.pad(values, [(0, fill), *[(0, 0)] * (values.ndim - 1)]) if fill else values
            return spread(filled.shape, lambda start, stop: filled[start:stop], mesh)

        return program(
            self.model,
            weights,
            put(np.asarray(part.embeddings)),
            put(np.asarray(part.num_segments)),
            scaling=part.embedding.scaling,
            use_mask=self.use_mask,
        )

    def _require_same_features(self, clips: ClipSet) -> None:
        expected = self.variables["params"]["block_0"]["dense"]["kernel"].shape[0]
        if expected != clips.num_features:
            raise UserError(
                f"the clips have {clips.num_features} features a segment, the model takes {expected}; "
                "give it embeddings of the encoder that it was trained on"
            )


def run_ahead(
    batches: Iterable[ClipSet], start: Callable[[ClipSet], Callable[[], T]]
) -> Iterator[tuple[ClipSet, T]]:
    """Each batch with its output, in order, while the device works on the next ones.

    Args:
      batches: clips, a batch at a time; taken as they are needed.
      start: gives the device a batch and returns a function that blocks until the output is there, as
        `Predictor.start` does.
    """
    ahead: collections.deque[tuple[ClipSet, Callable[[], T]]] = collections.deque()
    for batch in batches:
        ahead.append((batch, start(batch)))
        if len(ahead) > _BATCHES_AHEAD:
            done, output = ahead.popleft()
            yield done, output()
    for done, output in ahead:
        yield done, output()


def _on_host(output: Any, count: int) -> Any:
    """The output of the first `count` clips, in NumPy arrays."""
    return jax.tree.map(lambda array: np.asarray(array)[:count], output)


def _joined(parts: list[Any]) -> Any:
    """The outputs of batches as one; an array of one batch is not copied."""
    if len(parts) == 1:
        return parts[0]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
