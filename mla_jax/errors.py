"""The errors that a user can cause, as opposed to those that are faults of this library."""


class UserError(ValueError):
    """A mistake in what the user gave: a path, a field, a file's contents, a shape.

    The message is one line that says what is wrong, where, and what to do about it. The command-line
    programs print that line alone; in a notebook it is an ordinary `ValueError`.
    """
