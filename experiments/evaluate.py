"""The command `evaluate`: mla_jax/commands/evaluate.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("evaluate")
