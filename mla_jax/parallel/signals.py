"""SIGTERM and SIGINT as requests to stop: a run saves at the next step and leaves, instead of dying.

Python runs a signal's handler between two of its own instructions only, so for many seconds not at all while
XLA compiles. But it writes the signal's number to a socket at once, where a thread can read it.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable
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

    def __init__(self, on_signal: Callable[[], None] = lambda: None) -> None:
        """Sets what is called at the first signal.

        Args:
          on_signal: called at once, on a thread of its own, also while the program compiles.
        """
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}
        self._watcher = _Watcher(on_signal)

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.received is not None

    def __enter__(self) -> "StopOnSignal":
        self._before = {s: signal.signal(s, self._receive) for s in _SIGNALS}
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watcher.stop()
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = signal.Signals(number)
        for s in _SIGNALS:
            signal.signal(s, signal.SIG_DFL)


class _Watcher:
    """A thread that learns of signals as they come, whatever the main thread is doing."""

    def __init__(self, on_signal: Callable[[], None]) -> None:
        self._on_signal = on_signal
        self._before = -1

    def start(self) -> None:
        self._ours, self._pythons = socket.socketpair()
        self._pythons.setblocking(False)
        self._before = signal.set_wakeup_fd(self._pythons.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        signal.set_wakeup_fd(self._before)
        self._pythons.close()  # ends the thread
        self._thread.join()
        self._ours.close()

    def _watch(self) -> None:
        count = 0
        while number := self._ours.recv(1):
            if number[0] not in _SIGNALS:
                continue
            count += 1
            if count == 1:
                self._on_signal()
            else:  # the main thread has not yet come to the handler of the first
                os._exit(128 + number[0])
