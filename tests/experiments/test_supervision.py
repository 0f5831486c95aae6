"""What becomes of a run's processes is said in one line: real processes, without JAX."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mla_jax.commands.supervision import EXIT_LOST_CONTACT, EXIT_PEER_FAILED, Supervisor
from tests.support.helpers import wait_for
from tests.support.programs import ROOT

WAIT = "import time; time.sleep(60)"


def watch(*programs: str, first: int = 0, total: int = 0) -> tuple[int, list[str], float]:
    said: list[str] = []
    began = time.monotonic()
    supervisor = Supervisor(
        [[sys.executable, "-c", program] for program in programs],
        [{}] * len(programs),
        first=first,
        total=total,
        say=said.append,
    )
    return supervisor.wait(), said, time.monotonic() - began


def test_all_end_well(capfd: pytest.CaptureFixture[str]) -> None:
    first = "print('[Gloo] Rank 0 is connected'); print('result'); import sys; print('told', file=sys.stderr)"
    code, said, _ = watch(first, "print('I')")
    assert (code, said) == (0, [])
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == ["I", "result"]
    assert err == "told\n"


@contextlib.contextmanager
def printing_to(target: int | str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets the block print to a file or descriptor that takes nothing, not even what is left at its end."""
    stream = open(target, "w")  # noqa: SIM115 (its end fails too)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield
    with contextlib.suppress(OSError):
        stream.close()


def test_what_processes_print_is_read_on_where_it_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or they would wait for ever, once the pipe to their parent is full."""
    talks = "for i in range(20_000): print('a line of a long run')"
    with printing_to("/dev/full", monkeypatch):
        assert watch(talks, talks)[:2] == (0, [])


def test_processes_end_where_nobody_reads_what_they_print(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with printing_to(write, monkeypatch):
        code, said, seconds = watch(f"print('a line', flush=True); {WAIT}", WAIT)
    assert (code, said) == (141, [])
    assert seconds < 20


def test_a_stopped_run_is_to_be_continued() -> None:
    assert watch("raise SystemExit(75)", "raise SystemExit(75)")[:2] == (75, [])


def test_the_one_that_was_killed_is_named_and_the_others_are_ended() -> None:
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    code, said, seconds = watch(WAIT, WAIT, killed)
    assert code == 75
    assert len(said) == 1
    assert said[0].startswith(
        "error: process 2 of 3 was ended by SIGKILL, as a machine does that runs out"
    )
    assert "the other 2 on this machine ended with it" in said[0]
    assert seconds < 20


def test_what_the_others_say_of_a_death_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    """Peers notice first, or dump a page: the cause is still named, and its words are kept."""
    peer = f"import os, sys; print('a page', file=sys.stderr, flush=True); os._exit({EXIT_LOST_CONTACT})"
    aborted = "import os, time; time.sleep(.5); os.abort()"
    cause = (
        "import os, sys, time; time.sleep(1); print('error: no such file', file=sys.stderr, flush=True)\n"
        "os._exit(2)"
    )
    code, said, _ = watch(peer, aborted, cause)
    assert code == 2
    assert said == [
        "error: process 2 of 3 failed with exit code 2; the other 2 on this machine ended with it"
    ]
    assert "process 2: error: no such file" in capfd.readouterr().err


def test_a_lone_process_that_lost_the_others_can_be_started_again() -> None:
    joined = "from mla_jax.commands.supervision import tell_joined; tell_joined();"
    for program in (f"raise SystemExit({EXIT_LOST_CONTACT})", "import os; os.abort()"):
        code, said, _ = watch(joined + program, first=3, total=8)
        assert code == 75
        assert said[0].startswith("error: process 3 of 8 has lost the other processes of the run")
        code, said, _ = watch(program, first=3, total=8)
        assert code == 2
        assert said == ["error: process 3 of 8 did not find the others; start all of them, alike"]


def test_a_process_that_ends_with_another_is_not_to_be_continued() -> None:
    """Else a loop that starts it again would do so for ever, while the other has a mistake to be mended."""
    code, said, _ = watch(f"raise SystemExit({EXIT_PEER_FAILED})", first=3, total=8)
    assert code == 2
    assert said == [
        "error: process 3 of 8 ends since another could not go on, whose output says why"
    ]
    mistaken = "import time; time.sleep(.5); raise SystemExit(2)"
    code, said, _ = watch(f"raise SystemExit({EXIT_PEER_FAILED})", mistaken)
    assert code == 2
    assert said[0].startswith("error: process 1 of 2 failed with exit code 2")


def test_a_page_of_c_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    page = "F1 client.h:80] Terminating process because the JAX distributed service detected\\n@ 0x7f\\n"
    program = f"import os; os.write(2, b'before\\n{page}'); os.abort()"
    watch(program)
    assert capfd.readouterr().err == "before\n"


def test_processes_that_are_stopped_as_asked_have_not_failed() -> None:
    """As those that share out parts, which SIGTERM ends where they are."""
    asked = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    asked.start()
    code, said, seconds = watch(WAIT, WAIT)
    assert code == 75
    assert said == [
        "stopped, as asked; start the same again, all of its processes, to go on from the last checkpoint"
    ]
    assert seconds < 20


def test_a_death_comes_before_what_others_make_of_it() -> None:
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    code, said, _ = watch("import time; time.sleep(.3); raise SystemExit(2)", killed)
    assert code == 75
    assert said[0].startswith("error: process 1 of 2 was ended by SIGKILL")


def test_a_crash_is_not_to_be_continued() -> None:
    code, said, _ = watch("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", WAIT)
    assert code == 1
    assert "process 0 of 2 was ended by SIGSEGV" in said[0]


PARENT = """
import sys
from mla_jax.commands.supervision import Supervisor
sys.exit(Supervisor([[sys.executable, "-c", sys.argv[1]]] * 2, [{}, {}]).wait())
"""
CHILD = """
import os, signal, sys, time
from mla_jax.commands.supervision import end_with_parent
end_with_parent()
got = []
signal.signal(signal.SIGTERM, lambda *_: got.append(1))
print("up", os.getpid(), flush=True)
while not got:
    time.sleep(0.01)
time.sleep(0.3)
sys.exit(75 if len(got) == 1 else 1)
"""


def start(child: str = CHILD) -> tuple[subprocess.Popen[str], list[int]]:
    """A parent of two processes, and the ids of these; they are up."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, child],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    return parent, [int(parent.stdout.readline().split()[-1]) for _ in range(2)]


def test_ctrl_c_reaches_every_process_once() -> None:
    """A terminal sends it to the whole process group, of which the children are no part."""
    parent, _ = start()
    with parent:
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.wait(timeout=20) == 75


def test_a_second_signal_ends_all_at_once() -> None:
    parent, _ = start(CHILD.replace("while not got", "while True"))
    with parent:
        parent.terminate()
        time.sleep(0.3)
        assert parent.poll() is None
        parent.terminate()
        assert parent.wait(timeout=20) == 75
        assert parent.stderr is not None
        assert parent.stderr.read().startswith("ended at once, as asked")


def test_no_process_outlives_its_parent() -> None:
    parent, children = start()
    with parent:
        parent.kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in children), seconds=20)
