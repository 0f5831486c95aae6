"""A signal as a request: the run saves at the next step and leaves, instead of dying in the middle."""

import signal
from types import FrameType, TracebackType

EXIT_TO_BE_CONTINUED = 75
"""What a command exits with after a signal: EX_TEMPFAIL of sysexits.h, 'try again'."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class InterruptedRunError(Exception):
    """A run stopped on request; what it had is saved."""

    def __init__(self, step: int) -> None:
        super().__init__(
            f"stopped at step {step}, which is saved; start it again to go on from there"
            if step
            else "stopped before there was anything to save; start it again"
        )
        self.step = step


class StopOnSignal:
    """While it is entered, a first SIGTERM or SIGINT makes it true; a second one ends the process at once.

    Only the main thread can enter it.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = signal.Signals(number)
        for s in _SIGNALS:
            signal.signal(s, signal.SIG_DFL)
