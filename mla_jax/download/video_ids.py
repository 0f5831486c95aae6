"""The video id of a record, read without TensorFlow.

A record is a `tf.train.SequenceExample` in the wire format of protocol buffers; these lines follow the
one path in it that leads to the id, some 8 microseconds a record.
"""

from collections.abc import Iterator

# The numbers of the fields on the way: context; its entries; of an entry its key and its value, a
# Feature; of a Feature its list of strings; of that the strings.
_CONTEXT, _ENTRY, _KEY, _VALUE, _BYTES_LIST, _STRING = 1, 1, 1, 2, 1, 1


def read_video_id(payload: bytes) -> bytes | None:
    """The `video_id` of a serialized `tf.train.SequenceExample`; None if there is none to be read."""
    try:
        for context in _fields(payload, _CONTEXT):
            for entry in _fields(context, _ENTRY):
                if b"video_id" in _fields(entry, _KEY):
                    return next(
                        string
                        for feature in _fields(entry, _VALUE)
                        for strings in _fields(feature, _BYTES_LIST)
                        for string in _fields(strings, _STRING)
                    )
    except (IndexError, StopIteration, ValueError):
        pass
    return None


def _fields(message: bytes, wanted: int) -> Iterator[bytes]:
    """The contents of the fields of a message that have this number and a length."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 2:
            length, position = _varint(message, position)
            end = position + length
            if end > len(message):
                raise ValueError("a field ends behind its message")
            if tag >> 3 == wanted:
                yield message[position:end]
            position = end
        elif kind == 0:
            _, position = _varint(message, position)
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            raise ValueError("no such kind of field")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number at `position`, seven bits a byte, least first; and the position behind it."""
    number = shift = 0
    while True:
        byte = message[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
        shift += 7
        if shift > 63:
            raise ValueError("no such number")
