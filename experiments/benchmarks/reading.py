"""Reading records, packing them, and opening packed folders."""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import google_crc32c
import numpy as np

from experiments.benchmarks.rows import Row, alone, compare
from experiments.benchmarks.setting import CLASSES, Setting, random_clips
from mla_jax.data.clips import ClipSet
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.packing import pack
from mla_jax.data.sources import is_packed, open_packed, stream_clips
from mla_jax.storage.folders import new_folder

_SHARD = 5_000


def records(setting: Setting) -> list[Row]:
    """The files of a split into arrays."""
    files = record_files(setting)
    clips = sum(len(chunk) for chunk in read_records(files))
    num_bytes = sum(file.stat().st_size for file in files)
    return [
        Row(
            peer="tf.data, parse_single_sequence_example of each record",
            work=f"{len(files):,} files, {clips:,} clips ({'AudioSet' if setting.records else 'generated'})",
            at_least="5x",
            limit="reading the bytes and their CRC32-C",
            notes={"bytes": num_bytes},
            **compare(
                lambda: read_records(files),
                lambda: read_with_tf_data(files),
                setting.sizes.repeats,
                (lambda: [google_crc32c.value(file.read_bytes()) for file in files], 1.0),
            ),
        )
    ]


def opening(setting: Setting) -> list[Row]:
    """Packed folders of two sizes, against reading the records."""
    files = record_files(setting)
    source = "given" if setting.records else "generated"
    small, large = setting.workdir / f"packed-{source}", setting.workdir / "packed-large"
    if not is_packed(small):
        pack(read_records(files), small)
    if not is_packed(large):
        pack(_chunks(setting.sizes.many_clips), large)
    repeats = setting.sizes.repeats
    peer = {"peer": "reading the records"}
    timed = {
        small: peer | compare(_open(small), lambda: read_records(files), repeats),
        large: alone(_open(large), repeats),
    }
    return [
        Row(
            work=f"open {len(open_packed(folder)):,} packed clips, look at the last",
            at_least="under 0.1 s",
            **fields,
        )
        for folder, fields in timed.items()
    ]


def packing(setting: Setting) -> list[Row]:
    """Many records into a packed folder, by the command, and the memory that it takes."""
    source, output = setting.workdir / "records-large", setting.workdir / "packed-by-command"
    _write_many_records(source, setting.sizes.many_clips)
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "experiments.prepare_data"]
    command += [f"--data={source}", f"--output={output}", f"--num_classes={CLASSES}"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = _peak_memory(process)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    count = len(open_packed(output))
    num_bytes = sum(file.stat().st_size for file in source.iterdir())
    shutil.rmtree(output)
    return [
        Row(
            ours_s=seconds,
            work=f"{count:,} generated records into a packed folder",
            at_least="under 1 GB",
            notes={
                "clips per second": count / seconds,
                "peak memory, GB": peak,
                "bytes": num_bytes,
            },
        )
    ]


def read_records(files: list[Path]) -> list[ClipSet]:
    """The clips of all record files of a folder."""
    return list(stream_clips(str(files[0].parent), ReadOptions(CLASSES)).chunks)


def _open(folder: Path) -> Callable[[], None]:
    def run() -> None:
        clips = open_packed(folder)
        np.asarray(clips.embeddings[-1]).sum()

    return run


def record_files(setting: Setting) -> list[Path]:
    """The released balanced-train files, or generated ones of as few clips each."""
    if setting.records:
        return sorted(Path(setting.records).glob("*.tfrecord"))
    folder = setting.workdir / "records-small"
    if not folder.is_dir():
        from mla_jax.data.formats.record_writer import write_records

        clips = random_clips(setting.sizes.train_clips)
        write_records(_with_prefixes(clips, setting.sizes.train_clips // 5), folder)
    return sorted(folder.glob("*.tfrecord"))


def _with_prefixes(clips: ClipSet, files: int) -> ClipSet:
    """The same clips with ids that begin with `files` different pairs of characters."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    pairs = [a + b for a in alphabet for b in alphabet][: max(1, files)]
    ids = [f"{pairs[i % len(pairs)]}{i:09d}" for i in range(len(clips))]
    return dataclasses.replace(clips, video_ids=np.array(ids, "S11"))


def _chunks(count: int) -> Iterator[ClipSet]:
    for start in range(0, count, _SHARD):
        yield random_clips(min(_SHARD, count - start), seed=start // _SHARD)


def _write_many_records(folder: Path, count: int) -> None:
    """Writes files of 5,000 records: one by TensorFlow, the others copies of it."""
    wanted = -(-count // _SHARD)
    if folder.is_dir() and len(list(folder.glob("*.tfrecord"))) == wanted:
        return
    from mla_jax.data.formats.record_writer import write_records

    shutil.rmtree(folder, ignore_errors=True)
    with new_folder(folder, alone=True) as partial:
        (first,) = write_records(random_clips(min(_SHARD, count)), partial)
        for i in range(1, wanted):
            shutil.copy(first, partial / f"copy{i:04d}.tfrecord")


def _peak_memory(process: subprocess.Popen[bytes]) -> float:
    """Waits for a process; the most memory of its own, page cache left out, in GB (Linux)."""
    peak = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            lines = status.read_text().splitlines()
            peak = max(peak, *(int(x.split()[1]) for x in lines if x.startswith("RssAnon")))
        except (OSError, TypeError, ProcessLookupError):
            pass  # no such file on other systems, or the process is gone
        time.sleep(0.05)
    return peak / 1e6 if peak else float("nan")


def read_with_tf_data(files: list[Path]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Reads as TensorFlow's guides do: a dataset of files, each record parsed by itself, on all cores."""
    from mla_jax.data.tensorflow import tf

    def parse(record: object) -> tuple[object, object]:
        context, lists = tf.io.parse_single_sequence_example(
            record,
            context_features={
                "video_id": tf.io.FixedLenFeature([], tf.string),
                "start_time_seconds": tf.io.FixedLenFeature([], tf.float32),
                "labels": tf.io.VarLenFeature(tf.int64),
            },
            sequence_features={"audio_embedding": tf.io.FixedLenSequenceFeature([], tf.string)},
        )
        vectors = tf.io.decode_raw(lists["audio_embedding"], tf.uint8)
        padded = tf.pad(vectors, [[0, 10 - tf.shape(vectors)[0]], [0, 0]])
        return tf.ensure_shape(padded, [10, 128]), tf.sparse.to_dense(context["labels"])

    dataset = tf.data.TFRecordDataset([os.fspath(f) for f in files])
    dataset = dataset.map(parse, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    embeddings, labels = [], []
    for vectors, ids in dataset.as_numpy_iterator():
        embeddings.append(vectors)
        labels.append(ids)
    return np.stack(embeddings), labels
