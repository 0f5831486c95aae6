"""How a command compiles: in good time, and once, since what is compiled is kept in the user's cache.

JAX keeps the programs, by all that they depend on: what they compute, its own version, flags and devices.
They lie in `compiled/` of the folder that `MLA_JAX_CACHE` names (`~/.cache/mla_jax`), apart for each kind of
processor, since homes are shared by machines. Where that folder cannot be written, or others could write to
it (programs are run), nothing is kept. Nor is it in a run of several processes (`parallel.processes.join`).
"""

import hashlib
import importlib.util
import os
import platform
import stat
import sys
import warnings
from pathlib import Path
from typing import Any

from absl import flags

from mla_jax.parallel.processor import processor_says
from mla_jax.storage import cache

_KEEP = flags.DEFINE_bool(
    "keep_compiled",
    True,
    "Whether compiled programs are kept in the cache folder, so that the next command starts sooner; "
    "MLA_JAX_KEEP_COMPILED=0 says no for all commands.",
)
_LEVEL = "xla_backend_optimization_level"
_MOST_BYTES = 256 * 2**20
_LEAST_SECONDS = 0.05  # what compiles faster is not worth a file


def compile_in_good_time() -> None:
    """Lets XLA optimize less where there are processors alone; before anything is compiled.

    At LLVM's second level a training step is compiled in two thirds of the time of the third, XLA's own
    choice, and takes as long (BUILD_NOTES.md). What `XLA_FLAGS` says already stays.
    """
    asked = os.environ.get("XLA_FLAGS", "")
    alone = os.environ.get("JAX_PLATFORMS") == "cpu" or not any(
        importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu")
    )
    if alone and _LEVEL not in asked:
        os.environ["XLA_FLAGS"] = f"{asked} --{_LEVEL}=2".strip()


def keep_compiled() -> None:
    """Lets JAX keep what it compiles, as the flag and the environment say; before anything is compiled.

    A folder that the user has given to JAX itself stays.
    """
    told = os.environ.get("MLA_JAX_KEEP_COMPILED", "1").lower()
    if (
        not _KEEP.value
        or told in ("0", "false", "no", "off")
        or "JAX_COMPILATION_CACHE_DIR" in os.environ
    ):
        return
    folder = cache.root() / "compiled" / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _is_ours_alone(folder):
            return
        make_room(folder, _MOST_BYTES)
    except OSError:
        return
    # One that was cut off when its process was killed, or that a full disk has no room for.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    _tell_jax("jax_compilation_cache_dir", str(folder))
    _tell_jax("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)


def make_room(folder: Path, most: int) -> None:
    """Removes the oldest files of a folder until the others have at most so many bytes.

    Raises:
      OSError: it cannot be read.
    """
    found = []
    for entry in os.scandir(folder):
        try:
            found.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
        except OSError:  # another process removes it
            continue
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            return
        Path(path).unlink(missing_ok=True)
        total -= size


def _tell_jax(name: str, value: Any) -> None:
    """Sets one of JAX's settings, without importing JAX: not every command needs it."""
    os.environ[name.upper()] = str(value)
    if "jax" in sys.modules:
        import jax

        jax.config.update(name, value)


def _is_ours_alone(folder: Path) -> bool:
    """Whether this user can write to a folder, and nobody else."""
    about = folder.stat()
    own = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    return own and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and os.access(folder, os.W_OK)


def _processor() -> str:
    """A name for what code the processor can run."""
    said = processor_says()
    told = f"{platform.machine()} {platform.processor()}"
    told += said.get("flags", "") + said.get("Features", "")  # of x86, of Arm
    return hashlib.sha256(told.encode()).hexdigest()[:16]
