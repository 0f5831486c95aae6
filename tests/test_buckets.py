"""`gs://` in every place where a path is, against a server that speaks the protocol of buckets."""

import dataclasses
import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gcsfs.retry import HttpError

from mla_jax import bucket_access, buckets, cache, files, paths, runs, tagging, trained
from mla_jax.config import DataConfig
from mla_jax.data import labels, packed, packing, sources
from mla_jax.data.array_files import read_array_file
from mla_jax.errors import UserError
from mla_jax.evaluation.tensorboard import add_to_board
from mla_jax.locks import one_writer
from mla_jax.training.checkpoints import Checkpoints
from mla_jax.training.interruption import InterruptedRunError
from mla_jax.training.metrics_log import MetricsLog, read_metrics
from tests.bucket_server import BucketServer, bucket_config, left, put
from tests.helpers import assert_same_clips, raises_user_error, random_clips
from tests.small_runs import ROOT, run_config


def cached() -> list[str]:
    """What is in the cache, locks apart."""
    folder = cache.root()
    return (
        sorted(p.name for p in folder.iterdir() if p.suffix != ".lock") if folder.exists() else []
    )


def save_npz(path: Path, num_clips: int = 6) -> Path:
    rng = np.random.default_rng(num_clips)
    np.savez(
        path,
        x=rng.integers(0, 256, (num_clips, 5, 4), np.uint8),
        y=np.eye(3, dtype=bool)[np.arange(num_clips) % 3],
        video_id_list=[f"id{i}" for i in range(num_clips)],
    )
    return path


# What a path is


@pytest.mark.parametrize("url", ["gcs://a/b", "s3://a/b", "https://a/b", "GS://a/b"])
def test_a_mistyped_scheme_is_one_line(url: str) -> None:
    with raises_user_error(url, "gs://BUCKET/..."):
        paths.as_path(url)
    with raises_user_error(url, "gs://BUCKET/..."):
        files.write_text(f"{url}/file", "text")


@pytest.mark.parametrize("url", ["gs://", "gs:///a", Path("gs://bucket/a")])
def test_a_url_without_a_bucket_is_one_line(url: str | Path) -> None:
    with raises_user_error("gs://BUCKET/..."):
        paths.as_path(url)


def test_local_paths_load_nothing_and_urls_load_no_tensorflow(bucket: str) -> None:
    code = (
        "import sys\n"
        "from mla_jax import cache, files, locks, paths\n"
        "from mla_jax.data import labels, packed, sources\n"
        "assert paths.as_path('a/b').name == 'b' and cache.local_copy('a').path == 'a'\n"
        "assert not {'etils', 'fsspec', 'gcsfs', 'aiohttp'} & set(sys.modules), 'heavy'\n"
        f"assert not paths.as_path('{bucket}/a').exists()\n"
        "assert 'gcsfs' in sys.modules and 'tensorflow' not in sys.modules\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "EPATH_USE_TF"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_gcsfs_the_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket_access.file_system.cache_clear()
    bucket_access._require_bucket.cache_clear()
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with raises_user_error("gs:// needs gcsfs", "mla_jax[gcs]"):
        paths.as_path("gs://bucket/a")


def test_a_server_that_is_not_there_is_one_line_within_seconds() -> None:
    with socket.socket() as held:  # bound, but nothing listens
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        env = os.environ | {
            "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "experiments.prepare_data", "--verify=gs://bucket/packed"],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: gs://bucket: 127.0.0.1:{port} cannot be reached")
    assert done.stderr.count("\n") == 1, done.stderr
    assert time.monotonic() - began < 25  # imports on a busy machine; gcsfs would try for 30


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            HttpError({"code": 401, "message": "Anonymous caller"}),
            "gcloud auth application-default",
        ),
        (HttpError({"code": 403, "message": "no\nrights"}), "no rights, 403; log in"),
        (OSError("Forbidden: a/b\nno rights"), "have the bucket's owner let you in"),
        (HttpError({"code": 500, "message": "broken"}), "gs://bucket/a: broken, 500"),
    ],
)
def test_what_a_bucket_refuses_is_one_line(error: Exception, said: str) -> None:
    with raises_user_error("gs://bucket/a", said), bucket_access.speaking_of("gs://bucket/a"):
        raise error


