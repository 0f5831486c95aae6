"""The video ids of records and of lists of segments, read without TensorFlow, and as it reads them."""

import itertools
from pathlib import Path

import numpy as np

from mla_jax.data import records
from mla_jax.data.record_writer import write_records
from mla_jax.download.release_counts import read_segment_ids
from mla_jax.download.video_ids import read_video_id
from tests.helpers import random_clips
from tests.mutations import mutate, payloads_of


def test_video_ids_are_those_that_tensorflow_reads(tmp_path: Path) -> None:
    files = write_records(random_clips(num_clips=30), tmp_path)
    payloads = [payload for path in files for payload in payloads_of(path.read_bytes())]
    assert len(payloads) == 30
    rng = np.random.default_rng(0)
    parsed = 0
    for i in range(2000):
        payload = payloads[i] if i < 30 else mutate(payloads[i % 30], rng, payloads[i % 7])
        found = read_video_id(payload)  # whatever the bytes are, without an error
        try:
            example = records.tf.train.SequenceExample.FromString(payload)
        except Exception:  # of several kinds by implementation
            assert i >= 30
            continue
        ids = example.context.feature["video_id"].bytes_list.value
        assert found == (ids[0] if ids else None)
        parsed += 1
    assert parsed > 200


def test_a_video_id_is_found_in_any_order_and_never_cut() -> None:
    example = records.tf.train.SequenceExample()
    feature = example.feature_lists.feature_list["audio_embedding"].feature.add()
    feature.bytes_list.value.append(b"\x0a\x08video_id" * 20)
    lists = example.SerializeToString()
    example.Clear()
    example.context.feature["labels"].int64_list.value.extend(range(500))
    example.context.feature["video_id"].bytes_list.value.append(b"the_video_1")
    context = example.SerializeToString()
    assert min(len(lists), len(context)) > 127  # so that a length takes two bytes
    number, eight, four = b"\x78\xac\x02", b"\x79" + bytes(8), b"\x7d" + bytes(4)
    for parts in itertools.permutations([lists, context, number, eight, four]):
        payload = b"".join(parts)
        found = example.FromString(payload).context.feature["video_id"].bytes_list.value
        assert [read_video_id(payload)] == list(found) == [b"the_video_1"]
    for end in range(len(context)):
        assert read_video_id(context[:end]) is None


def test_segment_ids(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(
        b'# Segments\n# YTID, start\n--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n'
        b'-0_aB, 0.000, 10.000, "/m/1"\r\nlast, 0.000, 10.000, "/m/1"'
    )
    assert read_segment_ids(path).tolist() == [b"--PJHxphWEs", b"-0_aB", b"last"]
