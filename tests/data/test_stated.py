"""What embeddings mean, by format: what files say, what their form says, and what a user states."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mla_jax.config import DataConfig
from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import AUDIOSET, Embedding, Scaling
from mla_jax.data.formats.record_writer import write_records
from mla_jax.data.packing import pack_data
from mla_jax.data.sources import open_packed
from mla_jax.data.stated import NOTHING, Stated, parse_scaling
from tests.support.helpers import (
    assert_same_clips,
    in_order_of_files,
    raises_user_error,
    random_clips,
    read_clips,
)

MINE = Embedding(
    "float32",
    4,
    Scaling(1.0, 2.0),
    encoder="mine",
    postprocessing="mean of three",
    hop_seconds=0.48,
    example_seconds=0.96,
    details={"weights": "abc"},
)
HALF = Stated(hop_seconds=0.5)


def write_arrays(path: Path, clips: ClipSet, **more: Any) -> str:
    arrays = {
        "x": clips.embeddings,
        "y": clips.multi_hot(),
        "video_id_list": clips.video_ids,
        "num_segments": clips.num_segments,
        "start_times": clips.start_times,
    }
    if path.suffix == ".npz":
        np.savez(path, **arrays, **more)
        return str(path)
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file.attrs.update(more)
    return str(path)


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_a_file_of_arrays_may_say_what_they_are(tmp_path: Path, name: str) -> None:
    clips = dataclasses.replace(random_clips(dtype="float32"), embedding=MINE)
    path = write_arrays(tmp_path / name, clips, embedding=json.dumps(MINE.to_json()))
    assert_same_clips(read_clips(path), clips)
    with raises_user_error(path, "says otherwise", "hop_seconds 0.48 and 0.5"):
        read_clips(path, stated=HALF)


@pytest.mark.parametrize(
    "text",
    ["vggish", "[1]", '{"hop": 1}', '{"hop_seconds": 0}', '{"scaling": [1, 2]}', '{"encoder": 1}'],
)
def test_what_says_nothing_is_one_line(tmp_path: Path, text: str) -> None:
    path = write_arrays(tmp_path / "a.npz", random_clips(), embedding=text)
    with raises_user_error(path, "embedding"):
        read_clips(path)


def test_a_description_that_is_no_string_is_one_line(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "a.npz", random_clips(), embedding=np.arange(3))
    with raises_user_error(path, "embedding", "not a string"):
        read_clips(path)


@pytest.mark.parametrize("hop", [1.0, 0.96])
@pytest.mark.parametrize("known", [True, False])
def test_records_come_back_with_their_times_and_meaning(
    tmp_path: Path, hop: float, known: bool
) -> None:
    """Those of the release have nothing that the release has not; times that are no float32 are exact."""
    starts = np.where(np.arange(20) % 2, 86_400.0 + 0.96 * np.arange(20), 30.0 + np.arange(20))
    clips = random_clips(features=128)
    embedding = dataclasses.replace(AUDIOSET, hop_seconds=hop) if known else clips.embedding
    clips = dataclasses.replace(clips, start_times=starts, embedding=embedding)
    write_records(clips, tmp_path)
    assert_same_clips(read_clips(tmp_path), in_order_of_files(clips))
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert written.count(b"start_time_float64") == 10
    assert (b"hop_seconds" in written) == (embedding != AUDIOSET)


def test_floats_come_back_with_their_meaning(tmp_path: Path) -> None:
    clips = dataclasses.replace(random_clips(dtype="float32"), embedding=MINE)
    write_records(clips, tmp_path)
    assert_same_clips(read_clips(tmp_path), in_order_of_files(clips))


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (NOTHING, AUDIOSET),
        (Stated(encoder="vggish"), AUDIOSET),
        (Stated(hop_seconds=0.96), dataclasses.replace(AUDIOSET, hop_seconds=0.96)),
        (
            Stated(encoder="mine", hop_seconds=0.5),
            Embedding("uint8", 128, Scaling(128.0, 128.0), encoder="mine", hop_seconds=0.5),
        ),
        (
            Stated(encoder="mine", scaling=Scaling(0.0, 255.0)),
            Embedding("uint8", 128, Scaling(0.0, 255.0), encoder="mine"),
        ),
    ],
)
def test_what_the_form_of_records_says_gives_way(
    tmp_path: Path, stated: Stated, expected: Embedding
) -> None:
    write_records(dataclasses.replace(random_clips(features=128), embedding=AUDIOSET), tmp_path)
    assert read_clips(tmp_path, stated=stated).embedding == expected


def test_bytes_of_another_size_are_not_taken_for_the_release(tmp_path: Path) -> None:
    clips = random_clips(features=64)
    write_records(clips, tmp_path)
    assert read_clips(tmp_path).embedding == clips.embedding
    assert b"hop_seconds" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_it_is_stated_once_in_preparing(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "a.npz", random_clips(dtype="float32"))
    config = DataConfig(encoder="mine", hop_seconds=0.48, scaling="1,2", num_classes=7)
    lines = pack_data(path, tmp_path / "p", config)
    assert any("mine, 4 features of float32, a segment each 0.48 s" in line for line in lines)
    packed = open_packed(tmp_path / "p", verify=True).embedding
    assert packed == Embedding("float32", 4, Scaling(1.0, 2.0), encoder="mine", hop_seconds=0.48)
    for other in (HALF, Stated(encoder="yours"), Stated(scaling=Scaling(0.0, 1.0))):
        with raises_user_error("says otherwise than what is stated", str(tmp_path / "p")):
            read_clips(tmp_path / "p", stated=other)
        weakly = dataclasses.replace(other, firmly=False)
        assert read_clips(tmp_path / "p", stated=weakly).embedding == packed
    known = read_clips(tmp_path / "p", stated=Stated(example_seconds=0.96)).embedding
    assert known == dataclasses.replace(packed, example_seconds=0.96)


@pytest.mark.parametrize("text", ["1", "1,2,3", "a,b", "", "1,0", "nan,1", "1,inf"])
def test_scalings_that_cannot_be(text: str) -> None:
    with raises_user_error("scaling"):
        parse_scaling(text)


def test_a_scaling_that_was_packed_is_not_stated_otherwise(tmp_path: Path) -> None:
    """An array's is no more than its dtype's, a folder's was chosen when it was packed."""
    path = write_arrays(tmp_path / "a.npz", random_clips(dtype="float32"))
    stated = Stated(scaling=Scaling(1.0, 2.0))
    assert read_clips(path, stated=stated).embedding.scaling == Scaling(1.0, 2.0)
    pack_data(path, tmp_path / "p", DataConfig(num_classes=7))
    with raises_user_error("scaling (0, 1) and (1, 2)"):
        read_clips(tmp_path / "p", stated=stated)
    weakly = dataclasses.replace(stated, firmly=False)
    assert read_clips(tmp_path / "p", stated=weakly).embedding.scaling == Scaling(0.0, 1.0)
