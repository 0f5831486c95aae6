"""Records into arrays, into packed folders, and opening those."""

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from experiments.benchmarks.rows import Row, alone, compare
from experiments.benchmarks.setting import CLASSES, Setting, random_clips
from mla_jax.data.clips import ClipSet
from mla_jax.data.packed import is_packed, open_packed, pack

_SHARD = 5_000


def records(setting: Setting) -> list[Row]:
    """The files of a split into arrays."""
    files = _files(setting)
    clips = sum(len(chunk) for chunk in _read(files))
    num_bytes = sum(file.stat().st_size for file in files)
    return [
        Row(
            part="records",
            peer="tf.data, parse_single_sequence_example of each record",
            work=f"{len(files):,} files, {clips:,} clips ({'AudioSet' if setting.records else 'generated'})",
            at_least="5x",
            limit_s=_seconds_of_reading(files),
            limit="reading the bytes and their CRC32-C",
            notes={"bytes": num_bytes},
            **compare(
                lambda: _read(files), lambda: _read_with_tf_data(files), setting.sizes.repeats
            ),
        )
    ]


def opening(setting: Setting) -> list[Row]:
    """Packed folders of two sizes, against reading the records."""
    files = _files(setting)
    source = "given" if setting.records else "generated"
    small, large = setting.workdir / f"packed-{source}", setting.workdir / "packed-large"
    if not is_packed(small):
        pack(_read(files), small)
    if not is_packed(large):
        pack(_chunks(setting.sizes.many_clips), large)
    rows = []
    for folder in (small, large):
        timed = (
            compare(_open(folder), lambda: _read(files), setting.sizes.repeats)
            if folder is small
            else alone(_open(folder), setting.sizes.repeats)
        )
        rows.append(
            Row(
                part="open",
                peer="reading the records" if folder is small else "-",
                work=f"open {len(open_packed(folder)):,} packed clips, look at the last",
                at_least="under 0.1 s",
                **timed,
            )
        )
    return rows


def packing(setting: Setting) -> list[Row]:
    """Many records into a packed folder, by the command, and the memory that it takes."""
    source, output = setting.workdir / "records-large", setting.workdir / "packed-by-command"
    _write_many_records(source, setting.sizes.many_clips)
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "experiments.prepare_data"]
    command += [f"--input={source}", f"--output={output}", f"--num_classes={CLASSES}"]
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
            part="pack",
            peer="-",
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


def _read(files: list[Path]) -> list[ClipSet]:
    # TensorFlow, which only the rows about records need.
    from mla_jax.data.records import read_records

    return list(read_records(files, num_classes=CLASSES, max_segments=10))


def _open(folder: Path) -> Callable[[], None]:
    def run() -> None:
        clips = open_packed(folder)
        np.asarray(clips.embeddings[-1]).sum()

    return run


def _files(setting: Setting) -> list[Path]:
    """The released balanced-train files, or generated ones of as few clips each."""
    if setting.records:
        return sorted(Path(setting.records).glob("*.tfrecord"))
    folder = setting.workdir / "records-small"
    if not folder.is_dir():
        from mla_jax.data.record_writer import write_records

        clips = random_clips(setting.sizes.train_clips)
        write_records(_with_prefixes(clips, setting.sizes.train_clips // 5), folder)
    return sorted(folder.glob("*.tfrecord"))


def _with_prefixes(clips: ClipSet, files: int) -> ClipSet:
    """The same clips with ids of which `files` different pairs of characters are the beginning."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    pairs = [a + b for a in alphabet for b in alphabet][: max(1, files)]
    ids = [f"{pairs[i % len(pairs)]}{i:09d}" for i in range(len(clips))]
    return dataclasses.replace(clips, video_ids=np.array(ids, "S11"))


def _chunks(count: int) -> Iterator[ClipSet]:
    for start in range(0, count, _SHARD):
        yield random_clips(min(_SHARD, count - start), seed=start // _SHARD)


def _write_many_records(folder: Path, count: int) -> None:
    """Files of 5,000 records; a file is written by TensorFlow, and copied under other names."""
    wanted = -(-count // _SHARD)
    if folder.is_dir() and len(list(folder.glob("*.tfrecord"))) == wanted:
        return
    from mla_jax.data.record_writer import write_records

    shutil.rmtree(folder, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    (first,) = write_records(random_clips(min(_SHARD, count)), partial)
    for i in range(1, wanted):
        shutil.copy(first, partial / f"copy{i:04d}.tfrecord")
    partial.rename(folder)


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


def _seconds_of_reading(files: list[Path]) -> float:
    import google_crc32c

    began = time.perf_counter()
    for file in files:
        google_crc32c.value(file.read_bytes())
    return time.perf_counter() - began


def _read_with_tf_data(files: list[Path]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The way of TensorFlow's own guides: a dataset of files, each record parsed by itself, on all cores."""
    from mla_jax.data.records import tf

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
