"""Which file of strong labels belongs to which clip.

A file belongs to the clip whose id is its name, or else its name without the last extension: `abc.wav` to the
clip `abc.wav` if there is one, else to `abc`. AudioSet's clips, whose ids have eleven characters, also have
the files `Y<id>.wav`, `Y<id>_<from>_<to>.wav` and `<id>_<milliseconds>`. The latter two say where in the
video their clip starts: where the starts of the clips are known, the file is of the clip that starts there.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mla_jax.errors import UserError

RULE = (
    "a file's name must be a clip's id, with or without an extension (for AudioSet's ids also Y<id>.wav, "
    "Y<id>_<from>_<to>.wav, or <id>_<milliseconds>, of the start of the clip)"
)
_ID = r"([\w-]{11})"
_SECONDS = r"[0-9]+(?:\.[0-9]*)?"
_AUDIOSET = re.compile(rf"Y{_ID}(?:_({_SECONDS})_{_SECONDS})?|{_ID}_([0-9]+)")
_SAME_START = 0.5  # seconds by which the start in a file's name may differ from that of its clip


class Found(NamedTuple):
    """The clips that a file may belong to.

    Attributes:
      rows: of the clips; none if there is no clip of its name and start.
      at_start: whether the start in its name chose them; if not, it may be of a recording that was cut.
    """

    rows: list[int]
    at_start: bool


class Matches(NamedTuple):
    """Which files and clips belong together.

    Attributes:
      clip_of: the row of the clip of each file that has one.
      files_without_clip: the names of the others.
      clips_without_file: ids.
    """

    clip_of: dict[str, int]
    files_without_clip: tuple[str, ...]
    clips_without_file: tuple[str, ...]


def match_files(
    files: Collection[str],
    clip_ids: Sequence[str | bytes] | np.ndarray,
    num_clips: int,
    start_times: np.ndarray | None = None,
) -> Matches:
    """Finds the clip of each file.

    Args:
      files: their names.
      clip_ids: [num_clips] the clips' ids; str, or bytes as in a ClipSet.
      num_clips: how many clips there are.
      start_times: [num_clips] where in its video each clip starts, in seconds; None, or all 0: unknown.

    Raises:
      UserError: no file has a clip, two files have the same, or a file may belong to several clips.
    """
    ids = names_of(clip_ids, num_clips)
    clip_of: dict[str, int] = {}
    file_of: dict[int, str] = {}
    for file, (found, _) in find_clips(files, ids, start_times).items():
        if not found:
            continue
        clip = found[0]
        if len(found) > 1:
            raise UserError(
                f"{len(found)} clips have the id {ids[clip]!r}, to which the file {file!r} of the strong "
                "labels belongs; give each clip an id of its own"
            )
        if clip in file_of:
            raise UserError(
                f"the files {file_of[clip]!r} and {file!r} both belong to the clip {ids[clip]!r}; give clips "
                "and files of the same names"
            )
        clip_of[file], file_of[clip] = clip, file
    if files and not clip_of:
        raise UserError(
            f"none of the {len(files)} files of the strong labels belongs to a clip: the first file is "
            f"{next(iter(files))!r}, the first of {len(ids)} clips {ids[0]!r}; {RULE}"
        )
    return Matches(
        clip_of,
        tuple(name for name in files if name not in clip_of),
        tuple(name for i, name in enumerate(ids) if i not in file_of),
    )


def find_clips(
    files: Collection[str], ids: Sequence[str], start_times: np.ndarray | None
) -> dict[str, Found]:
    """The clips that each file may belong to, by the rule of this module; arguments as of `match_files`."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(ids):
        rows.setdefault(name, []).append(row)
    # Where no start is known, all are 0.
    starts = start_times if start_times is not None and np.any(start_times) else None
    return {file: _clips_of(file, rows, starts) for file in files}


def _clips_of(file: str, rows: Mapping[str, list[int]], starts: np.ndarray | None) -> Found:
    name, start = next((n for n in _clip_names(file) if n[0] in rows), ("", None))
    found = rows.get(name, [])
    if start is None or starts is None:
        return Found(found, at_start=False)
    away = {row: abs(float(starts[row]) - start) for row in found}
    nearest = min(away.values(), default=0.0)
    near = [row for row in found if away[row] == nearest <= _SAME_START]
    return Found(near, at_start=True)


def _clip_names(file: str) -> Iterator[tuple[str, float | None]]:
    """What the id of a file's clip may be, the likeliest first; and its start in seconds, if that is said."""
    stem = file.rpartition(".")[0]
    yield file, None
    yield stem, None
    for name in (stem, file):
        if found := _AUDIOSET.fullmatch(name):
            whole, seconds, cut, milliseconds = found.groups()
            if milliseconds:
                yield cut, int(milliseconds) / 1000
            else:
                yield whole, float(seconds) if seconds else None


def names_of(clip_ids: Sequence[str | bytes] | np.ndarray, num_clips: int) -> list[str]:
    """The ids of so many clips as text.

    Raises:
      UserError: there are not so many.
    """
    names = [i.decode(errors="replace") if isinstance(i, bytes) else str(i) for i in clip_ids]
    if len(names) != num_clips:
        raise UserError(f"there are {len(names)} clip ids for {num_clips} clips; give one for each")
    return names


def require_all_matched(matches: Matches, num_files: int, num_clips: int) -> None:
    """Checks that every file has a clip, and every clip a file.

    Raises:
      UserError: one has not.
    """
    parts = [
        f"{len(names)} of {total} {what} ({', '.join(map(repr, names[:3]))}"
        + (", ...)" if len(names) > 3 else ")")
        for names, total, what in (
            (matches.files_without_clip, num_files, "files of the strong labels have no clip"),
            (matches.clips_without_file, num_clips, "clips have no line in the strong labels"),
        )
        if names
    ]
    if parts:
        raise UserError(f"{'; '.join(parts)}; {RULE}, or unmatched='skip' leaves these out")
