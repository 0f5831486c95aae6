"""A small AudioSet-like release, and a server that has it where Google's servers have the real one."""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mla_jax.audioset.release import LISTS
from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.formats.record_writer import write_records
from tests.support.file_server import File, Server
from tests.support.helpers import random_clips

PATH = "/us_audioset/youtube_corpus/v1"
ARCHIVE = f"{PATH}/features/features.tar.gz"
NUM_CLASSES = 7


@dataclass
class Release:
    """A release.

    Attributes:
      clips: of each split, in the order in which its files are read.
      lists: the segments CSV of each split.
      classes: the class list.
      folder: holds the folders of records.
    """

    clips: dict[str, ClipSet]
    lists: dict[str, str]
    classes: str
    folder: Path

    def serve(self, server: Server) -> None:
        """Puts its files on a server."""
        server.files[f"{PATH}/csv/{FILE_NAME}"] = File(self.classes.encode())
        for split, name in LISTS.items():
            server.files[f"{PATH}/csv/{name}"] = File(self.lists[split].encode())
        server.files[ARCHIVE] = File(archive_of(self.folder))


def make_release(folder: Path) -> Release:
    """A release of three splits, 10 to 30 clips each."""
    release = Release({}, {}, "", folder)
    names = tuple(f"Class {k}, loud" for k in range(NUM_CLASSES))
    mids = tuple(f"/m/{k}" for k in range(NUM_CLASSES))
    release.classes = ClassList(mids, names).to_csv()
    for seed, split in enumerate(LISTS):
        clips = random_clips(num_clips=10 + 10 * seed, num_classes=NUM_CLASSES, seed=seed)
        write_records(clips, folder / split)
        release.clips[split] = clips
        release.lists[split] = segments_csv(clips, mids)
    return release


def segments_csv(clips: ClipSet, mids: tuple[str, ...]) -> str:
    """The list of segments of a split, in the form of AudioSet's."""
    head = [
        "# Segments csv created Sun Mar  5 10:54:31 2017",
        f"# num_ytids={len(clips)}, num_segs={len(clips)}",
        "# YTID, start_seconds, end_seconds, positive_labels",
    ]
    rows = []
    for i, (video_id, start) in enumerate(zip(clips.video_ids, clips.start_times, strict=True)):
        labels = clips.label_ids[clips.label_offsets[i] : clips.label_offsets[i + 1]]
        positive = ",".join(mids[k] for k in labels)
        rows.append(f'{video_id.decode()}, {start:.3f}, {start + 10:.3f}, "{positive}"')
    return "\n".join([*head, *rows, ""])


def archive_of(folder: Path, names: Sequence[str] = tuple(LISTS)) -> bytes:
    """A .tar.gz of the splits in `folder`, laid out as the release's."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", compresslevel=1, dereference=True) as file:
        for name in names:
            file.add(folder / name, f"audioset_v1_embeddings/{name}")
    return made.getvalue()


def assert_brought(folder: Path, made: Release) -> None:
    """Everything is there, equal to the originals, and nothing else."""
    for split in LISTS:
        theirs, ours = made.folder / split, folder / split
        assert {p.name: p.read_bytes() for p in ours.iterdir()} == {
            p.name: p.read_bytes() for p in theirs.iterdir()
        }
        assert (folder / "csv" / LISTS[split]).read_text() == made.lists[split]
    # A process that dies while it writes JSON leaves a few bytes under a name of its own.
    names = [p.name for p in folder.iterdir() if ".json." not in p.name]
    assert sorted(names) == sorted([".lock", "counts.json", "csv", *LISTS])
