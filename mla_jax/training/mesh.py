"""Many devices as one: a mesh with a single axis, over which the clips of a batch are spread.

Parameters are on every device, each of which works on its part of the batch; the compiler puts in what has
to be summed over the devices: batch norm's statistics, the loss, the gradients. All of them are of the
whole batch, so the number of devices changes results by rounding only.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mla_jax.errors import UserError

AXIS = "data"


def make_mesh(num_devices: int = 0) -> Mesh | None:
    """The mesh of a run; None where a single device needs none.

    Args:
      num_devices: how many; 0: all, but of a processor that pretends to be several only one.

    Raises:
      UserError: there are not so many, or other processes' would be left out.
    """
    devices = jax.devices()
    several_processes = jax.process_count() > 1
    if not num_devices:
        pretends = devices[0].platform == "cpu" and not several_processes
        num_devices = 1 if pretends else len(devices)
    if num_devices > len(devices):
        raise UserError(f"train.devices={num_devices}, but there are only {len(devices)} devices")
    if several_processes and num_devices < len(devices):
        raise UserError(
            f"train.devices={num_devices}, but {jax.process_count()} processes have {len(devices)} "
            "devices together, and each must take part; leave train.devices at 0"
        )
    return Mesh(np.array(devices[:num_devices]), (AXIS,)) if num_devices > 1 else None


def on_all(tree: Any, mesh: Mesh | None) -> Any:
    """Arrays that every device of the mesh holds as a whole; every process gives the same values."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: _placed(leaf, mesh, PartitionSpec()), tree)


def spread(
    shape: tuple[int, ...], rows: Callable[[int, int], np.ndarray], mesh: Mesh | None
) -> jax.Array:
    """An array of which each device holds some rows, filled up with zeros to a multiple of the devices.

    Args:
      shape: of the whole, before it is filled up.
      rows: gives its rows from the first number to before the second; asked for those alone that devices
        of this process hold.
      mesh: the devices; None: the only one.
    """
    if mesh is None:
        return jnp.asarray(rows(0, shape[0]))
    size = padded_size(shape[0], mesh)

    def part(index: Any) -> np.ndarray:
        start, stop, _ = index[0].indices(size)
        found = np.asarray(rows(min(start, shape[0]), min(stop, shape[0])))
        missing = stop - start - len(found)
        return np.pad(found, ((0, missing), *[(0, 0)] * (found.ndim - 1))) if missing else found

    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.make_array_from_callback((size, *shape[1:]), sharding, part)


def everywhere() -> jax.sharding.Sharding:
    """How the state lies before a step: whole on the first device, or on each where processes share it."""
    if jax.process_count() == 1:
        return jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return NamedSharding(Mesh(np.array(jax.devices()), (AXIS,)), PartitionSpec())


def take(array: jax.Array, rows: jax.Array, mesh: Mesh | None) -> jax.Array:
    """`array[rows]` of an array that is spread over the devices, spread over them in turn.

    Args:
      array: [n, ...], made by `spread`.
      rows: [m], the same on every device, m a multiple of their number.
    """
    if mesh is None:
        return array[rows]

    def local(part: jax.Array, rows: jax.Array) -> jax.Array:
        here = rows - jax.lax.axis_index(AXIS) * part.shape[0]
        mine = (here >= 0) & (here < part.shape[0])
        found = part[jnp.where(mine, here, 0)]
        found = jnp.where(mine.reshape(-1, *[1] * (part.ndim - 1)), found, 0)
        return jax.lax.psum_scatter(found, AXIS, scatter_dimension=0, tiled=True)

    specs = (PartitionSpec(AXIS), PartitionSpec())
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=specs[0])(array, rows)


def _placed(array: Any, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    sharding = NamedSharding(mesh, spec)
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        data = _placed(jax.random.key_data(array), mesh, spec)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    values = np.asarray(array)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def mesh_of(tree: Any) -> Mesh | None:
    """The mesh of arrays that `on_all` made; None of others."""
    sharding = getattr(jax.tree.leaves(tree)[0], "sharding", None)
    return sharding.mesh if isinstance(sharding, NamedSharding) else None  # type: ignore[return-value]


def padded_size(size: int, mesh: Mesh | None) -> int:
    """The next multiple of the number of devices."""
    devices = mesh.size if mesh is not None else 1
    return -(-size // devices) * devices


def constrain(tree: Any, mesh: Mesh | None, *spec: str | None) -> Any:
    """Inside a compiled program: says how the arrays lie on the devices."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec(*spec)))
