"""From recordings to clips.

Takes sound files, however they are named, and an encoder; returns clips of embeddings. `inputs` finds the
files that a user names, `labels` reads what is heard in them, `clips` makes clips of what an encoder gave,
and `embed` does it for whole collections: part by part (`parts`), so that it goes on where it was, into a
packed folder or a file of records (`outputs`); `beam` does it on many machines. `sound_clips` is a data
format: recordings where clips are expected, for a model that knows its encoder. `synthetic` makes recordings
up whose truth is known.

Knows nothing of models and runs.
"""
