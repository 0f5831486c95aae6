"""A run of several processes: which of them this is, and what they tell each other.

All of them run the same program and must come to the same compiled calls in the same order, so whatever
one alone can know (an error, a signal, how long a call took) is agreed on before anyone acts on it. The
main process, the first, is the one that writes and speaks. With a single process every function here
does the obvious at no cost.
"""

import contextlib
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError
from mla_jax.training.mesh import AXIS

T = TypeVar("T")

# What the errors of JAX say whose cause is another process's end; other errors are this process's own.
_SIGNS_OF_A_LOST_PROCESS = (
    "connection closed by peer",
    "connection reset by peer",
    "heartbeat",
    "gloo",
    "nccl",
    "unavailable:",
    "barrier",
    "coordination service",
    "socket closed",
)


class PeerFailedError(UserError):
    """Another process could not go on; it is the one that says why."""


def join(
    coordinator: str = "",
    num_processes: int | None = None,
    process_id: int | None = None,
    own_device: int | None = None,
    *,
    join_seconds: int = 300,
    heartbeat_seconds: int = 60,
) -> None:
    """Makes this process one of a run's; before anything touches a device.

    Args:
      coordinator: host:port of the first process; "": found out, as are the other two, on Cloud TPU,
        Slurm, Open MPI and the like (`jax.distributed.initialize`).
      num_processes, process_id: how many there are, and which of them this is.
      own_device: the GPU that this process takes; None: all that it sees.
      join_seconds: how long to wait for the others.
      heartbeat_seconds: how long a process may be silent before the others give it up.

    Raises:
      UserError: the others are not found, or do not come in time.
    """
    # For processors; other devices have their own.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator or None,
            num_processes,
            process_id,
            None if own_device is None else [own_device],
            initialization_timeout=join_seconds,
            heartbeat_timeout_seconds=heartbeat_seconds,
        )
    except ValueError as error:
        raise UserError(
            f"no Cloud TPU, Slurm, Open MPI or the like is here that knows the other processes ({error}); "
            "leave --distributed out for one process, or give --distributed=HOST:PORT of the first, "
            "--num_processes and --process_id"
        ) from error
    except RuntimeError as error:
        raise UserError(
            f"the other processes did not come within {join_seconds} s ({_first_line(error)}); start all "
            "of them, with the same --distributed and --num_processes"
        ) from error


def several() -> bool:
    """Whether the run has more than one process."""
    return jax.process_count() > 1


def number() -> int:
    """Which of the processes this is, from 0."""
    return jax.process_index()


def is_main() -> bool:
    """Whether this is the process that writes and speaks."""
    return jax.process_index() == 0


def lost_contact(error: BaseException) -> bool:
    """Whether an exception says that another process has ended, or cannot be reached."""
    if isinstance(error, UserError | KeyboardInterrupt | SystemExit) or not several():
        return False
    text = str(error).lower()
    return any(sign in text for sign in _SIGNS_OF_A_LOST_PROCESS)


def together(action: Callable[[], T]) -> T:
    """What `action` returns; if it fails in any process, all of them fail.

    Raises:
      UserError: that of `action`, in the first process where it failed.
      PeerFailedError: in the others.
    """
    if not several():
        return action()
    result, error = None, None
    try:
        result = action()
    except UserError as own:
        error = own
    failed = _gather(np.array([error is not None], np.uint32))[:, 0]
    if not failed.any():
        return result  # type: ignore[return-value]
    first = int(np.argmax(failed))
    if error is not None and first == jax.process_index():
        raise error
    raise PeerFailedError(f"process {first} of {jax.process_count()} could not go on")


def on_main(action: Callable[[], T]) -> T | None:
    """What `action` returns in the main process, None in the others, which wait; errors as `together`."""
    return together(lambda: action() if is_main() else None)


def from_main(action: Callable[[], T]) -> T:
    """The JSON value that `action` returns in the main process, in all of them; errors as `together`."""
    if not several():
        return action()
    text = json.dumps(on_main(action)).encode()
    size = int(multihost_utils.broadcast_one_to_all(np.uint32(len(text))))
    letters = np.frombuffer(text.ljust(size)[:size], np.uint8)
    value: T = json.loads(bytes(multihost_utils.broadcast_one_to_all(letters)))
    return value


@contextlib.contextmanager
def main_enters(context: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Enters a context in the main process; the others go on when it is entered; errors as `together`."""
    with contextlib.ExitStack() as stack:
        on_main(lambda: stack.enter_context(context()))
        yield


def agree(stopping: bool, count: int) -> tuple[bool, int]:
    """Whether any process wants to stop, and the smallest `count` of all."""
    if not several():
        return stopping, count
    said = _gather(np.array([stopping, count], np.uint32))
    return bool(said[:, 0].any()), int(said[:, 1].min())


def anywhere(said: bool) -> bool:
    """Whether any process says so."""
    return agree(said, 0)[0]


def require_same(what: str, value: bytes) -> None:
    """Checks that all processes were given the same.

    Raises:
      UserError: they were not, in the first that differs from the main one; PeerFailedError in the others.
    """
    if not several():
        return
    sums = _gather(np.array([zlib.crc32(value)], np.uint32))[:, 0]

    def check() -> None:
        if sums[jax.process_index()] != sums[0]:
            raise UserError(
                f"{what} of process {jax.process_index()} are not those of process 0; give all the same"
            )

    together(check)


def fingerprint(clips: ClipSet) -> bytes:
    """What tells two data sets apart without reading their embeddings."""
    shape = f"{clips.embeddings.shape} {clips.embeddings.dtype} {clips.num_classes}".encode()
    arrays = (clips.num_segments, clips.label_offsets, clips.label_ids, clips.video_ids)
    sums = (zlib.crc32(np.ascontiguousarray(a).view(np.uint8).data) for a in arrays)
    return b" ".join([shape, *(b"%d" % s for s in sums)])


def own_part(clips: ClipSet) -> ClipSet:
    """The clips that this process evaluates: its share of them, in order."""
    start, stop = _share(len(clips), jax.process_index())
    return clips[start:stop] if several() else clips


def gather_parts(part: np.ndarray, total: int) -> np.ndarray:
    """All processes' results on their `own_part`, put together in every process.

    Args:
      part: [clips of this process, ...].
      total: how many clips there are.

    Returns:
      [total, ...]
    """
    if not several():
        return part
    longest = -(-total // jax.process_count())
    padded = np.zeros((longest, *part.shape[1:]), part.dtype)
    padded[: len(part)] = part
    shares = (_share(total, i) for i in range(jax.process_count()))
    return np.concatenate(
        [rows[: stop - start] for rows, (start, stop) in zip(_gather(padded), shares, strict=True)]
    )


def own_copy(tree: Any) -> Any:
    """Arrays that every device has whole, as arrays of this process's devices alone; nothing is copied.

    What is computed with them no other process needs to know of.
    """
    if not several():
        return tree
    devices = jax.local_devices()
    if len(devices) == 1:
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
    sharding = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec())

    def local(leaf: jax.Array) -> jax.Array:
        parts = [shard.data for shard in leaf.addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape, sharding, parts)

    return jax.tree.map(local, tree)


def _share(total: int, process: int) -> tuple[int, int]:
    size = -(-total // jax.process_count())
    return min(process * size, total), min((process + 1) * size, total)


def _gather(values: np.ndarray) -> np.ndarray:
    """The values of all processes, [processes, ...]."""
    return np.asarray(multihost_utils.process_allgather(values))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
