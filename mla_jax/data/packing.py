"""From record files to a packed folder, and an account of what was found."""

from collections.abc import Iterator
from pathlib import Path

from mla_jax.config import DataConfig
from mla_jax.data import packed, records, sources
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import ClassList
from mla_jax.progress import Progress


def pack_records(path: str, output: str | Path, config: DataConfig) -> list[str]:
    """Packs the records at `path` into the folder `output`, in bounded memory.

    The class list, if there is one, is written beside the packed data.

    Args:
      path: a folder, file or glob of TFRecords.
      output: must not exist yet.
      config: its class_list, num_classes, max_segments, long_clips and bad_records.

    Returns:
      The account, as lines for a person.

    Raises:
      UserError: nothing is there, a record is bad, or the output is taken.
    """
    found = sources.find_classes(config, path)
    num_classes = sources.count_classes(config, found)
    files = records.find_record_files(path)
    report = records.ReadReport()
    progress = Progress("read", len(files), "files")

    def chunks() -> Iterator[ClipSet]:
        for chunk in records.read_records(
            files,
            num_classes=num_classes,
            max_segments=config.max_segments,
            long_clips=config.long_clips,
            bad_records=config.bad_records,
            report=report,
        ):
            progress.update(report.files, f"{report.clips:,} clips")
            yield chunk

    try:
        clips = packed.pack(
            chunks(),
            output,
            classes=found,
            source={"input": str(path), "files": len(files), "skipped": report.skipped},
        )
    finally:
        progress.close()
    return _account(clips, report, found, output)


def _account(
    clips: ClipSet, report: records.ReadReport, classes: ClassList | None, output: str | Path
) -> list[str]:
    summary = clips.summary()
    positives = summary["positives_per_class"]
    absent = summary["classes_without_positives"]
    names = (classes or ClassList.numbered(clips.num_classes)).names
    lines = [
        f"packed {output}",
        f"files                {report.files:,}",
        f"clips                {summary['clips']:,}, of {summary['time']} segments x "
        f"{summary['features']} features, {summary['dtype']}",
        "clips by segments    "
        + ", ".join(f"{n}: {count:,}" for n, count in summary["clips_by_segments"].items()),
        f"labels               {summary['labels']:,} of {summary['classes']} classes"
        + ("" if classes else " (no class list found: classes are shown by index)"),
        f"positives per class  min {positives['min']:,}, median {positives['median']:,g}, max "
        f"{positives['max']:,}",
        "without positives    "
        + (f"{len(absent)}: {', '.join(names[k] for k in absent)}" if absent else "no class"),
    ]
    if report.cropped:
        lines.append(f"cropped clips        {report.cropped:,}")
    lines.append(f"skipped records      {len(report.skipped):,}")
    lines += [
        f"  {file}, record {index}" + (f" ({video_id})" if video_id else "") + f": {reason}"
        for file, index, video_id, reason in report.skipped
    ]
    return lines
