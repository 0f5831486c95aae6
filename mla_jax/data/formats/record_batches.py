"""Records by the thousand, through one `tf.data.Dataset`.

`frames` reads the records and checks their checksums, TensorFlow parses a batch in one call, and reads ahead:
while one batch is used, the next is parsed and the one after that is read.
"""

import atexit
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

from mla_jax.data.formats.format import CHUNK_BYTES
from mla_jax.data.formats.frames import Frame, read_frames
from mla_jax.data.formats.rules import Columns
from mla_jax.data.formats.sequence_examples import (
    Layout,
    describe_features,
    find_unparsable,
    id_alone,
    layout_of,
    parse,
    read_message,
    to_columns,
)
from mla_jax.data.tensorflow import tf
from mla_jax.errors import UserError


class Batch(NamedTuple):
    """Records that are parsed together.

    Attributes:
      frames: as they were read.
      payloads: what is parsed of each; of a record with a fault its id alone.
      faults: why records cannot be read or parsed, by row.
      layout: how the records are stored.
    """

    frames: list[Frame]
    payloads: list[bytes]
    faults: dict[int, str]
    layout: Layout

    @classmethod
    def of(cls, frames: list[Frame], layout: Layout) -> Self:
        """A batch of protocol messages: frames that are damaged, or are no message, have a fault."""
        batch = cls(frames, [frame.payload for frame in frames], {}, layout)
        for row, frame in enumerate(frames):
            # TensorFlow's batched parsing reads past the end of some payloads that are no protocol message:
            # it takes them for good, or crashes. To parse each as a message first takes some microseconds.
            is_message = read_message(frame.payload) is not None
            if frame.fault or not is_message:
                batch.leave_out(row, frame.fault or "it is not a tf.train.SequenceExample")
        return batch

    def leave_out(self, row: int, fault: str) -> None:
        """Gives a record a fault."""
        self.faults[row] = fault
        self.payloads[row] = id_alone(read_message(self.payloads[row]), self.layout.id_name)

    def parse_good(self) -> Columns:
        """Parses records of which some cannot be parsed; those have a fault afterwards."""
        layout = self.layout
        for row, fault in find_unparsable(self.payloads, layout).items():
            self.leave_out(row, fault)
        return to_columns([tensor.numpy() for tensor in parse(self.payloads, layout)], layout)

    def place(self, row: int) -> tuple[str, int]:
        """The file of a record, and its index within the file."""
        return str(self.frames[row].path), self.frames[row].number


def read_batches(
    files: Sequence[Path], chunk_size: int, feature: str
) -> Generator[tuple[Batch, Columns], None, None]:
    """Reads records in the order of `files` and, within a file, of its records.

    Args:
      files: the record files.
      chunk_size: the most records of a batch; of large records there are fewer in one.
      feature: the feature list of the segments.

    Returns:
      A generator of batches and what their records hold. M and the dtype of vectors are those of the first
      record that has a segment.

    Raises:
      UserError: no record has the feature, but others.
    """
    batches = _read_batches(files, chunk_size, feature)
    _unfinished.add(batches)
    return batches


def _read_batches(
    files: Sequence[Path], chunk_size: int, feature: str
) -> Generator[tuple[Batch, Columns], None, None]:
    layout = find_layout(files, feature)
    ahead: deque[Batch] = deque()  # what was read, and is not yielded yet

    def payloads() -> Iterator[list[bytes]]:
        for frames in _in_batches(read_frames(files), chunk_size):
            ahead.append(Batch.of(frames, layout))
            yield ahead[-1].payloads

    try:
        for parsed in _elements(record_dataset(payloads, layout)):
            failed = isinstance(parsed, tf.errors.OpError)
            if failed and not ahead:  # no record is to blame
                raise parsed
            batch = ahead.popleft()
            yield batch, batch.parse_good() if failed else to_columns(parsed, layout)
    except BaseException as error:
        # The frames of an interruption would keep the dataset's iterator, see `_stop_reading`.
        raise error.with_traceback(None) from None


_unfinished: weakref.WeakSet[Generator[tuple[Batch, Columns], None, None]] = weakref.WeakSet()


@atexit.register
def _stop_reading() -> None:
    """Ends what reads ahead: at its end Python stops all threads, and TensorFlow would wait for its own."""
    for batches in list(_unfinished):
        batches.close()


def record_dataset(
    payloads: Callable[[], Iterator[list[bytes]]], layout: Layout
) -> tf.data.Dataset:
    """Parses batches of records, one while the one before it is used.

    Args:
      payloads: gives the records of each batch; each must be a protocol message.
      layout: how the records store their segments.

    Returns:
      A dataset of what `parse` makes of each batch. A batch with a record that cannot be parsed raises an
      error in its turn, and the next batches follow.
    """
    strings = tf.TensorSpec([None], tf.string)
    batches = tf.data.Dataset.from_generator(payloads, output_signature=strings)
    options = tf.data.Options()
    options.autotune.enabled = (
        False  # there is nothing to tune, and the end would wait for it, up to 0.3 s
    )
    return batches.map(partial(parse, layout=layout)).prefetch(1).with_options(options)


def _elements(dataset: tf.data.Dataset) -> Iterator[Any]:
    """The elements as NumPy arrays; for one that is an error, the error."""
    elements = dataset.as_numpy_iterator()
    while True:
        try:
            element = next(elements)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            element = error.with_traceback(None)
        yield element


def find_layout(files: Sequence[Path], feature: str) -> Layout:
    """How the first record that has a segment stores it; where none has one, no record is good anyway.

    Raises:
      UserError: no record has the feature, but others.
    """
    others = ""
    for frame in (frame for file in files for frame in read_frames([file])):
        example = None if frame.fault else read_message(frame.payload)
        if example is not None and (layout := layout_of(example, feature)):
            return layout
        if example is None or others or feature in example.feature_lists.feature_list:
            continue
        if what := describe_features(example):
            others = f"{frame.path}, record {frame.number}, has {what}"
    if others:
        raise UserError(
            f"no record has the feature list {feature}: {others}; name the one to use with feature=..."
        )
    return Layout("bytes_list", 128, feature)


def _in_batches(frames: Iterator[Frame], chunk_size: int) -> Iterator[list[Frame]]:
    """Up to `chunk_size` frames, and no more than fit in a chunk if all are padded to the largest of them."""
    batch: list[Frame] = []
    largest = 0
    for frame in frames:
        largest = max(largest, len(frame.payload))
        if batch and (len(batch) == chunk_size or (len(batch) + 1) * largest > CHUNK_BYTES):
            yield batch
            batch, largest = [], len(frame.payload)
        batch.append(frame)
    if batch:
        yield batch
