"""The checkpoints of a run: saving its state and restoring it. The only module that knows Orbax."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import PolicyCheckpointInfo, PreservationPolicy

from mla_jax.errors import UserError
from mla_jax.parallel.mesh import everywhere
from mla_jax.parallel.processes import anywhere, from_main, lost_contact
from mla_jax.runs.saved_weights import (
    META_SHA256,
    SCORE,
    WEIGHTS_SHA256,
    best_of,
    meta_checksum,
    weights_checksum,
)
from mla_jax.storage import paths  # before Orbax opens a path: it says how gs:// is opened
from mla_jax.storage.files import to_json
from mla_jax.training.state import TrainState

_STOPPED = "stopped"


class DamagedCheckpointError(UserError):
    """A checkpoint is incomplete, or its content has changed since it was written."""


def checksum(state: TrainState) -> str:
    """The sha256 of the names, dtypes, shapes and bytes of all arrays; Orbax itself checks none."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def layout(state: TrainState) -> dict[str, str]:
    """The dtype and shape of every array, by its path in the state."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def require_readable_later(folder: str | Path) -> None:
    """Refuses a folder from which no checkpoint could be read: what saves them would not say so.

    Orbax takes `[a]` for a pattern when it reads, and a backslash for a slash, and takes no name that is not
    UTF-8; when it writes, it does not.

    Raises:
      UserError: the folder's path has such a part; the message says which.
    """
    path = str(paths.absolute(folder))
    found = re.search(r"\[[^/]*\]|\\|[\ud800-\udfff]", path)
    if found:
        raise UserError(
            f"{path}: checkpoints in a folder with {found[0]!r} in its path cannot be read; rename that "
            "folder, or give another"
        )


class _NewestAndBest(PreservationPolicy):
    """Keeps the newest `keep` regular checkpoints (0: all), the best, and the very newest.

    A checkpoint that a stopped run saved between its regular steps is not regular.
    """

    def __init__(
        self, keep: int, best_step: Callable[[], int | None], is_regular: Callable[[int], bool]
    ) -> None:
        self._keep, self._best_step, self._is_regular = keep, best_step, is_regular

    def should_preserve(
        self, checkpoints: Sequence[PolicyCheckpointInfo], *, context: Any
    ) -> list[bool]:
        del context
        steps = [info.step for info in checkpoints]
        kept = [step for step in steps if self._is_regular(step)][-self._keep :]
        return [step in (*kept, *steps[-1:], self._best_step()) for step in steps]


class Checkpoints:
    """The checkpoints in a folder, of which the newest `keep` (0: all) and the best by validation mAP stay.

    Use it as a context manager: saving goes on in the background, and leaving waits for it.
    """

    def __init__(self, folder: str | Path, *, keep: int = 0, read_only: bool = False) -> None:
        self.folder = paths.absolute(folder)
        require_readable_later(self.folder)
        if read_only and not self.folder.is_dir():
            raise UserError(f"{self.folder} does not exist: there are no checkpoints there")
        # Orbax would keep scores for its own ranking only; ours are in the meta of each checkpoint.
        self._scores: dict[int, float | None] = {}
        self._stops: set[int] = set()
        self._reads_back = False  # whether what is saved here was once read and found whole
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                # Orbax's own read_only warns of what it implies at every opening.
                create=not read_only,
                save_root_metadata=not read_only,
                preservation_policy=_NewestAndBest(
                    keep, self.best_step, lambda step: step not in self._stops
                ),
                cleanup_tmp_directories=not read_only,
            ),
            item_names=("state", "meta"),
        )
        for step in self.steps():
            with contextlib.suppress(DamagedCheckpointError):
                self._note(step, self.read_meta(step))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        with _writing(self.folder):
            self._manager.close()

    def _note(self, step: int, meta: dict[str, Any]) -> None:
        self._scores[step] = meta[SCORE]
        if meta.get(_STOPPED):
            self._stops.add(step)

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """The newest step that has a checkpoint; None if there is none."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step with the highest validation mAP, of equal ones the latest; None without validation."""
        return best_of(self._scores)

    def save(
        self,
        state: TrainState,
        meta: dict[str, Any],
        *,
        validation_mAP: float | None = None,
        stopped: bool = False,
    ) -> None:
        """Saves a state in the background; the first also is read again, so that it is known to be there.

        Args:
          state: copied first, so that it may be donated at once.
          meta: JSON values to keep beside it.
          validation_mAP: what the best checkpoint is chosen by; None without validation.
          stopped: the run stopped here, between its regular checkpoints.

        Raises:
          UserError: this checkpoint, or the one before it, could not be written, or the first not be read.
        """
        state = jax.tree.map(jnp.copy, state)
        step = int(state.step)
        kept = json.loads(
            to_json(
                {
                    **meta,
                    SCORE: validation_mAP,  # NaN, which chooses nothing, becomes None
                    _STOPPED: stopped,
                    "arrays": layout(state),
                    "sha256": checksum(state),
                    WEIGHTS_SHA256: weights_checksum(state.variables),
                }
            )
        )
        kept[META_SHA256] = meta_checksum(kept)
        self._note(step, kept)
        with _writing(self.folder):
            taken = self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(kept)
                ),
            )
            if not self._reads_back:
                self._manager.wait_until_finished()
        if not taken:
            raise UserError(
                f"{self.folder} has checkpoints of step {self._manager.latest_step()}, so none is kept of "
                f"step {step}; remove that folder"
            )
        if not self._reads_back:
            self._read_back(step, jax.eval_shape(lambda: state))

    def wait(self) -> None:
        """Waits until what was saved is written."""
        with _writing(self.folder):
            self._manager.wait_until_finished()

    def _read_back(self, step: int, like: TrainState) -> None:
        try:
            self.restore(step, like)
        except UserError as error:
            raise UserError(
                f"{error}: it was written, but what was read back is not the same; give a workdir on another "
                "disk, or by another path"
            ) from error
        self._reads_back = True

    def read_meta(self, step: int) -> dict[str, Any]:
        """The JSON values that were kept beside the state of `step`.

        Raises:
          DamagedCheckpointError: the checkpoint is damaged.
          UserError: there is no such checkpoint.
        """
        self._require(step)
        with _reading(self.folder / str(step)):
            meta: dict[str, Any] = self._manager.restore(
                step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
            ).meta
            # Older checkpoints have no checksum of these values.
            if meta.get(META_SHA256, meta_checksum(meta)) != meta_checksum(meta):
                raise ValueError("the checksum of its settings differs")
        return meta

    def newest_meta(self) -> dict[str, Any] | None:
        """The JSON values beside the newest state of which they are whole; None if there are none."""
        for step in reversed(self.steps()):
            with contextlib.suppress(DamagedCheckpointError):
                return self.read_meta(step)
        return None

    def restore_newest(
        self, like: TrainState, warn: Callable[[str], None]
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """Restores the newest checkpoint that is whole.

        Damaged ones are moved to the folder `damaged` beside this one: their steps can then be saved again.

        Args:
          like: as `restore`.
          warn: takes a line about each damaged checkpoint.

        Returns:
          The state and what was kept beside it; None if there are no checkpoints.

        Raises:
          UserError: every checkpoint is damaged, or one is of another model.
        """
        damaged: dict[int, DamagedCheckpointError] = {}
        for step in reversed(self.steps()):
            found, damage = None, None
            try:
                found = self.restore(step, like), self.read_meta(step)
            except DamagedCheckpointError as error:
                damage = error
            if anywhere(damage is not None):
                damaged[step] = damage or DamagedCheckpointError(
                    f"checkpoint {self.folder / str(step)} is damaged, as another process reads it"
                )
                continue
            for bad, why in damaged.items():
                warn(f"warning: {why}; passed over, and moved to {self._move_aside(bad)}")
            return found
        if damaged:
            newest = next(iter(damaged.values()))
            raise UserError(
                f"{self.folder} has no checkpoint that is whole ({newest}); give another workdir to begin "
                "anew"
            )
        return None

    def _move_aside(self, step: int) -> Path:
        def move() -> str:
            folder = self.folder.parent / "damaged"
            aside = next(p for i in range(10**6) if not (p := folder / f"{step}-{i}").exists())
            paths.move(self.folder / str(step), aside)
            return str(aside)

        aside = paths.as_path(from_main(move))
        self._scores.pop(step, None)
        self._stops.discard(step)
        self._manager.reload()
        return aside

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state of `step` on the device; with several processes, on every device.

        Args:
          step: one of `steps()`.
          like: a state of the same structure, or its `jax.eval_shape`.

        Raises:
          DamagedCheckpointError: the checkpoint is damaged.
          UserError: there is no such checkpoint, or it is of another model.
        """
        self._require(step)
        place = everywhere()
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
                    f"model's is {ours.get(name)}{_hint_of_x64(ours, theirs)}"
                )
        with _reading(where):
            state: TrainState = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
            ).state
            if checksum(state) != meta["sha256"]:
                raise ValueError("its checksum differs")
        return state

    def _require(self, step: int) -> None:
        if step not in self._manager.all_steps():
            raise UserError(
                f"{self.folder} has no checkpoint of step {step}; it has {self.steps() or 'none'}"
            )


def _hint_of_x64(ours: dict[str, str], theirs: dict[str, str]) -> str:
    """What to do where only the widths of numbers differ; else nothing."""
    narrow = [{k: v.replace("64[", "32[") for k, v in one.items()} for one in (ours, theirs)]
    if narrow[0] != narrow[1]:
        return ""
    return "; set JAX_ENABLE_X64, or jax_enable_x64, as it was in training"


@contextlib.contextmanager
def _reading(checkpoint: Path) -> Iterator[None]:
    """Turns any error of Orbax, which raises many kinds, into a `DamagedCheckpointError`."""
    try:
        yield
    except Exception as error:
        if lost_contact(error):
            raise
        raise DamagedCheckpointError(
            f"checkpoint {checkpoint} is damaged ({_first_line(error)})"
        ) from error


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turns errors of writing into a `UserError`."""
    try:
        yield
    except Exception as error:
        expected = isinstance(error, OSError | ValueError | RuntimeError)
        # If another process has ended, the folder is well.
        if lost_contact(error) or not (expected or paths.is_of_bucket(error)):
            raise
        raise UserError(
            f"a checkpoint could not be written to {folder} ({_first_line(error)}); those before it are "
            "whole: make room, and start again to go on from the last"
        ) from error


def _first_line(error: Exception) -> str:
    """The message in at most one line: those of Orbax can fill a page."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 160 else f"{line[:160]}..."
