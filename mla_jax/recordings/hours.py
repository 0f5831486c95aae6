"""Progress in hours of sound and times real time."""

import time

from mla_jax.progress import Progress


class Hours:
    """Shows how much sound is done.

    Attributes:
      total: seconds of sound to do.
      done: seconds that are done.
    """

    def __init__(self, label: str, total: float, done: float = 0.0) -> None:
        """Begins with so many seconds done before."""
        self.total, self.done, self._before = total, done, done
        self._began = time.monotonic()
        self._progress = Progress(label, max(1, round(total)), "s of sound", start=round(done))

    def add(self, seconds: float) -> None:
        """Notes that so many seconds more are done."""
        self.done += seconds
        # Headers may promise too little; the end is shown once, by `close`.
        self._show(min(round(self.done), self._progress.total - 1))

    def close(self) -> None:
        """Shows the end."""
        if self.done > self._before:
            self.done = self.total  # headers may promise a little too much
            self._show(self._progress.total)
        self._progress.close()

    def _show(self, done: int) -> None:
        times = (self.done - self._before) / max(time.monotonic() - self._began, 1e-9)
        note = (
            f"{self.done / 3600:.2f} of {self.total / 3600:.2f} hours, {times:,.0f} times real time"
        )
        self._progress.update(done, note)
