"""A server that speaks the protocol of Google's buckets, on this machine, for the tests of `gs://`.

It is the package gcp-storage-emulator, with what TensorStore asks of a bucket beyond that: the generation of
what is downloaded, and that an upload on condition of a generation is refused where there is another.
"""

import contextlib
import io
import os
import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import requests
from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

import mla_jax as mla
from mla_jax.storage import buckets, cache, paths
from tests.support.small_runs import left_by, run_config

_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/?]+)$")
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o$")


class _Handler(RequestHandler):
    def generation(self, bucket: str, name: str) -> str:
        """The generation of an object; 0 where there is none."""
        found = self.storage.objects.get(bucket, {}).get(name)
        return found["generation"] if found else "0"

    def end_headers(self) -> None:
        if self.command == "GET" and (found := _OBJECT.match(urlsplit(self.path).path)):
            self.send_header("x-goog-generation", self.generation(found[1], unquote(found[2])))
        super().end_headers()

    def post(self) -> None:
        """As the emulator does it, but for a condition that does not hold, and for ends of content."""
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        found = _UPLOAD.match(url.path)
        wanted, name = query.get("ifGenerationMatch"), query.get("name")
        size = int(self.headers.get("Content-Length") or 0)
        if found and wanted and name and self.generation(found[1], name[0]) != wanted[0]:
            self.rfile.read(size)
            self.send_error(412)
        elif query.get("uploadType") == ["multipart"]:
            # gcsfs puts \n before a boundary; if the content ends in \r, the emulator takes both for its end.
            body = self.rfile.read(size).replace(b"\n--==0==", b"\r\n--==0==")
            self.headers.replace_header("Content-Length", str(len(body)))
            connection, self.rfile = self.rfile, io.BytesIO(body)
            super().do_POST()
            self.rfile = connection
        else:
            super().do_POST()

    do_POST = post  # noqa: N815 (http.server's name)

    def get(self) -> None:
        """As the emulator does it, but bytes of objects are late by the server's `delay`."""
        if "alt=media" in self.path:
            time.sleep(self.server.delay)  # type: ignore[attr-defined]
        super().do_GET()

    do_GET = get  # noqa: N815

    def log_message(self, format: str, *arguments: Any) -> None:
        self.server.requests.append(f"{self.command} {self.path}")  # type: ignore[attr-defined]


class _Server(HTTPServer):
    def __init__(self, storage: Storage) -> None:
        self.requests: list[str] = []
        self.delay = 0.0
        super().__init__(("127.0.0.1", 0), partial(_Handler, storage))

    def handle_error(self, *_: Any) -> None:
        """A client that has gone away is none."""


class BucketServer:
    """Serves buckets out of memory, to this process and those that it starts; a context manager."""

    def __init__(self) -> None:
        self._storage = Storage(use_memory_fs=True)
        self._server = _Server(self._storage)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "BucketServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def environment(self) -> dict[str, str]:
        """What has gcsfs and TensorStore talk to it."""
        host, port = self._server.server_address[:2]
        return {
            "STORAGE_EMULATOR_HOST": f"http://{host}:{port}",
            "TENSORSTORE_GCS_HTTP_URL": f"http://{host}:{port}",
            # Else TensorStore looks for credentials.
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
            # Of buckets with real folders, which it does not have.
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    @property
    def requests(self) -> list[str]:
        """The requests so far, such as `GET /storage/v1/b/one/o/file`."""
        return self._server.requests

    @contextlib.contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Every download takes so long, one after the other."""
        self._server.delay = seconds
        yield
        self._server.delay = 0.0

    def downloads(self) -> list[str]:
        """The requests that fetched an object's bytes."""
        return [line for line in self.requests if "alt=media" in line]

    def make(self, bucket: str) -> str:
        """Makes an empty bucket; returns its URL."""
        create_bucket(bucket, self._storage)
        return f"gs://{bucket}"

    def exists(self, bucket: str) -> bool:
        """Whether there is such a bucket."""
        return self._storage.get_bucket(bucket) is not None

    def names(self, url: str) -> list[str]:
        """The objects whose URLs begin so, without that."""
        bucket, _, start = url.removeprefix("gs://").partition("/")
        objects = self._storage.objects.get(bucket, {})
        return sorted(name.removeprefix(start) for name in objects if name.startswith(start))

    def first_put(self, url: str) -> list[str]:
        """The names of a bucket's objects, in the order in which they first appeared."""
        return list(self._storage.objects.get(url.removeprefix("gs://"), {}))

    def content(self, url: str) -> bytes:
        """The bytes of an object."""
        bucket, _, name = url.removeprefix("gs://").partition("/")
        data: bytes = self._storage.get_file(bucket, name)
        return data

    def rename(self, url: str, name: str) -> None:
        """Lists an object by another name, which may be one that no file could have."""
        bucket, _, old = url.removeprefix("gs://").partition("/")
        objects = self._storage.objects[bucket]
        objects[name] = {**objects.pop(old), "name": name}

    def damage(self, url: str, data: bytes) -> None:
        """Gives an object other bytes, behind the back of what the bucket says of it."""
        bucket, _, name = url.removeprefix("gs://").partition("/")
        self._storage._store.write_bytes(f"{bucket}/{name}", data)

    def upload(self, url: str, data: bytes) -> None:
        """Puts an object as another program would."""
        bucket, _, name = url.removeprefix("gs://").partition("/")
        where = f"{self.environment['STORAGE_EMULATOR_HOST']}/upload/storage/v1/b/{bucket}/o"
        query = {"uploadType": "media", "name": name}
        requests.post(where, params=query, data=data, timeout=10).raise_for_status()


def cached() -> list[str]:
    """The copies in the cache, and whatever else was left there, locks apart."""
    folder = cache.root()
    return (
        sorted(p.name for p in folder.iterdir() if p.suffix != ".lock") if folder.exists() else []
    )


def set_environment(server: BucketServer) -> None:
    """For this process and those that it starts; gcsfs and TensorStore read it once, so it stays."""
    os.environ.update(server.environment)


def put(folder: Path, url: str) -> str:
    """Puts a folder's files into a bucket, as `gcloud storage cp -r` does; returns the URL."""
    buckets.put_folder(folder, url)
    return url


def bucket_config(url: str, **train: int) -> mla.Config:
    """The settings of `tests.support.small_runs`, with the data that are in the bucket."""
    return run_config(paths.as_path(f"{url}/data"), **train)


def left(url: str) -> dict[str, Any]:
    """What a finished run leaves in a bucket, as `tests.support.small_runs.left_by`."""
    return left_by(paths.as_path(url))
