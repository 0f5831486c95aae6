"""Stands in for `gcloud`: one TPU of two workers, whose state is kept in the files of a folder, CLOUD.

    queued-resources, tpu-vm   the states of the request and of the node; empty where there is none
    workers/0, workers/1       the homes of the machines
    calls                      how it was called, a line each; None after a call that was refused
    fail/<verb>, fail/start-1  how many times more that is to fail

Tests call it many times, so it starts quickly: it imports what is needed when it is.
"""

import contextlib
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

REQUEST, NODE = "queued-resources", "tpu-vm"


def read(path: str) -> str:
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        return file.read()


def write(path: str, text: str, mode: str = "w") -> None:
    with open(path, mode) as file:
        file.write(text)


def refuse(why: str) -> None:
    write("calls", "None\n", "a")
    sys.exit(f"ERROR: {why}")


def told_to_fail(what: str) -> bool:
    left = int(read(f"fail/{what}") or 0)
    write(f"fail/{what}", str(left - 1))
    return left > 0


def connect(worker: str, command: str) -> "subprocess.Popen[bytes]":
    import subprocess

    home = os.path.abspath(f"workers/{worker}")
    return subprocess.Popen(
        ["sh", "-c", command],
        cwd=home,
        env=os.environ | {"HOME": home},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def disconnect(process: "subprocess.Popen[bytes]") -> int:
    """As ssh does: when the command's output is closed; and then what is left of its session ends."""
    print(process.communicate(timeout=60)[0].decode(), end="")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    return process.returncode


def create(workers: str) -> None:
    if read(REQUEST):
        refuse("ALREADY_EXISTS")
    write(REQUEST, "ACTIVE")
    write(NODE, "READY")
    for worker in workers:
        os.makedirs(f"workers/{worker}")


def delete() -> None:
    import shutil

    if not read(REQUEST):
        refuse("NOT_FOUND")
    write(REQUEST, "")
    write(NODE, "")
    shutil.rmtree("workers", ignore_errors=True)


def scp(workers: str, source: str, target: str) -> None:
    import shutil

    for worker in workers:
        shutil.copy(source, f"workers/{worker}/" + target.split(":")[1])


def ssh(workers: str, command: str) -> int:
    starts = " start" in command
    reached = [w for w in workers if not (starts and told_to_fail(f"start-{w}"))]
    codes = [disconnect(c) for c in [connect(worker, command) for worker in reached]]
    return max(codes) if reached == list(workers) else 255


def main() -> int:
    if sys.argv[1] == "storage":  # on a worker
        write(os.environ["HOME"] + "/copied", " ".join(sys.argv[2:]))
        return 0
    group, verb, *words = sys.argv[3:]
    options = dict(w.split("=", 1) for w in words if w.startswith("--") and "=" in w)
    workers = options.get("--worker", "all").replace("all", "01")
    os.chdir(os.environ["CLOUD"])
    write("calls", f"{sys.argv[1:]!r}\n", "a")
    if told_to_fail(verb):
        refuse(f"told to fail: {verb}")
    if verb in ("scp", "ssh") and read(NODE) != "READY":
        refuse("the TPU is in a state in which it cannot be reached")
    if verb == "ssh":
        return ssh(workers, options["--command"])
    if verb == "scp":
        scp(workers, *words[:2])
    elif verb == "create":
        create(workers)
    elif verb == "delete":
        delete()
    elif verb == "list":
        print(read(group))
    return 0


if __name__ == "__main__":
    sys.exit(main())
