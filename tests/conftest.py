"""Strict settings for every test, and where the real data is."""

import os
from pathlib import Path

# Before JAX starts: several devices, so that nothing leans on there being one.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
)
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def audioset_dir() -> Path:
    """The folder of the released features: bal_train/, eval/ and csv/."""
    folder = Path(os.environ.get("MLA_AUDIOSET_DIR", ROOT.parent / "shared/data/audioset"))
    if not (folder / "bal_train").is_dir():
        pytest.skip(f"no released features at {folder}; set MLA_AUDIOSET_DIR to their folder")
    return folder
