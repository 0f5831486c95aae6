"""`Tagger`: a trained model and how clips are tagged with it, a batch at a time."""

import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.data.segment_seconds import known_segment_seconds
from mla_jax.data.windows import Windowing, batches_of_windows, segment_times
from mla_jax.errors import UserError
from mla_jax.inference.predictor import default_batch_size, run_ahead
from mla_jax.inference.segment_scores import DEFAULT_SCORE, require_known_score
from mla_jax.localization.event_rules import EventRules
from mla_jax.localization.rule_files import read_rules
from mla_jax.recordings.encoder_files import DEFAULT as DEFAULT_FILES
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.runs import thresholds
from mla_jax.runs.tagging_model import TaggingModel
from mla_jax.runs.use import open_model
from mla_jax.tagging.tags import TaggedClips, Tags

# Of long clips a batch has fewer, so that it has at most so many segments.
_BATCH_SEGMENTS = 5000
_TOP_K = 5


@dataclasses.dataclass(frozen=True)
class EventOptions:
    """How events are made of scores, step by step as in `mla_jax.localization.event_rules`.

    Attributes:
      rules: a file of rules, chosen by class on strong labels; empty: `TagOptions.threshold` begins an event.
      keep: an event goes on over scores of at least this share of the threshold that begins it, above 0 to 1;
        None: as `rules` say, else 1.
      smoothing: how many segments a score is the median of, odd; None: as `rules` say, else 1.
      least_seconds: shorter events are dropped; None: as `rules` say, else 0.
      least_gap: events of a class with fewer seconds between them are joined; None: as `rules` say, else 0.

    Raises:
      UserError: `keep` is not valid; the others are looked at with the rules.
    """

    rules: str = ""
    keep: float | None = None
    smoothing: int | None = None
    least_seconds: float | None = None
    least_gap: float | None = None

    def __post_init__(self) -> None:
        if self.keep is not None and not 0 < self.keep <= 1:
            raise UserError(
                f"keep={self.keep:g} is not valid: it must be a share of the threshold, above 0 to 1"
            )

    def on(self, rules: EventRules) -> EventRules:
        """The rules with what is said here.

        Raises:
          UserError: a value is not valid.
        """
        said = {
            name: value
            for name in ("smoothing", "least_seconds", "least_gap")
            if (value := getattr(self, name)) is not None
        }
        if self.keep is not None:
            said["keep"] = rules.start * self.keep
        return dataclasses.replace(rules, **said)


