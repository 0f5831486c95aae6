"""A process that makes training steps when told to; `parallel` times several of them.

    python -m experiments.benchmarks.worker '{"number": 0, "processes": 2, "port": 12345, ...}'

Prints a line of JSON when it is ready; then, for every line of its standard input, makes steps and prints
their seconds.
"""

import dataclasses
import json
import re
import sys
import time
from pathlib import Path

import jax
import numpy as np

from experiments.benchmarks.cpu import Trainer
from experiments.benchmarks.setting import Setting, Sizes
from mla_jax.parallel import processes
from mla_jax.parallel.mesh import make_mesh
from mla_jax.training.step import Recipe, run_steps

_COLLECTIVE = re.compile(r"= (.+?) (all-reduce|reduce-scatter|all-gather)(?:-start)?\(")
_ARRAY = re.compile(r"\b[a-z]+(\d+)\[([\d,]*)\]")


def collectives(trainer: Trainer) -> dict[str, float]:
    """How many collectives a compiled step has, and the MB of their results."""
    lowered = run_steps.lower(
        trainer.model,
        Recipe.of(trainer.config),
        trainer.state,
        trainer.data,
        trainer.sampler,
        trainer.key,
        np.int32(1),
    )
    found = _COLLECTIVE.findall(lowered.compile().as_text() or "")
    total = sum(
        int(bits) // 8 * int(np.prod([int(n) for n in shape.split(",") if n], initial=1))
        for result, _ in found
        for bits, shape in _ARRAY.findall(result)
    )
    return {"collectives": float(len(found)), "MB of collectives": total / 1e6}


def main() -> None:
    """Gets ready, and waits for lines."""
    asked = json.loads(sys.argv[1])
    if asked["processes"] > 1:
        processes.join(f"127.0.0.1:{asked['port']}", asked["processes"], asked["number"])
    sizes = Sizes(**asked["sizes"])
    setting = Setting(sizes, Path(asked["workdir"]), asked["data_dir"])
    mesh = make_mesh(asked["devices"])
    config = setting.config
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, devices=asked["devices"])
    )
    trainer = Trainer(config, setting.train, mesh=mesh)
    trainer.steps(1)
    print(json.dumps(collectives(trainer) | {"devices": jax.device_count()}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        trainer.steps(sizes.steps)
        print(json.dumps(time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main()
