"""How long the package takes to import."""

import subprocess
import sys

from experiments.benchmarks.rows import Row, Work, compare
from experiments.benchmarks.setting import Setting

_WORKS = {
    "import mla_jax": "import mla_jax",
    "the names of a notebook: data, model, fit, metrics": (
        "from mla_jax import ClipSet, build_model, evaluate, fit, fresh_state, open_packed, Predictor"
    ),
}


def importing(setting: Setting) -> list[Row]:
    """New processes that import ours, and what it stands on."""
    peer = "import jax, flax.linen, optax"
    rows = []
    for work, code in _WORKS.items():
        check = f"{code}; import sys; assert 'tensorflow' not in sys.modules"
        timed = compare(_python(check), _python(peer), setting.sizes.repeats)
        rows.append(Row(peer=peer, work=work, at_least="1x", **timed))
    return rows


def _python(code: str) -> Work:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)
