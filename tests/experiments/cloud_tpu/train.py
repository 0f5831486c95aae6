"""Stands in for `experiments.train`, in a folder BUCKET: a line in `starts` says how it was started.

It leaves with the first code in `codes-<worker>`, where there are any; else it waits for a file `finish`.
SIGTERM has it leave with 75: at once, or, where there is a file `slow-to-stop`, when it is to finish; there a
second one is an error.
"""

import os
import signal
import sys
import time


def main() -> int:
    bucket, worker = os.environ["BUCKET"], os.path.basename(os.environ["HOME"])
    told = []

    def stop(*_: object) -> None:
        told.append(1)
        if not os.path.exists(f"{bucket}/slow-to-stop"):
            os._exit(75)

    signal.signal(signal.SIGTERM, stop)
    with open(os.path.dirname(__file__) + "/version") as file:
        source = file.read()
    start = {"worker": worker, "pid": os.getpid(), "flags": sys.argv[1:]}
    with open(f"{bucket}/starts", "a") as file:
        file.write(repr(start | {"folder": os.getcwd(), "source": source}) + "\n")
    codes = f"{bucket}/codes-{worker}"
    if os.path.exists(codes):
        with open(codes) as file:
            first, *others = file.read().split()
        with open(codes, "w") as file:
            file.write(" ".join(others))
        return int(first)
    until = time.monotonic() + 60
    while time.monotonic() < until and not os.path.exists(f"{bucket}/finish"):
        time.sleep(0.02)
    return (0, 75, 1)[min(2, len(told))]


if __name__ == "__main__":
    sys.exit(main())
