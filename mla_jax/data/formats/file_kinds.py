"""What a file is by how it begins, so that one that cannot be read here is refused as what it is."""

HEAD_BYTES = 512

_SOUND = "make embeddings of it first (mla-embed)"
_ARRAYS = "save its arrays with numpy.savez(file, x=embeddings, y=labels)"
# Where in the file, what stands there, what that is, and what to do.
_KINDS = (
    (0, b"\x1f\x8b", "a gzip file", "unpack it with gunzip"),
    (0, b"\x93NUMPY", "a NumPy array", "its name must end in .npy"),
    (0, b"PK\3\4", "a zip archive, as .npz files are", "if it is one, its name must end in .npz"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "its name must end in .h5 or .hdf5"),
    (0, b"\x0e\x03\x13\x01", "an HDF4 file", _ARRAYS),
    (0, b"MATLAB", "a MATLAB file", _ARRAYS),
    (0, b"\x80\x04", "a Python pickle", _ARRAYS),
    (0, b"\x80\x03", "a Python pickle", _ARRAYS),
    (0, b"PAR1", "a Parquet file", _ARRAYS),
    (0, b"ARROW1", "an Arrow file", _ARRAYS),
    (0, b"SQLite format 3\0", "an SQLite file", _ARRAYS),
    (8, b"WAVE", "a WAV sound file", _SOUND),
    (0, b"fLaC", "a FLAC sound file", _SOUND),
    (0, b"OggS", "an Ogg sound file", _SOUND),
    (0, b"ID3", "an MP3 sound file", _SOUND),
    (0, b"\xff\xfb", "an MP3 sound file", _SOUND),
    (4, b"ftyp", "an MP4 or M4A file", "take its sound out first: ffmpeg -i FILE -vn FILE.wav"),
)


def describe(head: bytes) -> tuple[str, str]:
    """What a file is that begins so, and what to do with it; two empty strings where that is not known.

    Records begin with their length, which may be any bytes: whether these are some is to be asked before.
    """
    for place, mark, what, advice in _KINDS:
        if head[place:].startswith(mark):
            return what, advice
    if head and _is_text(head):
        return "a text file", "data are arrays or records, see docs/guide_data.md"
    return "", ""


def _is_text(head: bytes) -> bool:
    """Whether it is text: no character but those that stand in lines."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character is cut
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\t\r\n\ufeff" for character in text)
