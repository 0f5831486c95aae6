"""The device and the versions that results were made with."""

import importlib.metadata
import os
import platform
from typing import Any

import jax

from mla_jax import __version__
from mla_jax.parallel.mesh import make_mesh
from mla_jax.parallel.processor import processor_says

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def environment() -> dict[str, Any]:
    """The device, the processor and the versions of the libraries, as plain values for a results file."""
    device = jax.devices()[0]
    return {
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
        },
        "processor": {
            "name": processor_says().get("model name", platform.processor()),
            "cores": os.cpu_count(),
        },
        "versions": {
            "mla_jax": __version__,
            "python": platform.python_version(),
            **{name: version for name in _PACKAGES if (version := package_version(name))},
        },
    }


def describe_devices(num_devices: int = 0) -> str:
    """The devices of a run in a few words, such as `TPU v5 lite (tpu), 64 devices of 8 processes`.

    Args:
      num_devices: as `train.devices`.
    """
    mesh = make_mesh(num_devices)
    first = jax.devices()[0]
    parts = [f"{first.device_kind} ({first.platform})"]
    if mesh is not None:
        parts.append(f"{mesh.size} devices")
    if jax.process_count() > 1:
        parts[-1] += f" of {jax.process_count()} processes"
    return ", ".join(parts)


def package_version(name: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
