"""What a sound file's bytes tell that libsndfile does not: that it is a video, or was cut."""

import os
import re
from pathlib import Path

_ID3_HEADER = 10
_LENGTH_TAGS = (b"Xing", b"Info", b"VBRI")
_SEARCHED = 4096  # the first MPEG frame has at most 2,881 bytes
_OGG_END = 1 << 16  # a page has at most 65,307 bytes
_END_OF_STREAM = 4

_VIDEO = {
    "an MPEG-4 file (m4a, mp4, mov)": lambda head: head[4:8] == b"ftyp",
    "a Matroska or WebM file": lambda head: head[:4] == b"\x1aE\xdf\xa3",
    "an AVI file": lambda head: head[:4] == b"RIFF" and head[8:12] == b"AVI ",
    "a Windows Media file": lambda head: head[:4] == b"\x30\x26\xb2\x75",
}

# As libsndfile's log has it: `data : 529200 (should be 264578)`.
_SHORTER = re.compile(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = (
    0x7FFF0000  # programs that stream do not know the size, and write one near 2^31 or 2^32
)


def why_not_sound(path: Path) -> str:
    """Why libsndfile will not read this file, as the end of a sentence; empty if no reason is known."""
    if not path.exists():
        return "does not exist"
    if path.is_dir():
        return "is a folder, not a file"
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        return "is empty"
    for kind, matches in _VIDEO.items():
        if matches(head):
            return f"is {kind}; take its sound out first: ffmpeg -i FILE -vn FILE.wav"
    return ""


def mp3_states_length(path: Path) -> bool:
    """Whether an mp3's first frame has a tag with the number of frames.

    Without one its length is a guess from the first frame's bit rate, several times too short or too long
    where the bit rate varies.
    """
    with path.open("rb") as file:
        head = file.read(_ID3_HEADER)
        size = _ID3_HEADER + _seven_bits(head[6:10]) if head[:3] == b"ID3" else 0
        file.seek(size)
        first = file.read(_SEARCHED)
    return any(tag in first for tag in _LENGTH_TAGS)


def _seven_bits(data: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(data)))


def ogg_is_whole(path: Path) -> bool:
    """Whether an ogg file's last page says that the stream ends with it."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _OGG_END - 1024))
        end = file.read()
    page = end.rfind(b"OggS")
    return 0 <= page < len(end) - 5 and bool(end[page + 5] & _END_OF_STREAM)


def header_says_more(log: str) -> bool:
    """Whether a wav, aiff or au file's header tells of more bytes than there are.

    Args:
      log: what libsndfile noted as it opened the file.
    """
    found = _SHORTER.search(log)
    return found is not None and int(found[2]) < int(found[1]) < _UNKNOWN_SIZE
