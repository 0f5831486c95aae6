"""From records, or a file of arrays, to a packed folder, and an account of what was found."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from mla_jax.cache import LocalCopy
from mla_jax.config import DataConfig
from mla_jax.data import array_files, packed, sources
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import ClassList
from mla_jax.data.skipped import Skipped
from mla_jax.progress import Progress


@dataclasses.dataclass
class _Source:
    """What is packed; `cropped` and `skipped` grow while its chunks are taken."""

    files: int
    progress: Progress
    cropped: int = 0
    skipped: list[Skipped] = dataclasses.field(default_factory=list)


def pack_records(path: str, output: str | Path, config: DataConfig) -> list[str]:
    """Packs the records, or the file of arrays, at `path` into the folder `output`, in bounded memory.

    The class list, if there is one, is written beside the packed data, and so is the list of the records
    that were left out, if any were.

    Args:
      path: a folder, file or glob of TFRecords; or an HDF5 or .npz file.
      output: must not exist yet.
      config: its class_list, num_classes and bad_records; for records max_segments and long_clips too.

    Returns:
      The account, as lines for a person.

    Raises:
      UserError: nothing is there, a record is bad, or the output is taken.
    """
    found = sources.find_classes(config, path)
    num_classes = sources.count_classes(config, found, path)
    copy = sources.local_data(path)
    open_source = _open_arrays if array_files.is_array_file(copy.path) else _open_records
    with copy.naming():
        source, chunks = open_source(copy.path, config, num_classes)
        try:
            clips = packed.pack(
                _with_names(chunks, source, copy),
                output,
                classes=found,
                source={"input": str(path), "files": source.files, "skipped": source.skipped},
                skipped=source.skipped,
            )
        finally:
            source.progress.close()
    return _account(clips, source, found, output)


def _with_names(chunks: Iterator[ClipSet], source: _Source, copy: LocalCopy) -> Iterator[ClipSet]:
    """The chunks; in the end what was skipped is given by the names that the user knows."""
    yield from chunks
    source.skipped[:] = sources.named_skipped(copy, source.skipped)


def _open_records(
    path: str, config: DataConfig, num_classes: int
) -> tuple[_Source, Iterator[ClipSet]]:
    # TensorFlow takes seconds to import, and a file of arrays must not need it.
    from mla_jax.data import records

    files = records.find_record_files(path)
    source = _Source(len(files), Progress("read", len(files), "files"))
    report = records.ReadReport(skipped=source.skipped)

    def chunks() -> Iterator[ClipSet]:
        for chunk in records.read_records(
            files,
            num_classes=num_classes,
            max_segments=config.max_segments,
            long_clips=config.long_clips,
            bad_records=config.bad_records,
            report=report,
        ):
            source.progress.update(report.files, f"{report.clips:,} clips")
            source.cropped = report.cropped
            yield chunk

    return source, chunks()


def _open_arrays(
    path: str, config: DataConfig, num_classes: int
) -> tuple[_Source, Iterator[ClipSet]]:
    source = _Source(1, Progress("read", array_files.read_shape(path).clips, "clips"))

    def chunks() -> Iterator[ClipSet]:
        done = 0
        for chunk in array_files.read_array_chunks(
            path,
            num_classes=num_classes,
            bad_records=config.bad_records,
            skipped=source.skipped,
        ):
            done += len(chunk)
            source.progress.update(done + len(source.skipped))
            yield chunk

    return source, chunks()


def _account(
    clips: ClipSet, source: _Source, classes: ClassList | None, output: str | Path
) -> list[str]:
    summary = clips.summary()
    positives = summary["positives_per_class"]
    absent = summary["classes_without_positives"]
    names = (classes or ClassList.numbered(clips.num_classes)).names
    lines = [
        f"packed {output}",
        f"files                {source.files:,}",
        f"clips                {summary['clips']:,}, of {summary['time']} segments x "
        f"{summary['features']} features, {summary['dtype']}",
        "clips by segments    "
        + ", ".join(f"{n}: {count:,}" for n, count in summary["clips_by_segments"].items()),
        f"labels               {summary['labels']:,} of {summary['classes']} classes"
        + (
            ""
            if classes
            else " (no class list found: classes are shown by index; --class_list gives one)"
        ),
        f"positives per class  min {positives['min']:,}, median {positives['median']:,g}, max "
        f"{positives['max']:,}",
        "without positives    "
        + (f"{len(absent)}: {_shortened([names[k] for k in absent])}" if absent else "no class"),
    ]
    if source.cropped:
        lines.append(f"cropped clips        {source.cropped:,}")
    lines.append(f"skipped records      {len(source.skipped):,}")
    lines += [
        f"  {file}, record {index}" + (f" ({video_id})" if video_id else "") + f": {reason}"
        for file, index, video_id, reason in source.skipped
    ]
    return lines


def _shortened(names: list[str], most: int = 20) -> str:
    """The names, or the first of them and how many more; some names have commas in them."""
    more = len(names) - most
    return "; ".join(names[:most]) + (f"; and {more} more" if more > 0 else "")
