"""What a path is, and what a bucket refuses, against a server that speaks the protocol of buckets."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gcsfs.retry import HttpError

from mla_jax.storage import buckets, files, paths
from mla_jax.storage.locks import one_writer
from tests.support.bucket_server import BucketServer
from tests.support.helpers import raises_user_error
from tests.support.small_runs import ROOT


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own: what looks at the environment does so once."""
    env = {name: value for name, value in os.environ.items() if name != "EPATH_USE_TF"}
    command = [sys.executable, "-c", f"from mla_jax.storage import cache, files, paths\n{code}"]
    return subprocess.run(command, cwd=ROOT, env=env | environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "url",
    ["gcs://a/b", "s3://a/b", "https://a/b", "GS://a/b", "gs://", "gs:///a", Path("gs://bucket/a")],
)
def test_a_mistyped_url_is_one_line(url: str | Path) -> None:
    with raises_user_error(str(url), "gs://BUCKET/..."):
        paths.as_path(url)
    with raises_user_error(str(url), "gs://BUCKET/..."):
        files.write_text(f"{url}/file", "text")


def test_local_paths_load_nothing_and_urls_load_no_tensorflow(bucket: str) -> None:
    done = run(
        "import sys\n"
        "import mla_jax.data.sources\n"
        "assert paths.as_path('a/b').name == 'b' and cache.local_copy('a').path == 'a'\n"
        "assert not {'etils', 'fsspec', 'gcsfs', 'aiohttp'} & set(sys.modules), 'heavy'\n"
        f"assert not paths.as_path('{bucket}/a').exists()\n"
        "assert 'gcsfs' in sys.modules and 'tensorflow' not in sys.modules\n"
    )
    assert done.returncode == 0, done.stderr


def test_without_gcsfs_the_line_names_the_extra() -> None:
    done = run("import sys; sys.modules['gcsfs'] = None; paths.as_path('gs://bucket/a')")
    assert "UserError: gs:// needs gcsfs, which is not installed: pip install" in done.stderr


def test_a_server_that_is_not_there_is_one_line_within_seconds() -> None:
    began = time.monotonic()
    with socket.socket() as held:  # bound, but nothing listens
        held.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{held.getsockname()[1]}"
        done = run("paths.as_path('gs://bucket/a')", STORAGE_EMULATOR_HOST=f"http://{server}")
    assert f"UserError: gs://bucket: {server} cannot be reached" in done.stderr
    assert time.monotonic() - began < 25  # imports on a busy machine; gcsfs would try for 30


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (HttpError({"code": 401, "message": "Anonymous"}), "gcloud auth application-default"),
        (HttpError({"code": 403, "message": "no\nrights"}), "no rights, 403; log in"),
        (OSError("Forbidden: a/b\nno rights"), "have the bucket's owner let you in"),
        (HttpError({"code": 500, "message": "broken"}), "gs://bucket/a: broken, 500"),
    ],
)
def test_what_a_bucket_refuses_is_one_line(error: Exception, said: str) -> None:
    with raises_user_error("gs://bucket/a", said), buckets.errors_naming("gs://bucket/a"):
        raise error


def test_a_missing_bucket_is_one_line_and_is_not_made(
    bucket_server: BucketServer, bucket: str
) -> None:
    for use in (buckets.find, paths.as_path, lambda url: files.write_text(f"{url}/a", "text")):
        with raises_user_error("there is no bucket gs://mistyped"):
            use("gs://mistyped")
    assert not bucket_server.exists("mistyped")


def test_what_another_process_writes_is_seen(bucket_server: BucketServer, bucket: str) -> None:
    """Nothing remembers listings."""
    folder = paths.as_path(f"{bucket}/folder")
    for seen in (["a"], ["a", "b"]):
        assert not (folder / seen[-1]).exists()
        bucket_server.upload(f"{folder}/{seen[-1]}", b"text")
        assert (folder / seen[-1]).exists()
        assert sorted(p.name for p in folder.iterdir()) == seen


def test_nothing_guards_a_bucket_and_a_line_says_so(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    with one_writer(f"{bucket}/run"):
        pass
    assert [r.getMessage() for r in caplog.records] == [
        f"{bucket}/run: a bucket has no locks, so nothing guards it against a second writer: see that one "
        "process alone writes there"
    ]
