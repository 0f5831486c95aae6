"""The progress of long work: one line that is rewritten on a terminal, else a line every 15 seconds."""

import sys
import time
from typing import TextIO

_TERMINAL_SECONDS = 0.2
_PLAIN_SECONDS = 15.0


def silent(line: str) -> None:
    """A no-op: how secondary processes print."""


class Progress:
    """Shows how much is done, the rate and the time left; a context manager, which ends the line.

    Attributes:
      label: what is being done, such as `train`.
      total: units to do; 0 if that is not known.
      unit: what is counted, such as `steps`.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str,
        *,
        start: int = 0,
        stream: TextIO | None = None,
        shown: bool = True,
    ) -> None:
        """Starts at `start` units; writes to `stream` (default: stderr), or nothing unless `shown`."""
        self.label, self.total, self.unit = label, total, unit
        self._stream = stream or sys.stderr  # None where that was closed
        self._silent = not shown or self._stream is None
        self._terminal = self._stream is not None and self._stream.isatty()
        self._start, self._began = start, time.monotonic()
        self._updates = 0
        self._shown = self._began
        self._width = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, done: int, note: str = "") -> None:
        """Notes that `done` units are done; shown at the end, and else if enough time has passed."""
        if self._silent:
            return
        now = time.monotonic()
        self._updates += 1
        if self._updates == 1 and done != self.total:
            # The first takes longer, for compilation or opening.
            self._start, self._began = done, now
        pause = _TERMINAL_SECONDS if self._terminal else _PLAIN_SECONDS
        if now - self._shown < pause and done != self.total:
            return
        self._shown = now
        elapsed = max(now - self._began, 1e-9)
        rate = (done - self._start) / elapsed
        parts = [f"{self.label} {done:,}" + (f"/{self.total:,}" if self.total else "")]
        parts[0] += f" {self.unit}"
        if rate > 0:
            parts.append(f"{rate:,.{0 if rate >= 100 else 1}f}/s")
        if self.total and rate > 0:
            parts.append(f"{_clock((self.total - done) / rate)} left")
        if note:
            parts.append(note)
        self._write(" | ".join(parts))

    def _write(self, line: str) -> None:
        if self._terminal:
            self._print("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._print(line + "\n")

    def _print(self, text: str) -> None:
        """Prints text; a terminal that is gone, or a full disk, silences the rest, and stops no work."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:  # nobody reads: programs end then
            raise
        except OSError:
            self._silent = True

    def close(self) -> None:
        """Ends the line on a terminal."""
        if self._terminal and self._width:
            self._print("\n")
            self._width = 0


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
