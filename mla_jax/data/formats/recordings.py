"""Files of one recording each, see `recording_file`.

A recording's id is its path without the ending, from the folder that all are in. Labels come from a CSV file,
see `mla_jax.data.label_file`: one that is named, or `labels.csv` beside the recordings or one folder above.
"""

import dataclasses
import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from mla_jax.data import casts
from mla_jax.data.embedding import Embedding
from mla_jax.data.entry_names import is_elsewhere
from mla_jax.data.formats.array_columns import list_arrays
from mla_jax.data.formats.format import CHUNK_BYTES, Chunk, Format, ReadOptions, Shape
from mla_jax.data.formats.found_files import find_files
from mla_jax.data.formats.record_names import is_record_file
from mla_jax.data.formats.recording_file import SUFFIXES, Recording, read_hop, read_recording
from mla_jax.data.formats.rules import Columns, check
from mla_jax.data.label_file import FILE_NAME, LabelFile, find_labels
from mla_jax.data.labels import Labels
from mla_jax.errors import UserError

_PACKED = {"embeddings.npy", "label_offsets.npy"}


class RecordingFiles(Format):
    """A folder or glob of .npy or .npz files, or one of them, each of which is a recording."""

    takes_labels = True

    def __init__(self, path: str, labels: str = "") -> None:
        found = find_files(path, _is_recording)
        self._paths = [p for p in found.files if _is_recording(p.name)]
        if not self._paths:
            raise UserError(
                f"{path} does not exist; give a folder, file or glob of .npy or .npz files"
            )
        self.passed_over = [name for name in found.passed_over if name != FILE_NAME]
        self._folder = Path(os.path.commonpath([p.parent for p in self._paths]))
        self.files = len(self._paths)
        first = self._first()
        self._dtype, features = first.vectors.dtype, first.vectors.shape[1]
        self._without_times: set[Path] = set()
        self.shape = Shape(len(self._paths), features=features)
        self._notes = [casts.note_of(first.dtype, f"{self._paths[0]}")]
        found_labels = find_labels(labels, self._folder)
        self._labels = LabelFile(found_labels.path) if found_labels else None
        self._labels_note = found_labels.note if found_labels else ""
        self._entry_of: list[str | None] = [None] * len(self._paths)
        if self._labels is not None:
            self._match(self._labels)

    @cached_property
    def _first_timed(self) -> tuple[Path, float]:
        """The first file whose time stamps say a hop, and the hop; 0 if none does. It may open every file."""
        hops = ((path, read_hop(path)) for path in self._paths)
        return next((found for found in hops if found[1]), (Path(), 0.0))

    @property
    def hop_seconds(self) -> float:
        """From one segment to the next, by the first time stamps that say it; 0 if none do."""
        return self._first_timed[1]

    def _first(self) -> Recording:
        """The first recording that can be read; where none can, why the first cannot."""
        why = ""
        for path in self._paths:
            try:
                return read_recording(path)
            except UserError as error:
                why = why or f"{path}: {error}"
        raise UserError(why)

    def _match(self, labels: LabelFile) -> None:
        self.classes, self.least_classes = labels.classes(), labels.num_indices()
        above, elsewhere = labels.path.absolute().parent, []
        for row, path in enumerate(self._paths):
            whole = path.absolute()
            below = whole.is_relative_to(above)
            place = (whole.relative_to(above) if below else whole).as_posix()
            entry = labels.find(self._name(path), place)
            if entry is not None and is_elsewhere(entry, place):
                if any(_is_of_another(folder / entry) for folder in (above, *whole.parents)):
                    continue
                elsewhere.append(f"{entry!r} for {place}")
            self._entry_of[row] = entry
        if elsewhere:
            self._notes = [
                *self._notes,
                f"{labels.path}: {len(elsewhere):,} files have the labels of a line that names another "
                f"folder, the first {elsewhere[0]}: is it the same recording?",
            ]

    def _require_used(self, labels: LabelFile) -> None:
        """Checks that some line is of a file, and notes those that are of none or of several.

        Raises:
          UserError: none is.
        """
        used = Counter(name for name in self._entry_of if name is not None)
        first = next(iter(labels.entries), "nothing")
        if not used:
            raise UserError(
                f"no line of {labels.path} is of a file in {self._folder}: the first line is of {first!r}, "
                f"the first file is {self._name(self._paths[0])!r}; a name must be that of a file, with or "
                "without its folder and its ending"
            )
        self._notes = [*self._notes, self._labels_note]
        if left := [name for name in labels.entries if name not in used]:
            note = (
                f"{len(left):,} of {len(labels.entries):,} lines are of no file, the first of them"
            )
            self._notes = [*self._notes, f"{labels.path}: {note} {left[0]!r}"]
        if several := [name for name, count in used.items() if count > 1]:
            rows = [row for row, name in enumerate(self._entry_of) if name == several[0]]
            files = " and ".join(self._name(self._paths[row]) for row in rows[:2])
            note = (
                f"the labels of {len(several):,} lines are used for several files each, the first"
            )
            self._notes = [
                *self._notes,
                f"{labels.path}: {note} {several[0]!r} for {files}; folders in the names would tell",
            ]

    @property
    def notes(self) -> Sequence[str]:
        """What was taken for what; also how many files have no time stamps where others have."""
        if not self.hop_seconds:
            return self._notes
        hop = (
            f"{self._folder}: a segment begins every {self.hop_seconds:.15g} s, by the time stamps"
        )
        if not self._without_times:
            return [*self._notes, hop]
        note = (
            f"{self._folder}: {len(self._without_times):,} of {len(self._paths):,} files lack time stamps, "
            f"the first of them {self._name(min(self._without_times))}: they are taken to begin at 0, with a "
            f"segment every {self.hop_seconds:g} s as in the others"
        )
        return [*self._notes, hop, note]

    @staticmethod
    def recognizes(path: Path) -> bool:
        """A folder that `choose` finds files in, a glob of such files, a .npy, or a .npz of one recording."""
        if path.is_dir():
            return bool(RecordingFiles.choose(os.listdir(path)))
        suffix = path.suffix.lower()
        if glob.has_magic(str(path)) and not path.exists():
            return suffix in SUFFIXES
        if suffix == ".npz" and path.is_file():
            try:
                there = list_arrays(str(path))
            except UserError:
                return False
            return "embedding" in there and "x" not in there
        return suffix == ".npy"

    @staticmethod
    def choose(names: list[str]) -> list[str]:
        """The recordings of a folder that has no records, and their labels."""
        found = [name for name in names if _is_recording(name)]
        if not found or any(is_record_file(name) for name in names) or set(names) >= _PACKED:
            return []
        return [*found, *(name for name in names if name == FILE_NAME)]

    def chunks(self, options: ReadOptions) -> Iterator[Chunk]:
        """Reads the recordings, a file at a time."""
        if options.needs_labels and self._labels is None:
            raise UserError(
                f"{self._folder} has no {FILE_NAME}, and no labels are named; give a CSV file with the "
                "columns filename and labels as labels=..."
            )
        if options.needs_labels and self._labels is not None:
            self._require_used(self._labels)
        classes = options.classes or self.classes
        options = dataclasses.replace(options, no_label="background", classes=classes)
        if classes is not None and len(classes) != options.num_classes:
            raise UserError(
                f"the labels of {self._folder} name {len(classes)} classes, but {options.num_classes} are in "
                "use; give the class list that belongs to the data"
            )
        batch, largest = _Batch(0), 0
        for row in range(len(self._paths)):
            size = batch.read(row, self._paths[row], self)
            largest = max(largest, size)
            if (
                len(batch.rows) == options.chunk_size
                or largest * (len(batch.rows) + 1) > CHUNK_BYTES
            ):
                yield self._to_chunk(batch, options)
                batch, largest = _Batch(row + 1), 0
        if batch.rows:
            yield self._to_chunk(batch, options)

    def read(self, path: Path) -> Recording:
        """A recording that fits the first one, and the hop of the first that states one.

        Raises:
          UserError: it does not, or cannot be read.
        """
        found = read_recording(path)
        if found.vectors.dtype != self._dtype:
            raise UserError(f"it is of {found.dtype}; the first recording is kept as {self._dtype}")
        if found.hop and self.hop_seconds and abs(found.hop / self.hop_seconds - 1) > 1e-3:
            raise UserError(
                f"a segment begins every {found.hop:.15g} s; in {self._name(self._first_timed[0])} every "
                f"{self.hop_seconds:.15g} s"
            )
        if not found.timed:
            self._without_times.add(path)
        return found

    def _to_chunk(self, batch: "_Batch", options: ReadOptions) -> Chunk:
        """The recordings of a batch, and those that cannot be used."""
        faults, entries = batch.faults, []
        for i, row in enumerate(batch.rows):
            entry = self._entry_of[row]
            if entry is None and options.needs_labels and self._labels is not None:
                faults.setdefault(i, f"it has no line in {self._labels.path}")
            entries.append(entry)
        found = self._read_labels(entries, options)
        features = self.shape.features
        nothing = np.zeros((0, features), self._dtype)
        parts = [r.vectors if r else nothing for r in batch.recordings]
        sizes = np.concatenate([np.full(len(p), p.shape[1]) for p in parts])
        whole = [
            p if p.shape[1] == features else np.zeros((len(p), features), self._dtype)
            for p in parts
        ]
        ids = np.empty(len(parts), object)
        ids[:] = [os.fsencode(self._id(self._paths[row])) for row in batch.rows]
        ones = np.ones(len(parts), np.int64)
        columns = Columns(
            ids=(ids, ones),
            starts=(np.array([r.start if r else 0.0 for r in batch.recordings]), ones),
            labels=(found.ids, found.counts),
            segments=np.array([len(p) for p in parts]),
            sizes=sizes,
            vectors=np.concatenate(whole),
            embedding=Embedding.of(nothing, hop_seconds=self.hop_seconds or None),
            known=found.known,
        )
        done = batch.first + len(parts)
        return check(columns, lambda i: (str(self._paths[batch.rows[i]]), 0), faults, options, done)

    def _read_labels(self, entries: Sequence[str | None], options: ReadOptions) -> Labels:
        """The labels of files that have an entry; the others have none."""
        if self._labels is None or not options.needs_labels:
            return Labels.none(len(entries))
        there = [name for name in entries if name is not None]
        found = self._labels.read(there, options.num_classes, options.classes)
        has = np.array([name is not None for name in entries])
        counts = np.zeros(len(entries), np.int64)
        counts[has] = found.counts
        if found.known is None:
            return Labels(counts, found.ids)
        known = np.ones((len(entries), options.num_classes), bool)
        known[has] = found.known
        return Labels(counts, found.ids, known)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _id(self, path: Path) -> str:
        return path.relative_to(self._folder).with_suffix("").as_posix()


class _Batch:
    """Recordings that are checked together.

    Attributes:
      first: the row of the first.
      rows: which files.
      recordings: what was read of each; None where it cannot be read.
      faults: why, by place in the batch.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.rows: list[int] = []
        self.recordings: list[Recording | None] = []
        self.faults: dict[int, str] = {}

    def read(self, row: int, path: Path, files: RecordingFiles) -> int:
        """Reads one more; returns its size in bytes."""
        found = None
        try:
            found = files.read(path)
        except UserError as error:
            self.faults[len(self.rows)] = str(error)
        self.rows.append(row)
        self.recordings.append(found)
        return found.vectors.nbytes if found else 0


def _is_recording(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _is_of_another(place: Path) -> bool:
    """Whether a recording of its own lies where a line says; sound may lie in a folder beside."""
    stems = (place.name, place.stem)
    return any((place.parent / f"{stem}{end}").is_file() for stem in stems for end in SUFFIXES)
