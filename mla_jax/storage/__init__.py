"""Bytes on a disk or in a Google bucket (`gs://`): named, written whole or not at all, copied, locked.

`paths` tells one kind from the other; `files` and `folders` write; `cache` returns a local copy of what is
in a bucket, so that those who read know nothing of buckets; `buckets` alone knows the storage client. Local
use imports no storage client. What the bytes mean is for other rooms: this one imports none of them.
"""
