"""Starts the processes of one run and watches them: if one dies, all end, and one line says which and why.

A process whose peer has died waits for it in vain, and is then ended by C++ code with a page of output,
without its Python noticing. So a parent without devices watches: it passes on what its children print, ends
all of them when one has died, and reports it.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import IO

from mla_jax.commands import console
from mla_jax.parallel.signals import EXIT_TO_BE_CONTINUED

EXIT_LOST_CONTACT = 76
"""Exit code of a process that has lost its peers: EX_PROTOCOL of sysexits.h."""
EXIT_PEER_FAILED = 77
"""Exit code of a process that ends because another, which prints why, cannot go on."""

# After the first death: time for the others to notice it by themselves, which tells them from its cause.
_GRACE_SECONDS = 2.0
_POLL_SECONDS = 0.05
# Ordinary messages of a library, on stdout.
_NOISE = re.compile(rb"^\[Gloo\] ")
# The first line of the page that C++ prints when it ends a process that has lost its peers.
_DUMP = re.compile(rb"Terminating process because the JAX distributed service")
# A process tells its parent with this that it has found the others.
_JOINED = b"mla_jax: joined\n"
# These signals kill a process if the machine is short of memory or taken away.
_KILLED = (signal.SIGKILL, signal.SIGTERM)
# Exit codes of a process that ended because it lost another.
_LOST = (EXIT_LOST_CONTACT, -signal.SIGABRT)
# Exit codes of processes that did not cause the failure.
_FOLLOWED = (0, EXIT_TO_BE_CONTINUED, EXIT_PEER_FAILED, *_LOST)


class Supervisor:
    """Runs processes until all have ended well or one has failed.

    Attributes:
      codes: the exit code of each process that has ended, by its index; if negative, the signal that killed
        it.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        environments: Sequence[Mapping[str, str]],
        *,
        first: int = 0,
        total: int = 0,
        where: str = "",
        to_go_on: str = "go on from the last checkpoint",
        debug: bool = False,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        """Starts the processes.

        Args:
          commands: of each process on this machine.
          environments: variables to add to the environment of each.
          first: the number that the first of them has in the run.
          total: how many processes the run has, on all machines; 0: those given, or not known.
          where: where the processes look for each other, and for how long: " at HOST:PORT within 300 s".
          to_go_on: what they do when they are started again.
          debug: also pass on what C++ prints.
          say: called with each line for the user.
        """
        self.first, self.total, self.say = first, total or len(commands), say
        self.codes: dict[int, int] = {}
        self._signals, self._where, self._debug = 0, where, debug
        self._nobody_reads = False
        self._again = f"start the same again, all of its processes, to {to_go_on}"
        self._joined: set[int] = set()
        # What processes print after the first failure, by index: pages of C++, unless one is the cause.
        self._held: dict[int, list[str]] = {}
        self._readers: list[threading.Thread] = []
        # Each has a session of its own, so that Ctrl-C reaches only the parent, which passes it on once.
        self._children = [
            subprocess.Popen(
                list(command),
                env=os.environ | dict(environment),
                stdin=subprocess.PIPE,  # it is closed when the parent ends, however that ends
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            for command, environment in zip(commands, environments, strict=True)
        ]
        for i, child in enumerate(self._children):
            name = f"process {first + i}: " if i else ""
            self._read(i, child.stdout, sys.stdout, "")  # results, whichever process has them
            self._read(i, child.stderr, sys.stderr, name)

    def wait(self) -> int:
        """Waits until all have ended.

        Returns:
          The exit code for the whole: 0; that of the process that failed; 75 if the same command can
          continue the run; or 141 if nobody reads what they print, as behind `| head`.
        """
        before = {s: signal.signal(s, self._pass_on) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not self._look():
                if self._nobody_reads:
                    return console.EXIT_NOBODY_READS
                time.sleep(_POLL_SECONDS)
            failed = [i for i, code in self.codes.items() if code not in (0, EXIT_TO_BE_CONTINUED)]
            return self._report(failed) if failed else max(self.codes.values())
        finally:
            self._end()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _look(self) -> bool:
        """Notes which processes have ended; True when all have, or one has failed."""
        for i, child in enumerate(self._children):
            if child.poll() is not None:
                self.codes.setdefault(i, child.returncode)
        failed = any(code not in (0, EXIT_TO_BE_CONTINUED) for code in self.codes.values())
        return failed or len(self.codes) == len(self._children)

    def _report(self, failed: list[int]) -> int:
        """Ends the other processes, says what happened, and returns the exit code."""
        self._let_others_notice()
        self._end()
        # Killed ones first: the failures of others may follow from that.
        causes = sorted((code > 0, i) for i, code in self.codes.items() if code not in _FOLLOWED)
        which = causes[0][1] if causes else failed[0]
        sys.stderr.write("".join(self._held.get(which, [])))
        what, code = self._verdict(which, self.codes[which])
        if what:
            self.say(what)
        return code

    def _verdict(self, which: int, code: int) -> tuple[str, int]:
        """What is said of process `which`, the cause, that ended with `code`; and the exit code."""
        name = f"process {self.first + which}" + (f" of {self.total}" if self.total > 1 else "")
        rest = len(self._children) - 1
        others = f"; the other {rest if rest > 1 else 'one'} on this machine ended with it"
        others = others if rest else ""
        again = self._again
        if code in _LOST and which not in self._joined:
            return (
                f"error: {name} did not find the others{self._where}; start all of them, alike",
                2,
            )
        if code == EXIT_PEER_FAILED:
            return f"error: {name} ends since another could not go on, whose output says why", 2
        if code in _LOST:
            return (
                f"error: {name} has lost the other processes of the run: one of them has ended, or cannot be "
                f"reached{others}; {again}"
            ), EXIT_TO_BE_CONTINUED
        if self._signals > 1:
            return f"ended at once, as asked; {again}", EXIT_TO_BE_CONTINUED
        if self._signals and code == -signal.SIGTERM:
            return f"stopped, as asked; {again}", EXIT_TO_BE_CONTINUED
        if code < 0:
            number = signal.Signals(-code)
            why = ", as a machine does that runs out of memory" if number == signal.SIGKILL else ""
            exit_code = EXIT_TO_BE_CONTINUED if number in _KILLED else 1
            return f"error: {name} was ended by {number.name}{why}{others}; {again}", exit_code
        if rest or code != 2:
            return f"error: {name} failed with exit code {code}{others}", code
        return "", code  # a user's mistake, which the process itself has told

    def _let_others_notice(self) -> None:
        """Waits for the others to end by themselves, and holds back what they print."""
        self._held = {i: [] for i in range(len(self._children)) if i not in self.codes}
        until = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < until and len(self.codes) < len(self._children):
            self._look()
            time.sleep(_POLL_SECONDS)

    def _end(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        for child in self._children:
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Passes a signal on: the first asks the children to stop, the second ends them."""
        del frame
        self._signals += 1
        for child in self._children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM if self._signals == 1 else signal.SIGKILL)

    def _read(self, i: int, stream: IO[bytes] | None, target: IO[str], name: str) -> None:
        def forward() -> None:
            assert stream is not None
            dumping = False
            for line in stream:
                if line == _JOINED:
                    self._joined.add(i)
                    continue
                dumping |= bool(_DUMP.search(line))
                if (_NOISE.match(line) or dumping) and not self._debug:
                    continue
                text = name + line.decode(errors="replace")
                if i in self._held:
                    self._held[i].append(text)
                else:
                    self._print(text, target)

        self._readers.append(threading.Thread(target=forward, daemon=True))
        self._readers[-1].start()

    def _print(self, text: str, target: IO[str]) -> None:
        # Whatever becomes of the output, the processes' own must be read on, or they would wait for ever.
        try:
            target.write(text)
            target.flush()
        except BrokenPipeError:
            self._nobody_reads = True
        except OSError:
            pass  # a full disk should stop no work


def tell_joined() -> None:
    """Called in a supervised process: tells the parent that it has found the others."""
    os.write(2, _JOINED)


def end_with_parent() -> None:
    """Called in a supervised process: ends it when its parent, whose pipe is its stdin, is gone."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin, whose lock Python wants at its own end
            pass
        os._exit(EXIT_LOST_CONTACT)

    threading.Thread(target=watch, daemon=True).start()
