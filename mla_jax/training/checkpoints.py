"""Saving and restoring a run's state. The only module that knows Orbax."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import PolicyCheckpointInfo, PreservationPolicy

from mla_jax.errors import UserError
from mla_jax.files import plain
from mla_jax.training.state import TrainState

_SCORE = "validation_mAP"


def checksum(state: TrainState) -> str:
    """sha256 over every array's name, dtype, shape and bytes; Orbax does not notice a flipped bit."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def layout(state: TrainState) -> dict[str, str]:
    """The dtype and shape of every array, by its path."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


class _NewestAndBest(PreservationPolicy):
    """Keeps the newest `keep` checkpoints (0: all) and the best of all."""

    def __init__(self, keep: int, best_step: Callable[[], int | None]) -> None:
        self._keep, self._best_step = keep, best_step

    def should_preserve(
        self, checkpoints: Sequence[PolicyCheckpointInfo], *, context: Any
    ) -> list[bool]:
        del context
        best = self._best_step()
        oldest_kept = len(checkpoints) - (self._keep or len(checkpoints))
        return [i >= oldest_kept or info.step == best for i, info in enumerate(checkpoints)]


class Checkpoints:
    """The checkpoints of one run, in one folder: the newest `keep`, and the best by validation mAP.

    Use as a context manager: saves are asynchronous, and leaving waits for them.
    """

    def __init__(self, folder: str | Path, *, keep: int = 0, read_only: bool = False) -> None:
        self.folder = Path(folder).absolute()
        if read_only and not self.folder.is_dir():
            raise UserError(f"{self.folder} does not exist: there are no checkpoints there")
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                # Orbax's own read_only warns of what it implies at every opening.
                create=not read_only,
                save_root_metadata=not read_only,
                preservation_policy=_NewestAndBest(keep, self.best_step),
                cleanup_tmp_directories=not read_only,
            ),
            item_names=("state", "meta"),
        )
        # Orbax keeps metrics for its own ranking only; ours are in the meta of each checkpoint.
        self._scores = {step: self.read_meta(step)[_SCORE] for step in self.steps()}

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._manager.close()

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """The newest, or None if there is none."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step of the highest validation mAP, the latest of equals; None without validation."""
        scored = [(score, step) for step, score in self._scores.items() if score is not None]
        return max(scored)[1] if scored else None

    def save(
        self, state: TrainState, meta: dict[str, Any], *, validation_mAP: float | None = None
    ) -> None:
        """Saves in the background.

        Args:
          state: the state after its step; copied first, so that it may be donated at once.
          meta: JSON values kept beside it.
          validation_mAP: what the best is chosen by, if the run has a validation set.
        """
        state = jax.tree.map(jnp.copy, state)
        step = int(state.step)
        self._scores[step] = validation_mAP
        kept = {
            **meta,
            _SCORE: validation_mAP,
            "arrays": layout(state),
            "sha256": checksum(state),
        }
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(plain(kept))
            ),
        )

    def read_meta(self, step: int) -> dict[str, Any]:
        """What was kept beside the state of `step`."""
        self._require(step)
        restored = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
        return restored.meta

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state of `step`, on the device.

        Args:
          step: one of `steps()`.
          like: a state of the same structure, or its `jax.eval_shape`.

        Raises:
          UserError: there is no such checkpoint, it is damaged, or it is of another model.
        """
        self._require(step)
        place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), like
        )
        where = self.folder / str(step)
        meta = self.read_meta(step)
        ours, theirs = layout(like), meta["arrays"]
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                raise UserError(
                    f"checkpoint {where} is of another model: its {name} is {theirs.get(name)}, this "
                    f"model's is {ours.get(name)}"
                )
        try:
            state = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
            ).state
        except (ValueError, KeyError, OSError) as error:
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else "unreadable"
            raise UserError(
                f"checkpoint {where} cannot be restored ({first_line}); remove it to go on from the one "
                "before"
            ) from error
        if checksum(state) != meta["sha256"]:
            raise UserError(
                f"checkpoint {where} is damaged: its checksum differs; remove it to go on from the one "
                "before"
            )
        return state

    def _require(self, step: int) -> None:
        if step not in self._manager.all_steps():
            raise UserError(
                f"{self.folder} has no checkpoint of step {step}; it has {self.steps() or 'none'}"
            )
