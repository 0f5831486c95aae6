"""Processes of one run, started and watched from outside: what died is said in one line, and nothing hangs.

A process whose peer has died waits for it in vain, then ends with a dump of the C++ below; its own Python
cannot tell. So a parent without devices watches: it passes on what its children print, ends all of
them when one has died, and says which and why.
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

from mla_jax.training.interruption import EXIT_TO_BE_CONTINUED

EXIT_LOST_CONTACT = 76
"""What a process exits with whose peers are gone: EX_PROTOCOL of sysexits.h."""
EXIT_PEER_FAILED = 77
"""What a process exits with that ends since another could not go on, which says why."""

# After the first death: for the others to notice by themselves, and so to be told apart from its cause.
_GRACE_SECONDS = 2.0
_POLL_SECONDS = 0.05
# What the libraries below say of ordinary business, and to standard output at that.
_NOISE = re.compile(rb"^\[Gloo\] ")
# Where the page begins that C++ prints as it ends a process whose peers are gone.
_DUMP = re.compile(rb"Terminating process because the JAX distributed service")
# What a process says, to its parent alone, when it has found the others.
_JOINED = b"mla_jax: joined\n"
# Of a process that was killed from outside, when the machine was short of memory or taken away.
_KILLED = (signal.SIGKILL, signal.SIGTERM)
# Of a process that gave itself up since another was gone.
_LOST = (EXIT_LOST_CONTACT, -signal.SIGABRT)
# Of those that are no cause of what happened.
_FOLLOWED = (0, EXIT_TO_BE_CONTINUED, EXIT_PEER_FAILED, *_LOST)


class Supervisor:
    """Runs processes until all have ended well, or one has not.

    Attributes:
      codes: the exit code of each process that has ended, by number; negative: the signal that killed it.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        environments: Sequence[Mapping[str, str]],
        *,
        first: int = 0,
        total: int = 0,
        where: str = "",
        debug: bool = False,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        """Starts the processes.

        Args:
          commands: of each process that runs on this machine.
          environments: variables to add to that of each.
          first: the number of the first of them in the run.
          total: how many processes the run has, on all machines; 0: those given, or not known.
          where: the processes look for each other, and for how long: " at HOST:PORT within 300 s".
          debug: pass on all that C++ prints, too.
          say: takes a line for the user.
        """
        self.first, self.total, self.say = first, total or len(commands), say
        self.codes: dict[int, int] = {}
        self._signals, self._where, self._debug = 0, where, debug
        self._joined: set[int] = set()
        # From the first failure on, what those say that are still there: their C++ tells of it at length.
        self._held: dict[int, list[str]] = {}
        self._readers: list[threading.Thread] = []
        # A session of its own each, so that Ctrl-C reaches the parent alone, which passes it on once.
        self._children = [
            subprocess.Popen(
                list(command),
                env=os.environ | dict(environment),
                stdin=subprocess.PIPE,  # it ends when the parent does, however that ends
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            for command, environment in zip(commands, environments, strict=True)
        ]
        for i, child in enumerate(self._children):
            name = f"process {first + i}: " if i else ""
            self._read(i, child.stdout, sys.stdout, name)
            self._read(i, child.stderr, sys.stderr, name)

    def wait(self) -> int:
        """Waits for the end of all.

        Returns:
          The exit code of the whole: 0; that of the process that failed; 75 where another start can go on.
        """
        before = {s: signal.signal(s, self._pass_on) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not self._look():
                time.sleep(_POLL_SECONDS)
            failed = [i for i, code in self.codes.items() if code not in (0, EXIT_TO_BE_CONTINUED)]
            return self._account(failed) if failed else max(self.codes.values())
        finally:
            self._end()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _look(self) -> bool:
        """Notes who has ended; true when all have, or one has failed."""
        for i, child in enumerate(self._children):
            if child.poll() is not None:
                self.codes.setdefault(i, child.returncode)
        failed = any(code not in (0, EXIT_TO_BE_CONTINUED) for code in self.codes.values())
        return failed or len(self.codes) == len(self._children)

    def _account(self, failed: list[int]) -> int:
        """Ends the rest, says what happened, returns the exit code."""
        self._settle()
        self._end()
        # Killed ones first: what others then say of it may look like a failure of their own.
        causes = sorted((code > 0, i) for i, code in self.codes.items() if code not in _FOLLOWED)
        who = causes[0][1] if causes else failed[0]
        code = self.codes[who]
        sys.stderr.write("".join(self._held.get(who, [])))
        name = f"process {self.first + who}" + (f" of {self.total}" if self.total > 1 else "")
        rest = len(self._children) - 1
        others = (
            f"; the other {rest if rest > 1 else 'one'} on this machine ended with it"
            if rest
            else ""
        )
        again = "start the same again, all of its processes, to go on from the last checkpoint"
        if code in _LOST and who not in self._joined:
            self.say(
                f"error: {name} did not find the others{self._where}; start all of them, alike"
            )
            return 2
        if code == EXIT_PEER_FAILED:
            self.say(f"error: {name} ends since another could not go on, whose output says why")
            return 2
        if code in _LOST:
            self.say(
                f"error: {name} has lost the other processes of the run: one of them has ended, or cannot be "
                f"reached{others}; {again}"
            )
            return EXIT_TO_BE_CONTINUED
        if self._signals > 1:
            self.say(f"ended at once, as asked; {again}")
            return EXIT_TO_BE_CONTINUED
        if code < 0:
            number = signal.Signals(-code)
            why = ", as a machine does that runs out of memory" if number == signal.SIGKILL else ""
            self.say(f"error: {name} was ended by {number.name}{why}{others}; {again}")
            return EXIT_TO_BE_CONTINUED if number in _KILLED else 1
        if rest or code != 2:  # else it has said all there is
            self.say(f"error: {name} failed with exit code {code}{others}")
        return code

    def _settle(self) -> None:
        """Lets the others notice, and ends those that do not."""
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
        """The first signal asks the children to stop, the second ends them."""
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
                    target.write(text)
                    target.flush()

        self._readers.append(threading.Thread(target=forward, daemon=True))
        self._readers[-1].start()


def tell_joined() -> None:
    """In a supervised process: tells the parent that it has found the others."""
    os.write(2, _JOINED)


def end_with_parent() -> None:
    """In a supervised process: ends it when its parent is gone, whose pipe is its standard input."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin, whose lock Python wants at its own end
            pass
        os._exit(EXIT_LOST_CONTACT)

    threading.Thread(target=watch, daemon=True).start()
