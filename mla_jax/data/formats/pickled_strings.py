"""The strings of a NumPy array of Python objects, read without running what a pickle may ask for.

`numpy.load` would unpickle such an array, which can run any code. This reads the pickle's instructions and
takes an array of nothing but strings; of any other kind it takes nothing. OpenMIC-2018's clip names are
stored so.
"""

import pickletools
from typing import Any

_STRINGS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"}
_PUT = {"BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"}
_GET = {"BINGET", "LONG_BINGET", "GET"}
_BETWEEN = {"MARK", "APPEND", "APPENDS", "FRAME"}


def read_strings(data: bytes, count: int) -> list[str] | None:
    """The strings of a pickled array of so many; None if it holds anything else.

    Args:
      data: the pickle.
      count: how many there must be.
    """
    try:
        steps: list[tuple[str, Any]] = [(op.name, arg) for op, arg, _ in pickletools.genops(data)]
    except Exception:  # of a damaged pickle it raises errors of many kinds
        return None
    lists = [i for i, (name, _) in enumerate(steps) if name == "EMPTY_LIST"]
    if len(lists) != 1:  # the array's values, and nothing else, are a list
        return None
    memo: dict[int, str] = {}
    memoized = sum(name in _PUT for name, _ in steps[: lists[0]])
    found: list[str] = []
    is_string = False  # whether the step before gave one
    for name, argument in steps[lists[0] + 1 :]:
        if name in _STRINGS or (name in _GET and argument in memo):
            found.append(argument if name in _STRINGS else memo[argument])
        elif name in _PUT:
            if is_string:
                memo[memoized if argument is None else argument] = found[-1]
            memoized += 1
        elif name in ("TUPLE", "BUILD"):  # the list ends
            break
        elif name not in _BETWEEN:
            return None
        is_string = name in _STRINGS
    return found if len(found) == count else None