@dataclasses.dataclass(frozen=True)
class TagOptions:
    """What is written of each clip.

    Attributes:
      top_k: the most labels that a clip or window gets; None: 5, or of events all.
      threshold: only labels that are at least so probable are reported, so that a clip may have none;
        "validation": each class has its own, the run's (`mla_jax.runs.thresholds`).
      segments: write the scores of segments too (`mla_jax.inference.segment_scores`).
      segment_score: which one, by its name there.
      window: segments of a window, into which longer clips are cut; 0: as many as clips had in training.
      hop: segments from the start of one window to that of the next; 0: `window`.
      segment_seconds: from one segment to the next, where neither data nor run say it.
      batch_size: the most clips or windows in one compiled call; None: as many as suit the device.
      format: of the file, one of `mla_jax.tagging.formats.FORMATS`; empty: that of its ending.
      events: write events, and how they are made; None: only where the format has nothing else.

    Raises:
      UserError: a value is not valid.
    """

    top_k: int | None = None
    threshold: float | str | None = None
    segments: bool = False
    segment_score: str = DEFAULT_SCORE
    window: int = 0
    hop: int = 0
    segment_seconds: float | None = None
    batch_size: int | None = None
    format: str = ""
    events: EventOptions | None = None

    def __post_init__(self) -> None:
        require_known_score(self.segment_score)
        for name in ("top_k", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name}={value} is not valid: it must be at least 1")
        if self.threshold is not None and self.events and self.events.rules:
            raise UserError(
                f"{self.events.rules} has the thresholds of events; leave threshold={self.threshold} out"
            )
        if self.threshold in (None, "validation"):
            return
        try:
            valid = 0 <= float(self.threshold) <= 1
        except ValueError:
            valid = False
        if not valid:
            raise UserError(
                f"threshold={self.threshold} is not valid: it must be a probability, 0 to 1, or validation"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Tagger:
    """A trained model and how clips are tagged with it.

    Attributes:
      trained: the model.
      options: what is said of each clip.
      windows: how longer clips are cut.
      limits: [num_classes] float64, the least probability with which each class is reported.
      rules: what makes an event, where events are found: then a class is reported by its best segment score,
        not by its clip probability.
    """

    trained: TaggingModel
    options: TagOptions
    windows: Windowing
    limits: np.ndarray
    rules: EventRules | None = None

    @classmethod
    def open(
        cls,
        workdir: str | Path,
        options: TagOptions,
        step: int = 0,
        *,
        average_from: int = 0,
        allow_other_embeddings: bool = False,
        encoder_files: EncoderFiles = DEFAULT_FILES,
    ) -> "Tagger":
        """A run's model, with the run's thresholds where `options` asks for them.

        Raises:
          UserError: the run cannot be used, or the window does not fit the hop.
        """
        trained = open_model(
            workdir,
            step,
            average_from=average_from,
            allow_other_embeddings=allow_other_embeddings,
            encoder_files=encoder_files,
        )
        length = options.window or trained.max_segments
        windows = Windowing(length, options.hop or length)
        if options.threshold == "validation":
            limits = thresholds.thresholds_of(workdir, trained)
        else:
            limits = np.full(len(trained.classes), float(options.threshold or 0))
        return cls(trained, options, windows, limits)

    def of_events(self) -> "Tagger":
        """One that reports all that events are made of; they begin at 0.5 if no threshold is given.

        Raises:
          UserError: the file of rules cannot be used, or a value is not valid.
        """
        asked = self.options.events or EventOptions()
        if asked.rules:
            rules = read_rules(asked.rules, self.trained.classes, self.options.segment_score)
        else:
            given = self.options.threshold is not None
            limits = self.limits if given else np.full_like(self.limits, 0.5)
            rules = EventRules(limits, limits)
        rules = asked.on(rules)
        options = dataclasses.replace(
            self.options, segments=True, top_k=self.options.top_k or len(self.limits)
        )
        return dataclasses.replace(self, options=options, limits=rules.keep, rules=rules)

    def batch_shape(self, time: int = 0) -> tuple[int, int]:
        """The segments of a window, and how many windows a batch has, of clips of at most `time` segments."""
        # Where padding counts it is that of training; else clips that are all short need no more time.
        short = time and self.trained.masks_padding
        width = min(self.windows.length, time) if short else self.windows.length
        most = self.options.batch_size or default_batch_size()
        return width, max(1, min(most, _BATCH_SEGMENTS // width))

    def tag(self, chunks: Iterable[ClipSet], time: int = 0, total: int = 0) -> Iterator[Tags]:
        """The tags of the clips, or of their windows, in order and a batch at a time.

        Args:
          chunks: the clips; taken as they are needed, a few batches ahead, which the device has.
          time: the most segments that a clip has, if that is known; else 0.
          total: how many clips are tagged in all, with these or in other parts, if that is known and none is
            cut; else 0. Few make small batches.
        """
        width, size = self.batch_shape(time)
        timed = map(self._timed, chunks)
        batches = batches_of_windows(timed, self.windows, width=width, batch_size=size)
        predictor = dataclasses.replace(self.trained.predictor, batch_size=size)
        if total:
            predictor = predictor.fitted(total)
        if self.options.segments:
            start = partial(predictor.start_segments, score=self.options.segment_score)
            for clips, output in run_ahead(batches, start):
                yield self._choose(clips, output.probs, output.scores)
        else:
            for clips, probs in run_ahead(batches, predictor.start):
                yield self._choose(clips, probs, None)

    def _timed(self, clips: ClipSet) -> ClipSet:
        """The clips with what the run, or the user, says of the length of a segment, if they do not say."""
        own, run = clips.embedding, self.trained.embedding
        seconds = known_segment_seconds(own, run, stated=self.options.segment_seconds)
        return dataclasses.replace(clips, embedding=dataclasses.replace(own, hop_seconds=seconds))

    def _choose(self, clips: ClipSet, probs: np.ndarray, scores: np.ndarray | None) -> Tags:
        """Labels at or above their limits, the `top_k` most probable, of equal ones the lower index."""
        by = np.nanmax(scores, axis=1) if self.rules and scores is not None else probs
        shown = np.where(by >= self.limits, by, np.float32(-1))
        order = np.argsort(-shown, axis=1, kind="stable")[:, : self.options.top_k or _TOP_K]
        keep = np.take_along_axis(shown, order, axis=1) >= 0
        owner, labels = np.nonzero(keep)[0], order[keep].astype(np.int32)
        return Tags(
            clips=TaggedClips.of(clips),
            owner=owner,
            labels=labels,
            probs=probs[owner, labels],
            scores=None if scores is None else scores[owner, :, labels],
            segment_starts=None if scores is None else _segment_starts(clips),
        )


def _segment_starts(clips: ClipSet) -> np.ndarray:
    """When each segment begins, padding too: [clips, time] float64."""
    return segment_times(clips, *np.indices((len(clips), clips.max_segments)))
