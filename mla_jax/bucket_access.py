"""Access to buckets (`gs://`): what opens them, whether one can be used, and its errors as one line.

This module and `mla_jax.buckets`, which works with objects, alone know etils and gcsfs; others come by way
of `mla_jax.paths` and `mla_jax.cache`.
"""

import contextlib
import functools
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from mla_jax import paths  # noqa: F401  (before etils: it says how etils opens gs://)
from mla_jax.errors import UserError

_CONNECT_SECONDS = 10.0


def path_of(url: str) -> Path:
    """An epath of this URL, in a bucket that is there.

    Raises:
      UserError: gcsfs is not installed, or the bucket cannot be used.
    """
    _require_bucket(url.removeprefix("gs://").split("/")[0])
    from etils import epath

    found: Any = epath.Path(url)
    return cast(Path, found)  # it has pathlib's methods, as far as they are used here


@functools.cache
def file_system() -> Any:
    """What gcsfs has for buckets, set up once.

    Raises:
      UserError: it is not installed.
    """
    try:
        import fsspec
        import gcsfs  # noqa: F401  (fsspec looks for it by name)
    except ImportError as error:
        raise UserError(
            f"gs:// needs {error.name}, which is not installed: pip install 'mla_jax[gcs]'"
        ) from error
    # A listing that is kept would hide what other processes write. This holds for etils, and so Orbax, too.
    fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    _forget_tensorflow()
    # It logs every error that it raises, with a stack trace.
    if (logger := logging.getLogger("gcsfs")).level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    return fsspec.filesystem("gcs")


def _forget_tensorflow() -> None:
    """What opened a path by etils before `mla_jax.paths` was imported may have made it choose TensorFlow."""
    from etils.epath import gpath

    decided: Any = getattr(gpath, "_is_tf_installed", None)
    if hasattr(decided, "cache_clear"):
        decided.cache_clear()


@functools.cache
def _require_bucket(bucket: str) -> None:
    """Asks once for one name. Else a mistyped bucket would be made by the first `mkdir`, or look empty."""
    url = f"gs://{bucket}"
    with speaking_of(url):
        system = file_system()
        _require_reachable(url, system)
        try:
            system.call("GET", "b/{}/o", bucket, maxResults=1, json_out=True)
        except FileNotFoundError:
            raise UserError(
                f"there is no bucket {url}, or you may not see it; check its name, or make it"
            ) from None


def _require_reachable(url: str, system: Any) -> None:
    """Fails at once where nothing listens: gcsfs would try for half a minute."""
    if system.session_kwargs:  # by way of a proxy, perhaps
        return
    server = urlsplit(system.base)
    port = server.port or (443 if server.scheme == "https" else 80)
    try:
        socket.create_connection((server.hostname or "", port), _CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"{url}: {server.hostname}:{port} cannot be reached ({error.strerror or error}); check the "
            "network"
        ) from error


@contextlib.contextmanager
def speaking_of(url: str) -> Iterator[None]:
    """What goes wrong with a bucket becomes one line that names the URL: gcsfs raises many kinds."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{url} does not exist") from error
    except Exception as error:
        line = " ".join(str(error).split()) or type(error).__name__
        denied = str(getattr(error, "code", "")) in ("401", "403") or line.startswith("Forbidden")
        hint = (
            "; log in (gcloud auth application-default login), or have the bucket's owner let you in"
            if denied
            else ""
        )
        raise UserError(f"{url}: {line[:300]}{hint}") from error
