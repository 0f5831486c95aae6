"""Data parallelism: a mesh with one axis, over which the devices share the clips of a batch.

Every device holds all parameters and works on its part of the batch. The compiler sums over the devices
where the whole batch counts (the statistics of batch norm, the loss, the gradients), so the number of
devices changes results by rounding only.
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
    """The mesh of the devices to use; None for a single device.

    Args:
      num_devices: how many; 0: all, where the virtual devices of a CPU count as one.

    Raises:
      UserError: there are fewer, or a process would have none.
    """
    devices = jax.devices()
    several_processes = jax.process_count() > 1
    if not num_devices:
        virtual = devices[0].platform == "cpu" and not several_processes
        num_devices = 1 if virtual else len(devices)
    if num_devices > len(devices):
        raise UserError(f"train.devices={num_devices}, but there are only {len(devices)} devices")
    if several_processes and num_devices < len(devices):
        raise UserError(
            f"train.devices={num_devices}, but {jax.process_count()} processes have {len(devices)} "
            "devices together, and each must take part; leave train.devices at 0"
        )
    return Mesh(np.array(devices[:num_devices]), (AXIS,)) if num_devices > 1 else None


def on_all(tree: Any, mesh: Mesh | None) -> Any:
    """Puts arrays as a whole on every device of the mesh; every process must give the same values."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: _placed(leaf, mesh, PartitionSpec()), tree)


def spread(
    shape: tuple[int, ...], rows: Callable[[int, int], np.ndarray], mesh: Mesh | None
) -> jax.Array:
    """An array whose rows the devices share.

    Args:
      shape: of the whole array.
      rows: `rows(start, stop)` gives these rows; called for those that devices of this process hold.
      mesh: the devices; None for a single one.

    Returns:
      [m, ...] with m the next multiple of the number of devices; the rows after the last are 0.
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
    """Where a restored state goes: to the first device, or with several processes to every device."""
    if jax.process_count() == 1:
        return jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return NamedSharding(Mesh(np.array(jax.devices()), (AXIS,)), PartitionSpec())


def take(array: jax.Array, rows: jax.Array, mesh: Mesh | None) -> jax.Array:
    """`array[rows]` of an array whose rows the devices share; they share the rows of the result too.

    Args:
      array: [n, ...], made by `spread`.
      rows: [m], the same on every device; m is a multiple of their number.
      mesh: the devices; None for a single one.
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
    """The mesh that `on_all` put arrays on; None for other arrays."""
    sharding = getattr(jax.tree.leaves(tree)[0], "sharding", None)
    return sharding.mesh if isinstance(sharding, NamedSharding) else None  # type: ignore[return-value]


def padded_size(size: int, mesh: Mesh | None) -> int:
    """The smallest multiple of the number of devices that is at least `size`."""
    devices = mesh.size if mesh is not None else 1
    return -(-size // devices) * devices


def constrain(tree: Any, mesh: Mesh | None, *spec: str | None) -> Any:
    """Inside a compiled program: tells the compiler how the devices share the arrays."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec(*spec)))
