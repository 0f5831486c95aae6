"""Many devices make the run of one: XLA's host devices stand for them."""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.support.device_runs import STEPS, run_case
from tests.support.small_runs import ROOT


def assert_alike(many: dict[str, Any], one: dict[str, Any]) -> None:
    """The fillers of a batch that the devices do not divide touch no statistic, loss or gradient."""
    assert len(one["losses"]) == STEPS
    assert one["devices"] == 1
    np.testing.assert_array_equal(many["batch"], one["batch"])
    np.testing.assert_allclose(many["losses"][:5], one["losses"][:5], rtol=2e-6)
    np.testing.assert_allclose(many["losses"], one["losses"], rtol=1e-4)
    np.testing.assert_allclose(many["norms"], one["norms"], rtol=1e-2)
    np.testing.assert_allclose(many["probs"], one["probs"], rtol=1e-3)
    assert many["filled"] == 0


def test_two_devices_make_the_losses_of_one() -> None:
    """19 clips are filled up to 20, and mixed among themselves."""
    many = run_case("device", "clips", 2, "recipe")
    assert (many["devices"], many["size"]) == (2, 20)
    assert_alike(many, run_case("device", "clips", 1, "recipe"))


@pytest.mark.slow
def test_two_four_and_eight_devices_make_the_losses_of_one() -> None:
    counts = {
        ("device clips", "plain"): (1, 2, 4, 8),
        ("device clips", "recipe"): (1, 4, 8),
        ("device segments", "plain"): (1, 4),
        ("host clips", "plain"): (1, 8),
        ("host segments", "recipe"): (1, 8),
    }
    cases = [
        f"{where} {count} {steps}"
        for (where, steps), of_kind in counts.items()
        for count in of_kind
    ]
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.device_runs", *cases],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = iter(json.loads(done.stdout))
    for of_kind in counts.values():
        one, *many = (next(found) for _ in of_kind)
        assert [run["devices"] for run in many] == list(of_kind[1:])
        for run in many:
            assert_alike(run, one)
