"""The experiments whose results the documentation shows, and the commands of `mla_jax.commands` by name.

`table1`, `learning_curve` and `ablate` (with `table`), `esc10` and `benchmark` (with `benchmarks`) write
`results`; `cloud_tpu` rents machines. Every other file starts the command of its name.
"""

from mla_jax.commands.vectors import choose_vectors
from mla_jax.parallel.processor import processor_says

choose_vectors(processor_says())  # before a program here imports NumPy
