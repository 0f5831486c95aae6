"""Which clips show what a model does: the best, the typical, the worst."""

import dataclasses

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.explain.maps import ClipMap, clip_maps
from mla_jax.localization.events import Reference
from mla_jax.runs.tagging_model import TaggingModel

KINDS = ("best", "typical", "worst")


@dataclasses.dataclass(frozen=True, eq=False)
class Hears:
    """What a run hears in a clip, of some classes.

    Attributes:
      run: its name.
      probabilities: [classes] the clip's.
      scores: [classes, time] of its segments.
    """

    run: str
    probabilities: np.ndarray
    scores: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class ExampleClip:
    """A clip, and what a model makes of it.

    Attributes:
      kind: why it is shown: best, typical or worst.
      row: its place among the clips.
      video_id, start_time: which clip it is; seconds into the video.
      score: what it was chosen by, from `clip_scores`.
      classes: indices of the classes that its maps show, from `classes_to_show`.
      is_label: of each of these, whether the clip has it.
      probabilities: [classes] the clip's, of these.
      maps: by title, of these classes; see `mla_jax.explain.maps.clip_maps`.
      events: [classes, time] bool, when they truly sound; None where that is not known.
      segment_seconds: from one segment to the next; None where that is not known.
      hears: what each run hears in it, of these classes; see `with_run`.
    """

    kind: str
    row: int
    video_id: str
    start_time: float
    score: float
    classes: list[int]
    is_label: list[bool]
    probabilities: np.ndarray
    maps: dict[str, ClipMap]
    events: np.ndarray | None = None
    segment_seconds: float | None = None
    hears: tuple[Hears, ...] = ()


def example_clips(
    trained: TaggingModel,
    clips: ClipSet,
    probs: np.ndarray,
    labels: np.ndarray,
    truth: Reference | None = None,
    *,
    each: int = 2,
    segment_seconds: float | None = None,
) -> list[ExampleClip]:
    """The best, typical and worst clips with their maps.

    Args:
      trained: the model.
      clips: those to choose from.
      probs, labels: [num_clips, num_classes] the model's probabilities, and the clips' labels.
      truth: of these clips, when their sounds occur, if that is known.
      each: how many of a kind.
      segment_seconds: from one segment to the next, if that is known.
    """
    scores = clip_scores(probs, labels, clips.label_mask)
    chosen = choose_examples(scores, labels, each)
    rows = [(kind, i) for kind in KINDS for i in chosen[kind]]
    if not rows:
        return []
    made = []
    maps_of_clips = clip_maps(trained, clips[[i for _, i in rows]])
    for (kind, i), maps in zip(rows, maps_of_clips, strict=True):
        classes = classes_to_show(probs[i], labels[i])
        events = None
        if truth is not None and truth.mask[i].any():
            events = truth.active[i, : clips.num_segments[i], classes]
        made.append(
            ExampleClip(
                kind,
                row=i,
                video_id=clips.video_ids[i].decode(errors="replace"),
                start_time=float(clips.start_times[i]),
                score=float(scores[i]),
                classes=classes,
                is_label=labels[i, classes].tolist(),
                probabilities=probs[i, classes],
                maps={title: one.of(classes) for title, one in maps.items()},
                events=events,
                segment_seconds=segment_seconds,
            )
        )
    return made


def with_run(
    shown: list[ExampleClip], run: str, trained: TaggingModel, clips: ClipSet, probs: np.ndarray
) -> list[ExampleClip]:
    """The examples with what one more run hears in them.

    Args:
      shown: from `example_clips`.
      run: its name.
      trained: its model.
      clips: those that the examples are of.
      probs: [num_clips, num_classes] its probabilities.
    """
    if not shown:
        return []
    scores = trained.predict_segments(clips[[example.row for example in shown]]).scores
    made = []
    for example, of_clip in zip(shown, scores, strict=True):
        length = clips.num_segments[example.row]
        of_classes = of_clip[:length, example.classes].T
        hears = Hears(run, probs[example.row, example.classes], of_classes)
        made.append(dataclasses.replace(example, hears=(*example.hears, hears)))
    return made


def clip_scores(
    probs: np.ndarray, labels: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    """How well a clip's labels stand out: their mean probability minus the highest of any other class.

    Args:
      probs: [num_clips, num_classes] clip probabilities.
      labels: [num_clips, num_classes] bool.

    Returns:
      [num_clips] float64, -1 ... 1; NaN for a clip without labels, or without a class that it has not.
    """
    counts = labels.sum(axis=1)
    means = np.einsum("ij,ij->i", probs, labels, dtype=np.float64)
    others = np.where(labels if known is None else labels | ~known, -np.inf, probs).max(axis=1)
    with np.errstate(invalid="ignore"):
        scores = means / counts - others
    return np.where((counts == 0) | np.isneginf(others), np.nan, scores)


def choose_examples(scores: np.ndarray, labels: np.ndarray, each: int) -> dict[str, list[int]]:
    """The best clips, the typical ones (next to the median), and the worst.

    Clips of the same labels say the same, so two of a kind differ in theirs where there are others. A clip
    is of one kind only; with few clips there are fewer of each.

    Args:
      scores: [num_clips] from `clip_scores`; clips that are NaN are passed over.
      labels: [num_clips, num_classes] bool.
      each: how many of a kind.

    Returns:
      For each of `KINDS`, the row numbers of the clips.
    """
    defined = np.flatnonzero(~np.isnan(scores))
    if not len(defined):
        return {kind: [] for kind in KINDS}
    median = np.median(scores[defined])
    distance = {"best": -scores, "worst": scores, "typical": np.abs(scores - median)}
    taken: set[int] = set()
    chosen: dict[str, list[int]] = {}
    for kind in ("best", "worst", "typical"):
        ranked = defined[np.argsort(distance[kind][defined], kind="stable")]
        chosen[kind] = _unlike(ranked, labels, taken, min(each, -(-len(defined) // 3)))
        taken |= set(chosen[kind])
    return {kind: chosen[kind] for kind in KINDS}


def _unlike(ranked: np.ndarray, labels: np.ndarray, taken: set[int], count: int) -> list[int]:
    """The first so many in order that are not taken, those with labels not seen before first."""
    free = [int(i) for i in ranked if int(i) not in taken]
    seen: set[bytes] = set()
    fresh = []
    for i in free:
        key = labels[i].tobytes()
        if key not in seen:
            seen.add(key)
            fresh.append(i)
        if len(fresh) == count:
            return fresh
    return (fresh + [i for i in free if i not in fresh])[:count]


def classes_to_show(probs: np.ndarray, labels: np.ndarray, most: int = 8) -> list[int]:
    """The classes of a clip that its maps show: its labels, and the most probable others.

    Labels come first, the most probable first in each group; at least two others where there are any.

    Args:
      probs, labels: [num_classes] of the clip.
      most: how many classes there may be.
    """
    ranked = np.argsort(-probs, kind="stable")
    mine = [int(k) for k in ranked if labels[k]][: most - 2]
    others = [int(k) for k in ranked if not labels[k]]
    return mine + others[: max(2, min(3, most - len(mine)))]
