"""Which vector instructions NumPy uses in a command."""

import os
from collections.abc import Mapping

_DISABLE, _ENABLE = "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES"


def choose_vectors(processor: Mapping[str, str]) -> None:
    """Keeps NumPy from AVX-512 on AMD's Zen 4; before NumPy is imported.

    NumPy's sort by AVX-512 packs vectors into memory by an instruction that takes this processor more than
    a hundred cycles, so it is a sixth as fast as by AVX2 there. What the user asks of NumPy stays.

    Args:
      processor: what `mla_jax.parallel.processor.processor_says` tells of it.
    """
    # Zen 3 is of the same family, without AVX-512; Zen 5 is of the next.
    maker = processor.get("vendor_id"), processor.get("cpu family")
    is_zen4 = maker == ("AuthenticAMD", "25") and "avx512f" in processor.get("flags", "").split()
    if is_zen4 and _DISABLE not in os.environ and _ENABLE not in os.environ:
        os.environ[_DISABLE] = _avx512()


def _avx512() -> str:
    """What this NumPy calls it; of a name that it does not know it may warn."""
    import importlib.metadata  # which most commands would pay for in vain

    major, minor = importlib.metadata.version("numpy").split(".")[:2]
    return "X86_V4" if (int(major), int(minor)) >= (2, 4) else "AVX512F"
