"""What record files are called."""

import re

SUFFIX = ".tfrecord"
"""The ending of record files that are written here."""

WORDS = "*.tfrecord, *.tfrecords and *-00000-of-00010"
_NAME = re.compile(r".*(\.tfrecords?(-\d+-of-\d+)?|-\d{2,}-of-\d{2,})", re.DOTALL)


def is_record_file(name: str) -> bool:
    """Whether a file of a folder is read as records, by its name."""
    return _NAME.fullmatch(name) is not None
