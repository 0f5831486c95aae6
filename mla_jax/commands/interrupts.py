"""Ctrl-C in a command: it ends with one line and 130, also while it imports.

Python raises KeyboardInterrupt wherever the signal finds it. In an import that is a stack trace, a crash of a
C++ library that is half loaded, or nothing at all: Python drops what is raised in the callbacks of its import
locks. There is nothing to tidy up in an import, so the process ends at once.
"""

import os
import signal
from types import FrameType

EXIT_INTERRUPTED = 130
"""What shells report of a command that SIGINT ended."""


def leave_at_once() -> None:
    """Called first of all: from now on SIGINT ends the process, before there is anything to tidy up."""
    if (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):  # else it is ignored, as by nohup
        signal.signal(signal.SIGINT, _leave)


def interrupt_work() -> None:
    """Called before the work begins: from now on SIGINT raises KeyboardInterrupt, but in an import."""
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _leave):
        signal.signal(signal.SIGINT, _interrupt)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(EXIT_INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    inner = frame
    while inner is not None:
        if inner.f_code.co_filename.startswith("<frozen importlib"):
            _leave(number, frame)
        inner = inner.f_back
    raise KeyboardInterrupt