def test_a_missing_bucket_is_one_line_and_is_not_made(
    bucket_server: BucketServer, bucket: str, run_data: Path
) -> None:
    config = run_config(run_data)
    with raises_user_error("there is no bucket gs://mistyped"):
        runs.train(config, "gs://mistyped/run", say=lambda _: None)
    with raises_user_error("there is no bucket gs://mistyped"):
        packed.pack([random_clips()], "gs://mistyped/packed")
    assert not bucket_server.exists("mistyped")


def test_what_is_not_in_the_bucket_is_one_line_that_names_the_url(bucket: str) -> None:
    for path in (f"{bucket}/none", f"{bucket}/none.npz", f"{bucket}/none/*.tfrecord"):
        with raises_user_error(path, "does not exist"):
            sources.open_clips(path, DataConfig(), 3)
    with raises_user_error(f"{bucket}/none", "no manifest.json"):
        packed.open_packed(f"{bucket}/none")
    with raises_user_error(f"{bucket}/list.csv", "does not exist"):
        labels.ClassList.read(f"{bucket}/list.csv")
    with raises_user_error(f"{bucket}/none", "does not exist"):
        trained.TrainedModel.open(f"{bucket}/none")
    with raises_user_error(f"cannot read {bucket}/none.json"):
        files.read_json(f"{bucket}/none.json")


# Files


def test_an_object_appears_whole_or_not_at_all(bucket_server: BucketServer, bucket: str) -> None:
    url = f"{bucket}/folder/a.txt"
    files.write_text(url, "old é")
    assert bucket_server.content(url) == "old é".encode()

    def fail() -> None:
        with files.replacing(url) as file:
            file.write("half of the n")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert bucket_server.content(url) == "old é".encode()
    with files.replacing(url, binary=True) as file:
        file.write(b"new")
    assert bucket_server.content(url) == b"new"
    files.write_json(url, {"a": np.arange(2)})
    assert files.read_json(url) == {"a": [0, 1]}


def test_what_another_process_writes_is_seen(bucket_server: BucketServer, bucket: str) -> None:
    """Nothing remembers listings."""
    folder = paths.as_path(f"{bucket}/folder")
    files.write_text(f"{folder}/a", "a")
    assert [p.name for p in folder.iterdir()] == ["a"]
    assert not (folder / "b").exists()
    code = f"from mla_jax import files; files.write_text('{folder}/b', 'b')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert (folder / "b").exists()
    assert sorted(p.name for p in folder.iterdir()) == ["a", "b"]


def test_folders_move_and_go_with_what_is_in_them(bucket_server: BucketServer, bucket: str) -> None:
    for name in ("from/a", "from/b/c", "fromage"):
        files.write_text(f"{bucket}/{name}", name)
    paths.move(paths.as_path(f"{bucket}/from"), paths.as_path(f"{bucket}/to/there"))
    assert bucket_server.names(f"{bucket}/") == ["fromage", "to/there/a", "to/there/b/c"]
    assert bucket_server.content(f"{bucket}/to/there/b/c") == b"from/b/c"
    paths.remove_folder(paths.as_path(f"{bucket}/to"))
    assert bucket_server.names(f"{bucket}/") == ["fromage"]


