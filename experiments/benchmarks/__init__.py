"""The parts of `experiments.benchmark`, one file a subject.

Each part is a function from a `setting.Setting` (sizes, folders, data) to `rows.Row`s. `rows` times ours and
a named peer in turn. A part that lacks its peer or its device raises `rows.NotMeasuredError`.
"""
