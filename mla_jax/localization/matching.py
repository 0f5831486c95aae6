"""Which file of strong labels belongs to which clip.

A file belongs to the clip whose id is its name, or else its name without the last extension: `abc.wav` to the
clip `abc.wav` if there is one, else to `abc`. AudioSet's clips, whose ids have eleven characters, also have
the files `Y<id>.wav`, `Y<id>_<from>_<to>.wav` and `<id>_<milliseconds>`.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mla_jax.errors import UserError

RULE = (
    "a file's name must be a clip's id, with or without an extension (for AudioSet's ids also Y<id>.wav, "
    "Y<id>_<from>_<to>.wav, or <id>_<milliseconds>)"
)
_ID = r"([\w-]{11})"
_AUDIOSET = re.compile(rf"Y{_ID}(?:_[\d.]+_[\d.]+)?|{_ID}_\d+")


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
    files: Collection[str], clip_ids: Sequence[str | bytes] | np.ndarray, num_clips: int
) -> Matches:
    """Finds the clip of each file.

    Args:
      files: their names.
      clip_ids: [num_clips] the clips' ids; str, or bytes as in a ClipSet.
      num_clips: how many clips there are.

    Raises:
      UserError: no file has a clip, two files have the same, or a file may belong to several clips.
    """
    ids = names_of(clip_ids, num_clips)
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(ids):
        rows.setdefault(name, []).append(row)
    clip_of: dict[str, int] = {}
    file_of: dict[int, str] = {}
    for file in files:
        found = next((rows[name] for name in _clip_names(file) if name in rows), [])
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


def _clip_names(file: str) -> Iterator[str]:
    """What the id of a file's clip may be, the likeliest first."""
    stem = file.rpartition(".")[0]
    yield file
    yield stem
    for name in (stem, file):
        if found := _AUDIOSET.fullmatch(name):
            yield found[1] or found[2]


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