def test_nothing_guards_a_bucket_and_a_line_says_so(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    with one_writer(f"{bucket}/run"):
        pass
    assert [r.getMessage() for r in caplog.records] == [
        f"{bucket}/run: a bucket has no locks, so nothing guards it against a second writer: see that one "
        "process alone writes there"
    ]


# Data


def test_packed_to_a_bucket_and_back_are_the_bytes_packed_locally(
    bucket_server: BucketServer, bucket: str, tmp_path: Path
) -> None:
    source = save_npz(tmp_path / "six.npz")
    config = DataConfig()
    local, url = tmp_path / "local", f"{bucket}/packed/six"
    lines = packing.pack_records(str(source), local, config)
    assert packing.pack_records(str(source), url, config)[1:] == lines[1:]
    names = sorted(f.name for f in local.iterdir())
    assert bucket_server.names(f"{url}/") == names
    for name in names:
        assert bucket_server.content(f"{url}/{name}") == (local / name).read_bytes(), name
    copy = cache.local_copy(url)
    for name in names:
        assert (Path(copy.path) / name).read_bytes() == (local / name).read_bytes(), name
    assert_same_clips(packed.verify(url), packed.open_packed(local))
    with raises_user_error(url, "already exists"):
        packed.pack([random_clips()], url)


def test_the_manifest_is_put_last(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    real = buckets.put

    def noting(given: Any) -> None:
        names.extend(url.rpartition("/")[2] for _, url in given)
        real(given)

    monkeypatch.setattr(buckets, "put", noting)
    packed.pack([random_clips()], f"{bucket}/packed")
    assert len(names) == 7
    assert names[-1] == "manifest.json"


def test_a_pack_that_fails_leaves_nothing(
    bucket_server: BucketServer, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = buckets.put

    def failing(given: Any) -> None:
        if given[0][1].endswith("manifest.json"):
            raise UserError("the line is cut")
        real(given)

    monkeypatch.setattr(buckets, "put", failing)
    with raises_user_error("the line is cut"):
        packed.pack([random_clips()], f"{bucket}/packed")
    assert bucket_server.names(bucket) == []
    assert cached() == []


def test_a_second_opening_downloads_nothing_and_a_change_everything(
    bucket_server: BucketServer, bucket: str, tmp_path: Path
) -> None:
    first = random_clips()
    second = dataclasses.replace(first, embeddings=255 - first.embeddings)  # of the same sizes
    packed.pack([first], tmp_path / "first")
    packed.pack([second], tmp_path / "second")
    url = put(tmp_path / "first", f"{bucket}/packed")
    assert_same_clips(packed.open_packed(url), first)
    before = len(bucket_server.downloads())
    assert_same_clips(packed.open_packed(url), first)
    assert_same_clips(sources.open_clips(url, DataConfig(), 7), first)
    assert len(bucket_server.downloads()) == before
    put(tmp_path / "second", url)
    assert_same_clips(packed.open_packed(url), second)
    assert len(bucket_server.downloads()) > before
    assert len(cached()) == 2


def test_damage_is_one_line_that_names_the_object_and_leaves_nothing(
    bucket_server: BucketServer, bucket: str, tmp_path: Path
) -> None:
    packed.pack([random_clips()], tmp_path / "packed")
    url = put(tmp_path / "packed", f"{bucket}/packed")
    file = tmp_path / "packed" / "label_ids.npy"
    whole = file.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    bucket_server.damage(f"{url}/label_ids.npy", flipped)
    with raises_user_error(f"{url}/label_ids.npy was damaged in transfer"):
        packed.open_packed(url)
    assert cached() == []
    file.write_bytes(flipped)  # the bucket has what was put there, but that is not what was packed
    put(tmp_path / "packed", url)
    with raises_user_error(f"{url}/label_ids.npy is not what was written"):
        packed.open_packed(url)
    assert cached() == []
    file.write_bytes(whole)
    put(tmp_path / "packed", url)
    packed.open_packed(url)
    assert len(cached()) == 1


def test_two_processes_that_ask_at_once_fetch_it_once(
    bucket_server: BucketServer, bucket: str, tmp_path: Path
) -> None:
    packed.pack([random_clips()], tmp_path / "packed")
    url = put(tmp_path / "packed", f"{bucket}/packed")
    before = len(bucket_server.downloads())
    code = f"from mla_jax.data import packed; print(len(packed.open_packed('{url}')))"
    command = [sys.executable, "-c", code]
    with bucket_server.slow(0.5):  # that they meet
        both = [
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
        ]
        assert [process.communicate()[0] for process in both] == ["20\n", "20\n"]
    assert len(bucket_server.downloads()) - before == len(list((tmp_path / "packed").iterdir()))
    assert len(cached()) == 1


def test_a_full_disk_is_noticed_before(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_text(f"{bucket}/a.npz", "text")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1}))
    with raises_user_error(f"4 bytes for {bucket}/a.npz", "make room"):
        cache.local_copy(f"{bucket}/a.npz")
    assert cached() == []


def test_what_a_dead_process_left_is_removed(bucket: str) -> None:
    files.write_text(f"{bucket}/a.npz", "text")
    copy = cache.local_copy(f"{bucket}/a.npz")
    entry = Path(copy.path).parent
    entry.rename(entry.parent / f".{entry.name}.4194305")
    cache.local_copy(f"{bucket}/a.npz")
    assert cached() == [entry.name]


def test_array_files_and_class_lists_beside_them(bucket: str, tmp_path: Path) -> None:
    local = save_npz(tmp_path / "six.npz")
    url = f"{bucket}/data/six.npz"
    buckets.put([(local, url)])
    assert_same_clips(read_array_file(url), read_array_file(local))
    assert sources.find_classes(DataConfig(), url) is None
    classes = labels.ClassList(("/a", "/b", "/c"), ("A", "B", "C"))
    for place in ("csv/class_labels_indices.csv", "data/class_labels_indices.csv"):
        files.write_text(f"{bucket}/{place}", classes.to_csv())
        assert sources.find_classes(DataConfig(), url) == classes
        paths.as_path(f"{bucket}/{place}").unlink()
    files.write_text(f"{bucket}/bad.csv", "no header\n")
    with raises_user_error(f"{bucket}/bad.csv is no class list"):
        labels.ClassList.read(f"{bucket}/bad.csv")
    files.write_text(f"{bucket}/bad.npz", "no archive")
    with raises_user_error(f"{bucket}/bad.npz cannot be read"):
        read_array_file(f"{bucket}/bad.npz")


# Runs


def stop_at(*counts: int) -> Callable[[], bool]:
    """Says stop at these of the times that it is asked."""
    asked = itertools.count(1)
    return lambda: next(asked) in counts


def test_a_run_in_a_bucket_ends_as_a_local_one(
    run_bucket: str, whole_run: dict[str, Any], bucket_server: BucketServer
) -> None:
    assert left(f"{run_bucket}/whole") == whole_run
    names = bucket_server.names(f"{run_bucket}/whole/")
    assert {n for n in names if "/" not in n} == {"config.json", "metrics.jsonl", "results.json"}
    assert sum(n.startswith("tensorboard/events.out.tfevents.") for n in names) == 1
    before = len(bucket_server.downloads())
    runs.train(bucket_config(run_bucket), f"{run_bucket}/whole", say=lambda _: None)
    assert len(bucket_server.downloads()) - before <= 6, "a finished run is not trained again"


def test_an_interrupted_run_goes_on_from_the_bucket_to_the_same_bits(
    run_bucket: str, whole_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, config = f"{run_bucket}/interrupted", bucket_config(run_bucket)
    real, recorded = Checkpoints.save, {}

    def noting(self: Checkpoints, state: Any, *rest: Any, **named: Any) -> None:
        steps = [r["step"] for r in read_metrics(f"{url}/metrics.jsonl")]
        recorded[int(state.step)] = steps
        real(self, state, *rest, **named)

    monkeypatch.setattr(Checkpoints, "save", noting)
    with pytest.raises(InterruptedRunError) as stop:
        runs.train(config, url, say=lambda _: None, should_stop=stop_at(3))
    assert stop.value.step in recorded
    runs.train(config, url, say=lambda _: None)
    for step, steps in recorded.items():  # what a checkpoint stands on is there before it
        assert steps == list(range(5, step + 1, 5))
    assert {k: v for k, v in left(url).items() if k != "steps"} == {
        k: v for k, v in whole_run.items() if k != "steps"
    }
    with raises_user_error(f"{url} holds a run with other settings", "batch_size"):
        runs.train(
            runs.Config.from_dict(
                config.to_dict() | {"data": config.to_dict()["data"] | {"batch_size": 4}}
            ),
            url,
        )


@pytest.mark.slow
def test_a_damaged_checkpoint_in_a_bucket_is_passed_over_and_moved(
    run_bucket: str, bucket_server: BucketServer, whole_run: dict[str, Any]
) -> None:
    url, said = f"{run_bucket}/damaged", []
    runs.train(bucket_config(run_bucket, steps=20), url, say=lambda _: None)
    name = f"{url}/checkpoints/20/meta/metadata"
    files.write_text(name, bucket_server.content(name).decode().replace("num_features", "num_f"))
    runs.train(bucket_config(run_bucket), url, say=said.append)
    assert any("passed over" in line and f"{url}/damaged/20-0" in line for line in said)
    assert "damaged/20-0/meta/metadata" in bucket_server.names(f"{url}/")
    assert left(url)["state"] == whole_run["state"]


def test_evaluate_and_predict_read_and_write_buckets(
    run_bucket: str, bucket_server: BucketServer, run_data: Path, tmp_path: Path
) -> None:
    run, data, out = f"{run_bucket}/whole", f"{run_bucket}/data/eval", f"{run_bucket}/out"
    figures = trained.evaluate(run, data, output=f"{out}/eval.json")
    assert files.read_json(f"{out}/eval.json")["mAP"] == figures["mAP"]
    assert figures["mAP"] == files.read_json(f"{run}/results.json")["mAP"]
    tagging.predict_to_file(run, data, f"{out}/tags.parquet")
    tagging.predict_to_file(run, str(run_data / "eval"), tmp_path / "tags.parquet")
    assert bucket_server.content(f"{out}/tags.parquet") == (tmp_path / "tags.parquet").read_bytes()


def test_pictures_for_tensorboard_replace_those_before(
    bucket: str, bucket_server: BucketServer
) -> None:
    for name in ("events.older.report", "events.scalars"):
        files.write_text(f"{bucket}/tensorboard/{name}", "")
    add_to_board(f"{bucket}/tensorboard", {"settings": "text"}, {}, 1)
    scalars, pictures = bucket_server.names(f"{bucket}/tensorboard/")
    assert scalars == "events.scalars" or pictures == "events.scalars"
    assert "events.older.report" not in (scalars, pictures)


def test_a_log_in_a_bucket_is_put_there_now_and_then(
    bucket: str, bucket_server: BucketServer
) -> None:
    url = f"{bucket}/run"

    def steps() -> list[int]:
        return [r["step"] for r in read_metrics(f"{url}/metrics.jsonl")]

    with MetricsLog(url, 0) as log:
        for step in (1, 2, 3):
            log.write({"step": step, "loss": 0.5})
        assert steps() == []
        log._published -= 31
        log.write({"step": 4, "loss": 0.5})
        assert steps() == [1, 2, 3, 4]
        log.write({"step": 5, "loss": 0.5})
        log.publish()
        assert steps() == [1, 2, 3, 4, 5]
        log.write({"step": 6, "loss": 0.5})
    assert steps() == [1, 2, 3, 4, 5, 6]
    with MetricsLog(url, 4):
        assert steps() == [1, 2, 3, 4]
    assert sum("events" in n for n in bucket_server.names(f"{url}/tensorboard/")) == 2
