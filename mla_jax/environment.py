"""On what, and with which versions, figures were made."""

import importlib.metadata
import platform
from typing import Any

import jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def environment() -> dict[str, Any]:
    """The device and the versions, as plain values for a results file."""
    device = jax.devices()[0]
    return {
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version for name in _PACKAGES if (version := package_version(name))},
        },
    }


def package_version(name: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
