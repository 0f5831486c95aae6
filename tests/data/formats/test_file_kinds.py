"""Files that cannot be read here are refused by what they are, and records never are."""

import gzip
import struct
import wave
from pathlib import Path

import google_crc32c
import h5py
import numpy as np
import pytest

from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.sources import open_clips
from tests.support.helpers import raises_user_error, read_clips
from tests.support.records import payload, write_file


def sound(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(100))


def arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.ones((2, 3, 4)), y=np.ones((2, 2)))


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.ones(3)


OTHERS = {
    "a.wav": (sound, "a WAV sound file", "mla-embed"),
    "a.mat": (
        lambda p: p.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200)),
        "a MATLAB file",
        "numpy.savez",
    ),
    "b.mat": (arrays, "a zip archive", ".npz"),
    "a.hdf": (hdf5, "an HDF5 file", ".h5 or .hdf5"),
    "a.csv": (
        lambda p: p.write_text("filename,label\na,Gewürz\n" * 40),
        "a text file",
        "arrays or records",
    ),
    "a.gz": (lambda p: p.write_bytes(gzip.compress(b"abc" * 100)), "a gzip file", "gunzip"),
    "a.pkl": (
        lambda p: p.write_bytes(b"\x80\x04\x95" + bytes(50)),
        "a Python pickle",
        "numpy.savez",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_another_kind_is_refused_as_what_it_is(tmp_path: Path, name: str) -> None:
    make, what, advice = OTHERS[name]
    make(tmp_path / name)
    for path in (tmp_path / name, tmp_path / "*"):
        with raises_user_error(f"{tmp_path / name} is {what}", advice):
            open_clips(str(path), ReadOptions(7))
    # Among records it is a bad one.
    write_file(tmp_path / "z.tfrecord", [payload()])
    with raises_user_error(
        str(tmp_path / name), "not a TFRecord file but", what, "bad_records=skip"
    ):
        read_clips(tmp_path / "*")


@pytest.mark.parametrize("length", [0x8B1F, 0x0480, 0xFBFF])
def test_a_record_whose_length_looks_like_another_kind_is_a_record(
    tmp_path: Path, length: int
) -> None:
    """The first bytes of a record are its length: these are those of gzip files, pickles and MP3."""
    header = struct.pack("<Q", length)
    crc = google_crc32c.value(header)
    crc = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    path = tmp_path / "a.tfrecord"
    path.write_bytes(header + struct.pack("<I", crc) + bytes(100))
    with raises_user_error("record 0: the file ends inside it"):
        read_clips(path)


def test_a_npy_file_of_many_clips_is_told_how_to_give_them(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((6, 3, 4)))
    with raises_user_error("x.npy: it is an array of [6, 3, 4]", "numpy.savez(file, x=embeddings"):
        read_clips(tmp_path / "x.npy")
