"""Several processes that train together: which of them this is, and how they agree.

All of them run the same program and must make the same compiled calls in the same order. So what only one
of them knows (an error, a signal, how long a call took) is shared before any of them acts on it. The main
process, number 0, writes files and prints. With a single process the functions here cost nothing.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mla_jax.errors import UserError
from mla_jax.parallel.mesh import AXIS

T = TypeVar("T")

# Words in JAX's errors when another process has ended.
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
    """Another process failed, and says why."""


def join(
    coordinator: str = "",
    num_processes: int | None = None,
    process_id: int | None = None,
    own_device: int | None = None,
    *,
    join_seconds: int = 300,
    heartbeat_seconds: int = 60,
) -> None:
    """Connects this process with the others; to be called before anything touches a device.

    Args:
      coordinator: host:port of process 0; "": on Cloud TPU, Slurm, Open MPI and the like
        `jax.distributed.initialize` finds it, the number of processes and the number of this one.
      num_processes: how many there are.
      process_id: which of them this is, from 0.
      own_device: the GPU that this process takes; None: all that it sees.
      join_seconds: how long to wait for the others.
      heartbeat_seconds: how long a process may be silent before the others take it for dead.

    Raises:
      UserError: the others are not found, or do not come in time; or another program has the port.
    """
    if coordinator and process_id == 0:
        _require_free(int(coordinator.rpartition(":")[2]))
    # How CPUs talk to each other; other devices have their own ways.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Only process 0 would keep what it compiles, and the keys of processors differ between processes: one
    # that loads waits in a collective for others that compile, and Gloo waits for 30 seconds at most.
    jax.config.update("jax_enable_compilation_cache", False)
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


def _require_free(port: int) -> None:
    """Checks that process 0 can listen at a port: JAX crashes where it cannot."""
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise UserError(
            f"port {port} of this machine cannot be used ({error.strerror}); give all processes another in "
            "--distributed"
        ) from error


def use_own_device(number: int) -> None:
    """Lets this process see one GPU alone, where there are any; before anything touches a device."""
    for kind in ("cuda", "rocm"):
        jax.config.update(f"jax_{kind}_visible_devices", str(number))


# Asked in a process of its own: one that has joined the others would end with them.
_ASK = """
import sys
import jax
from mla_jax.errors import UserError
from mla_jax.parallel import processes
try:
    processes.join(join_seconds=int(sys.argv[1]))
except UserError as error:
    sys.exit(str(error))
print(jax.process_index(), jax.process_count(), jax.config.values["jax_cuda_visible_devices"], flush=True)
"""


def take_place_in_cluster(join_seconds: int) -> tuple[int, int]:
    """Which process this is, from 0, and of how many, where a cluster says so; the others are not joined.

    Where the cluster says which GPU is this process's own, it sees that alone from then on.

    Raises:
      UserError: as `join`.
    """
    asked = subprocess.run(
        [sys.executable, "-c", _ASK, str(join_seconds)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    if asked.returncode:
        raise UserError((asked.stderr.strip().splitlines() or ["no cluster answered"])[-1])
    number, count, device = asked.stdout.split()[-3:]
    if device.isdigit():
        use_own_device(int(device))
    return int(number), int(count)


def several() -> bool:
    """Whether there is more than one process."""
    return jax.process_count() > 1


def number() -> int:
    """The number of this process, from 0."""
    return jax.process_index()


def is_main() -> bool:
    """Whether this is process 0, which writes files and prints."""
    return jax.process_index() == 0


def lost_contact(error: BaseException) -> bool:
    """Whether an exception means that another process has ended or cannot be reached."""
    if isinstance(error, UserError | KeyboardInterrupt | SystemExit) or not several():
        return False
    text = str(error).lower()
    return any(sign in text for sign in _SIGNS_OF_A_LOST_PROCESS)


def together(action: Callable[[], T]) -> T:
    """Returns what `action` returns in this process; if it fails in one process, all of them fail.

    Raises:
      UserError: raised by `action`, in the first process where it failed.
      PeerFailedError: in all others.
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
    """Runs `action` in the main process while the others wait; errors as `together`.

    Returns:
      What `action` returned; None in the other processes.
    """
    return together(lambda: action() if is_main() else None)


def from_main(action: Callable[[], T]) -> T:
    """Returns in every process the JSON value that `action` returns in the main one; errors as `together`."""
    if not several():
        return action()
    text = json.dumps(on_main(action)).encode()
    size = int(multihost_utils.broadcast_one_to_all(np.uint32(len(text))))
    letters = np.frombuffer(text.ljust(size)[:size], np.uint8)
    value: T = json.loads(bytes(multihost_utils.broadcast_one_to_all(letters)))
    return value


@contextlib.contextmanager
def main_enters(context: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Enters a context in the main process while the others wait; errors as `together`."""
    with contextlib.ExitStack() as stack:
        on_main(lambda: stack.enter_context(context()))
        yield


def anywhere(value: bool) -> bool:
    """Whether the value is true in any process."""
    return bool(_gather(np.array([value], np.uint32)).any()) if several() else value


def smallest(count: int) -> int:
    """The smallest count of all processes."""
    return int(_gather(np.array([count], np.uint32)).min()) if several() else count


def require_same(what: str, value: bytes) -> None:
    """Checks that all processes have the same value.

    Args:
      what: the name of the value in the plural, such as "the settings".
      value: the value as bytes.

    Raises:
      UserError: in the first process that differs from the main one.
      PeerFailedError: then in all others.
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


def own_share(total: int) -> slice:
    """Which of `total` items this process works on: about as many in each process, in order."""
    return slice(*_share(total, jax.process_index()))


def gather_shares(part: np.ndarray, total: int) -> np.ndarray:
    """The results of all processes on their `own_share`, put together in every process.

    Args:
      part: [items of this process, ...].
      total: how many items there are.

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
    """The same arrays on the devices of this process alone, to compute with them without the other processes.

    Args:
      tree: arrays that every device holds as a whole. They are not copied.
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
