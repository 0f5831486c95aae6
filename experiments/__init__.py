"""The experiments whose results the documentation shows, and the commands of `mla_jax.commands` by name.

`table1`, `learning_curve` and `ablate` (with `table`), `esc10` and `benchmark` (with `benchmarks`) write
`results`; `cloud_tpu` rents machines. Every other file starts the command of its name.
"""
