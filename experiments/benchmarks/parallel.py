"""The cost of sharing work: on two devices, and in two processes, against one device on this machine."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from experiments.benchmarks.rows import Row, compare
from experiments.benchmarks.setting import Setting
from mla_jax.commands.distributed import free_port

ROOT = Path(__file__).parent.parent.parent


def parallel(setting: Setting) -> list[Row]:
    """Steps of 2-A-1-A with 500 clips in all, on one device, on two, and in two processes."""
    with (
        _workers(setting, 1, 1) as one,
        _workers(setting, 2, 1) as two_devices,
        _workers(setting, 1, 2) as two_processes,
    ):
        rows = []
        for name, group in (("two devices", two_devices), ("two processes", two_processes)):
            rows.append(
                Row(
                    peer="one device, as many threads",
                    work=f"{setting.sizes.steps} steps of {setting.sizes.batch_size} clips on {name}",
                    notes=group.ready,
                    **compare(group.steps, one.steps, setting.sizes.repeats),
                )
            )
    return rows


class _Group:
    """Processes that make steps together."""

    def __init__(self, members: list[subprocess.Popen[str]]) -> None:
        self.members = members
        first, *_ = [self._line(member) for member in members]  # all must be ready
        self.ready: dict[str, float] = first

    def steps(self) -> None:
        """Lets all of them make their steps, and waits for them."""
        for member in self.members:
            assert member.stdin is not None
            member.stdin.write("\n")
            member.stdin.flush()
        for member in self.members:
            self._line(member)

    def _line(self, member: subprocess.Popen[str]) -> dict[str, float]:
        assert member.stdout is not None
        for line in member.stdout:
            if not line.startswith("[Gloo]"):
                found: dict[str, float] = json.loads(line)
                return found
        raise RuntimeError("a worker of the benchmark has ended; what it said stands above")


@contextlib.contextmanager
def _workers(setting: Setting, devices: int, processes: int) -> Iterator[_Group]:
    port = free_port()
    asked = {
        "devices": devices * processes,
        "processes": processes,
        "port": port,
        "sizes": dataclasses.asdict(setting.sizes),
        "workdir": str(setting.workdir),
        "data_dir": setting.data_dir,
    }
    flags = f"--xla_force_host_platform_device_count={devices}"
    members = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "experiments.benchmarks.worker",
                json.dumps({**asked, "number": number}),
            ],
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    try:
        yield _Group(members)
    finally:
        for member in members:
            assert member.stdin is not None
            member.stdin.close()  # which ends it
        for member in members:
            member.wait(timeout=60)
            assert member.stdout is not None
            member.stdout.close()
