"""Runs a program in several processes: their flags, and starting, joining and watching them.

The command that a person gives becomes the parent: it starts the same command again for each process on this
machine, with an environment variable that tells its place, and uses no device itself.
"""

import os
import socket
import sys
from collections.abc import Callable

from absl import flags, logging

from mla_jax.commands import cli, console
from mla_jax.commands.supervision import (
    EXIT_LOST_CONTACT,
    EXIT_PEER_FAILED,
    Supervisor,
    end_with_parent,
    tell_joined,
)
from mla_jax.errors import UserError
from mla_jax.parallel.signals import EXIT_TO_BE_CONTINUED, InterruptedRunError
from mla_jax.storage.parts import Share

_DISTRIBUTED = flags.DEFINE_string(
    "distributed",
    "off",
    "A run of several processes: auto, on Cloud TPU, Slurm, Open MPI and the like, where they find each "
    "other; HOST:PORT of the first, with --num_processes and --process_id; or local:N, N of them on this "
    "machine, each with a GPU of its own, or all on its processors.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", 0, "With HOST:PORT: how many there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", -1, "With HOST:PORT: which this is, from 0.")
_JOIN_SECONDS = flags.DEFINE_integer(
    "join_seconds", 300, "How long to wait for the other processes.", lower_bound=1
)
_HEARTBEAT_SECONDS = flags.DEFINE_integer(
    "heartbeat_seconds",
    60,
    "A process that has been silent for so long counts as lost, and the run ends.",
    lower_bound=5,
)

# Set by the parent for a process that it starts: host:port, how many, which, which GPU; or auto.
_TOLD = "MLA_JAX_PROCESS"


def run(main: Callable[[], None]) -> None:
    """Runs `main` as the flags say: in this process, or in several that train together.

    Raises:
      UserError: the flags contradict each other, or one is missing.
    """
    if told := os.environ.get(_TOLD):
        _run_as_told(told, main)
    elif _several():
        _supervise("go on from the last checkpoint")
    else:
        main()


def run_shares(main: Callable[[Share | None], None]) -> None:
    """Runs `main` in this process, with None; or in several, each with its share of parts that are its own.

    They have nothing to do with each other but the folder that they write to, so none waits for another.

    Raises:
      UserError: as `run`.
    """
    if told := os.environ.get(_TOLD):
        _run_share(told, main)
    elif _several():
        _supervise("go on with the parts that are missing")
    else:
        main(None)


def say_stopping() -> None:
    """Says, in the first process, that a run which was asked to stop saves before it leaves."""
    told = os.environ.get(_TOLD)
    if told is None or _address(told)[2] == 0:
        console.say_stopping()


def say_share_done(share: Share | None, output: str) -> None:
    """Says that a process has done its part, where another writes the output."""
    if share:
        console.say(
            f"process {share.number} of {share.count} is done; the last one to finish writes {output}"
        )


def _several() -> bool:
    """Whether the flags ask for several processes."""
    if _DISTRIBUTED.value not in ("", "off"):
        return True
    if _NUM_PROCESSES.value or _PROCESS_ID.value >= 0:
        raise UserError("--num_processes and --process_id go with --distributed=HOST:PORT")
    return False


def _supervise(to_go_on: str) -> None:
    """Starts the processes, and exits with their code unless all end well."""
    processes, first, total = _plan()
    program = [sys.executable, *sys.orig_argv[1:]]
    supervisor = Supervisor(
        [program] * len(processes),
        processes,
        first=first,
        total=total,
        where=f"{_at()} within {_JOIN_SECONDS.value} s",
        to_go_on=to_go_on,
        debug=cli.debug(),
        say=console.say,
    )
    code = supervisor.wait()
    if code:
        sys.exit(code)


def _plan() -> tuple[list[dict[str, str]], int, int]:
    """The environment of each process to start here, the number of the first, and how many in all."""
    where, num, number = _DISTRIBUTED.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    explicit = where != "auto" and not where.startswith("local:")
    if not explicit and (num or number >= 0):
        raise UserError("--num_processes and --process_id go with --distributed=HOST:PORT")
    if where == "auto":
        return [{_TOLD: "auto"}], 0, 0
    if not explicit:
        count = where.removeprefix("local:")
        if not count.isdigit() or not 1 <= int(count) <= 1024:
            raise UserError(
                f"--distributed={where} is not valid: local:N starts N processes, 1 or more"
            )
        address = f"127.0.0.1:{free_port()}"
        return [{_TOLD: f"{address} {count} {i} {i}"} for i in range(int(count))], 0, int(count)
    host, _, port = where.rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise UserError(
            f"--distributed={where} is not valid: it must be off, auto, HOST:PORT or local:N, a port being "
            "a number from 1 to 65535"
        )
    if not 0 <= number < num:
        raise UserError(
            f"--distributed={where} needs how many processes there are and which of them this is: give "
            "--num_processes=N, and --process_id from 0 to N - 1"
        )
    return [{_TOLD: f"{where} {num} {number}"}], number, num


def _at() -> str:
    where = _DISTRIBUTED.value
    return "" if where == "auto" or where.startswith("local:") else f" at {where}"


def free_port() -> int:
    """A port of this machine that is not in use."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _run_as_told(told: str, main: Callable[[], None]) -> None:
    """In one of several processes: joins the others, runs `main`, and exits at once if one is lost.

    A failure ends it by `os._exit`: in a normal exit JAX would wait for peers that wait for this process.
    """
    from mla_jax.parallel import processes

    end_with_parent()
    code = 0
    try:
        processes.join(
            *_address(told),
            join_seconds=_JOIN_SECONDS.value,
            heartbeat_seconds=_HEARTBEAT_SECONDS.value,
        )
        tell_joined()
        if not processes.is_main():
            logging.set_verbosity(logging.ERROR)  # the main process logs the same warnings
        main()
    except processes.PeerFailedError:
        code = EXIT_PEER_FAILED
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError) and console.nobody_reads():
            os._exit(console.EXIT_NOBODY_READS)
        console.say(f"error: {' '.join(str(error).split())}")
        code = console.EXIT_USER_ERROR
    except InterruptedRunError as stop:
        if processes.is_main():
            console.say(str(stop))
        sys.exit(EXIT_TO_BE_CONTINUED)  # as all the others do
    except Exception as error:
        code = EXIT_LOST_CONTACT if processes.lost_contact(error) else 1
        if code == 1 and (known := cli.known_cause(error)) and not cli.debug():
            console.say(f"error: {' '.join(known.split())}")
            code = console.EXIT_USER_ERROR
        elif code == 1 or cli.debug():
            logging.exception("process %d failed", processes.number())
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run_share(told: str, main: Callable[[Share | None], None]) -> None:
    """In one of several processes that share out parts: runs `main`, without joining the others."""
    from mla_jax.parallel import processes

    end_with_parent()
    address, count, number, device = _address(told)
    if count is None or number is None:
        number, count = processes.take_place_in_cluster(_JOIN_SECONDS.value)
    elif device is None:
        logging.warning(
            "--distributed=%s: processes that share out parts meet in the folder of the output; nothing "
            "is asked of this address",
            address,
        )
    else:
        processes.use_own_device(device)
    main(Share(number, count))


def _address(told: str) -> tuple[str, int | None, int | None, int | None]:
    """The first arguments of `processes.join`: the address, how many, which, and which GPU."""
    if told == "auto":
        return "", None, None, None
    address, *numbers = told.split()
    count, number, *device = (int(n) for n in numbers)
    return address, count, number, device[0] if device else None
