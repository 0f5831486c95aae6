"""Tests of `mla_jax.export`."""
