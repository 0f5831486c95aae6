"""What of some clips a model has seen in training: scores on these flatter it."""

import contextlib

from mla_jax.data import splits
from mla_jax.data.clips import ClipSet
from mla_jax.data.sources import is_packed, open_packed
from mla_jax.errors import UserError
from mla_jax.runs.averaged import members_of
from mla_jax.runs.tagging_model import TaggingModel
from mla_jax.storage import paths


def seen_in_training(model: TaggingModel, data: str, clips: ClipSet) -> list[str]:
    """Says what of the clips the model was trained on, as sentences for a person; none if nothing is known.

    Copies, to the bit and whatever their ids, are found if the training clips are packed and still there.

    Args:
      model: it is scored on the clips.
      data: where they are.
      clips: what is there.
    """
    seen = {one.data_settings for one in members_of(model) if one.data_settings.train}
    if any(paths.resolved(settings.train) == paths.resolved(data) for settings in seen):
        return [
            f"the model was trained on {data}: these scores say little of clips that it has not seen"
        ]
    copied: dict[int, bytes] = {}
    for settings in seen:
        train = settings.train
        if paths.is_remote(train) or not is_packed(train):
            continue
        with contextlib.suppress(UserError):  # it is damaged, and not what is asked about
            there = open_packed(train)
            trained = splits.are_trained_on(
                there.video_ids, settings.train_fraction, settings.validation_fraction
            )
            copied |= {
                row: there.video_ids[other] for row, other in splits.copies(clips, there, trained)
            }
    if not copied:
        return []
    row, other = min(copied.items())
    return [
        f"copies of clips that the model was trained on: {len(copied)} of {len(clips)} clips, such as "
        f"{_name(clips.video_ids[row])} of {_name(other)}; scores on them flatter, so leave them out"
    ]


def _name(video_id: bytes) -> str:
    return repr(video_id.decode(errors="replace"))
