"""Clips and class lists in a bucket."""

from pathlib import Path

import numpy as np
import pytest

from mla_jax.config import DataConfig
from mla_jax.data import data_classes
from mla_jax.data.class_list import ClassList
from mla_jax.data.packing import pack, pack_data
from mla_jax.data.sources import open_packed
from mla_jax.runs.trained import TrainedModel
from mla_jax.storage import cache, files, paths
from tests.support.bucket_server import BucketServer, cached, put
from tests.support.helpers import assert_same_clips, raises_user_error, random_clips, read_clips


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """A file of six clips."""
    rng = np.random.default_rng(0)
    path = tmp_path / "arrays" / "six.npz"
    path.parent.mkdir()
    np.savez(
        path, x=rng.integers(0, 256, (6, 5, 4), np.uint8), y=np.tile(np.eye(3, dtype=bool), (2, 1))
    )
    return path


def test_what_is_not_in_the_bucket_is_one_line_that_names_the_url(bucket: str) -> None:
    for path in (f"{bucket}/none", f"{bucket}/none.npz", f"{bucket}/none/*.tfrecord"):
        with raises_user_error(path, "does not exist"):
            read_clips(path)
    with raises_user_error(f"{bucket}/none", "no manifest.json"):
        open_packed(f"{bucket}/none")
    with raises_user_error(f"cannot read the class list {bucket}/list.csv"):
        ClassList.read(f"{bucket}/list.csv")
    with raises_user_error(f"{bucket}/none", "does not exist"):
        TrainedModel.open(f"{bucket}/none")


def test_packed_to_a_bucket_and_back_are_the_bytes_packed_locally(
    bucket_server: BucketServer, bucket: str, npz: Path, tmp_path: Path
) -> None:
    local, url = tmp_path / "local", f"{bucket}/packed/six"
    lines = pack_data(str(npz), local, DataConfig())
    assert pack_data(str(npz), url, DataConfig())[1:] == lines[1:]
    copy = Path(cache.local_copy(url).path)
    for file in local.iterdir():
        assert bucket_server.content(f"{url}/{file.name}") == file.read_bytes(), file.name
        assert (copy / file.name).read_bytes() == file.read_bytes(), file.name
    assert len(bucket_server.names(f"{url}/")) == len(list(local.iterdir()))
    assert bucket_server.first_put(bucket)[-1] == "packed/six/manifest.json"
    assert_same_clips(open_packed(url, verify=True), open_packed(local))
    with raises_user_error(url, "already exists"):
        pack([random_clips()], url)


def test_packed_clips_are_checked_as_they_are_fetched(bucket: str, tmp_path: Path) -> None:
    pack([random_clips()], tmp_path / "packed")
    file = tmp_path / "packed" / "label_ids.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (tmp_path / "packed" / "other").write_text("not of the packed folder")
    url = put(tmp_path / "packed", f"{bucket}/packed")
    for open_data in (open_packed, read_clips):
        with raises_user_error(f"{url}/label_ids.npy is not what was written"):
            open_data(url)
    assert cached() == []
    file.write_bytes(whole)
    put(tmp_path / "packed", url)
    assert_same_clips(open_packed(url), random_clips())
    assert_same_clips(read_clips(url), random_clips())
    (entry,) = cached()
    assert len(list((cache.root() / entry / "packed").iterdir())) == 7


def test_array_files_and_class_lists_beside_them(bucket: str, npz: Path) -> None:
    url = f"{put(npz.parent, f'{bucket}/data')}/six.npz"
    assert_same_clips(read_clips(url, num_classes=3), read_clips(npz, num_classes=3))
    assert data_classes.find_classes(DataConfig(), url) is None
    classes = ClassList(("/a", "/b", "/c"), ("A", "B", "C"))
    for place in ("csv/class_labels_indices.csv", "data/class_labels_indices.csv"):
        files.write_text(f"{bucket}/{place}", classes.to_csv())
        assert data_classes.find_classes(DataConfig(), url) == classes
        paths.as_path(f"{bucket}/{place}").unlink()
    files.write_text(f"{bucket}/bad.csv", "no header\n")
    with raises_user_error(f"{bucket}/bad.csv is no class list"):
        ClassList.read(f"{bucket}/bad.csv")
    files.write_text(f"{bucket}/bad.npz", "no archive")
    with raises_user_error(f"{bucket}/bad.npz cannot be read"):
        read_clips(f"{bucket}/bad.npz")
