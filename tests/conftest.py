"""Strict settings for every test, and where the real data is."""

import atexit
import gc
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import xla

# Before JAX starts.
os.environ["XLA_FLAGS"] = xla.flags(os.environ.get("XLA_FLAGS", ""))
os.environ["JAX_PLATFORMS"] = "cpu"
# As `mla_jax.storage.paths` does; some test files import it after a library that reads the variable.
os.environ["EPATH_USE_TF"] = "false"
# What one process has compiled, the others load: the workers of a run, and the commands that they start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    compiled = tempfile.mkdtemp(prefix="mla_jax-compiled-")
    atexit.register(shutil.rmtree, compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parent.parent
_BUCKETS = itertools.count()


def pytest_collection_finish() -> None:
    """What the imports have left lives to the end: the garbage collector need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def audioset_dir() -> Path:
    """The folder of the released features: bal_train/, eval/ and csv/."""
    folder = Path(os.environ.get("MLA_AUDIOSET_DIR", ROOT.parent / "shared/data/audioset"))
    if not (folder / "bal_train").is_dir():
        pytest.skip(f"no released features at {folder}; set MLA_AUDIOSET_DIR to their folder")
    return folder


@pytest.fixture(scope="session")
def audio_dir() -> Path:
    """The folder with esc10/, yamnet/ and vggish/: real sounds and weights."""
    folder = Path(os.environ.get("MLA_AUDIO_DIR", ROOT.parent / "shared/data/audio"))
    if not (folder / "yamnet").is_dir():
        pytest.skip(f"no sounds and weights at {folder}; set MLA_AUDIO_DIR to their folder")
    return folder


@pytest.fixture(scope="session")
def bucket_server() -> Iterator[Any]:
    """A `tests.support.bucket_server.BucketServer`, and this process set to talk to it."""
    from tests.support.bucket_server import BucketServer, set_environment

    with BucketServer() as server:
        set_environment(server)
        yield server


@pytest.fixture
def bucket(bucket_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket; copies of what is in it go to the test's folder."""
    monkeypatch.setenv("MLA_JAX_CACHE", str(tmp_path / "cache"))
    url: str = bucket_server.make(f"bucket-{next(_BUCKETS)}")
    return url


@pytest.fixture(scope="session")
def run_bucket(
    bucket_server: Any, run_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A bucket with the data of `run_data`, and the run of `whole_run` trained there."""
    from tests.support.bucket_server import bucket_config, put
    from tests.support.small_runs import train_quietly

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLA_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        url = bucket_server.make("run-bucket")
        put(run_data, f"{url}/data")
        train_quietly(bucket_config(url), f"{url}/whole")
        yield url


@pytest.fixture(scope="session")
def run_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small packed sets, train and eval, for `tests.support.small_runs`."""
    from mla_jax.data.packing import pack
    from tests.support.helpers import random_clips

    folder = tmp_path_factory.mktemp("data")
    for seed, split in enumerate(("train", "eval")):
        pack([random_clips(num_clips=40, seed=seed)], folder / split)
    return folder


@pytest.fixture(scope="session")
def whole_workdir(run_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run of `tests.support.small_runs`, which nothing interrupted."""
    from tests.support.small_runs import run_config, train_quietly

    workdir = tmp_path_factory.mktemp("whole") / "run"
    train_quietly(run_config(run_data), workdir)
    return workdir


@pytest.fixture(scope="session")
def whole_run(whole_workdir: Path) -> dict[str, Any]:
    """What that run leaves."""
    from tests.support.small_runs import STEPS, left_by

    left = left_by(whole_workdir)
    assert [r["step"] for r in left["metrics"]] == list(range(5, STEPS + 1, 5))
    return left
