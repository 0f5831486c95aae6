"""Tests of `mla_jax.runs`."""
