"""Opening and reading sound files with libsndfile, with what it keeps to itself said.

It cannot tell garbage from a missing file, ends a cut mp3 or ogg without a word, and reads but a part of an
mp3 that does not state its length.
"""

import contextlib
import dataclasses
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mla_jax.audio import containers
from mla_jax.errors import UserError

try:
    import soundfile
    import soxr  # noqa: F401 (`decode` needs it; a user hears of both at once)
except (ImportError, OSError) as error:  # OSError: the wheel is for another platform
    raise UserError(
        f"sound files need soundfile and soxr ({error}): pip install 'mla_jax[audio]'"
    ) from error

_BLOCK = 16_384  # frames; a block that is damaged is lost whole
_TOLERANCE = 0.05  # seconds that a header may promise too much: encoders' padding


@dataclasses.dataclass(frozen=True)
class SoundInfo:
    """What a file's header says.

    Attributes:
      path: the file.
      seconds: its length.
      exact: whether `seconds` is a fact; a guess for an mp3 that does not state its length.
      sample_rate: of the file, per second.
      channels: how many.
      format: such as `WAV PCM_16`.
    """

    path: str
    seconds: float
    exact: bool
    sample_rate: int
    channels: int
    format: str


class SoundFile:
    """An open file.

    Attributes:
      info: what its header says.
      cut: whether it ended too early, because it is cut or damaged; known when `blocks` has ended.
    """

    def __init__(self, path: Path, info: SoundInfo, file: soundfile.SoundFile) -> None:
        self.info, self.cut = info, False
        self._path, self._file = path, file

    def blocks(self, position: int = 0) -> Iterator[np.ndarray]:
        """The frames from this one on, in blocks: float32 [frames, channels]."""
        if position >= self._file.frames:
            return
        try:
            self._file.seek(position)
            # Not int16: that would make silence of float files.
            while len(block := self._file.read(_BLOCK, dtype="float32", always_2d=True)):
                yield block
                position += len(block)
        except soundfile.LibsndfileError:
            self.cut = True
        else:
            missing = self.info.seconds - position / self.info.sample_rate
            self.cut = (self.info.exact and missing > _TOLERANCE) or self._was_cut()

    def _was_cut(self) -> bool:
        """For formats in which libsndfile announces what is there, not what was."""
        if self._file.format == "OGG":
            return not containers.ogg_is_whole(self._path)
        return containers.header_says_more(self._file.extra_info)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[SoundFile]:
    """Opens a file of any format of libsndfile's, whatever its name.

    Raises:
      UserError: the file is not there, empty, or no sound that libsndfile can read.
    """
    with contextlib.ExitStack() as stack:
        try:
            if why := containers.why_not_sound(path):
                raise UserError(f"{path} {why}")
            # By its descriptor: of a name, soundfile takes `.raw` for a format and `-` for standard input.
            raw = stack.enter_context(path.open("rb", buffering=0))
            file = stack.enter_context(_Forward(raw.fileno(), closefd=False))
            info = SoundInfo(
                path=os.fspath(path),
                seconds=file.frames / file.samplerate,
                exact=file.format != "MP3" or containers.mp3_states_length(path),
                sample_rate=file.samplerate,
                channels=file.channels,
                format=f"{file.format} {file.subtype}",
            )
            if not info.exact:
                longer = stack.enter_context(_Longer(path))
                file = stack.enter_context(_Forward(longer))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from error
        except soundfile.LibsndfileError as error:
            raise UserError(
                f"{path} is no sound file, of a format that is not known, or damaged at its beginning; "
                "wav, flac, ogg, mp3 and aiff are read"
            ) from error
        yield SoundFile(path, info, file)


def sound_info(path: str | os.PathLike[str]) -> SoundInfo:
    """Reads a file's header.

    Raises:
      UserError: as `opened` raises it.
    """
    with opened(Path(path)) as file:
        return file.info


class _Forward(soundfile.SoundFile):
    """A file that is read forward.

    soundfile seeks, after each read, to where it is already; of an mp3 this loses the bits that a frame has
    kept for later ones, and a tone becomes a buzz.
    """

    def seekable(self) -> bool:
        return False


class _Longer(io.FileIO):
    """A file that claims to be 64 times as long as it is, and ends where it ends.

    libsndfile stops reading an mp3 where it guesses the end from the file's size and the first frame's bit
    rate, and says nothing: of a minute that begins loud and goes on softly it gave 12 seconds. With this it
    guesses too late, and reads to the end.
    """

    _at_end = False

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at_end = whence == os.SEEK_END and offset == 0
        super().seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return super().tell() * (64 if self._at_end else 1)
