"""SIGTERM and SIGINT as requests to stop: a run saves at the next step and leaves, instead of dying."""

import signal
from types import FrameType

EXIT_TO_BE_CONTINUED = 75
"""The exit code of a command that was stopped by a signal: EX_TEMPFAIL of sysexits.h, 'try again'."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class InterruptedRunError(Exception):
    """A run was stopped on request, and is saved.

    Attributes:
      step: the step that it is saved at; 0 if there was nothing to save.
    """

    def __init__(self, step: int) -> None:
        super().__init__(
            f"stopped at step {step}, which is saved; start it again to go on from there"
            if step
            else "stopped before there was anything to save; start it again"
        )
        self.step = step


class StopOnSignal:
    """A context manager; calling it says whether a SIGTERM or SIGINT has come since it was entered.

    A second signal ends the process at once. Only the main thread can enter it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.received is not None

    def __enter__(self) -> "StopOnSignal":
        self._before = {s: signal.signal(s, self._receive) for s in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = signal.Signals(number)
        for s in _SIGNALS:
            signal.signal(s, signal.SIG_DFL)
